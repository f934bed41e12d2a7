"""Two processes of `torchrun` train as one does, each with the model or with half of it; alone, nothing is asked of anybody."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pretrain import distributed
from pretrain.checkpoints import Checkpoints
from pretrain.models import t5_on_cpu
from pretrain.models.families import load_t5
from pretrain.pretraining import history
from tests.trained_by_ranks import HOW, gone_on_masked, pretrained, trained

ROOT = Path(__file__).parents[3]


def test_alone_a_process_is_the_main_one_and_its_own_world():
    with distributed.joined():
        assert (distributed.world(), distributed.rank(), distributed.is_main()) == (1, 0, True)
        assert distributed.agree(1.5, True) == (1.5, True)
        assert distributed.total(torch.ones(2)).tolist() == [1, 1]
        model = torch.nn.Linear(2, 2)
        assert distributed.replica(model) is model


def test_torchruns_rank_says_who_follows(monkeypatch):
    assert not distributed.follows()
    monkeypatch.setenv("RANK", "1")
    assert distributed.follows()
    monkeypatch.setenv("RANK", "0")
    assert not distributed.follows()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """A folder with what two processes made."""
    folder = tmp_path_factory.mktemp("two")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "trained_by_ranks.py"), str(folder)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("rank-1*"))
    return folder


@pytest.mark.parametrize("rows", [4, 2])
@pytest.mark.parametrize("how", HOW)
def test_two_processes_train_as_one_does(two_processes, how, rows):
    folder = two_processes
    one, weights, _ = trained(8, "whole")
    two = json.loads((folder / f"rank-0-{how}-{rows}.json").read_text())
    assert [report["batch_loss"] for report in two] == pytest.approx([report["batch_loss"] for report in one], abs=1e-5)
    assert [report["gradient_norm"] for report in two] == pytest.approx([report["gradient_norm"] for report in one], rel=1e-4)
    assert [report["tokens"] for report in two] == [report["tokens"] for report in one]
    theirs = torch.load(folder / f"rank-0-{how}-{rows}.pt", weights_only=True)
    assert all(torch.allclose(theirs[name], weights[name], atol=1e-5) for name in weights)


def test_of_a_sharded_model_each_process_holds_half(two_processes):
    held = {how: [json.loads((two_processes / f"held-{how}-{rank}.json").read_text()) for rank in (0, 1)] for how in HOW}
    assert held["whole"] == [1, 1]
    assert held["sharded"] == pytest.approx([0.5, 0.5], abs=0.01)


def test_a_sharded_training_goes_on_bit_by_bit_and_in_one_process_too(two_processes, tmp_path):
    folder = two_processes
    whole, parted = (torch.load(folder / name, weights_only=True) for name in ("rank-0-sharded-4.pt", "gone-on-with.pt"))
    assert all(torch.equal(whole[name], parted[name]) for name in whole)
    shutil.copytree(folder / "halfway", tmp_path / "halfway")
    reports, alone, _ = trained(4, "whole", checkpoints=Checkpoints(tmp_path / "halfway"), resume=True)
    assert reports[0]["step"] == 11
    assert all(torch.allclose(whole[name], alone[name], atol=1e-5) for name in whole)


def test_batches_are_raised_to_a_multiple_of_the_processes_and_the_wish_of_one_stops_all(two_processes):
    said = json.loads((two_processes / "said.json").read_text())
    assert said["remarks"] == ["a step takes 4 batches instead of 3, the same for each of 2 processes"]
    assert said["interrupted"] == ["stopped after step 3; --resume goes on from there"] * 2
    # What one process resumes goes on with the batches a step had.
    assert said["resumed"] == 4


@pytest.mark.parametrize("how", HOW)
def test_one_process_reads_and_writes_what_two_pretrain_together(two_processes, how, tmp_path, monkeypatch):
    folder = two_processes / "pretrained" / how
    if how == "sharded":
        # Sharded, T5 computes as transformers has it.
        monkeypatch.setattr(t5_on_cpu, "fits", lambda model: False)
    pretrained(tmp_path, "whole")
    one, two = (load_t5(place).state_dict() for place in (tmp_path, folder))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    alone, together = (json.loads((place / "figures.json").read_text()) for place in (tmp_path, folder))
    assert together["dev_loss"] == pytest.approx(alone["dev_loss"], abs=1e-5)
    assert together["tokens"] == alone["tokens"]
    assert together["mfu_against"].startswith("2 x ")
    assert [line["step"] for line in history(folder)] == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000000000006"]


@pytest.mark.parametrize("how", HOW)
def test_two_processes_go_on_with_an_encoder_as_one_does(two_processes, how, tmp_path):
    gone_on_masked(tmp_path, "whole")
    places = tmp_path, two_processes / "masked" / how
    one, two = (load_file(place / "model.safetensors") for place in places)
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    begun = load_file(tmp_path / "encoder" / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert not torch.allclose(one[f"bert.{name}"], begun[name], atol=1e-3)
    for key in ("dev_loss", "loss", "gradient_norm"):
        alone, together = ([line.get(key) for line in history(place)] for place in places)
        assert together == pytest.approx(alone, abs=1e-5)
    assert json.loads((places[1] / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
