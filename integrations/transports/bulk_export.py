"""All documents of a FHIR server at once: Bulk Data $export, taken up where it was stopped.

The server's status address, its manifest and the parts that are kept are written down, each before the next step; a part
that was cut short is read from its beginning, and the inbox knows what it has. Source: FHIR Bulk Data Access 2.0.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode, urljoin

from integrations.codecs import CodecError
from integrations.codecs.fhir_messages import parse
from integrations.mailbox import Format, retry_delay_s
from integrations.transports.arriving import Arrival, Keep, Progress
from integrations.transports.fhir_rest import Refused, Retry
from integrations.transports.fhir_server import FhirServer

logger = logging.getLogger(__name__)

MOST_TRIES = 8
LONGEST_PAUSE_S = 300.0
_PAUSE_S = 5.0
_STATUS, _MANIFEST, _DONE, _REQUEST = "status_url", "manifest", "done", "request"
T = TypeVar("T")


@dataclass(frozen=True)
class Exported:
    """What an export came to."""

    n_new: int
    n_known: int
    n_unreadable: int
    """Of the new ones: lines that are no resource, and links that lead nowhere."""
    transaction_time: str
    """The server's time of the export: what is newer is not in it."""


class BulkExport:
    """One export of one server. For one thread."""

    def __init__(
        self,
        server: FhirServer,
        keep: Keep,
        progress: Progress,
        *,
        sleep: Callable[[float], None] = time.sleep,
        on_part: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Nothing is asked for yet.

        Args:
            server: to be read.
            keep: keeps a message durably.
            progress: what the last run has come to; its own file.
            sleep: pauses, seconds.
            on_part: called with the parts that are kept and those there are.
        """
        self._server, self._keep, self._progress, self._sleep, self._on_part = server, keep, progress, sleep, on_part
        self._n = {"new": 0, "known": 0, "unreadable": 0}

    def run(self, types: Sequence[str], group: str = "", since: str = "") -> Exported:
        """Ask for the documents, wait for them and keep them; goes on with an export of the same request that was stopped.

        Args:
            types: resource types.
            group: id of a Group; every patient where empty.
            since: only what changed since then, an instant; everything where empty.
        Raises:
            Retry: the server did not answer for long; run it again.
            Refused: it does not give what was asked for.
        """
        query = {"_type": ",".join(types), "_outputFormat": "application/fhir+ndjson"} | ({"_since": since} if since else {})
        path = f"Group/{group}/$export" if group else "$export"
        request = f"{self._server.base}/{path}?{urlencode(query)}"
        if self._progress.get(_REQUEST) != request:
            self._forget()
            self._progress.set(**{_REQUEST: request, _STATUS: self._patiently(lambda: self._kick_off(request))})
        try:
            manifest = self._manifest()
            parts = _parts(manifest, "output")
            for url in parts:
                self._part(url, parts)
        except Refused:
            # An export that has ended at the server is not waited for again.
            self._forget()
            raise
        if errors := len(_parts(manifest, "error")):
            logger.warning("the FHIR server tells of faults of its export", extra={"files": errors})
        self._end()
        return Exported(self._n["new"], self._n["known"], self._n["unreadable"], str(manifest.get("transactionTime", "")))

    def _kick_off(self, request: str) -> str:
        answer = self._server.ask(request, headers={"Prefer": "respond-async"})
        location = str(answer.headers.get("Content-Location", ""))
        if answer.status_code != 202 or not location:
            raise Refused(f"HTTP {answer.status_code}, but no export was begun; does the server know Bulk Data $export?")
        return urljoin(request, location)

    def _manifest(self) -> dict[str, object]:
        """The list of the export's files, once it is there."""
        while not self._progress.get(_MANIFEST):
            answer = self._patiently(
                lambda: self._server.ask(self._progress.get(_STATUS), headers={"Accept": "application/json"})
            )
            if answer.status_code == 200:
                self._progress.set(**{_MANIFEST: answer.text})
            else:
                wish = answer.headers.get("Retry-After", "")
                self._sleep(min(float(wish) if wish.isascii() and wish.isdigit() else _PAUSE_S, LONGEST_PAUSE_S))
        try:
            found = json.loads(self._progress.get(_MANIFEST))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refused("the export's manifest is no JSON object")
        return found

    def _part(self, url: str, parts: Sequence[str]) -> None:
        done = self._progress.get(_DONE).split()
        if url not in done:
            self._patiently(lambda: self._lines(url))
            done.append(url)
            self._progress.set(**{_DONE: " ".join(done)})
        self._on_part(len(done), len(parts))

    def _lines(self, url: str) -> None:
        for number, line in enumerate(self._server.lines(url), 1):
            arrival = self._arrival(line, f"{url.rsplit('/', 1)[-1]} line {number}")
            is_new = self._keep(arrival)
            self._n["new" if is_new else "known"] += 1
            self._n["unreadable"] += bool(is_new and arrival.unreadable_because)

    def _arrival(self, line: bytes, place: str) -> Arrival:
        try:
            resource = parse(line)
        except CodecError as error:
            return Arrival(self._server.base, place, line, Format.FHIR, str(error))
        return self._patiently(lambda: self._server.arrival(resource))

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer, a few minutes long."""
        for tries in range(1, MOST_TRIES):
            try:
                return ask()
            except Retry as error:
                logger.warning("the FHIR server is asked again: %s", error)
                self._sleep(max(min(error.after_s or 0.0, LONGEST_PAUSE_S), retry_delay_s(tries, longest_s=60)))
        return ask()

    def _end(self) -> None:
        status = self._progress.get(_STATUS)
        self._forget()
        try:
            # The server may throw the files away.
            self._server.ask(status, method="DELETE")
        except (Retry, Refused) as error:
            logger.info("the export was not deleted at its server: %s", error)

    def _forget(self) -> None:
        self._progress.set(**dict.fromkeys((_REQUEST, _STATUS, _MANIFEST, _DONE), ""))


def _parts(manifest: dict[str, object], of: str) -> list[str]:
    files = manifest.get(of)
    urls = [file.get("url") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    return [url for url in urls if isinstance(url, str) and url]
