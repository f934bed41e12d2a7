"""Real HL7 v2 packages as senders to our listener, and as receivers of our deliveries, answers spoilt on the way."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import hl7.client
import pytest

from appliance import messages
from appliance.delivery import CircuitBreaker, Delivery
from appliance.receiving import Receiver as Receiving
from appliance.storage import Storage
from integrations.codecs import er7, hl7v2, hl7v2_out
from integrations.mailbox import State
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind
from integrations.transports import mllp
from integrations.transports.mllp import Framer, MllpConfig, frame
from integrations.transports.mllp_client import MllpClient, deliver
from tests.appliance_process import discharge_summary
from tests.peers.hl7_peers import (
    Proxy,
    Receiver,
    Spoil,
    node_receiver,
    python_receiver,
    require_node_peers,
    send_from_node,
    wait_for,
)

N = 5
MODEL = ModelVersion("clip-q", "1", "0f" * 32)
SENT = [discharge_summary(f"M{n}", f"Café follow-up {n}: see cardiology.").decode() for n in range(N)]


class Clock:
    """Jumps over every pause."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage(tmp_path / "appliance.db", clock=Clock())
    yield opened
    opened.close()


def listening(storage: Storage, work: Callable[[int], object]) -> object:
    """What `work(port)` gives while our listener keeps messages in `storage`."""

    async def serve() -> object:
        async with mllp.serve(MllpConfig(port=0), Receiving(storage, hl7v2.ROUTES)) as port:
            return await asyncio.to_thread(work, port)

    return asyncio.run(serve())


def kept(storage: Storage) -> list[str]:
    found = []
    while message := storage.inbox.claim(60):
        found.append(message.body.decode())
    return found


@pytest.mark.parametrize("peer", ["medplum", "node-hl7", "simple-hl7"])
def test_a_package_sends_five_messages_on_one_connection_and_each_is_kept_once(storage: Storage, peer: str) -> None:
    require_node_peers()
    answers = listening(storage, lambda port: send_from_node(peer, port, SENT))
    assert isinstance(answers, list)
    assert [hl7v2.acknowledged(a.encode()) for a in answers] == [("AA", f"M{n}") for n in range(N)]
    notes = [hl7v2.note(er7.read(body.encode())) for body in kept(storage)]
    assert [n.text for n in notes if isinstance(n, Note)] == [f"Café follow-up {n}: see cardiology." for n in range(N)]


@pytest.mark.parametrize("together", [False, True])
def test_python_hl7_sends_one_by_one_or_all_at_once_and_each_is_kept_once(storage: Storage, together: bool) -> None:
    def work(port: int) -> list[bytes]:
        client = hl7.client.MLLPClient("127.0.0.1", port, encoding="utf-8")
        with contextlib.closing(client):
            if not together:
                return [client.send_message(text).strip(b"\x0b\x1c\r") for text in SENT]
            client.socket.sendall(b"".join(frame(text.encode()) for text in SENT))
            framer, answers = Framer(1 << 20), list[bytes]()
            while len(answers) < N:
                answers += framer.feed(client.socket.recv(4096))
            return answers

    answers = listening(storage, work)
    assert isinstance(answers, list)
    assert [hl7v2.acknowledged(a) for a in answers] == [("AA", f"M{n}") for n in range(N)]
    assert kept(storage) == SENT


# What each receiver is: how it is started, and whether it hands on a message more than once by itself.
RECEIVERS = {
    "medplum": partial(node_receiver, "medplum"),
    "medplum in enhanced mode": partial(node_receiver, "medplum", "enhanced"),
    "node-hl7": partial(node_receiver, "node-hl7"),
    "simple-hl7": partial(node_receiver, "simple-hl7"),
    "python-hl7": python_receiver,
}


@contextmanager
def receiver(peer: str) -> Iterator[Receiver]:
    if peer != "python-hl7":
        require_node_peers()
    started: AbstractContextManager[Receiver] = RECEIVERS[peer]()
    with started as found:
        yield found


def owe(storage: Storage) -> list[str]:
    """N notes of one patient, each with an ORU owed to "ris"; gives their control ids."""
    ids = []
    for n in range(N):
        note = Note(f"note-{n}", NoteKind.DISCHARGE_SUMMARY, f"Café {n} | & ^", Identifier("P1"))
        finding = Finding(f"{n}" * 64, note.note_id, 0, 5, note.text, "Lab", 0.9, str(MODEL), datetime.now(UTC))
        body = hl7v2_out.results(note, [finding], MODEL)
        ids.append(er7.read(body).control_id)
        storage.inbox.put("ward-7", f"{n}", b"one")
        message = storage.inbox.claim(60)
        assert message
        storage.record(message.message_id, note, [finding], str(MODEL), lambda _, body=body: [("ris", body)])
    return ids


def deliver_all(storage: Storage, port: int, timeout_s: float) -> None:
    """Until nothing is owed; at most a hundred tries."""
    clock = storage.clock
    assert isinstance(clock, Clock)
    with MllpClient("127.0.0.1", port, timeout_s) as client:
        sending = Delivery(storage, "ris", lambda body: deliver(client, body), 60, CircuitBreaker(clock))
        for _ in range(100):
            if not sending.step() and not messages.counts(storage, "outbox", [State.WAITING]).by_state[State.WAITING]:
                break
            clock.now += 60
    assert messages.counts(storage, "outbox").by_state[State.DONE] == N


def first_ids(bodies: list[str] | list[bytes]) -> list[str]:
    """Control ids in the order in which each was first seen."""
    return list(dict.fromkeys(er7.read(b.encode() if isinstance(b, str) else b).control_id for b in bodies))


def spoilt(how: str) -> Spoil:
    """Answers as engines have been seen to give them."""
    before: list[bytes] = []

    def spoil(n: int, answer: bytes) -> list[bytes] | None:
        before.append(answer)
        match how:
            case "twice":
                return [answer, answer]
            case "after those of before":
                return before[:]
            case "after one of another's":
                return [answer.replace(hl7v2.acknowledged(answer)[1].encode(), b"SOMEBODY-ELSES"), answer]
            case "lost":
                return None if n % 2 else [answer]
            case "never":
                return [] if n % 2 else [answer]
        return [answer]

    return spoil


@pytest.mark.parametrize("how", ["as they are", "twice", "after those of before", "after one of another's"])
@pytest.mark.parametrize("peer", RECEIVERS)
def test_answers_that_come_twice_late_or_for_another_make_nothing_lost_and_nothing_sent_twice(
    storage: Storage, peer: str, how: str
) -> None:
    with receiver(peer) as found, Proxy(found.port, spoilt(how)) as proxy:
        ids = owe(storage)
        deliver_all(storage, proxy.port, timeout_s=10)
        assert [er7.read(b).control_id for b in proxy.sent] == ids
        assert proxy.n_connections == 1
        wait_for(found, N)
        assert first_ids(found.received) == ids


@pytest.mark.parametrize("how", ["lost", "never"])
@pytest.mark.parametrize("peer", RECEIVERS)
def test_an_answer_that_is_lost_has_the_same_message_sent_again_on_a_new_connection(
    storage: Storage, peer: str, how: str
) -> None:
    with receiver(peer) as found, Proxy(found.port, spoilt(how)) as proxy:
        ids = owe(storage)
        deliver_all(storage, proxy.port, timeout_s=0.5 if how == "never" else 10)
        # Each was taken before the next of the same patient was tried, and what came again is recognised by its MSH-10.
        assert first_ids(proxy.sent) == ids
        assert len(set(proxy.sent)) == N
        # In enhanced mode a lost CA is followed by the AA, which says as much.
        assert len(proxy.sent) > N or (peer, how) == ("medplum in enhanced mode", "never")
        wait_for(found, N)
        assert first_ids(found.received) == ids


@pytest.mark.parametrize("code", ["AR", "CR"])
def test_a_refusal_is_a_dead_letter_and_the_next_one_is_sent(storage: Storage, code: str) -> None:
    def refuse(n: int, answer: bytes) -> list[bytes]:
        return [answer.replace(b"MSA|AA", f"MSA|{code}".encode()) if n == 1 else answer]

    with python_receiver() as found, Proxy(found.port, refuse) as proxy, MllpClient("127.0.0.1", proxy.port, 10) as client:
        owe(storage)
        sending = Delivery(storage, "ris", lambda body: deliver(client, body), 60)
        while sending.step():
            pass
    states = messages.counts(storage, "outbox").by_state
    assert (states[State.PARKED], states[State.DONE]) == (1, N - 1)
    assert messages.show(storage, 1).deliveries[0].reason == f"answered {code}"


@pytest.mark.parametrize("code", ["AE", "CE", "??"])
def test_an_error_has_the_message_sent_again_and_its_second_copy_is_not_taken_for_the_next_answer(
    storage: Storage, code: str
) -> None:
    def fail_first(n: int, answer: bytes) -> list[bytes]:
        return [answer.replace(b"MSA|AA", f"MSA|{code}".encode())] * 2 if n == 1 else [answer]

    with python_receiver() as found, Proxy(found.port, fail_first) as proxy:
        ids = owe(storage)
        deliver_all(storage, proxy.port, timeout_s=10)
        assert [er7.read(b).control_id for b in proxy.sent] == [ids[0], *ids]


def test_a_connection_that_the_receiver_has_closed_meanwhile_is_made_anew_before_anything_is_sent(storage: Storage) -> None:
    with (
        python_receiver() as found,
        Proxy(found.port, spoilt("as they are")) as proxy,
        MllpClient("127.0.0.1", proxy.port, 5) as client,
    ):
        body = discharge_summary("M1", "one")
        deliver(client, body)
        for connection in list(proxy._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        deliver(client, discharge_summary("M2", "two"))
        assert [er7.read(b).control_id for b in proxy.sent] == ["M1", "M2"]
        assert proxy.n_connections == 2
