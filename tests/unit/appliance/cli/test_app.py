"""The root command: where `--json` may stand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli.app import arguments


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--json", "tag", "a"], ["--json", "tag", "a"]),
        (["tag", "--json", "a"], ["--json", "tag", "a"]),
        (["--home", "h", "tag", "a", "--json"], ["--json", "--home", "h", "tag", "a"]),
        (["tag", "a"], ["tag", "a"]),
        (["tag", "--", "--json"], ["tag", "--", "--json"]),
        ([], []),
    ],
)
def test_json_may_stand_before_or_after_the_command(given: list[str], meant: list[str]) -> None:
    assert arguments(given) == meant


def test_a_result_is_json_wherever_it_was_asked_for(tmp_path: Path) -> None:
    for words in (["--json", "init"], ["init", "--json"]):
        command = [sys.executable, "-m", "appliance.cli", "--home", str(tmp_path / "home"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[4])
        assert json.loads(done.stdout)["home"] == str(tmp_path / "home")
