"""A trial and its record: measured over all folds, written at once, read again, never half."""

import json

import pytest

from appliance.demo.published_layouts import write_all
from pretrain import splits
from pretrain.experiments import trials
from pretrain.models.systems import system_named, tiny


@pytest.fixture
def pairs(tmp_path):
    return write_all(tmp_path / "data", notes=2, pairs=15)["mednli"]


@pytest.fixture
def gatortron(tmp_path, pairs):
    folder = tmp_path / "GatorTron"
    tiny(system_named("GatorTron"), folder, (pairs / "mli_train_v1.jsonl").read_text().splitlines())
    return folder


def test_folds_are_measured_as_one(gatortron, pairs):
    labelled = splits.divided("mednli", pairs / "mli_train_v1.jsonl")
    told = []
    trial = trials.run(
        system_named("GatorTron"), gatortron, labelled, seed=0, effort=trials.TASTE, on_part=lambda *done: told.append(done)
    )
    assert trial.scores["n_pairs"] == len(labelled.test)
    assert told[0] == (0, len(labelled.splits))
    assert told[-1] == (len(labelled.splits), len(labelled.splits))


def test_a_share_learns_from_less_and_is_measured_on_the_same(gatortron, pairs):
    labelled = splits.divided("mednli", pairs)
    whole, part = (
        trials.run(system_named("GatorTron"), gatortron, labelled, seed=0, share=share, effort=trials.TASTE)
        for share in (1.0, 0.25)
    )
    assert part.learnt_from < whole.learnt_from
    assert part.scores["n_pairs"] == whole.scores["n_pairs"]
    assert (part.data, part.model) == (whole.data, whole.model)


def test_another_systems_folder_is_refused(gatortron, pairs):
    with pytest.raises(ValueError, match="holds a megatron-bert model, T5-Base is a t5"):
        trials.run(system_named("T5-Base"), gatortron, splits.divided("mednli", pairs), seed=0, effort=trials.TASTE)


def test_what_was_written_is_read_again_and_a_line_cut_short_takes_no_other_with_it(gatortron, pairs, tmp_path):
    path = tmp_path / "trials.jsonl"
    assert trials.written(path) == []
    trial = trials.run(system_named("GatorTron"), gatortron, splits.divided("mednli", pairs), seed=0, effort=trials.TASTE)
    trials.append(path, trial)
    with path.open("a") as file:
        file.write('{"system": "T5-Ba')  # the machine stopped here
    trials.append(path, trial)
    assert trials.written(path) == [trial, trial]
    # Nothing of any text is in it.
    assert "premise" not in path.read_text()


def test_a_model_that_was_changed_has_another_fingerprint_and_its_parameters_are_counted(gatortron):
    from safetensors.numpy import load_file

    before = trials.fingerprint(gatortron)
    weights = load_file(gatortron / "model.safetensors")
    assert trials.parameters_of(gatortron) == sum(tensor.size for tensor in weights.values())
    config = json.loads((gatortron / "config.json").read_text())
    (gatortron / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-6}))
    assert trials.fingerprint(gatortron) != before


def test_weights_that_cannot_be_read_say_which_and_what_to_do(gatortron, tmp_path):
    content = (gatortron / "model.safetensors").read_bytes()
    (gatortron / "model.safetensors").write_bytes(content[:20])
    with pytest.raises(ValueError, match=r"GatorTron: its weights cannot be read .* copy the folder again"):
        trials.parameters_of(gatortron)
    (gatortron / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"GatorTron: holds no model.safetensors; convert"):
        trials.parameters_of(gatortron)


def test_ctrl_c_leaves_no_half_trial(gatortron, pairs, monkeypatch):
    from pretrain.trainer import Interrupted

    def interrupted(*args, **settings):
        raise Interrupted("asked to stop")

    monkeypatch.setattr("pretrain.finetuning.learning.run_steps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trials.run(system_named("GatorTron"), gatortron, splits.divided("mednli", pairs), seed=0, effort=trials.TASTE)
