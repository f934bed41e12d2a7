"""Checkpoints: whole or not there."""

from pathlib import Path

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


def test_the_newest_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (9, 10, 100):
        checkpoints.save(step, *new(), {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000000010", "step-000000000100"]
    checkpoints.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_checkpoint_is_passed_over_and_swept_up(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, *new(), {"step": 1})
    (tmp_path / "step-000000000002.partial").mkdir()
    assert checkpoints.restore(*new()) == {"step": 1}
    checkpoints.save(3, *new(), {"step": 3})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000000001", "step-000000000003"]


FILES = ["model.safetensors", "optimizer.pt", "progress.json"]


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_cut_short_anywhere_is_noticed_and_the_one_before_it_is_taken(tmp_path, name):
    checkpoints = Checkpoints(tmp_path)
    first, second = new(seed=1), new(seed=2)
    checkpoints.save(1, *first, {"step": 1})
    checkpoints.save(2, *second, {"step": 2})
    path = tmp_path / "step-000000000002" / name
    whole = path.read_bytes()
    # The last byte of progress.json is a line break that says nothing.
    sizes = range(len(whole) - 1) if name == "progress.json" else [*range(0, len(whole), 50), len(whole) - 1]
    for size in sizes:
        cut(path, size)
        said: list[str] = []
        model, optimizer = new()
        assert checkpoints.restore(model, optimizer, said.append) == {"step": 1}
        assert torch.equal(model.weight, first[0].weight)
        assert len(said) == 1
        assert said[0].startswith("step-000000000002: ")
        assert said[0].endswith("; going on from step-000000000001")
        path.write_bytes(whole)
    assert checkpoints.restore(*new()) == {"step": 2}


def test_an_altered_byte_or_a_missing_file_is_noticed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, *new(), {"step": 1})
    checkpoints.save(2, *new(), {"step": 2})
    path = tmp_path / "step-000000000002" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said: list[str] = []
    assert checkpoints.restore(*new(), said.append) == {"step": 1}
    assert said == ["step-000000000002: model.safetensors is not what was written; going on from step-000000000001"]
    path.unlink()
    assert checkpoints.restore(*new(), said.append) == {"step": 1}
    assert said[1].startswith("step-000000000002: it is cut short (FileNotFoundError)")


@pytest.mark.parametrize("name", FILES)
def test_where_none_is_whole_that_is_a_clear_error(tmp_path, name):
    for step in (1, 2):
        Checkpoints(tmp_path).save(step, *new(), {"step": step})
        cut(tmp_path / f"step-{step:012d}" / name, 10)
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole \(step-000000000002: .*start again without --resume"):
        Checkpoints(tmp_path).restore(*new())


def test_a_damaged_checkpoint_gives_way_to_the_steps_taken_again(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20):
        checkpoints.save(step, *new(), {"step": step})
    cut(tmp_path / "step-000000000020" / "optimizer.pt", 10)
    checkpoints.save(15, *new(), {"step": 15})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000000010", "step-000000000015"]


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    Checkpoints(tmp_path).save(1, *new(), {"step": 1})
    with pytest.raises(CheckpointError, match="is of another model"):
        Checkpoints(tmp_path).restore(*new(width=4))


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="step 3 could not be written"):
        Checkpoints(tmp_path / "checkpoints").save(3, *new(), {})
