"""Model rows: T5 v1.1 as the library must be told to build it."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, T5Config, T5ForConditionalGeneration

from pretrain.models.families import SIZES, attention, load_t5, new_t5, save_t5, t5_config


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.randint(3, 250, (2, 12), generator=generator),
        "labels": torch.randint(3, 250, (2, 5), generator=generator),
    }


def test_the_output_has_a_matrix_of_its_own_and_the_input_is_shared():
    model = new_t5("mini", 256, seed=0)
    assert model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()
    assert model.encoder.embed_tokens.weight is model.shared.weight
    assert model.decoder.embed_tokens.weight is model.shared.weight


def test_a_new_model_guesses_about_evenly(batch):
    loss = new_t5("mini", 256, seed=0)(**batch).loss.item()
    # Logits of unit variance cost about half a nat over the uniform guess.
    assert math.log(256) - 0.5 < loss < math.log(256) + 1.5


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (new_t5("mini", 256, seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert not torch.equal(one.shared.weight, other.shared.weight)


def test_building_a_model_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    new_t5("mini", 256, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_saved_model_is_read_back_here_and_by_transformers(tmp_path, batch):
    model = new_t5("mini", 256, seed=0).eval()
    save_t5(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    expected = model(**batch).logits
    assert torch.equal(load_t5(tmp_path).eval()(**batch).logits, expected)
    theirs = T5ForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager", local_files_only=True).eval()
    assert torch.equal(theirs(**batch).logits, expected)


def test_weights_of_another_model_are_refused(tmp_path):
    save_t5(new_t5("mini", 256, seed=0), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    for name in ("lm_head.weight", "shared.weight", "encoder.final_layer_norm.weight"):
        save_file({other: tensor for other, tensor in weights.items() if other != name}, path)
        with pytest.raises(ValueError, match="pretrain it again"):
            load_t5(tmp_path)
    save_file(weights | {"one.more": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="pretrain it again"):
        load_t5(tmp_path)


def others_t5(folder, *, tied: bool) -> T5ForConditionalGeneration:
    """A T5 as the library writes it: the original kind, or v1.1 with the config.json that is known of it."""
    torch.manual_seed(7)
    kind = "relu" if tied else "gated-gelu"
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=256, d_model=32, d_ff=64, d_kv=8, num_heads=4, num_layers=2, feed_forward_proj=kind)
    )
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(256, 32) / 6)
        model.config.scale_decoder_outputs = False
    model.save_pretrained(folder)
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    # As older versions wrote it, from which nearly all T5 in circulation come.
    del settings["scale_decoder_outputs"]
    path.write_text(json.dumps(settings | {"tie_word_embeddings": tied}))
    return model.eval()


@pytest.mark.parametrize("tied", [True, False])
def test_anothers_t5_is_read_with_the_output_it_has_and_without_dropout(tied, tmp_path, batch):
    expected = others_t5(tmp_path, tied=tied)(**batch | {"decoder_input_ids": batch["labels"]}).logits
    model = load_t5(tmp_path)
    assert (model.lm_head.weight is model.shared.weight) == tied
    assert model.encoder.embed_tokens.weight is model.shared.weight
    assert torch.allclose(model.train()(**batch | {"decoder_input_ids": batch["labels"]}).logits, expected, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_anothers_t5_once_saved_is_read_alike_here_and_by_transformers(tied, tmp_path, batch):
    others_t5(tmp_path, tied=tied)
    expected = load_t5(tmp_path)(**batch).loss
    (tmp_path / "saved").mkdir()
    save_t5(load_t5(tmp_path), tmp_path / "saved")
    assert torch.equal(load_t5(tmp_path / "saved")(**batch).loss, expected)
    theirs = T5ForConditionalGeneration.from_pretrained(tmp_path / "saved", attn_implementation="eager", local_files_only=True)
    assert torch.equal(theirs(**batch).loss, expected)
    assert ("lm_head.weight" in load_file(tmp_path / "saved" / "model.safetensors")) != tied


def test_a_pickled_t5_is_refused_and_the_way_out_is_told(tmp_path):
    t5_config("mini", 256).save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="from_pretrained and save_pretrained"):
        load_t5(tmp_path)


def test_a_bert_is_no_t5(tmp_path):
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="of a bert model; give a T5"):
        load_t5(tmp_path)


def test_base_and_large_have_the_parameters_of_t5_v1_1():
    # google/t5-v1_1-base and -large: 247,577,856 and 783,150,080 with a vocabulary of 32,128.
    for size, count in (("base", 247_577_856), ("large", 783_150_080)):
        with torch.device("meta"):
            model = T5ForConditionalGeneration(t5_config(size, 32_128))
        untied = sum(parameter.numel() for parameter in model.parameters()) + 32_128 * SIZES[size].d_model
        assert untied == count


def test_a_cpu_attends_eagerly():
    assert attention("cpu") == "eager"
    assert new_t5("mini", 256, seed=0).config._attn_implementation == "eager"


def test_an_unknown_size_names_the_known_ones():
    with pytest.raises(ValueError, match="mini, small, base, large"):
        new_t5("huge", 256, seed=0)
