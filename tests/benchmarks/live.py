"""The running appliance under load: how fast it reads, and what a swap, a failing Triton or a backfill costs who waits.

    python tests/benchmarks/live.py --home HOME --notes notes.jsonl --json
    python tests/benchmarks/live.py --home HOME --notes notes.jsonl --only promotion,faults --json

HOME is an appliance's home with a promoted clip model and, for `promotion`, another one (`--candidate NAME@VERSION`). Its models
are copied into a home for the occasion, where the real `clinappliance run` takes the notes (one JSON object a line with `text`)
as discharge summaries over MLLP and reads them behind its own Triton. A message's latency is the time from its commit, which
is before its ACK, to the commit of its findings.

  start      seconds from `run` to a /readyz that says yes, and what memory the idle appliance has, its Triton left out
  capacity   notes a second while the queue never empties
  promotion  a minute at 80 % of that; after a third `models promote`, after two thirds `models rollback`. Every reading must be
             whole: findings, text by text, those that its model finds by itself
  faults     half of the capacity; Triton is killed, stopped, slowed, and lies, for five seconds each, and must be asked again
  steady     10 notes a second for a minute, each the report of an ORU^R01
  backfill   5 notes a second, with and without a backfill of 2,000 notes beside it, by turns of 20 seconds
"""

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))  # started as a script, it finds its own folder only

from appliance.backfill import BATCH
from appliance.home import Home
from appliance.publishing import publish, published, tagger_of
from appliance.registry import Registry
from serving.environment import ServerError
from tests.appliance_process import COMMAND, ROOT, Appliance, Sender, discharge_summary, eventually
from tests.triton_faults import LIES, killed, lying, slowed, stopped, triton_and_stubs

STARTS = 5
BURST = 200
STEADY_HZ = 10.0
MINUTE_S = 60.0
FAULT_S = 5.0
TURN_S = 20.0
BACKFILL_NOTES = 2_000
BACKFILL_RATE = 5.0
Line = dict[str, Any]


class Site:
    """A home with copies of the models, the notes, and the appliance on it."""

    def __init__(self, root: Path, models: Path, environment: Path, notes: Sequence[str]) -> None:
        self.notes, self.home = notes, Home(root / "home")
        self.home.init()
        shutil.copytree(models, self.home.models, dirs_exist_ok=True)
        self.registry = Registry(self.home.models)
        promoted = self.registry.promoted("clip")
        if promoted is None:
            raise SystemExit(f"{models} has no promoted clip model; train one")
        publish(self.home, promoted)
        self.promoted = promoted
        self.appliance = Appliance(self.home, environment)
        self._config()
        self.sent = 0

    def _config(self) -> None:
        # All threads: the tests' setting of one is for tests.
        path = self.home.config
        path.write_text(path.read_text().replace("threads = 1\n", ""))

    @contextmanager
    def running(self) -> Iterator[None]:
        """The appliance with its Triton at work."""
        self.appliance.start()
        try:
            self.appliance.wait_whole(120)
            yield
        finally:
            self.appliance.stop()

    def send(
        self, rate_hz: float | None, until: Callable[[int], bool], message: Callable[[str, str], bytes] = discharge_summary
    ) -> range:
        """Send notes, one after the other, so many a second; gives the numbers of the messages, as the database counts them."""
        sender, first, began = Sender(self.appliance.mllp_port), self.sent, time.monotonic()
        while not until(self.sent - first):
            if rate_hz:
                time.sleep(max(0.0, began + (self.sent - first) / rate_hz - time.monotonic()))
            body = message(f"B{self.sent}", escaped(self.notes[self.sent % len(self.notes)]))
            answer = sender.send(body)
            if b"|AA|" not in answer:
                raise SystemExit(f"a message was not acknowledged: {answer[:60]!r}")
            self.sent += 1
        sender.close()
        return range(first, self.sent)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the appliance's database says."""
        with closing(sqlite3.connect(self.home.database, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def readings(self, messages: range, within_s: float = 120) -> list[tuple[float, float, str]]:
        """When each message was committed, when its findings were, and by which model; once all are read."""
        query = (
            "SELECT received_at_s, read_at_s, model FROM inbox JOIN readings USING (message_id) "
            f"WHERE message_id > {messages.start} AND message_id <= {messages.stop} ORDER BY message_id"
        )
        eventually(lambda: len(self.rows(query)) == len(messages), within_s, lambda: f"{len(messages)} sent, not all are read")
        return self.rows(query)

    def metric(self, name: str) -> float:
        """One series of /metrics."""
        import httpx

        text = httpx.get(f"http://127.0.0.1:{self.appliance.http_port}/metrics").text
        return float(next(line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name + " ")))


def escaped(text: str) -> str:
    """A note as one HL7 v2 field."""
    for plain, escape in (("\\", "\\E\\"), ("|", "\\F\\"), ("^", "\\S\\"), ("&", "\\T\\"), ("~", "\\R\\")):
        text = text.replace(plain, escape)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\\.br\\")


def result(control_id: str, text: str) -> bytes:
    """An ORU^R01 whose one report is a discharge summary."""
    segments = [
        rf"MSH|^~\&|EHR|WARD|||20260101120000+0000||ORU^R01^ORU_R01|{control_id}|P|2.5.1",
        "PID|1||123^^^HOSP^MR||TESTPATIENT^JANE",
        f"OBR|1||R{control_id}^EHR|18842-5^Discharge summary^LN|||20260101{'|' * 15}20260101|||F",
        f"OBX|1|TX|18842-5^Discharge summary^LN||{text}||||||F",
    ]
    return "\r".join([*segments, ""]).encode()


def steady(site: Site) -> Iterator[Line]:
    """What one message after the other waits."""
    ends = time.monotonic() + MINUTE_S
    readings = site.readings(site.send(STEADY_HZ, lambda n: time.monotonic() > ends, result))
    waited = quantiles_of(latencies(readings))
    yield line("steady", "p99 from commit to findings, ms", waited["p99_ms"], n=len(readings), rate_hz=STEADY_HZ, **waited)


def latencies(readings: Sequence[tuple[float, float, str]]) -> np.ndarray:
    """Seconds from commit to commit."""
    return np.array([read - received for received, read, _ in readings])


def start(site: Site) -> Iterator[Line]:
    """Line by line: how long a start takes, and what memory it ends with."""
    seconds, megabytes = [], []
    for _ in range(STARTS):
        began = time.monotonic()
        site.appliance.start()
        site.appliance.wait_ready()
        seconds.append(time.monotonic() - began)
        site.appliance.wait_whole()
        time.sleep(3)
        assert site.appliance.process is not None
        megabytes.append(psutil.Process(site.appliance.process.pid).memory_info().rss / 2**20)
        site.appliance.stop()
    yield line("ready", "seconds from run to ready", max(seconds), seconds=[round(s, 2) for s in seconds])
    yield line("idle", "MB resident, without Triton", max(megabytes), megabytes=[round(m) for m in megabytes])


def capacity_of(site: Site) -> float:
    """Notes a second while the queue never empties."""
    readings = site.readings(site.send(None, lambda n: n >= BURST))
    ends = sorted(read for _, read, _ in readings)
    quarter = len(ends) // 4  # the first ones come while the queue fills
    return (len(ends) - 1 - quarter) / (ends[-1] - ends[quarter])


def promotion(site: Site, capacity: float, candidate: str | None) -> Iterator[Line]:
    """A promote and a rollback in a minute of load."""
    others = [e for e in site.registry.entries("clip") if e.reference != site.promoted.reference]
    entry = site.registry.find(candidate, "clip") if candidate else others[-1] if others else None
    if entry is None:
        raise SystemExit("promotion needs a second clip model in the home; `clinappliance finetune clip` makes one")
    done: list[str] = []

    def swap() -> None:
        for words in (("promote", entry.reference), ("rollback",)):
            time.sleep(MINUTE_S / 3)
            site.appliance.tell("models", *words)
            done.append(words[0])

    failures = site.metric("clinappliance_engine_failures_total")
    swapping, ends = threading.Thread(target=swap), time.monotonic() + MINUTE_S
    swapping.start()
    messages = site.send(0.8 * capacity, lambda n: time.monotonic() > ends)
    swapping.join()
    readings = site.readings(messages)
    by_model = {model: sum(m == model for _, _, m in readings) for _, _, model in readings}
    yield line(
        "promotion",
        "readings that failed or mix models",
        site.metric("clinappliance_engine_failures_total") - failures + len(parked(site)) + mixed(site, messages),
        n=len(readings),
        by_model=by_model,
        rate_hz=round(0.8 * capacity, 1),
        **quantiles_of(latencies(readings)),
    )


def mixed(site: Site, messages: range) -> int:
    """How many readings hold other findings than those that their model finds in that text by itself."""
    found: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    models: dict[int, str] = dict(site.rows("SELECT message_id, model FROM readings"))
    for message_id, first, last, label in site.rows(
        'SELECT message_id, start, "end", label FROM findings JOIN readings USING (reading_id)'
    ):
        found[message_id].append((first, last, label))
    wrong = set()
    taggers = {
        model: tagger_of(site.home, site.registry.find(model.split(" ")[0], "clip")) for model in set(models.values()) if model
    }
    expected: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
    for number in messages:
        message_id = number + 1
        key = (models[message_id], number % len(site.notes))
        if key not in expected:
            (tagged,) = taggers[key[0]].tag([site.notes[key[1]]])
            expected[key] = sorted((s.start, s.end, s.label) for s in tagged.spans)
        if sorted(found[message_id]) != expected[key]:
            wrong.add(message_id)
    return len(wrong)


def parked(site: Site) -> list[tuple[Any, ...]]:
    """Messages that were set aside."""
    return site.rows("SELECT message_id FROM inbox WHERE state = 'parked'")


def faults(site: Site, capacity: float) -> Iterator[Line]:
    """What befalls Triton, one thing after the other."""

    def model_folder() -> Path:
        return site.home.repository / "clip" / str(published(site.home, site.promoted))

    befalls: dict[str, Callable[[], Any]] = {
        "killed": lambda: killed(them()),
        "stopped": lambda: stopped(them()),
        "slowed": lambda: slowed(them()),
        **{f"lies: {name}": (lambda lie=lie: lying(model_folder(), lie)) for name, lie in LIES.items()},
    }

    def them() -> list[psutil.Process]:
        assert site.appliance.process is not None
        return triton_and_stubs(site.appliance.process.pid)

    for name, befall in befalls.items():
        before = site.metric("clinappliance_engine_fallbacks_total")
        is_over = threading.Event()
        healed_s: list[float] = []

        def suffer(
            befall: Callable[[], Any] = befall, is_over: threading.Event = is_over, healed: list[float] = healed_s
        ) -> None:
            time.sleep(2)
            with befall():
                time.sleep(FAULT_S)
            began = time.monotonic()
            time.sleep(3)  # a lie lasts until Triton has seen that its file changed back
            eventually(lambda: site.appliance.readiness()["degraded"] == [], 90)
            healed.append(time.monotonic() - began)
            time.sleep(1)
            is_over.set()

        thread = threading.Thread(target=suffer)
        thread.start()
        messages = site.send(0.5 * capacity, lambda n, is_over=is_over: is_over.is_set())
        thread.join()
        readings = site.readings(messages)
        yield line(
            name,
            "seconds until the slowest message was read",
            float(latencies(readings).max()),
            n=len(readings),
            lost=len(messages) - len(readings),
            wrong=mixed(site, messages),
            taken_over=site.metric("clinappliance_engine_fallbacks_total") - before,
            asked_again_s=round(healed_s[0], 1),
            **quantiles_of(latencies(readings)),
        )


def backfill(site: Site) -> Iterator[Line]:
    """Live latency beside a backfill, and without it, by turns."""
    archive = site.home.root.parent / "archive"
    archive.mkdir()
    rows = [
        {"note_id": f"N{n}", "category": "Discharge summary", "text": site.notes[n % len(site.notes)]}
        for n in range(BACKFILL_NOTES)
    ]
    (archive / "archive.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = site.home.root.parent / "tags"
    words = ["--home", str(site.home.root), "--json", "backfill", str(archive), "--out", str(out)]

    def start_it() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*COMMAND, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def done() -> int:
        return len(list(out.glob("*/*.jsonl")))

    running = start_it()
    eventually(done, 60)
    was_killed, with_it, without = False, [], []
    kept = before = 0
    while running.poll() is None:
        for found, number in ((without, signal.SIGSTOP), (with_it, signal.SIGCONT)):
            if running.poll() is not None:
                break
            running.send_signal(number)
            ends = time.monotonic() + TURN_S
            readings = site.readings(site.send(BACKFILL_RATE, lambda n, ends=ends: time.monotonic() > ends))
            if running.poll() is None:
                found.extend(latencies(readings))
        if not was_killed and running.poll() is None:
            before = done()
            running.kill()
            running.communicate()
            kept, was_killed = done(), True
            running = start_it()
    counts = json.loads(running.communicate()[0])
    notes = [json.loads(row)["note"] for path in out.glob("*/*.jsonl") for row in path.read_text().splitlines()]
    beside, alone = np.array(with_it), np.array(without)
    yield line(
        "backfill",
        "p99 of live messages beside it, in p99 without",
        float(np.quantile(beside, 0.99) / np.quantile(alone, 0.99)),
        n=len(beside) + len(alone),
        beside=quantiles_of(beside),
        alone=quantiles_of(alone),
        notes=counts["notes"],
        twice=len(notes) - len(set(notes)),
        missing=BACKFILL_NOTES - len(set(notes)),
        batches_before_and_after_the_kill=[before, kept],
        batch=BATCH,
    )


def quantiles_of(seconds: np.ndarray) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{q}_ms": round(1000 * float(np.quantile(seconds, q / 100)), 1) for q in (50, 95, 99)}


def line(variant: str, metric: str, value: float, **more: Any) -> Line:
    """A result."""
    return {"bench": "live", "variant": variant, "metric": metric, "value": round(value, 3), **more}


PARTS = ("start", "capacity", "promotion", "faults", "steady", "backfill")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--notes", type=Path, required=True, help="one JSON object a line with `text`")
    parser.add_argument("--environment", type=Path, default=Path(sys.prefix) / "triton", help="Triton's")
    parser.add_argument("--candidate", help="NAME@VERSION of the model to promote; the newest other one where absent")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    options = parser.parse_args()
    parts = options.only.split(",")
    notes = [json.loads(row)["text"] for row in options.notes.read_text(encoding="utf-8").splitlines()]
    os.environ["no_proxy"] = "*"
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), options.home / "models", options.environment, notes)
        for found in _lines(site, parts, options.candidate):
            print(
                json.dumps(found) if options.json else f"{found['variant']:22} {found['value']:>10} {found['metric']}", flush=True
            )
    return 0


def _lines(site: Site, parts: Sequence[str], candidate: str | None) -> Iterator[Line]:
    if "start" in parts:
        yield from start(site)
    with site.running():
        capacity = capacity_of(site) if {"capacity", "promotion", "faults"} & set(parts) else 0.0
        if "capacity" in parts:
            yield line("capacity", "notes a second", capacity, n=BURST)
        if "promotion" in parts:
            yield from promotion(site, capacity, candidate)
        if "faults" in parts:
            yield from faults(site, capacity)
        if "steady" in parts:
            yield from steady(site)
        if "backfill" in parts:
            yield from backfill(site)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerError as error:
        sys.exit(str(error))
