"""A home whose tagger was really trained, once for all tests of a run: a minute's work on synthetic notes."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from appliance.demo.note_writer import Export, write_export
from appliance.home import Home
from tests.appliance_process import COMMAND, ROOT

SEED = 11


@dataclass(frozen=True)
class TrainedHome:
    """What `train` left and what it said."""

    home: Home
    export: Export
    report: dict[str, Any]
    said: str


def clinappliance(home: Home, *arguments: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run one command on a home, as a person would."""
    command = [*COMMAND, "--home", str(home.root), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **more)


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> TrainedHome:
    """Init, write an export, train; the model is promoted by then."""
    folder = tmp_path_factory.mktemp("trained")
    home = Home(folder / "home")
    export = write_export(folder / "export", 500, SEED, labelled=160)
    assert clinappliance(home, "init").returncode == 0
    arguments = ["--notes", str(export.notes), "--clip", str(export.clip), "--name", "q", "--size", "mini", "--budget", "75s"]
    done = clinappliance(home, "--json", "train", *arguments)
    assert done.returncode == 0, done.stderr
    return TrainedHome(home, export, json.loads(done.stdout), done.stderr)
