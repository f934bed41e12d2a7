"""What fetches messages beside the MLLP listener: the FHIR server's documents and the drop folder, each into the inbox.

Whatever is fetched is kept first; only then does the cursor move, or the file. A message that nobody can read is kept, too.
"""

import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from appliance import metrics
from appliance.config import AppConfig
from appliance.decoding import note_of
from appliance.home import Home
from appliance.loop import Loop
from appliance.storage import Storage
from appliance.trouble import explain
from integrations.codecs import CodecError
from integrations.mailbox import InboxMessage
from integrations.records import NoteKind
from integrations.transports import TransportError
from integrations.transports.arriving import Arrival, Progress
from integrations.transports.bulk_export import BulkExport, Exported
from integrations.transports.fhir_server import FhirServer
from integrations.transports.fhir_source import FhirSourceConfig, Polling
from integrations.transports.folder import Folder
from integrations.transports.smart_backend import login

logger = logging.getLogger(__name__)

FHIR_SOURCE, FOLDER = "fhir_source", "folder"
SHORTEST_SECRET = 16


class Keeper:
    """Keeps what transports fetch. Safe to call from several threads."""

    def __init__(self, storage: Storage, on_kept: Callable[[], None] = lambda: None) -> None:
        """Nothing is kept yet; `on_kept` is called after each message that is new."""
        self._inbox, self._on_kept = storage.inbox, on_kept

    def __call__(self, arrival: Arrival) -> bool:
        """Keep one message durably; False where it was there already.

        Raises:
            StorageError: it is not kept.
        """
        reason = arrival.unreadable_because
        is_new = self._inbox.put(arrival.source, arrival.control_id, arrival.body, reason, arrival.format)
        metrics.LAST_RECEIVED.set_to_current_time()
        metrics.KEPT.labels("repeated" if not is_new else "unreadable" if reason else "kept").inc()
        if is_new and reason:
            logger.warning("unreadable message kept and parked: %s", reason)
        elif is_new:
            self._on_kept()
        return is_new


def loops(
    home: Home, config: AppConfig, storage: Storage, routes: Mapping[str, NoteKind], on_kept: Callable[[], None]
) -> list[Loop]:
    """One for each source that is configured; none runs yet.

    Raises:
        TransportError: a source cannot be used at all.
    """
    keep, found = Keeper(storage, on_kept), []
    if server := fhir_server(config):
        polling = Polling(server, config.fhir_source, keep, Progress(home.fhir_progress))
        found.append(Loop(FHIR_SOURCE, polling.step, config.fhir_source.interval_s))
    if config.folder.path:
        folder = Folder(config.folder.path, config.folder, keep, lambda arrival: why_unreadable(arrival, routes))
        found.append(Loop(FOLDER, folder.step, config.folder.interval_s))
    return found


def fhir_server(config: AppConfig) -> FhirServer | None:
    """The server that documents are read from; None where none is configured.

    Raises:
        TransportError: the key to log in with cannot be used.
    """
    source = config.fhir_source
    if source.url is None:
        return None
    return FhirServer(str(source.url), source.timeout_s, login(config.fhir_auth, str(source.url), source.timeout_s))


def export(
    home: Home, config: AppConfig, storage: Storage, group: str, since: str, on_part: Callable[[int, int], None]
) -> Exported:
    """Keep what the FHIR server holds already. Where no search has been made yet, the first one begins where this ends.

    Raises:
        TransportError: no server is configured, or it does not give what was asked for.
        StorageError: something was not kept; run it again.
    """
    server = fhir_server(config)
    if server is None:
        raise TransportError("no FHIR server is configured; set [fhir_source] url")
    types = config.fhir_source.resource_types
    try:
        bulk = BulkExport(server, Keeper(storage), Progress(home.fhir_export), on_part=on_part)
        found = bulk.run([kind for kind in types if kind != "Bundle"], group, since)
    finally:
        server.close()
    searched = Progress(home.fhir_progress)
    searched.set(**{kind: found.transaction_time for kind in types if not searched.get(kind)})
    return found


def why_unreadable(arrival: Arrival, routes: Mapping[str, NoteKind]) -> str:
    """Why the codec of a message cannot read it; empty where it can."""
    at = datetime.now(UTC)
    try:
        note_of(InboxMessage(0, arrival.source, arrival.control_id, arrival.body, at, 0, arrival.format), routes)
    except CodecError as error:
        return str(error)
    except Exception as error:
        # A fault of ours is no reason to set a message aside before the worker has tried.
        logger.error("parser failed: %s", explain(error))
    return ""


def notifications(config: FhirSourceConfig, fetching: Sequence[Loop]) -> Callable[[str], bool] | None:
    """Wakes the search up for an Authorization header with the secret; None where notifications are not taken.

    Raises:
        TransportError: the file of the secret cannot be read, or holds too little to be one.
    """
    source = next((loop for loop in fetching if loop.name == FHIR_SOURCE), None)
    if config.notification_secret_file is None or source is None:
        return None
    try:
        secret = config.notification_secret_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise TransportError("[fhir_source] notification_secret_file cannot be read; see that it is there and is yours") from None
    if len(secret) < SHORTEST_SECRET:
        raise TransportError(f"[fhir_source] notification_secret_file must hold at least {SHORTEST_SECRET} characters")
    expected, wake = f"Bearer {secret}".encode(), source.wake

    def notified(authorization: str) -> bool:
        is_right = hmac.compare_digest(authorization.encode(), expected)
        if is_right:
            wake()
        return is_right

    return notified
