"""kill -9 of `backfill` at random instants: at most one batch is read again, and no note has its results twice.

`CLINAPPLIANCE_KILLS` says how often it is killed.
"""

import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from appliance.backfill import BATCH
from tests.appliance_process import COMMAND, ROOT, make_home

KILLS = int(os.environ.get("CLINAPPLIANCE_KILLS", "4"))
NOTES = 400
SEED = 20261129


def start(home: Path, archive: Path, out: Path) -> "subprocess.Popen[bytes]":
    words = ["--home", str(home), "--json", "backfill", str(archive), "--out", str(out)]
    return subprocess.Popen([*COMMAND, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def whole(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.glob("*/*.jsonl")}


@pytest.mark.timeout(120 + 30 * KILLS)
def test_a_backfill_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    archive = tmp_path / "archive"
    archive.mkdir()
    sentences = "Follow up with cardiology in two weeks. Recheck the potassium on Friday. " * 20
    for name in ("a", "b"):
        rows = [
            {"note_id": f"{name}{n}", "category": "Discharge summary", "text": f"Note {n}. {sentences}"}
            for n in range(NOTES // 2)
        ]
        (archive / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    undisturbed = start(home.root, archive, tmp_path / "undisturbed")
    counts, _ = undisturbed.communicate(timeout=120)
    assert json.loads(counts)["notes"] == NOTES

    chance, out = random.Random(SEED), tmp_path / "out"
    for _ in range(KILLS):
        before = whole(out)
        running = start(home.root, archive, out)
        # It is killed while it reads: not before its first new batch, and some instant after that.
        while whole(out).keys() == before.keys() and running.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        running.kill()
        running.communicate()
        assert before.items() <= whole(out).items(), "what was whole stays as it is"
    last = start(home.root, archive, out)
    assert json.loads(last.communicate(timeout=120)[0]) == json.loads(counts)
    assert whole(out) == whole(tmp_path / "undisturbed")
    notes = [json.loads(line)["note"] for content in whole(out).values() for line in content.splitlines()]
    assert sorted(notes) == sorted({f"{name}{n}" for name in "ab" for n in range(NOTES // 2)})
    assert max(content.count(b"\n") for content in whole(out).values()) == BATCH
