"""kill -9 at random instants while a model is pretrained: what comes of it is what an undisturbed run gives, bit by bit.

`CLINAPPLIANCE_KILLS` says how often it is killed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pretrain.pretraining import history

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CLINAPPLIANCE_KILLS", "4"))
MOST_STEPS = 10
"""That a process takes before it is killed."""
STEPS = MOST_STEPS * (KILLS + 1)
SEED = 20260101


def started(folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.killed_training", str(folder), str(STEPS)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate()
    return process.returncode


@pytest.mark.timeout(120 + 60 * KILLS)
def test_a_training_killed_at_random_instants_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert ended(started(whole)) == 0
    chance = random.Random(SEED)
    in_a_write = 0
    for _ in range(KILLS):
        process = started(killed)
        pace_s = 0.0
        for _ in range(chance.randint(2, MOST_STEPS)):
            begin = time.monotonic()
            assert process.stdout.readline(), "it ended by itself"
            pace_s = time.monotonic() - begin
        # Anywhere from the end of a step, through the writing of its checkpoint, to the end of the next.
        time.sleep(chance.random() * pace_s)
        process.kill()
        assert ended(process) == -signal.SIGKILL
        in_a_write += any((killed / "checkpoints").glob("*.partial"))
    assert ended(started(killed)) == 0
    print(f"{in_a_write} of {KILLS} kills while a checkpoint was written")
    assert 0 < in_a_write < KILLS or KILLS < 20

    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    losses = [[(line["step"], line["loss"], line.get("dev_loss")) for line in history(folder)] for folder in (whole, killed)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == STEPS
