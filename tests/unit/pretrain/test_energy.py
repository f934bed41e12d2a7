"""Energy: counted where the machine counts, else an estimate that says it is one."""

import time
from pathlib import Path

import pytest
import torch

from pretrain.energy import WATTS_PER_CORE, Meter

CPU = torch.device("cpu")


def counter(folder: Path, package: int, microjoules: int) -> None:
    path = folder / f"intel-rapl:{package}" / "energy_uj"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{microjoules}\n")


def test_the_counters_of_all_processors_are_summed(tmp_path: Path) -> None:
    counter(tmp_path, 0, 1_000_000)
    counter(tmp_path, 1, 0)
    meter = Meter(CPU, 2, tmp_path)
    counter(tmp_path, 0, 4_000_000)
    counter(tmp_path, 1, 600_000)
    energy = meter.read()
    assert energy.kwh == pytest.approx(3.6 / 3.6e6)
    assert energy.source == "the processors' energy counters"


def test_without_counters_it_is_an_estimate_that_names_its_assumption(tmp_path: Path) -> None:
    for meter in (Meter(CPU, 3, tmp_path), Meter(CPU, 3, tmp_path / "absent")):
        time.sleep(0.01)
        energy = meter.read()
        assert 0.01 * 3 * WATTS_PER_CORE <= energy.kwh * 3.6e6 < 60 * 3 * WATTS_PER_CORE
        assert energy.source.startswith("an estimate: 3 cores at 8 W")


def test_a_counter_that_began_anew_is_not_believed(tmp_path: Path) -> None:
    counter(tmp_path, 0, 9_000_000)
    meter = Meter(CPU, 1, tmp_path)
    counter(tmp_path, 0, 5)
    assert meter.read().source.startswith("an estimate")
