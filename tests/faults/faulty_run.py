"""Fifty messages taken, read and delivered in processes whose input and output fail where they are told to.

As a script it is the process that the others are forked from: each line on its input is one run, answered by its exit code and
by the number of calls that its database made. Run under `failing_io.c`.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from appliance.delivery import Delivery
from appliance.messages import OPEN, STAGES, counts
from appliance.reading import Reading, findings
from appliance.receiving import Receiver
from appliance.storage import Storage, StorageError
from appliance.versions import Change
from appliance.worker import Worker
from integrations.codecs import hl7v2
from integrations.records import ModelVersion, Note, NoteKind
from pretrain.tasks.base import TaggedSpan

MESSAGES = 50
TRIES = 100
ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("failing_io.c")


class Fault(IntEnum):
    """What fails, as `failing_io.c` numbers it."""

    IO_ERROR = 1
    DISK_FULL = 2
    SHORT_WRITE = 3
    KILL = 4


class Runs:
    """Runs one after the other, each in a process of its own; for a `with` block."""

    def __init__(self, folder: Path) -> None:
        """Compile `failing_io.c` into `folder`, and import everything."""
        library = folder / "failing_io.so"
        command = ["gcc", "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.faulty_run"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1"},
        )

    def run(self, folder: Path, fault: Fault = Fault.KILL, first: int = 0, how_many: int = 0) -> tuple[int, int]:
        """Take the messages that are not acknowledged yet and work until all is done, or nothing goes any more.

        Args:
            folder: `home/` holds the database; `acknowledged` and `delivered` gain a line for each.
            fault: what fails.
            first: the call that fails, from 1.
            how_many: calls that fail from there on; 0: none.
        Returns:
            Exit code, and how many calls there were. 0: everything was done; 2: the database could not be opened; 3: something
            that was claimed waits for its lease.
        """
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([str(folder), first, how_many, int(fault)]), file=self._process.stdin, flush=True)
        code, calls = self._process.stdout.readline().split()
        return int(code), int(calls)

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=30)


class FirstSentence:
    """Reads without a model: the first sentence is an appointment."""

    def read(self, note: Note) -> Reading:
        model = ModelVersion("first", "1", "")
        span = TaggedSpan(0, note.text.index(".") + 1, "Appointment", 0.9)
        return Reading(findings(note, [span], str(model), datetime(2026, 1, 1, tzinfo=UTC)), model)


def message(number: int) -> bytes:
    """One of the fifty, long enough for several pages of the database."""
    segments = [
        rf"MSH|^~\&|EHR|WARD|||20260101120000+0000||MDM^T02^MDM_T02|M{number}|P|2.5.1",
        "EVN|T02|20260101120000",
        f"PID|1||{number}^^^HOSP^MR||TESTPATIENT^JANE",
        f"TXA|1|18842-5|TX|20260101||||||||D{number}^HOSP||||||AU",
        f"OBX|1|TX|18842-5||See cardiology. {'The course was unremarkable. ' * 200}||||||F",
    ]
    return "\r".join([*segments, ""]).encode()


def work(folder: Path) -> None:
    """Like `run`, in one thread, so that the same calls come in the same order each time."""
    acknowledged, delivered = folder / "acknowledged", folder / "delivered"
    storage = Storage(folder / "home" / "appliance.db")
    storage.recover()

    def owed(note: Note, change: Change, model: ModelVersion | None) -> list[tuple[str, bytes]]:
        return [("ehr", json.dumps([finding.finding_id for finding in change.added]).encode())]

    receiver = Receiver(storage, hl7v2.ROUTES)
    readers = {"clip": FirstSentence()}
    worker = Worker(storage, lambda: readers, hl7v2.ROUTES, {NoteKind.DISCHARGE_SUMMARY: "clip"}, 300, owed)
    delivery = Delivery(storage, "ehr", lambda body: _append(delivered, body.decode()), 120)
    known = acknowledged.read_text().split() if acknowledged.exists() else []
    for number in range(MESSAGES):
        if str(number) not in known:
            _until(lambda number=number: hl7v2.acknowledged(receiver("ward", message(number)))[0] == "AA")
            _append(acknowledged, str(number))
        _try(worker.step)
        _try(delivery.step)
    _until(lambda: not (_try(worker.step) or _try(delivery.step) or _n_open(storage)))
    storage.close()


def _n_open(storage: Storage) -> int:
    return sum(sum(counts(storage, stage, OPEN).by_state.values()) for stage in STAGES)


def _try(step: Callable[[], bool]) -> bool:
    """As `Loop` does: what failed is tried again."""
    with suppress(StorageError):
        return step()
    return True


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(TRIES):
        with suppress(StorageError):
            if condition():
                return
    raise SystemExit(3)


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def _serve() -> None:
    shim = ctypes.CDLL(None)
    with tempfile.TemporaryDirectory() as folder:
        # Imports what is only imported when it is needed.
        Storage(Path(folder) / "appliance.db").close()
    for line in sys.stdin:
        folder, *fault = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _child(Path(folder), shim, fault, writer)
        os.close(writer)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with os.fdopen(reader) as told:
            print(code, told.read() or 0, flush=True)


def _child(folder: Path, shim: Any, fault: list[int], writer: int) -> None:
    code = 1
    try:
        os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        shim.failing_io(str(folder / "home").encode(), ctypes.c_long(fault[0]), ctypes.c_long(fault[1]), fault[2])
        work(folder)
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except StorageError as error:
        print(error, file=sys.stderr)
        code = 2
    finally:
        os.write(writer, str(shim.failing_io_calls()).encode())
        os._exit(code)


if __name__ == "__main__":
    _serve()
