"""A local model that is asked: alone as beside others, where its prompt ends, and never from anywhere but its folder."""

import json
from dataclasses import replace

import pytest
import torch
import transformers

from pretrain.experiments.in_context import MEDNLI, measure
from pretrain.experiments.local_model import LocalModel
from pretrain.models.systems import system_named, tiny
from pretrain.tasks.mednli import Pair

pytestmark = pytest.mark.usefixtures("one_thread")


PROMPTS = ["Is there an effusion?", "She ate well. See cardiology in two weeks. " * 3, "Lab"]


@pytest.fixture(params=["GPT-3", "Flan-T5-XXL"])
def folder(request, tmp_path, notes):
    tiny(system_named(request.param), tmp_path, [*PROMPTS, *(note.text for note in notes)], positions=160)
    return tmp_path


def test_a_prompt_is_answered_alike_alone_and_beside_others_and_again(folder):
    model = LocalModel(folder)
    together = model(PROMPTS, 8)
    assert together == [model([prompt], 8)[0] for prompt in PROMPTS] == LocalModel(folder, batch=1)(PROMPTS, 8)
    assert all(isinstance(answer, str) for answer in together)


def test_a_causal_model_goes_on_where_the_prompt_ends(tmp_path, notes):
    """What closes a text, put behind the prompt by its tokenizer, would tell it that there is nothing to go on with."""
    tiny(system_named("GPT-3"), tmp_path, [note.text for note in notes])
    model = LocalModel(tmp_path)
    ids = model._encoded("She ate well.")
    assert (ids[0], 2 in ids) == (0, False)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, local_files_only=True).eval()
    expected = list(ids)
    for _ in range(5):
        with torch.no_grad():
            expected.append(int(theirs(torch.tensor([expected])).logits[0, -1].argmax()))
    assert model(["She ate well."], 5) == [model._text(expected[len(ids) :])]


def test_a_prompt_longer_than_a_model_can_read_is_not_cut_but_left_unanswered(tmp_path, notes):
    tiny(system_named("GPT-3"), tmp_path, [note.text for note in notes], positions=40)
    long = "She ate well. " * 40
    answers = LocalModel(tmp_path)([long, "She ate well."], 8)
    assert answers[0] is None
    assert isinstance(answers[1], str)


def test_a_chat_models_own_template_goes_around_a_prompt(tmp_path, notes):
    tiny(system_named("GPT-3"), tmp_path, [note.text for note in notes])
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}She ate well. {{ m['content'] }}{% endfor %}")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    model = LocalModel(tmp_path)
    assert model._tokenizer.decode(model._encoded("Recheck the INR.")) == "She ate well. Recheck the INR."


def test_a_llama_in_the_layout_of_transformers_is_prompted_too(tmp_path, notes):
    tiny(system_named("GPT-3"), tmp_path, [note.text for note in notes])
    size = json.loads((tmp_path / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, pad_token_id=1
    )
    transformers.LlamaForCausalLM._from_config(config).save_pretrained(tmp_path)
    pairs = [Pair("p", "He denies chest pain.", "He has no pain.", "neutral", "g")]
    result = measure(LocalModel(tmp_path), replace(MEDNLI, answer_tokens=4), pairs, pairs)
    assert 0 <= result["accuracy"] <= 1


def test_a_folder_without_a_model_to_prompt_is_refused(tmp_path, notes):
    with pytest.raises(ValueError, match="holds no causal or encoder-decoder model to prompt"):
        LocalModel(tmp_path)
    tiny(system_named("GatorTron"), tmp_path, [note.text for note in notes])
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no causal"):
        LocalModel(tmp_path)
