"""A real FHIR server whose answers are lost, late, cut off or refusals: each finding arrives, and arrives once."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance import messages
from appliance.delivery import CircuitBreaker, Delivery
from appliance.destinations import FhirDestination
from appliance.storage import Storage
from appliance.versions import Change
from integrations.codecs import fhir
from integrations.mailbox import State
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind
from integrations.transports.fhir_rest import FhirConfig

MODEL = ModelVersion("clip-q", "1", "0f" * 32)
TIMEOUT_S = 0.5
FAULTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "the connection is reset": {"drop": "before"},
    "the answer is lost": {"drop": "after"},
    "the answer is cut off": {"cut": True},
    "the answer never comes": {"hang": True},
    "the answer comes a byte at a time": {"drip": True},
    "busy": {"status": 503},
    "busy for some seconds": {"status": 503, "retryAfter": "7"},
    "busy until a time": {"status": 503, "retryAfter": format_datetime(datetime.now(UTC) + timedelta(days=2), usegmt=True)},
    "too many requests": {"status": 429, "retryAfter": "1"},
    "broken": {"status": 500},
    "a conflict": {"status": 409},
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage(tmp_path / "appliance.db", clock=Clock())
    yield opened
    opened.close()


def owe(storage: Storage, destination: FhirDestination, name: str, n_notes: int, n_patients: int) -> set[str]:
    """Notes with two findings each; gives the findings."""
    ids = set()
    for n in range(n_notes):
        note = Note(f"{name}-{n}", NoteKind.DISCHARGE_SUMMARY, "See us. Call us.", Identifier(f"{name}-p{n % n_patients}"))
        found = [
            Finding(f"{name}-{n}-{k}", note.note_id, s, e, note.text[s:e], "Lab", 0.9, str(MODEL), datetime.now(UTC))
            for k, (s, e) in enumerate(((0, 7), (8, 16)))
        ]
        storage.inbox.put("ward-7", note.note_id, b"one")
        message = storage.inbox.claim(60)
        assert message
        bodies = [("fhir", body) for body in destination.owed(note, Change(tuple(found)), MODEL)]
        storage.record(message.message_id, note, found, str(MODEL), lambda _, bodies=bodies: bodies)
        ids |= {f.finding_id for f in found}
    return ids


def destination(url: str) -> "closing[FhirDestination]":
    return closing(FhirDestination(FhirConfig.model_validate({"url": url, "timeout_s": TIMEOUT_S})))


def spoil(url: str, *faults: dict[str, Any]) -> None:
    httpx.post(url.replace("/fhir", "/admin/posts"), json=faults, trust_env=False).raise_for_status()


def deliver_all(storage: Storage, told: FhirDestination, most_tries: int = 1000) -> dict[State, int]:
    clock = storage.clock
    assert isinstance(clock, Clock)
    sending = Delivery(storage, told.name, told.send, told.lease_s, CircuitBreaker(clock))
    for _ in range(most_tries):
        if not sending.step():
            if not messages.counts(storage, "outbox", [State.WAITING]).by_state[State.WAITING]:
                break
            clock.now += 60
    return messages.counts(storage, "outbox").by_state


def tasks(url: str, ids: set[str]) -> list[str]:
    found = []
    for one in sorted(ids):
        parameters = {"identifier": f"{fhir.FINDING_ID}|{one}"}
        bundle = httpx.get(f"{url}/Task", params=parameters, trust_env=False).raise_for_status().json()
        found += [e["resource"]["identifier"][0]["value"] for e in bundle.get("entry", [])]
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_happens_to_the_first_try_the_findings_are_there_once(storage: Storage, fhir_server: str, fault: str) -> None:
    with destination(fhir_server) as told:
        ids = owe(storage, told, fault.replace(" ", "-"), 2, 2)
        spoil(fhir_server, FAULTS[fault])
        states = deliver_all(storage, told)
        assert (states[State.DONE], states[State.PARKED]) == (2, 0)
        assert tasks(fhir_server, ids) == sorted(ids)


def test_whatever_happens_in_whatever_order_nothing_is_lost_and_nothing_is_there_twice(
    storage: Storage, fhir_server: str
) -> None:
    with destination(fhir_server) as told:
        ids = owe(storage, told, "any", 30, 6)
        chance = random.Random(6)
        spoil(fhir_server, *chance.choices(list(FAULTS.values()), k=40))
        states = deliver_all(storage, told)
        spoil(fhir_server)
        assert (states[State.DONE], states[State.PARKED]) == (30, 0)
        assert tasks(fhir_server, ids) == sorted(ids)


def test_a_refusal_is_a_dead_letter_and_the_others_arrive(storage: Storage, fhir_server: str) -> None:
    with destination(fhir_server) as told:
        ids = owe(storage, told, "refused", 3, 1)
        spoil(fhir_server, {"status": 422})
        states = deliver_all(storage, told)
        assert (states[State.DONE], states[State.PARKED]) == (2, 1)
        assert messages.show(storage, 1).deliveries[0].reason == "HTTP 422"
        assert tasks(fhir_server, ids) == sorted(i for i in ids if not i.startswith("refused-0"))
        messages.replay(storage, 1)
        deliver_all(storage, told)
        assert tasks(fhir_server, ids) == sorted(ids)


def test_a_server_that_takes_the_connection_and_never_reads_is_given_up_in_time(storage: Storage) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, destination(f"http://127.0.0.1:{silent.getsockname()[1]}/fhir") as told:
        owe(storage, told, "silent", 1, 1)
        states = deliver_all(storage, told, most_tries=3)
    assert states[State.WAITING] == 1
    assert messages.show(storage, 1).deliveries[0].reason == "the FHIR server did not answer: ReadTimeout"


def test_a_connection_that_is_kept_and_has_gone_half_open_costs_one_try(storage: Storage, fhir_server: str) -> None:
    """A firewall forgets a connection: what is sent on it goes nowhere, and nobody says so."""
    upstream = int(fhir_server.split(":")[2].split("/")[0])
    forgets, connections = threading.Event(), list[socket.socket]()

    def pump(source: socket.socket, target: socket.socket, is_first: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if not (is_first and forgets.is_set()):
                    target.sendall(data)
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            try:
                while True:
                    ours, _ = listener.accept()
                    theirs = socket.create_connection(("127.0.0.1", upstream))
                    is_first = not connections
                    connections.extend((ours, theirs))
                    for pair in ((ours, theirs), (theirs, ours)):
                        threading.Thread(target=pump, args=(*pair, is_first), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        with destination(f"http://127.0.0.1:{listener.getsockname()[1]}/fhir") as told:
            ids = owe(storage, told, "half-open", 2, 1)
            sending = Delivery(storage, told.name, told.send, told.lease_s, CircuitBreaker(storage.clock))
            assert sending.step()
            forgets.set()
            states = deliver_all(storage, told)
            listener.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()
    assert states[State.DONE] == 2
    assert len(connections) >= 4
    assert tasks(fhir_server, ids) == sorted(ids)
