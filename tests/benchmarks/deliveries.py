"""Deliveries to two destinations while one of them is dead, a backlog that drains in order, and a claim among 100,000.

`python -m tests.benchmarks.deliveries [--json]`, two to five minutes. Real SQLite, real sockets: one destination is an MLLP
listener of this process, the other a port that takes connections and never answers.
"""

import argparse
import asyncio
import json
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from appliance.database import OUTBOX
from appliance.delivery import CircuitBreaker, Delivery
from appliance.loop import Loop
from appliance.storage import Storage
from integrations.codecs import hl7v2, hl7v2_out
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind
from integrations.transports import mllp
from integrations.transports.mllp import MllpConfig
from integrations.transports.mllp_client import MllpClient, deliver

MODEL = ModelVersion("clip-q", "1", "0f" * 32)
IDLE_S = 0.5


class Listener:
    """Takes everything; knows when each message came, and in which order."""

    def __init__(self) -> None:
        self.came: dict[str, float] = {}

    def receive(self, _peer: str, body: bytes) -> bytes:
        self.came[hl7v2.envelope(body)[1]] = time.perf_counter()
        return hl7v2.ack(body, "AA")

    @contextmanager
    def listening(self) -> Iterator[int]:
        loop, ready, ports = asyncio.new_event_loop(), threading.Event(), list[int]()
        stop = asyncio.Event()

        async def serve() -> None:
            async with mllp.serve(MllpConfig(port=0), self.receive) as port:
                ports.append(port)
                ready.set()
                await stop.wait()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        ready.wait()
        try:
            yield ports[0]
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()


def owe(storage: Storage, number: int, patient: str, *destinations: str) -> str:
    """One note's ORU to each destination; gives its control id."""
    note = Note(f"n{number}", NoteKind.DISCHARGE_SUMMARY, "See cardiology.", Identifier(patient))
    finding = Finding(f"{number:064}", note.note_id, 0, 15, note.text, "Appointment", 0.9, str(MODEL), datetime.now(UTC))
    body = hl7v2_out.results(note, [finding], MODEL)
    storage.inbox.put("ward-7", str(number), b"one")
    message = storage.inbox.claim(60)
    assert message
    storage.record(message.message_id, note, [finding], str(MODEL), lambda _: [(d, body) for d in destinations])
    return hl7v2.envelope(body)[1]


@contextmanager
def sending(storage: Storage, name: str, port: int, timeout_s: float) -> Iterator[Loop]:
    """A destination's thread, as `run` has it."""
    with MllpClient("127.0.0.1", port, timeout_s) as client:
        loop = Loop(name, Delivery(storage, name, lambda body: deliver(client, body), 300, CircuitBreaker()).step, IDLE_S)
        loop.start()
        try:
            yield loop
        finally:
            loop.ask_to_stop()
            loop.join()


def latencies_s(folder: Path, with_dead: bool, n: int) -> list[float]:
    """From a note's commit to its arrival at the living destination, a note every 30 ms."""
    storage, listener = Storage(folder / f"{with_dead}.db"), Listener()
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = stack.enter_context(listener.listening())
        stack.enter_context(sending(storage, "dead", silent.getsockname()[1], 1))
        alive = stack.enter_context(sending(storage, "ris", port, 10))
        owed = {}
        for number in range(n):
            control_id = owe(storage, number, f"p{number % 50}", *(["ris", "dead"] if with_dead else ["ris"]))
            owed[control_id] = time.perf_counter()
            alive.wake()
            time.sleep(0.03)
        while len(listener.came) < n:
            time.sleep(0.01)
    storage.close()
    return [max(0.0, listener.came[control_id] - at) for control_id, at in owed.items()]


def backlog(folder: Path, n: int, n_patients: int) -> dict[str, Any]:
    """How fast a destination that comes back is told all it has missed, and whether every patient's order is kept."""
    storage, listener = Storage(folder / "backlog.db"), Listener()
    owed = [(owe(storage, number, f"p{number % n_patients}", "ris"), number % n_patients) for number in range(n)]
    with listener.listening() as port:
        began = time.perf_counter()
        with sending(storage, "ris", port, 10):
            while len(listener.came) < n:
                time.sleep(0.01)
        seconds = time.perf_counter() - began
    storage.close()
    order = {control_id: place for place, control_id in enumerate(listener.came)}
    kept = all(
        sorted(places) == places
        for patient in range(n_patients)
        for places in [[order[control_id] for control_id, p in owed if p == patient]]
    )
    return {"deliveries": n, "patients": n_patients, "per_s": round(n / seconds), "order_kept": kept, "arrived": len(order)}


def claims_ms(folder: Path, n: int) -> dict[str, float]:
    """Claiming and ending a delivery, with 1 and with `n` waiting; half of them at another destination, which comes first."""
    found = {}
    for waiting in (1, n):
        storage = Storage(folder / f"claims-{waiting}.db")
        owe(storage, 0, "p0", "ris")
        with storage.database.write() as connection:
            row = dict(connection.execute(sa.select(OUTBOX)).one()._mapping)
            del row["outbox_id"]
            rows = [row | {"destination": d, "patient_key": f"p{k % 5000}"} for d in ("dead", "ris") for k in range(waiting // 2)]
            if rows:
                connection.execute(sa.insert(OUTBOX), rows)
        spent = []
        for _ in range(50):
            began = time.perf_counter()
            owed = storage.outbox.claim(60, "ris")
            spent.append((time.perf_counter() - began) * 1000)
            if owed:
                storage.outbox.release(owed.outbox_id, 0 if waiting == 1 else 600, "")
        storage.close()
        found[f"{waiting}_waiting"] = round(statistics.median(spent), 2)
    return found


def quantiles_ms(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {"p50_ms": round(cuts[49] * 1000, 1), "p99_ms": round(cuts[98] * 1000, 1), "most_ms": round(max(values) * 1000, 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--notes", type=int, default=300, help="per way of measuring latency")
    parser.add_argument("--backlog", type=int, default=1200)
    parser.add_argument("--waiting", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        found = {
            "alone": quantiles_ms(latencies_s(home, False, asked.notes)),
            "beside_a_dead_one": quantiles_ms(latencies_s(home, True, asked.notes)),
            "backlog": backlog(home, asked.backlog, 100),
            "claim_ms": claims_ms(home, asked.waiting),
        }
    print(json.dumps(found) if asked.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
