"""The judge: Ctrl-C while the table of facts teaches it ends it, and nothing is registered."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.home import Home
from appliance.registry import Entry
from appliance.training.judge import make_judge
from appliance.training.request import TrainingError
from pretrain import bundle
from pretrain.budget import Budget
from pretrain.labelling import inference
from pretrain.models.systems import system_named, tiny
from pretrain.splits import Labels
from tests import tiny_bundle
from tests.quiet_watch import Quiet


@pytest.fixture
def base(tmp_path: Path) -> Entry:
    """A tiny encoder, registered as a base that nothing else is known of."""
    tiny(system_named("RoBERTa-Large"), tmp_path / "encoder", tiny_bundle.TEXTS)
    manifest = tiny_bundle.write(tmp_path / "other").manifest
    files = {name: tmp_path / "encoder" / name for name in sorted(bundle.REQUIRED_OF_BASE)}
    folder = tmp_path / "home" / "models" / "q" / "base" / "1"
    bundle.write(folder, manifest.model_copy(update={"task": "base", "name": "q", "labels": (), "cutoffs": ()}), files)
    return Entry("q", "base", 1, folder, is_promoted=False)


def test_ctrl_c_while_the_table_teaches_registers_nothing(base: Entry, tmp_path: Path) -> None:
    class Impatient(Quiet):
        def step(self, report: object) -> None:
            signal.raise_signal(signal.SIGINT)

    pairs = [replace(pair, group=str(n)) for n, pair in enumerate(inference.pairs(draws=1)[:12])]

    def add(write: object) -> Entry:
        raise AssertionError("it was registered")

    with pytest.raises(TrainingError, match="interrupted while finetuning; q@1 is kept"):
        make_judge(Home(tmp_path / "home"), base, Labels(pairs), add, Budget(), 0, Impatient())
