"""Durable acknowledgements per second, beside a bare loop of one SQLite commit per message on the same disk.

    python -m tests.benchmarks.ingest --json

Bare loop, one connection, the same pipelined, and sixteen connections take turns, round by round. Senders are a process of
their own, as a hospital's are; each has one message in flight per connection, or `AHEAD` where it is pipelined. In the end a
thousand connections are opened, and each sends a message.

How the two compare is a question of how long the disk takes to flush: `--flush-ms 4` lets every flush of this process, of the
bare loop's and the appliance's alike, take so much longer, as a hard disk's or a network's does (by a preloaded library; gcc).
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.receiving import Receiver
from appliance.storage import Storage
from integrations.codecs import hl7v2
from integrations.transports import mllp

CROWD = 1000
AHEAD = 16
"""Messages in flight on the pipelined connection."""


SLOW_DISK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
int fdatasync(int fd) { usleep(FLUSH_US); return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd); }
int fsync(int fd) { usleep(FLUSH_US); return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd); }
"""


def on_a_slow_disk(flush_ms: float) -> None:
    """Start this program once more, with flushes that take so much longer."""
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/slow_disk.so"
        command = ["gcc", "-shared", "-fPIC", f"-DFLUSH_US={round(1000 * flush_ms)}", "-x", "c", "-", "-o", library, "-ldl"]
        subprocess.run(command, input=SLOW_DISK.encode(), check=True)
        again = [sys.executable, "-m", "tests.benchmarks.ingest", *sys.argv[1:]]
        sys.exit(subprocess.run(again, env=os.environ | {"LD_PRELOAD": library}, check=False).returncode)


def message(name: str, n_obx: int) -> bytes:
    """A discharge summary of 8 kB in so many OBX."""
    head = rf"MSH|^~\&|EHR|GENHOSP|AI|GENHOSP|20261101083000-0500||MDM^T02^MDM_T02|{name}|P|2.5.1||||||UNICODE UTF-8"
    lines = [head, "PID|1||MRN88^^^GENHOSP^MR", f"TXA|1|DS|TX|20261101||||||||D{name}^EHR|||||AU||AV"]
    sentences = [f"{n}. Please see Dr. Alvarez in pulmonary clinic in {n} weeks, and have the INR rechecked." for n in range(90)]
    each = -(-len(sentences) // n_obx)
    for n in range(n_obx):
        text = r"\.br\ ".join(sentences[n * each : (n + 1) * each])
        lines.append(f"OBX|{n + 1}|FT|18842-5^Discharge summary^LN|1|{text}||||||F")
    return "\r".join([*lines, ""]).encode()


def bare(folder: Path, n: int, n_obx: int) -> float:
    """Messages per second of a loop that does nothing but commit them one by one."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE IF NOT EXISTS inbox (name TEXT, body BLOB)",
    ):
        connection.execute(statement)
    bodies = [message(f"B{i}", n_obx) for i in range(n)]
    began = time.perf_counter()
    for i, body in enumerate(bodies):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO inbox VALUES (?, ?)", (f"B{i}", body))
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return n / seconds


@contextlib.contextmanager
def listening(folder: Path) -> Iterator[int]:
    """The appliance's own listener, receiver and database, without a worker."""
    storage, loop, stop, ports = Storage(folder / "appliance.db"), asyncio.new_event_loop(), asyncio.Event(), []
    ready = threading.Event()

    async def run() -> None:
        receiver = Receiver(storage, hl7v2.ROUTES)
        async with mllp.serve(mllp.MllpConfig(port=0), receiver, receiver.all) as port:
            ports.append(port)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        ready.wait(10)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
        storage.close()


def senders(port: int, connections: int, each: int, name: str, n_obx: int, ahead: int = 1) -> dict[str, Any]:
    """Run them in a process of their own; gives acknowledgements per second and the latency of each, milliseconds."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.ingest",
        "--send",
        f"{port}",
        f"{connections}",
        f"{each}",
        name,
        f"{n_obx}",
        f"{ahead}",
    ]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


async def send(port: int, connections: int, each: int, name: str, n_obx: int, ahead: int) -> dict[str, Any]:
    """Every connection sends `each` messages one after the other, all connections at a time."""
    bodies = [[message(f"{name}-{c}-{i}", n_obx) for i in range(each)] for c in range(connections)]
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mine: list[bytes]) -> list[float]:
        took, sent = [], []
        for number in range(len(mine)):
            for body in mine[len(sent) : number + ahead]:
                sent.append(time.perf_counter())
                writer.write(mllp.frame(body))
            answer = await reader.readuntil(mllp.END)
            took.append(1000 * (time.perf_counter() - sent[number]))
            assert b"\rMSA|AA|" in answer, answer
        return took

    began = time.perf_counter()
    took = await asyncio.gather(*(one(r, w, mine) for (r, w), mine in zip(opened, bodies, strict=True)))
    seconds = time.perf_counter() - began
    memory = int(await asyncio.to_thread(sys.stdin.readline) or 0) if connections == CROWD else 0
    latencies = sorted(ms for mine in took for ms in mine)
    for _, writer in opened:
        writer.close()
    return {
        "per_s": connections * each / seconds,
        "p50_ms": latencies[len(latencies) // 2],
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "memory": memory,
    }


def crowd(port: int) -> dict[str, Any]:
    """A thousand connections, each with one message acknowledged, all still open when memory is looked at."""
    command = [sys.executable, "-m", "tests.benchmarks.ingest", "--send", f"{port}", f"{CROWD}", "1", "crowd", "1", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while _open_connections(port) < CROWD and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        memory_mb, opened = _memory_mb(), _open_connections(port)
        out, _ = process.communicate("0\n")
    return {"connections": opened, "memory_mb": memory_mb, "p99_ms": json.loads(out)["p99_ms"]}


def _open_connections(port: int) -> int:
    """Established connections of this host whose own end is `port`."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:])
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def _memory_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def measure(folder: Path, rounds: int, n: int, n_obx: int) -> dict[str, Any]:
    """All rounds, and what they come to: medians of the ratios of neighbours."""
    found: list[dict[str, Any]] = []
    with listening(folder) as port:
        senders(port, 1, 20, "warm", n_obx)
        for number in range(rounds):
            row = {"bare_per_s": bare(folder, n, n_obx), "one": senders(port, 1, n, f"one{number}", n_obx)}
            row["pipelined"] = senders(port, 1, n, f"pipelined{number}", n_obx, AHEAD)
            found.append(row | {"sixteen": senders(port, 16, n // 4, f"sixteen{number}", n_obx)})
        many = crowd(port)
    return {
        "rounds": found,
        "one_to_bare": statistics.median(r["one"]["per_s"] / r["bare_per_s"] for r in found),
        "pipelined_to_bare": statistics.median(r["pipelined"]["per_s"] / r["bare_per_s"] for r in found),
        "sixteen_to_bare": statistics.median(r["sixteen"]["per_s"] / r["bare_per_s"] for r in found),
        "one_p99_ms": statistics.median(r["one"]["p99_ms"] for r in found),
        "sixteen_p99_ms": statistics.median(r["sixteen"]["p99_ms"] for r in found),
        "crowd": many,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=300, help="of the bare loop and of one connection, per round")
    parser.add_argument("--obx", type=int, default=1, help="segments that the text of a message comes in")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default: a temporary one")
    parser.add_argument(
        "--send", nargs=6, metavar=("PORT", "CONNECTIONS", "EACH", "NAME", "OBX", "AHEAD"), help=argparse.SUPPRESS
    )
    parser.add_argument("--flush-ms", type=float, default=0, help="that every flush takes longer")
    options = parser.parse_args()
    if options.flush_ms and "LD_PRELOAD" not in os.environ:
        on_a_slow_disk(options.flush_ms)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    if options.send:
        port, connections, each, name, n_obx, ahead = options.send
        print(json.dumps(asyncio.run(send(int(port), int(connections), int(each), name, int(n_obx), int(ahead)))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(Path(folder), options.rounds, options.messages, options.obx)
    if options.json:
        print(json.dumps(found))
        return
    for row in found.pop("rounds"):
        rates = {name: row[name]["per_s"] for name in ("one", "pipelined", "sixteen")} | {"bare": row["bare_per_s"]}
        print(", ".join(f"{name} {rate:.0f}/s" for name, rate in rates.items()))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
