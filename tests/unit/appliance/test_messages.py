"""The queues as a person sees them, and how that person sends a message round again."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance import messages
from appliance.messages import MessageError, listing, replay, set_aside, show
from appliance.storage import Storage
from integrations.mailbox import State
from integrations.records import Finding, Note, NoteKind, NoteStatus

NOTE = Note("note-1", NoteKind.DISCHARGE_SUMMARY, "See cardiology in 2 weeks.")
FINDING = Finding("f1", "note-1", 4, 14, "cardiology", "Appointment", 0.9, "q@1", datetime(2026, 1, 1, tzinfo=UTC))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(tmp_path: Path, clock: Clock) -> Iterator[Storage]:
    opened = Storage(tmp_path / "appliance.db", clock=clock)
    yield opened
    opened.close()


def read(storage: Storage, body: bytes, findings: int = 1, deliveries: Sequence[tuple[str, bytes]] = ()) -> int:
    """Keep a message and record that many findings in it; gives its number."""
    storage.inbox.put("ward-7", "1", body)
    message = storage.inbox.claim(60)
    assert message is not None
    found = [replace(FINDING, finding_id=f"f{n}", label=f"L{n}") for n in range(findings)]
    note = replace(NOTE, note_id=f"note-{message.message_id}")
    storage.record(message.message_id, note, found, "q@1", lambda _: deliveries)
    return message.message_id


def test_the_newest_message_is_listed_first_with_its_own_findings(storage: Storage) -> None:
    read(storage, b"one", findings=2)
    read(storage, b"two", findings=0)
    read(storage, b"three", findings=3)
    assert [(m.message_id, m.n_findings, m.size_bytes) for m in listing(storage)] == [(3, 3, 5), (2, 0, 3), (1, 2, 3)]
    assert [m.message_id for m in listing(storage, limit=1)] == [3]


def test_only_the_state_asked_for_is_listed(storage: Storage) -> None:
    read(storage, b"one")
    storage.inbox.put("ward-7", "2", b"two", "no MSH")
    assert [(m.message_id, m.reason) for m in listing(storage, State.PARKED)] == [(2, "no MSH")]


def test_queues_are_counted_and_the_oldest_open_message_is_timed(storage: Storage, clock: Clock) -> None:
    read(storage, b"one")
    storage.inbox.put("ward-7", "2", b"two")
    clock.now += 40
    storage.inbox.put("ward-7", "3", b"three")
    found = messages.counts(storage, "inbox")
    assert found.by_state == {State.WAITING: 2, State.CLAIMED: 0, State.DONE: 1, State.PARKED: 0}
    assert found.oldest_age_s == 40
    assert messages.counts(storage, "outbox").oldest_age_s == 0


def test_a_parked_message_is_read_again_when_replayed(storage: Storage) -> None:
    storage.inbox.put("ward-7", "1", b"one", "no MSH")
    assert storage.inbox.claim(60) is None
    assert replay(storage, 1) == "it will be read again"
    message = storage.inbox.claim(60)
    assert message is not None
    assert (message.body, message.attempts) == (b"one", 1)


def test_a_dead_letter_is_delivered_again_and_its_message_not_read_again(storage: Storage) -> None:
    message_id = read(storage, b"one", deliveries=[("fhir", b"{}")])
    owed = storage.outbox.claim(60, "fhir")
    assert owed is not None
    storage.outbox.park(owed.outbox_id, "HTTP 422")
    assert set_aside(storage) == [message_id]
    assert replay(storage, message_id) == "1 dead letter will be delivered again"
    again = storage.outbox.claim(60, "fhir")
    assert again is not None
    assert again.body == b"{}"
    assert storage.inbox.claim(60) is None


def test_a_message_read_again_shows_its_last_reading_and_keeps_the_first(storage: Storage) -> None:
    message_id = read(storage, b"one", findings=2)
    replay(storage, message_id)
    message = storage.inbox.claim(60)
    assert message is not None
    storage.record(message_id, NOTE, [replace(FINDING, model="q@2")], "q@2")
    story = show(storage, message_id)
    assert (story.model, len(story.findings), story.message.n_findings) == ("q@2", 1, 1)
    with storage.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM findings").scalar() == 3


def test_a_message_on_its_way_needs_no_replay(storage: Storage) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    with pytest.raises(MessageError, match="message 1 is waiting"):
        replay(storage, 1)
    storage.inbox.claim(60)
    with pytest.raises(MessageError, match="message 1 is claimed"):
        replay(storage, 1)


@pytest.mark.parametrize("ask", [show, replay])
def test_a_number_that_is_no_message_is_told(storage: Storage, ask: object) -> None:
    assert callable(ask)
    with pytest.raises(MessageError, match="there is no message 7"):
        ask(storage, 7)


def test_what_is_shown_never_appears_in_a_repr(storage: Storage) -> None:
    message_id = read(storage, b"one")
    assert "cardiology" not in repr(show(storage, message_id))


def test_a_dead_letter_of_an_earlier_version_is_followed_once_more_by_what_the_later_one_owed(storage: Storage) -> None:
    earlier = read(storage, b"one", deliveries=[("fhir", b"propose")])
    owed = storage.outbox.claim(60, "fhir")
    assert owed is not None
    storage.outbox.park(owed.outbox_id, "HTTP 422")
    storage.inbox.put("ward-7", "2", b"two")
    message = storage.inbox.claim(60)
    assert message is not None
    corrected = replace(NOTE, note_id=f"note-{earlier}", status=NoteStatus.CORRECTED, text="Eat well.")
    storage.record(message.message_id, corrected, [], "q@1", lambda _: [("fhir", b"withdraw")])
    later = storage.outbox.claim(60, "fhir")
    assert later is not None
    storage.outbox.done(later.outbox_id)
    replay(storage, earlier)
    sent = []
    while owed := storage.outbox.claim(60, "fhir"):
        sent.append(owed.body)
        storage.outbox.done(owed.outbox_id)
    assert sent == [b"propose", b"withdraw"]
