"""What a training may go on from, and that it is told before the export is read what it may not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import tokenizers
from transformers import BertConfig, BertModel

from appliance.home import Home
from appliance.training import planning, starting_point, story
from appliance.training.request import Request, TrainingError
from pretrain.models.families import new_t5, save_t5
from pretrain.tokenizer import train
from tests.quiet_watch import Quiet

WORDS = [f"the patient takes {n} mg daily and returns in {n} weeks" for n in range(50)]
A_NEVER_READ_EXPORT = Path("/there/is/no/export")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.init()
    return home


@pytest.fixture
def t5(tmp_path: Path) -> Path:
    folder = tmp_path / "a-t5"
    folder.mkdir()
    vocabulary = train(WORDS, 256)
    vocabulary.save(folder / "tokenizer.json")
    save_t5(new_t5("mini", vocabulary.vocab_size, 0), folder)
    return folder


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    folder = tmp_path / "a-bert"
    vocabulary = tokenizers.BertWordPieceTokenizer()
    vocabulary.train_from_iterator(WORDS, 200, show_progress=False)
    frame = ((name, vocabulary.token_to_id(name)) for name in ("[SEP]", "[CLS]"))
    vocabulary.post_processor = tokenizers.processors.BertProcessing(*frame)
    size = vocabulary.get_vocab_size()
    config = BertConfig(vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(folder)
    vocabulary.save(str(folder / "tokenizer.json"))
    return folder


def asking(begin_from: Path | None) -> Request:
    return Request(A_NEVER_READ_EXPORT, None, "q", "mini", None, 1, begin_from=begin_from)


def test_a_model_with_its_own_vocabulary_can_be_gone_on_from(t5: Path, bert: Path) -> None:
    for folder, fills_spans in ((t5, True), (bert, False), (None, True)):
        starting_point.check(asking(folder))
        assert starting_point.is_t5(asking(folder)) == fills_spans


def test_it_is_told_before_the_export_is_read_and_anything_written(home: Home, tmp_path: Path) -> None:
    for begin in (lambda: story.train(home, asking(tmp_path), Quiet()), lambda: planning.plan(home, asking(tmp_path), Quiet())):
        with pytest.raises(TrainingError, match=f"{tmp_path} holds no model to go on from .*config.json, model.safetensors and"):
            begin()
    assert list(home.corpora.iterdir()) == []


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"model_type": "t5", "d_model": null}'])
def test_a_folder_with_something_else_holds_no_model(t5: Path, config: str) -> None:
    (t5 / "config.json").write_text(config)
    with pytest.raises(TrainingError, match=r"holds no model to go on from|a setting that no t5 has"):
        starting_point.check(asking(t5))


@pytest.mark.parametrize("missing", ["tokenizer.json", "model.safetensors"])
def test_what_is_missing_is_named_with_the_folder(t5: Path, bert: Path, missing: str) -> None:
    for folder in (t5, bert):
        (folder / missing).unlink()
        with pytest.raises(TrainingError, match=f"{folder} cannot be gone on from: .*{missing}.*In all, it needs"):
            starting_point.check(asking(folder))


def test_a_model_that_is_not_taught_here_is_refused(bert: Path) -> None:
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(TrainingError, match=r"that of a llama model; give an encoder of t5, bert"):
        starting_point.check(asking(bert))


def test_weights_of_another_model_are_refused(t5: Path, bert: Path) -> None:
    for folder in (t5, bert):
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        first_layer = {name: tensor for name, tensor in weights.items() if ".0." in name}
        safetensors.torch.save_file(first_layer, folder / "model.safetensors")
        with pytest.raises(TrainingError, match=f"{folder} cannot be gone on from: .*(weights are not|does not hold)"):
            starting_point.check(asking(folder))


def test_a_vocabulary_that_is_not_the_models_own_is_refused(t5: Path, bert: Path) -> None:
    (t5 / "tokenizer.json").rename(bert / "other.json")
    (bert / "tokenizer.json").rename(t5 / "tokenizer.json")
    (bert / "other.json").rename(bert / "tokenizer.json")
    with pytest.raises(TrainingError, match="no sentinels; span corruption needs that of a T5"):
        starting_point.check(asking(t5))
    with pytest.raises(TrainingError, match="no mask token"):
        starting_point.check(asking(bert))
    train(WORDS * 2, 2048).save(t5 / "tokenizer.json")
    grown = json.loads((t5 / "config.json").read_text())
    (t5 / "config.json").write_text(json.dumps(grown | {"eos_token_id": 5}))
    with pytest.raises(TrainingError, match=r"give the tokenizer\.json that came with it"):
        starting_point.check(asking(t5))


def test_a_vocabulary_that_no_shard_can_hold_is_refused(bert: Path) -> None:
    vocabulary = json.loads((bert / "tokenizer.json").read_text())
    pieces = vocabulary["model"]["vocab"]
    pieces |= {f"word{n}": len(pieces) + n for n in range(2**16)}
    (bert / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(TrainingError, match="does not fit 16-bit shards"):
        starting_point.check(replace(asking(bert), resume=True))
