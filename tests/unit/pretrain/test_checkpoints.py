"""Checkpoints: whole or not there."""

import pytest
import torch

from pretrain.checkpoints import CheckpointError, Checkpoints


def new(seed: int = 0, width: int = 3):
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, width)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_model_optimizer_and_random_state_come_back(tmp_path):
    model, optimizer = new()
    Checkpoints(tmp_path).save(7, model, optimizer, {"step": 7, "seconds": 0.1})
    expected = torch.rand(3)
    other, its_optimizer = new(seed=5)
    assert Checkpoints(tmp_path).restore(other, its_optimizer) == {"step": 7, "seconds": 0.1}
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(other.weight, model.weight)
    ours, theirs = optimizer.state_dict()["state"], its_optimizer.state_dict()["state"]
    assert all(torch.equal(ours[at][name], theirs[at][name]) for at in ours for name in ours[at])


def test_nothing_to_restore_is_no_error(tmp_path):
    assert Checkpoints(tmp_path / "nothing").restore(*new()) is None


def test_only_the_newest_is_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (9, 10, 100):
        checkpoints.save(step, *new(), {"step": step})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000100"]
    checkpoints.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, *new(), {"step": 1})
    (tmp_path / "step-000000000002.partial").mkdir()
    assert checkpoints.restore(*new()) == {"step": 1}
    checkpoints.save(2, *new(), {"step": 2})
    assert checkpoints.restore(*new()) == {"step": 2}


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "progress.json"])
def test_a_damaged_checkpoint_is_refused(tmp_path, name):
    Checkpoints(tmp_path).save(1, *new(), {"step": 1})
    path = tmp_path / "step-000000000001" / name
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(CheckpointError, match="start again without --resume"):
        Checkpoints(tmp_path).restore(*new())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    Checkpoints(tmp_path).save(1, *new(), {"step": 1})
    with pytest.raises(CheckpointError, match="cannot be resumed from"):
        Checkpoints(tmp_path).restore(*new(width=4))


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="step 3 could not be written"):
        Checkpoints(tmp_path / "checkpoints").save(3, *new(), {})
