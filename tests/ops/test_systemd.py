"""The units for systemd: it understands them, they let the service do little, and they start what there is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "ops/systemd"
SERVICES = sorted(UNITS.glob("*.service"))
MOST_EXPOSED = 1.5

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt-get install systemd")


def exposure(unit: Path) -> float:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    return float(found[1])


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_is_hardly_exposed(unit: Path) -> None:
    assert exposure(unit) <= MOST_EXPOSED


def test_with_a_gpu_it_is_hardly_exposed_either(tmp_path: Path) -> None:
    with_gpu = tmp_path / "clinappliance.service"
    drop_in = (UNITS / "gpu.conf").read_text()
    with_gpu.write_text((UNITS / "clinappliance.service").read_text() + drop_in)
    assert exposure(with_gpu) <= MOST_EXPOSED


def test_a_unit_that_forbids_nothing_is_far_above_that(tmp_path: Path) -> None:
    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    assert exposure(bare) > 9


@pytest.mark.parametrize("unit", [*SERVICES, *UNITS.glob("*.timer")], ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_against_a_unit(unit: Path, tmp_path: Path) -> None:
    # What is in /opt on a hospital's host is this environment here.
    for one in UNITS.glob("*.[st]*"):
        text = one.read_text().replace("/opt/clinappliance/bin", str(Path(sys.executable).parent))
        (tmp_path / one.name).write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit.name], capture_output=True, text=True, check=False
    )
    ours = [line for line in said.stderr.splitlines() if "clinappliance" in line]
    assert (said.returncode, ours) == (0, [])


def test_the_commands_that_units_start_are_understood() -> None:
    from typer.main import get_command

    from appliance.cli.app import app

    started = [line for unit in SERVICES for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert len(started) == 3
    for line in started:
        _, *arguments = line.removeprefix("ExecStart=").split()
        command, rest = get_command(app), arguments
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]  # type: ignore[attr-defined]
        command.make_context("x", rest, resilient_parsing=False)
