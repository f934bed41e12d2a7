import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import T5Config, T5ForConditionalGeneration

from pretrain.models.heads import TokenTagger, pool
from pretrain.tasks import clip
from pretrain.text import Span

SMALL = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 384,
    "feed_forward_proj": "gated-gelu",
}


def config(**change):
    return T5Config(**{**SMALL, "decoder_start_token_id": 0, **change})


@pytest.fixture
def tagger():
    torch.manual_seed(0)
    return TokenTagger(config(), 7).eval()


@pytest.fixture
def pretrained(tmp_path):
    torch.manual_seed(1)
    model = T5ForConditionalGeneration._from_config(config(dropout_rate=0.0), attn_implementation="eager")
    # As pretraining has it: an output matrix of its own, which the encoder must not take for its embedding.
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.config.save_pretrained(tmp_path)
    safetensors.torch.save_file(
        {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("embed_tokens.weight")},
        tmp_path / "model.safetensors",
    )
    return model.eval(), tmp_path


def test_every_position_gets_a_logit_per_channel_whatever_the_padding(tagger):
    ids = torch.randint(2, 384, (2, 9))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        alone = tagger(ids, mask)
        padded = tagger(torch.nn.functional.pad(ids, (0, 5)), torch.nn.functional.pad(mask, (0, 5)))
    assert alone.shape == (2, 9, 7)
    torch.testing.assert_close(padded[:, :9], alone, rtol=1e-4, atol=1e-4)


def test_the_encoder_of_a_pretrained_model_is_taken_over_exactly_and_silently(pretrained, capfd):
    model, folder = pretrained
    tagger = TokenTagger.from_pretrained(folder, 7).eval()
    ids = torch.randint(2, 384, (2, 9))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        expected = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        assert torch.equal(tagger.encoder(input_ids=ids, attention_mask=mask).last_hidden_state, expected)
    assert tagger.config.dropout_rate == 0.1
    assert tagger.config._attn_implementation == "eager"
    assert capfd.readouterr() == ("", "")


def test_a_tagger_comes_back_from_its_files(tagger, tmp_path):
    for name, content in tagger.files().items():
        (tmp_path / name).write_bytes(content)
    again = TokenTagger.load(tmp_path)
    ids = torch.randint(2, 384, (1, 9))
    with torch.no_grad():
        assert torch.equal(again(ids, torch.ones_like(ids)), tagger(ids, torch.ones_like(ids)))
    assert again.files() == tagger.files()


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
def test_a_folder_that_holds_no_such_model_is_named(pretrained, broken):
    _, folder = pretrained
    (folder / broken).write_bytes(b"{")
    with pytest.raises(ValueError, match=f"{broken}.*train again"):
        TokenTagger.from_pretrained(folder, 7)


def test_a_checkpoint_that_lacks_a_weight_is_refused_not_filled_with_chance(pretrained):
    _, folder = pretrained
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match="does not hold this model"):
        TokenTagger.from_pretrained(folder, 7)


def test_pooling_in_torch_equals_pooling_at_the_bedside():
    rng = np.random.default_rng(0)
    owners = (np.array([-1, 0, 0, 0, 2, -1]), np.array([2, 2, 3, -1]))
    encoded = clip.EncodedNote(
        (Span(0, 1), Span(1, 2), Span(2, 3), Span(3, 4)), tuple(o.astype(np.int64) for o in owners), owners
    )
    logits = rng.normal(size=(2, 6, len(clip.LABELS))).astype(np.float32)
    owner_BT = np.array([[*owners[0]], [*owners[1], -1, -1]])
    pooled = pool(torch.from_numpy(logits), torch.from_numpy(owner_BT), 4).numpy()
    expected = clip.sentence_logits(encoded, list(logits))
    np.testing.assert_allclose(pooled[[0, 2, 3]], expected[[0, 2, 3]], rtol=1e-6, atol=1e-6)
    assert (pooled[1] == 0).all()


def test_pooling_sends_its_gradient_to_the_sentences_own_tokens_only():
    logits = torch.zeros(1, 4, 2, requires_grad=True)
    pool(logits, torch.tensor([[-1, 0, 0, -1]]), 1).sum().backward()
    assert logits.grad[0].tolist() == [[0, 0], [0.5, 0.5], [0.5, 0.5], [0, 0]]
