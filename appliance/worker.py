"""The day's work: claim a message, parse it, route its note, read it, keep what was found and owe it to the hospital.

A message ends in one of four ways: read, with its findings; done, because it changes nothing, withdraws its document, carries
no text, or no task reads its kind; parked, because it cannot be parsed or reading it broke; or put back, because
the model did not answer or is not there yet, which says nothing about the message.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from appliance import metrics
from appliance.database import RowError
from appliance.decoding import note_of
from appliance.reading import Reader, Reading
from appliance.storage import Storage, StorageError
from appliance.trouble import explain
from appliance.versions import Change
from integrations.codecs.hl7v2 import NoText
from integrations.mailbox import InboxMessage, retry_delay_s
from integrations.records import ModelVersion, Note, NoteKind
from serving.engine import EngineError

logger = logging.getLogger(__name__)


Owed = Callable[[Note, Change, ModelVersion | None], Sequence[tuple[str, bytes]]]
"""What the hospital is owed for what a note changes, read by that model: destination and body of each delivery."""

MODEL_WAIT_S = 24 * 3600.0
"""How long a message waits for a model of its task, seconds: what is found later than that is not to be acted on unasked."""
LONGEST_WAIT_S = 600.0
"""Until a message for which no model is open is looked at again."""


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
        readers: Callable[[], Mapping[str, Reader]],
        routes: Mapping[str, NoteKind],
        tasks: Mapping[NoteKind, str],
        lease_s: float,
        owed: Owed,
        on_recorded: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is claimed yet.

        Args:
            storage: inbox, findings and outbox.
            readers: whoever reads, by task; those that can.
            routes: kind of note by code.
            tasks: who reads a kind of note.
            lease_s: how long one reading may take.
            owed: what is owed for what a note changes.
            on_recorded: called after each recorded note.
        """
        self._storage, self._readers, self._lease_s = storage, readers, lease_s
        self._routes, self._tasks = routes, tasks
        self._missed: set[str] = set()
        self._owed, self._on_recorded = owed, on_recorded
        self._to_release: int | None = None

    def waits_for(self) -> list[str]:
        """The tasks that messages were put back for, because nobody reads for them yet."""
        return sorted(self._missed - self._readers().keys())

    def step(self) -> bool:
        """Read the oldest message that waits; False when none does, or nobody can read yet.

        Raises:
            EngineError: the model did not answer; the message was put back.
            StorageError: the database did not; the message is put back first thing next time.
        """
        self._release_unfinished()
        readers = self._readers()
        # Nothing is claimed while nobody can read: messages wait better in the queue than in our hands.
        message = self._storage.inbox.claim(self._lease_s) if readers else None
        if message is None:
            return False
        try:
            self._handle(message, readers)
        except StorageError:
            self._to_release = message.message_id
            raise
        return True

    def _handle(self, message: InboxMessage, readers: Mapping[str, Reader]) -> None:
        inbox, message_id = self._storage.inbox, message.message_id
        try:
            self._read(message, readers)
        except EngineError as error:
            metrics.ENGINE_FAILURES.inc()
            inbox.release(message_id, retry_delay_s(message.attempts), explain(error))
            raise
        except Exception as error:
            if isinstance(error, StorageError) and not isinstance(error, RowError):
                raise
            # It would fail the same way for ever; a person looks at it, the others go on.
            inbox.park(message_id, explain(error))
            metrics.ENDED.labels("parked").inc()
            logger.warning("message parked: %s", explain(error), extra={"message_id": message_id})

    def _read(self, message: InboxMessage, readers: Mapping[str, Reader]) -> None:
        note = note_of(message, self._routes)
        if isinstance(note, NoText):
            self._storage.inbox.done(message.message_id, note.reason)
            metrics.ENDED.labels("no_text").inc()
            logger.info("message without text", extra={"message_id": message.message_id})
            return
        if reason := self._storage.why_not_read(message.message_id, note):
            self._record(message, note, None, reason)
            metrics.ENDED.labels("unchanged").inc()
            return
        if note.status.is_withdrawn:
            self._record(message, note, None, "withdrawn by its sender")
            metrics.ENDED.labels("withdrawn").inc()
            return
        task = self._tasks.get(note.kind)
        if task is None:
            self._record(message, note, None, f"no task reads a {note.kind}")
            metrics.ENDED.labels("no_task").inc()
            return
        if task not in readers:
            self._wait_for(task, message, note)
            return
        began = time.perf_counter()
        reading = readers[task].read(note)
        seconds = time.perf_counter() - began
        if change := self._record(message, note, reading, note.unread):
            metrics.INFERENCE_SECONDS.labels(task).observe(seconds)
            metrics.ENDED.labels("read").inc()
            for finding in change.added:
                metrics.FINDINGS.labels(finding.label or ("answered" if finding.quote else "not_answered")).inc()

    def _wait_for(self, task: str, message: InboxMessage, note: Note) -> None:
        """Put a message back whose model is not open, behind those that can be read; not for ever, where nobody trains one."""
        if self._storage.clock() - message.received_at.timestamp() > MODEL_WAIT_S:
            self._record(message, note, None, f"no {task} model read it within a day; replay it once there is one")
            metrics.ENDED.labels("no_model").inc()
            return
        self._missed.add(task)
        delay_s = retry_delay_s(message.attempts, longest_s=LONGEST_WAIT_S)
        self._storage.inbox.release(message.message_id, delay_s, f"no {task} model reads yet; it waits for one")

    def _record(self, message: InboxMessage, note: Note, reading: Reading | None, reason: str = "") -> Change | None:
        found, model = (reading.findings, reading.model) if reading else ([], None)
        change = self._storage.record(
            message.message_id, note, found, str(model or ""), lambda change: self._owed(note, change, model), reason
        )
        fields = {"message_id": message.message_id, "kind": note.kind}
        if change:
            fields |= {name: len(getattr(change, name)) for name in ("added", "kept", "withdrawn")}
        logger.info("note recorded" if change else "note had been recorded already", extra=fields)
        self._on_recorded()
        return change

    def _release_unfinished(self) -> None:
        if self._to_release is not None:
            self._storage.inbox.release(self._to_release, 0, "the database could not be written")
            self._to_release = None
