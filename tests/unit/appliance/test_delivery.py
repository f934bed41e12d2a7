"""The outbox's way to a destination that takes, waits or refuses."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from appliance import messages
from appliance.database import OUTBOX
from appliance.delivery import MOST_TRIES, CircuitBreaker, Delivery
from appliance.storage import Storage, StorageError
from integrations.mailbox import State
from integrations.records import Identifier, Note, NoteKind
from integrations.transports import Refused, Retry


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def owe(storage: Storage, *patients: str, destination: str = "fhir") -> None:
    """One delivery per letter of `patients`, each about the patient of that letter, its body the number of its message."""
    for patient in "".join(patients):
        storage.inbox.put("ward-7", uuid.uuid4().hex, b"one")
        message = storage.inbox.claim(60)
        assert message is not None
        note = Note(f"note-{message.message_id}", NoteKind.DISCHARGE_SUMMARY, "", Identifier(patient) if patient != "-" else None)
        body = b"%d" % message.message_id
        storage.record(message.message_id, note, [], "q@1", lambda _, body=body: [(destination, body)])


@pytest.fixture
def storage(tmp_path: Path, clock: Clock) -> Iterator[Storage]:
    opened = Storage(tmp_path / "appliance.db", clock=clock)
    yield opened
    opened.close()


class Peer:
    """Takes every body, or answers it with the next of `answers`; `broken` names bodies that it always answers so."""

    def __init__(self, *answers: Exception, broken: dict[bytes, Exception] | None = None) -> None:
        self.answers, self.broken = list(answers), broken or {}
        self.seen, self.taken = list[bytes](), list[bytes]()

    def send(self, body: bytes) -> None:
        self.seen.append(body)
        if body in self.broken:
            raise self.broken[body]
        if self.answers:
            raise self.answers.pop(0)
        self.taken.append(body)


def delivery(storage: Storage, peer: Peer, clock: Clock, destination: str = "fhir") -> Delivery:
    return Delivery(storage, destination, peer.send, 60, CircuitBreaker(clock), chance=lambda: 1.0)


def drain(delivery: Delivery) -> int:
    return sum(1 for _ in iter(delivery.step, False))


def state(storage: Storage, message_id: int) -> tuple[State, str]:
    (owed,) = messages.show(storage, message_id).deliveries
    return owed.state, owed.reason


def test_deliveries_are_sent_in_order_and_each_once(storage: Storage, clock: Clock) -> None:
    owe(storage, "AB")
    peer = Peer()
    assert drain(delivery(storage, peer, clock)) == 2
    assert peer.taken == [b"1", b"2"]
    assert [state(storage, n)[0] for n in (1, 2)] == [State.DONE, State.DONE]


def test_while_one_patients_delivery_is_tried_again_hers_wait_and_others_overtake(storage: Storage, clock: Clock) -> None:
    owe(storage, "AABA-")
    peer = Peer(Retry("HTTP 500", is_about_message=True))
    sending = delivery(storage, peer, clock)
    drain(sending)
    assert peer.taken == [b"3", b"5"]
    clock.now += 1
    drain(sending)
    assert peer.taken == [b"3", b"5", b"1", b"2", b"4"]


def test_what_is_on_its_way_on_another_host_holds_up_its_patient_until_its_lease_ends(storage: Storage, clock: Clock) -> None:
    owe(storage, "AAB")
    assert storage.outbox.claim(60, "fhir") is not None
    peer = Peer()
    sending = delivery(storage, peer, clock)
    drain(sending)
    assert peer.taken == [b"3"]
    clock.now += 60
    drain(sending)
    assert peer.taken == [b"3", b"1", b"2"]


def test_a_note_without_a_patient_waits_for_nobody(storage: Storage, clock: Clock) -> None:
    owe(storage, "--")
    peer = Peer(Retry("HTTP 500", is_about_message=True))
    drain(delivery(storage, peer, clock))
    assert peer.taken == [b"2"]


def test_a_dead_letter_has_its_reason_and_holds_up_nothing(storage: Storage, clock: Clock) -> None:
    owe(storage, "AA")
    peer = Peer(Refused("HTTP 422: invalid"))
    assert drain(delivery(storage, peer, clock)) == 2
    assert state(storage, 1) == (State.PARKED, "HTTP 422: invalid")
    assert peer.taken == [b"2"]


def test_a_dead_letter_that_is_replayed_is_sent(storage: Storage, clock: Clock) -> None:
    owe(storage, "A")
    peer = Peer(Refused("HTTP 422: invalid"))
    sending = delivery(storage, peer, clock)
    drain(sending)
    messages.replay(storage, 1)
    drain(sending)
    assert state(storage, 1) == (State.DONE, "")


def test_a_dead_destination_holds_up_no_other(storage: Storage, clock: Clock) -> None:
    owe(storage, "ABCD", destination="ris")
    owe(storage, "AA")
    dead = delivery(storage, Peer(*[Retry("no connection")] * 100), clock, "ris")
    drain(dead)
    assert dead.is_paused
    peer = Peer()
    assert drain(delivery(storage, peer, clock)) == 2


def test_after_failures_in_a_row_one_delivery_at_a_time_is_tried_and_the_queue_keeps_the_others(
    storage: Storage, clock: Clock
) -> None:
    owe(storage, "ABCDEFGH")
    peer = Peer(*[Retry("no connection")] * 5)
    sending = delivery(storage, peer, clock)
    assert drain(sending) == 3
    assert sending.is_paused
    tries = []
    for _ in range(6):
        clock.now += 1
        tries.append(drain(sending))
    # Pauses of 1, 2 and 4 s; then the destination is back, and everything goes.
    assert tries == [1, 0, 1, 0, 0, 0]
    clock.now += 1
    drain(sending)
    assert not sending.is_paused
    clock.now += 4
    drain(sending)
    assert sorted(peer.taken) == [b"%d" % n for n in range(1, 9)]


def test_a_message_that_always_fails_neither_opens_the_circuit_nor_stays_for_ever(storage: Storage, clock: Clock) -> None:
    owe(storage, "AAB")
    peer = Peer(broken={b"1": Retry("HTTP 500", is_about_message=True)})
    sending = delivery(storage, peer, clock)
    while state(storage, 1)[0] is not State.PARKED:
        drain(sending)
        assert not sending.is_paused
        clock.now += 300
    assert state(storage, 1)[1] == f"tried {MOST_TRIES} times; the last time: HTTP 500"
    drain(sending)
    assert peer.taken == [b"3", b"2"]


def test_a_fault_of_ours_in_sending_is_about_that_message(storage: Storage, clock: Clock) -> None:
    owe(storage, "AB")
    peer = Peer(broken={b"1": KeyError("Jane Doe")})
    drain(delivery(storage, peer, clock))
    assert peer.taken == [b"2"]
    found, reason = state(storage, 1)
    assert (found, "Jane" in reason) == (State.WAITING, False)


def test_a_destination_that_names_a_time_is_left_alone_for_so_long(storage: Storage, clock: Clock) -> None:
    owe(storage, "AB")
    peer = Peer(Retry("HTTP 429", after_s=120))
    sending = delivery(storage, peer, clock)
    assert drain(sending) == 1
    clock.now += 119
    assert drain(sending) == 0
    clock.now += 1
    assert drain(sending) == 2


def test_nobody_is_left_alone_for_longer_than_an_hour(storage: Storage, clock: Clock) -> None:
    owe(storage, "A")
    peer = Peer(Retry("HTTP 429", after_s=1e9))
    sending = delivery(storage, peer, clock)
    drain(sending)
    clock.now += 3600
    drain(sending)
    assert peer.taken == [b"1"]


def test_deliveries_that_failed_together_are_not_repeated_together(storage: Storage, clock: Clock) -> None:
    owe(storage, "AB")
    chances = iter((0.0, 1.0))
    peer = Peer(*[Retry("no connection")] * 2)
    sending = Delivery(storage, "fhir", peer.send, 60, CircuitBreaker(clock), chance=lambda: next(chances))
    drain(sending)
    clock.now += 0.5
    assert drain(sending) == 1
    clock.now += 0.5
    assert drain(sending) == 1


def test_the_next_delivery_is_found_without_reading_what_waits(storage: Storage, clock: Clock) -> None:
    owe(storage, "AB")
    row = sa.select(OUTBOX).where(OUTBOX.c.outbox_id == 1)
    with storage.database.write() as connection:
        one = dict(connection.execute(row).one()._mapping) | {"due_at_s": clock.now + 9}
        del one["outbox_id"]
        # Behind two that are due: many of one patient, of many patients, and of a destination that is away.
        many = [
            {"destination": d, "patient_key": k(n)} for n in range(500) for d in ("fhir", "ris") for k in (str, lambda _: "A")
        ]
        connection.execute(sa.insert(OUTBOX), [one | changed for changed in many])
    asked: list[tuple[str, object]] = []

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def listen(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    for destination in ("fhir", "ris"):
        storage.outbox.claim(60, destination)
    sa.event.remove(sa.Engine, "before_cursor_execute", listen)
    with closing(sqlite3.connect(storage.database.backend.name)) as connection:
        queries = [(s, p) for s, p in asked if s.startswith("UPDATE outbox")]
        plans = [row[3] for s, p in queries for row in connection.execute(f"EXPLAIN QUERY PLAN {s}", p)]
    assert len([p for p in plans if "outbox_next (destination=?)" in p]) == 2
    assert len([p for p in plans if "outbox_order (destination=? AND patient_key=? AND outbox_id<?)" in p]) == 2
    assert not [p for p in plans if "TEMP B-TREE" in p or p == "SCAN outbox"]


def test_what_was_confirmed_while_the_database_was_away_is_ended_when_it_is_back_and_not_sent_again(tmp_path: Path) -> None:
    storage, other, sent = Storage(tmp_path / "appliance.db", busy_s=0.05), Storage(tmp_path / "appliance.db"), list[bytes]()
    owe(storage, "A")
    with ExitStack() as away:

        def send(body: bytes) -> None:
            sent.append(body)
            away.enter_context(other.database.write())

        delivering = Delivery(storage, "fhir", send, 60)
        with pytest.raises(StorageError):
            delivering.step()
    assert delivering.step() is False
    assert (sent, state(storage, 1)) == ([b"1"], (State.DONE, ""))
    storage.close()
    other.close()
