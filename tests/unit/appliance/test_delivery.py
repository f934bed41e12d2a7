"""The outbox's way to a destination that takes, waits or refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import messages
from appliance.delivery import Delivery
from appliance.storage import Storage
from integrations.mailbox import State
from integrations.records import Note, NoteKind
from integrations.transports.fhir_rest import Refused, Retry


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
    for n in (1, 2):
        opened.inbox.put("ward-7", str(n), b"one")
        message = opened.inbox.claim(60)
        assert message is not None
        note = Note(f"note-{n}", NoteKind.DISCHARGE_SUMMARY, "")
        opened.record(message.message_id, note, [], "q@1", lambda _, n=n: [("fhir", b"%d" % n)])
    yield opened
    opened.close()


class Destination:
    """Answers each post with the next of `answers`, then takes everything."""

    def __init__(self, *answers: Exception) -> None:
        self.answers, self.taken = list(answers), list[bytes]()

    def post(self, body: bytes) -> None:
        if self.answers:
            raise self.answers.pop(0)
        self.taken.append(body)


def states(storage: Storage) -> list[State]:
    return [messages.show(storage, n).deliveries[0].state for n in (1, 2)]


def test_deliveries_are_sent_in_order_and_each_once(storage: Storage) -> None:
    destination = Destination()
    delivery = Delivery(storage, destination.post)
    assert [delivery.step(), delivery.step(), delivery.step()] == [True, True, False]
    assert destination.taken == [b"1", b"2"]
    assert states(storage) == [State.DONE, State.DONE]


def test_a_destination_that_is_away_keeps_the_delivery_owed_and_the_others_go_on(storage: Storage, clock: Clock) -> None:
    destination = Destination(Retry("HTTP 503"))
    delivery = Delivery(storage, destination.post)
    with pytest.raises(Retry):
        delivery.step()
    assert delivery.step() is True
    assert destination.taken == [b"2"]
    clock.now += 1
    assert delivery.step() is True
    assert destination.taken == [b"2", b"1"]


def test_a_server_that_names_a_time_is_left_alone_for_so_long(storage: Storage, clock: Clock) -> None:
    destination = Destination(Retry("HTTP 429", after_s=120))
    delivery = Delivery(storage, destination.post)
    with pytest.raises(Retry):
        delivery.step()
    delivery.step()
    clock.now += 119
    assert delivery.step() is False
    clock.now += 1
    assert delivery.step() is True


def test_a_refused_delivery_becomes_a_dead_letter_with_its_reason(storage: Storage) -> None:
    delivery = Delivery(storage, Destination(Refused("HTTP 422, invalid")).post)
    assert [delivery.step(), delivery.step()] == [True, True]
    assert states(storage) == [State.PARKED, State.DONE]
    assert messages.show(storage, 1).deliveries[0].reason == "HTTP 422, invalid"
