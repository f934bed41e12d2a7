"""The day's work: claim a message, parse it, route its note, read it, keep what was found and owe it to the hospital.

A message ends in one of four ways: read, with its findings; done, because no task reads its kind or it carries no text;
parked, because it cannot be parsed or reading it broke; or put back, because the model did not answer, which says nothing
about the message.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from appliance import metrics
from appliance.reading import Reader
from appliance.routing import TASKS
from appliance.storage import Storage, StorageError
from appliance.trouble import explain
from integrations.codecs import hl7v2
from integrations.codecs.hl7v2 import NoText
from integrations.mailbox import InboxMessage, retry_delay_s
from integrations.records import Finding, ModelVersion, Note, NoteKind
from serving.engine import EngineError

logger = logging.getLogger(__name__)


class WorkerConfig(BaseModel):
    """`[worker]`: how messages are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["triton", "local"] = "triton"
    """Who runs the model: the Triton server that `run` starts, or the appliance's own process."""
    lease_s: float = Field(default=300, gt=0)
    """How long one reading may take before the message counts as lost and is read again, seconds."""
    most_crashes: int = Field(default=5, ge=1)
    """A message during whose reading the appliance stopped this often is parked."""


class Worker:
    """Reads one message per step. For one thread."""

    def __init__(
        self,
        storage: Storage,
        reader: Callable[[], Reader | None],
        routes: Mapping[str, NoteKind],
        lease_s: float,
        deliveries: Callable[[Note, list[Finding], ModelVersion], Sequence[tuple[str, bytes]]],
        on_recorded: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is claimed yet.

        Args:
            storage: inbox, findings and outbox.
            reader: whoever reads; None while nobody can.
            routes: kind of note by code.
            lease_s: how long one reading may take.
            deliveries: what is owed for a note that was read: destination and body of each.
            on_recorded: called after each recorded note.
        """
        self._storage, self._reader, self._routes, self._lease_s = storage, reader, routes, lease_s
        self._deliveries, self._on_recorded = deliveries, on_recorded
        self._to_release: int | None = None

    def step(self) -> bool:
        """Read the oldest message that waits; False when none does, or nobody can read yet.

        Raises:
            EngineError: the model did not answer; the message was put back.
            StorageError: the database did not; the message is put back first thing next time.
        """
        self._release_unfinished()
        reader = self._reader()
        # Nothing is claimed while nobody can read: messages wait better in the queue than in our hands.
        message = self._storage.inbox.claim(self._lease_s) if reader else None
        if reader is None or message is None:
            return False
        try:
            self._handle(message, reader)
        except StorageError:
            self._to_release = message.message_id
            raise
        return True

    def _handle(self, message: InboxMessage, reader: Reader) -> None:
        inbox, message_id = self._storage.inbox, message.message_id
        try:
            self._read(message, reader)
        except EngineError as error:
            metrics.ENGINE_FAILURES.inc()
            inbox.release(message_id, retry_delay_s(message.attempts), explain(error))
            raise
        except StorageError:
            raise
        except Exception as error:
            # It would fail the same way for ever; a person looks at it, the others go on.
            inbox.park(message_id, explain(error))
            metrics.ENDED.labels("parked").inc()
            logger.warning("message parked: %s", explain(error), extra={"message_id": message_id})

    def _read(self, message: InboxMessage, reader: Reader) -> None:
        note = hl7v2.note(hl7v2.read(message.body), self._routes)
        if isinstance(note, NoText):
            self._storage.inbox.done(message.message_id, note.reason)
            metrics.ENDED.labels("no_text").inc()
            logger.info("message without text", extra={"message_id": message.message_id})
            return
        if note.status.is_withdrawn:
            self._storage.inbox.done(message.message_id, "withdrawn by its sender")
            metrics.ENDED.labels("no_text").inc()
            return
        task = TASKS.get(note.kind)
        if task is None:
            self._record(message, note, [], None, f"no task reads a {note.kind}")
            metrics.ENDED.labels("no_task").inc()
            return
        began = time.perf_counter()
        reading = reader.read(note)
        seconds = time.perf_counter() - began
        if self._record(message, note, reading.findings, reading.model, note.unread):
            metrics.INFERENCE_SECONDS.labels(task).observe(seconds)
            metrics.ENDED.labels("read").inc()
            for finding in reading.findings:
                metrics.FINDINGS.labels(finding.label).inc()

    def _record(
        self, message: InboxMessage, note: Note, findings: list[Finding], model: ModelVersion | None, reason: str = ""
    ) -> bool:
        deliveries = self._deliveries(note, findings, model) if model else ()
        is_new = self._storage.record(message.message_id, note, findings, str(model or ""), deliveries, reason)
        fields = {"message_id": message.message_id, "kind": note.kind, "findings": len(findings)}
        logger.info("note recorded" if is_new else "note had been recorded already", extra=fields)
        self._on_recorded()
        return is_new

    def _release_unfinished(self) -> None:
        if self._to_release is not None:
            self._storage.inbox.release(self._to_release, 0, "the database could not be written")
            self._to_release = None
