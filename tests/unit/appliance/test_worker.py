"""What becomes of one message at the worker's hands, with a reader that is a rule."""

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance import messages
from appliance.database import RowError
from appliance.reading import Reader, Reading, findings
from appliance.routing import RoutingConfig, routes
from appliance.storage import Storage, StorageError
from appliance.versions import Change
from appliance.worker import Worker
from integrations.mailbox import State
from integrations.records import ModelVersion, Note, NoteKind
from pretrain.tasks.base import TaggedSpan
from serving.engine import EngineError

DISCHARGE, RADIOLOGY = "18842-5", "18748-4"
MODEL = ModelVersion("rule", "1", "0" * 64)


class RuleReader:
    """Finds an appointment wherever a note says "see"; fails as often as it is told to."""

    model = MODEL

    def __init__(self) -> None:
        self.failures: list[Exception] = []

    def read(self, note: Note) -> Reading:
        if self.failures:
            raise self.failures.pop()
        spans = [TaggedSpan(m.start(), m.end(), "Appointment", 0.9) for m in re.finditer(r"[Ss]ee \w+", note.text)]
        return Reading(findings(note, spans, str(self.model), datetime(2026, 1, 1, tzinfo=UTC)), self.model)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def mdm(text: str, code: str = DISCHARGE, control_id: str = "1") -> bytes:
    segments = [
        rf"MSH|^~\&|EHR|WARD|||20260101120000+0000||MDM^T02^MDM_T02|{control_id}|P|2.5.1",
        "PID|1||123^^^HOSP^MR||DOE^JANE",
        f"TXA|1|{code}|TX|20260101||||||||D1^HOSP||||||AU",
        f"OBX|1|TX|{code}||{text}||||||F",
    ]
    return "\r".join([*segments, ""]).encode()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(tmp_path: Path, clock: Clock) -> Iterator[Storage]:
    opened = Storage(tmp_path / "appliance.db", clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def reader() -> RuleReader:
    return RuleReader()


def worker_of(storage: Storage, readers: Reader | dict[str, Reader] | None, config: RoutingConfig | None = None) -> Worker:
    def owed(note: Note, change: Change, model: ModelVersion | None) -> list[tuple[str, bytes]]:
        return [("fhir", f"{note.note_id} {len(change.added)} {model}".encode())] if model else []

    config = config or RoutingConfig()
    by_task = readers if isinstance(readers, dict) else {"clip": readers} if readers else {}
    return Worker(storage, lambda: by_task, routes(config), config.tasks, 60, owed)


def put(storage: Storage, body: bytes) -> None:
    assert storage.inbox.put("EHR|WARD", "1", body)


def test_a_discharge_summary_ends_with_its_findings_and_a_delivery(storage: Storage, reader: RuleReader) -> None:
    put(storage, mdm("Please see cardiology. Eat well."))
    assert worker_of(storage, reader).step() is True
    story = messages.show(storage, 1)
    assert (story.message.state, story.kind, story.model) == (State.DONE, NoteKind.DISCHARGE_SUMMARY, "rule@1")
    assert [(f.quote, f.start, f.end) for f in story.findings] == [("see cardiology", 7, 21)]
    assert [d.state for d in story.deliveries] == [State.WAITING]


def test_an_empty_inbox_is_nothing_to_do(storage: Storage, reader: RuleReader) -> None:
    assert worker_of(storage, reader).step() is False


def test_nothing_is_claimed_while_nobody_can_read(storage: Storage) -> None:
    put(storage, mdm("See cardiology."))
    assert worker_of(storage, None).step() is False
    assert messages.show(storage, 1).message.attempts == 0


def test_a_kind_that_no_task_reads_is_kept_with_its_reason_and_delivers_nothing(storage: Storage, reader: RuleReader) -> None:
    put(storage, mdm("See the nodule.", RADIOLOGY))
    worker_of(storage, reader, RoutingConfig(tasks={NoteKind.DISCHARGE_SUMMARY: "clip"})).step()
    story = messages.show(storage, 1)
    assert (story.message.state, story.message.reason) == (State.DONE, "no task reads a radiology_report")
    assert (story.kind, story.model, story.findings, story.deliveries) == ("radiology_report", "", (), ())


def test_the_hospitals_own_code_decides_what_a_note_is(storage: Storage, reader: RuleReader) -> None:
    put(storage, mdm("See cardiology.", "ENTL"))
    worker_of(storage, reader, RoutingConfig(document_types={"ENTL": NoteKind.DISCHARGE_SUMMARY})).step()
    assert messages.show(storage, 1).message.n_findings == 1


def test_a_message_without_text_is_done_with_its_reason(storage: Storage, reader: RuleReader) -> None:
    put(storage, mdm("x").replace(b"MDM^T02^MDM_T02", b"ADT^A01^ADT_A01"))
    worker_of(storage, reader).step()
    story = messages.show(storage, 1)
    assert (story.message.state, story.message.reason) == (State.DONE, "ADT^A01 carries no report")


def test_a_message_that_cannot_be_parsed_is_parked_with_its_reason(storage: Storage, reader: RuleReader) -> None:
    put(storage, mdm("x").replace(b"123^^^HOSP^MR", b""))
    assert worker_of(storage, reader).step() is True
    story = messages.show(storage, 1)
    assert (story.message.state, story.message.reason) == (State.PARKED, "PID-3 names no patient")


def test_an_engine_that_does_not_answer_puts_the_message_back_for_later(
    storage: Storage, reader: RuleReader, clock: Clock
) -> None:
    put(storage, mdm("See cardiology."))
    worker = worker_of(storage, reader)
    reader.failures = [EngineError("Triton does not answer")]
    with pytest.raises(EngineError):
        worker.step()
    waiting = messages.show(storage, 1).message
    assert (waiting.state, waiting.reason) == (State.WAITING, "Triton does not answer")
    assert worker.step() is False
    clock.now += 1
    assert worker.step() is True
    assert messages.show(storage, 1).message.n_findings == 1


def test_a_message_whose_model_is_not_there_waits_and_holds_up_nobody(storage: Storage, reader: RuleReader, clock: Clock) -> None:
    put(storage, mdm("See the nodule.", RADIOLOGY))
    put(storage, mdm("See cardiology.", control_id="2"))
    readers = {"clip": reader}
    worker = worker_of(storage, readers)
    while worker.step():
        pass
    waiting, read = messages.show(storage, 1).message, messages.show(storage, 2).message
    assert (waiting.state, waiting.reason) == (State.WAITING, "no radqa model reads yet; it waits for one")
    assert (read.state, read.n_findings) == (State.DONE, 1)
    assert worker.waits_for() == ["radqa"]
    readers["radqa"] = reader
    assert worker.waits_for() == []
    clock.now += 1
    assert worker.step() is True
    assert messages.show(storage, 1).message.state is State.DONE


def test_a_message_that_has_waited_long_for_its_model_is_looked_at_again_every_ten_minutes(
    storage: Storage, reader: RuleReader, clock: Clock
) -> None:
    put(storage, mdm("See the nodule.", RADIOLOGY))
    worker = worker_of(storage, reader)
    looked_at = []
    for _ in range(7200):
        clock.now += 1
        if worker.step():
            looked_at.append(clock.now)
    pauses = [after - before for before, after in itertools.pairwise(looked_at)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == 600


def test_a_message_waits_a_day_for_a_model_and_can_be_replayed_then(storage: Storage, reader: RuleReader, clock: Clock) -> None:
    put(storage, mdm("See the nodule.", RADIOLOGY))
    readers = {"clip": reader}
    worker = worker_of(storage, readers)
    worker.step()
    clock.now += 25 * 3600
    worker.step()
    message = messages.show(storage, 1).message
    assert (message.state, message.reason) == (
        State.DONE,
        "no radqa model read it within a day; replay it once there is one",
    )
    readers["radqa"] = reader
    messages.replay(storage, 1)
    worker.step()
    assert messages.show(storage, 1).message.n_findings == 1


def test_a_reading_that_breaks_parks_its_message_and_quotes_nothing_of_it(storage: Storage, reader: RuleReader) -> None:
    put(storage, mdm("See cardiology."))
    put(storage, mdm("See neurology.", control_id="2"))
    worker = worker_of(storage, reader)
    reader.failures = [KeyError("See cardiology.")]
    assert worker.step() is True
    parked = messages.show(storage, 1).message
    assert parked.state is State.PARKED
    assert parked.reason.startswith("internal error KeyError in read, test_worker.py:")
    assert "cardiology" not in parked.reason
    assert worker.step() is True
    assert messages.show(storage, 2).message.state is State.DONE


def test_what_the_database_will_never_take_is_parked_and_holds_up_nobody(
    storage: Storage, reader: RuleReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, mdm("See cardiology."))
    put(storage, mdm("See neurology.", control_id="2"))
    worker = worker_of(storage, reader)

    def twice(*_: object, **__: object) -> bool:
        raise RowError("appliance.db: a row is there already")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "record", twice)
        assert worker.step() is True
    assert messages.show(storage, 1).message.state is State.PARKED
    assert worker.step() is True
    assert messages.show(storage, 2).message.state is State.DONE


def test_a_database_that_fails_at_the_end_gives_the_message_back_as_soon_as_it_works_again(
    storage: Storage, reader: RuleReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, mdm("See cardiology."))
    worker = worker_of(storage, reader)

    def full(*_: object, **__: object) -> bool:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "record", full)
        with pytest.raises(StorageError):
            worker.step()
    assert worker.step() is True
    assert messages.show(storage, 1).message.n_findings == 1


def test_reading_the_same_note_twice_finds_the_same_findings(reader: RuleReader) -> None:
    note = Note("n", NoteKind.DISCHARGE_SUMMARY, "See cardiology, see neurology.")
    first, second = reader.read(note), reader.read(note)
    assert first == second
    assert len({f.finding_id for f in first.findings}) == 2
