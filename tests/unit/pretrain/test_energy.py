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


def test_a_training_that_is_gone_on_with_counts_what_it_took_before(tmp_path: Path) -> None:
    kept = tmp_path / "energy.json"
    for run in range(3):
        counter(tmp_path, 0, 0)
        meter = Meter(CPU, 1, tmp_path, kept)
        counter(tmp_path, 0, 1_000_000)
        meter.read()
        counter(tmp_path, 0, 4_000_000)
        energy = meter.read()
        assert energy.kwh == pytest.approx((run + 1) * 4 / 3.6e6)
    assert energy.source == "the processors' energy counters"
    moved_to_another_host = Meter(CPU, 1, tmp_path / "absent", kept).read()
    assert moved_to_another_host.kwh > energy.kwh
    assert moved_to_another_host.source.startswith("the processors' energy counters; an estimate: 1 cores")


def test_a_reading_that_was_lost_is_told(tmp_path: Path) -> None:
    (tmp_path / "energy.json").write_text("{")
    assert Meter(CPU, 1, tmp_path, tmp_path / "energy.json").read().source.startswith("what earlier runs took is not known; ")


def test_a_full_disk_is_not_for_the_meter_to_tell(tmp_path: Path) -> None:
    assert Meter(CPU, 1, tmp_path, tmp_path / "no folder" / "energy.json").read().kwh > 0
