"""From the bytes of a message to its acknowledgement: kept first, acknowledged then."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from appliance import metrics
from appliance.storage import Incoming, Storage, StorageError
from appliance.trouble import explain
from integrations.codecs import CodecError, hl7v2
from integrations.records import NoteKind

logger = logging.getLogger(__name__)

MOST_TOGETHER = 64
"""Messages that are committed in one transaction."""


class Together:
    """What several threads hand over at a time goes into one transaction: one flush of the disk for all of them.

    Nobody waits for others to come. Whoever finds no commit under way makes one of all that is there, and what arrives
    meanwhile goes into the next one.
    """

    def __init__(self, put_all: Callable[[Sequence[Incoming]], list[bool]]) -> None:
        self._put_all = put_all
        self._waiting: list[tuple[Incoming, Future[bool]]] = []
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def put(self, message: Incoming) -> bool:
        """Keep one message durably; False when it is already here.

        Raises:
            StorageError: it is not kept and must not be acknowledged.
        """
        is_new: Future[bool] = Future()
        with self._lock:
            self._waiting.append((message, is_new))
        with self._turn:
            while not is_new.done():
                self._commit()
        return is_new.result()

    def _commit(self) -> None:
        with self._lock:
            group, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
        try:
            for (_, is_new), outcome in zip(group, self._put_all([message for message, _ in group]), strict=True):
                is_new.set_result(outcome)
        except Exception as error:
            for _, is_new in group:
                is_new.set_exception(error)


class Receiver:
    """Takes HL7 v2 messages into the inbox. Safe to call from several threads.

    A message that is readable and durably kept, now or before, gets AA. One that nobody can read is kept too, parked for a
    person, and gets AR: sending it again would not help. One that cannot be kept gets AE: send it again later. What is attached
    to it is read only by the worker, which parks a scanned page.
    """

    def __init__(self, storage: Storage, routes: Mapping[str, NoteKind], on_kept: Callable[[], None] = lambda: None) -> None:
        """Nothing is received yet.

        Args:
            storage: whose inbox keeps the messages.
            routes: kind of note by code.
            on_kept: called after each message that is new.
        """
        self._inbox, self._routes, self._on_kept = Together(storage.inbox.put_all), routes, on_kept

    def __call__(self, peer: str, body: bytes) -> bytes:
        """Keep one message and give its answer; empty where the sender wants none."""
        sender, control_id = hl7v2.envelope(body)
        unreadable = self._why_unreadable(body)
        try:
            is_new = self._inbox.put(Incoming(sender, control_id, body, str(unreadable or "")))
        except StorageError as error:
            metrics.KEPT.labels("refused").inc()
            logger.error("message not kept: %s", error, extra={"peer": peer})
            return hl7v2.ack(body, "AE", "it could not be stored; send it again later")
        metrics.LAST_RECEIVED.set_to_current_time()
        metrics.KEPT.labels("unreadable" if unreadable else "kept" if is_new else "repeated").inc()
        if is_new:
            self._on_kept()
        if unreadable:
            logger.warning("unreadable message kept and parked: %s", unreadable, extra={"peer": peer})
            return hl7v2.ack(body, "AR", str(unreadable), unreadable.condition)
        return hl7v2.ack(body, "AA")

    def _why_unreadable(self, body: bytes) -> CodecError | None:
        try:
            hl7v2.check(hl7v2.read(body), self._routes)
        except CodecError as error:
            return error
        except Exception as error:
            # A fault of ours is no reason to turn a message away: it is kept, and the worker parks it.
            logger.error("parser failed: %s", explain(error))
        return None
