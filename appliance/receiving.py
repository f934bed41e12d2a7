"""From the bytes of a message to its acknowledgement: kept first, acknowledged then."""

import logging
from collections.abc import Callable, Mapping, Sequence

from appliance import metrics
from appliance.queues import Incoming
from appliance.storage import Storage, StorageError
from appliance.trouble import explain
from integrations.codecs import CodecError, hl7v2
from integrations.records import NoteKind

logger = logging.getLogger(__name__)


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
        self._inbox, self._routes, self._on_kept = storage.inbox, routes, on_kept

    def __call__(self, peer: str, body: bytes) -> bytes:
        """Keep one message and give its answer; empty where the sender wants none."""
        (answer,) = self.all([(peer, body)])
        return answer

    def all(self, arrivals: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Keep several messages, each with its peer, in one transaction, and give the answer to each."""
        reasons = [self._why_unreadable(body) for _, body in arrivals]
        incoming = [
            Incoming(*hl7v2.envelope(body), body, str(reason or "")) for (_, body), reason in zip(arrivals, reasons, strict=True)
        ]
        try:
            are_new = self._inbox.put_all(incoming)
        except StorageError as error:
            metrics.KEPT.labels("refused").inc(len(arrivals))
            logger.error(
                "%d messages not kept: %s", len(arrivals), error, extra={"peers": sorted({peer for peer, _ in arrivals})}
            )
            return [hl7v2.ack(body, "AE", "it could not be stored; send it again later") for _, body in arrivals]
        metrics.LAST_RECEIVED.set_to_current_time()
        if any(are_new):
            self._on_kept()
        return [
            self._answer(peer, body, reason, is_new)
            for (peer, body), reason, is_new in zip(arrivals, reasons, are_new, strict=True)
        ]

    def _answer(self, peer: str, body: bytes, unreadable: CodecError | None, is_new: bool) -> bytes:
        metrics.KEPT.labels("unreadable" if unreadable else "kept" if is_new else "repeated").inc()
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
