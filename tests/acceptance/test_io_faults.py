"""Input and output fail, or the process dies, at a call of a run of fifty messages: nothing acknowledged is lost, and the next
start is clean.

A sample of the calls; `CLINAPPLIANCE_FAULTS=100` takes that many of each kind, `all` every one of them (hours).
"""

import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.faulty_run import MESSAGES, Fault, Runs

FAULTS = os.environ.get("CLINAPPLIANCE_FAULTS", "6")
LASTS = {Fault.IO_ERROR: 1, Fault.DISK_FULL: 25, Fault.SHORT_WRITE: 25, Fault.KILL: 1}
"""Calls that fail: a full disk stays full for a while, and what does not fit is cut where it ends."""
SEED = 20260101

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler: apt-get install gcc")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """In memory where there is such a place: the disk's own slowness shows nothing here."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def runs(folder: Path) -> Iterator[Runs]:
    with Runs(folder) as started:
        yield started


def fresh(folder: Path) -> Path:
    one = folder / "run"
    shutil.rmtree(one, ignore_errors=True)
    (one / "home").mkdir(parents=True)
    return one


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def what_is_wrong(one: Path) -> list[str]:
    """After a run without faults that followed one with them."""
    database = one / "home" / "appliance.db"
    everything = {f"M{n}" for n in range(MESSAGES)}
    kept = [control_id for (control_id,) in rows(database, "SELECT control_id FROM inbox WHERE state = 'done'")]
    readings = [n for (n,) in rows(database, "SELECT count(*) FROM readings GROUP BY message_id")]
    owed = [state for (state,) in rows(database, "SELECT state FROM outbox")]
    checks = {
        "damaged": rows(database, "PRAGMA quick_check") == [("ok",)],
        "a message is lost, or comes twice": sorted(kept) == sorted(everything),
        "a reading is lost, or comes twice": readings == [1] * MESSAGES,
        "a delivery is lost, or owed twice": owed == ["done"] * MESSAGES,
        "what was delivered is not each finding": len(set(lines(one / "delivered"))) == MESSAGES,
    }
    return [name for name, holds in checks.items() if not holds]


def kept_before_restart(one: Path) -> set[str]:
    """What SQLite itself recovers from the files that the faulty run left."""
    database = one / "home" / "appliance.db"
    has_inbox = database.exists() and rows(database, "SELECT 1 FROM sqlite_master WHERE name = 'inbox'")
    return {str(control_id) for (control_id,) in rows(database, "SELECT control_id FROM inbox")} if has_inbox else set()


@pytest.mark.timeout(0 if FAULTS == "all" else 300 + 5 * int(FAULTS))
@pytest.mark.parametrize("fault", Fault)
def test_whichever_call_fails_nothing_acknowledged_is_lost_and_the_next_start_is_clean(
    fault: Fault, runs: Runs, folder: Path
) -> None:
    code, n_calls = runs.run(fresh(folder), fault)
    assert code == 0
    assert n_calls > 20 * MESSAGES
    calls = range(1, n_calls + 1)
    chosen = calls if FAULTS == "all" else sorted(random.Random(SEED).sample(calls, min(int(FAULTS), n_calls)))
    for call in chosen:
        one = fresh(folder)
        code, _ = runs.run(one, fault, call, LASTS[fault])
        # It is dead; or it goes on to the end, or cannot be opened at all.
        assert code in ((-9,) if fault is Fault.KILL else (0, 2)), (call, code, lines(one / "log")[-3:])
        acknowledged = {f"M{n}" for n in lines(one / "acknowledged")}
        assert acknowledged <= kept_before_restart(one), call
        assert runs.run(one)[0] == 0, (call, lines(one / "log")[-3:])
        assert what_is_wrong(one) == [], call
    print(f"{fault.name}: {len(chosen)} of {n_calls} calls")
