"""Masked-language continuation on a small corpus: what is masked, that the loss falls, and that a stopped run goes on exactly."""

import json
import os
import signal

import numpy as np
import pytest
import safetensors.torch
import tokenizers
import torch
import transformers

from pretrain import shards
from pretrain.batching import IGNORED, Cursor
from pretrain.checkpoints import CheckpointError
from pretrain.held_out import HeldOut
from pretrain.masked_language import MASKED, MaskedLanguage, WordMasking, load_masked
from pretrain.models import encoders
from pretrain.models.heads import TokenTagger
from pretrain.pretraining import DEV, TRAIN, PretrainingError, continue_masked, history
from pretrain.shards import Shard
from pretrain.span_corruption import rng
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget, Interrupted, Settings

DRUGS = ("lisinopril", "metformin", "furosemide", "warfarin")
TEXTS = [
    f"DISCHARGE SUMMARY\n\nShe takes {DRUGS[n % 4]} {n % 9}0 mg daily. See cardiology in {n % 5} weeks; recheck INR.\n" * 2
    for n in range(60)
]
IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id"), 0)
KINDS = {"bert": {}, "roberta": {"pad_token_id": 0}, "modernbert": IDS}


def made() -> Tokenizer:
    model = tokenizers.BertWordPieceTokenizer()
    model.train_from_iterator(TEXTS, 200, limit_alphabet=60, show_progress=False)
    model.post_processor = tokenizers.processors.BertProcessing(*((name, model.token_to_id(name)) for name in ("[SEP]", "[CLS]")))
    return Tokenizer(model._tokenizer)


TOKENIZER = made()


def shard_of(texts) -> Shard:
    ids = [TOKENIZER.encode(text).ids.astype(np.uint16) for text in texts]
    offsets = np.cumsum([0, *map(len, ids)]).astype(np.int64)
    tokens = np.concatenate([np.empty(0, np.uint16), *ids])
    return Shard(tokens=tokens, offsets=offsets, vocab_size=TOKENIZER.vocab_size, source="", sha256=str(len(tokens)))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def save_encoder(folder, kind="bert", head=False, seed=0):
    """A tiny encoder as it is given away: without the output it was pretrained with, or with it."""
    family = encoders.FAMILIES[kind]
    config = getattr(transformers, family.config)(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=32,
        vocab_size=TOKENIZER.vocab_size,
        **KINDS[kind],
    )
    torch.manual_seed(seed)
    model = getattr(transformers, family.masked)._from_config(config)
    (model if head else model.base_model).save_pretrained(folder)
    return folder


def go_on(tmp_path, steps, name="out", encoder=None, texts=TEXTS, on_step=lambda report: None, **change):
    encoder = encoder or save_encoder(tmp_path / "encoder")
    folder = tmp_path / name
    for place, some in ((TRAIN, texts), (DEV, TEXTS[:8])):
        shards.write(folder / place, [TOKENIZER.encode(text).ids for text in some], TOKENIZER.vocab_size)
    return continue_masked(
        TOKENIZER,
        encoder,
        folder,
        Budget(steps=steps),
        on_step,
        batch_tokens=256,
        settings=Settings(learning_rate=4e-2, save_every_s=1e9),
        **change,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_and_a_tagger_begins_from_what_was_learned(kind, tmp_path):
    encoder = save_encoder(tmp_path / "encoder", kind)
    untaught = load_masked(encoder)
    before = HeldOut(shard_of(TEXTS), TOKENIZER, untaught.config, 512, 4, MaskedLanguage).loss(untaught, 4).mean
    result = go_on(tmp_path, 100, encoder=encoder)
    assert result.dev_loss < before - 1
    assert result.size == kind
    assert [line["step"] for line in history(result.folder)] == list(range(1, 101))
    taught = load_masked(result.folder).base_model.state_dict()
    tagger = TokenTagger.from_pretrained(result.folder, 7).encoder.state_dict()
    assert tagger.keys() == taught.keys() - {"pooler.dense.weight", "pooler.dense.bias"}
    assert all(torch.equal(tagger[name], taught[name]) for name in tagger)
    assert not torch.equal(next(TokenTagger.from_pretrained(encoder, 7).encoder.parameters()), next(iter(tagger.values())))


def test_what_was_written_is_read_by_transformers_and_holds_nothing_twice(tmp_path):
    result = go_on(tmp_path, 2)
    model = transformers.BertForMaskedLM.from_pretrained(result.folder)
    names = safetensors.torch.load_file(result.folder / "model.safetensors").keys()
    assert "cls.predictions.decoder.weight" not in names
    again = load_masked(result.folder, seed=9).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    assert json.loads((result.folder / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]


def test_an_output_that_the_folder_has_is_kept_and_a_missing_one_begins_by_the_seed(tmp_path):
    save_encoder(tmp_path / "whole", head=True)
    name = "cls.predictions.transform.dense.weight"
    kept = safetensors.torch.load_file(tmp_path / "whole" / "model.safetensors")[name]
    assert torch.equal(load_masked(tmp_path / "whole", 1).state_dict()[name], kept)
    bare = save_encoder(tmp_path / "bare")
    one, again, other = (load_masked(bare, seed).state_dict()[name] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_fresh_output_begins_with_how_frequent_each_token_is_and_one_that_was_there_does_not(tmp_path):
    tokens = shard_of(TEXTS).tokens
    bias = load_masked(save_encoder(tmp_path / "bare"), 0, tokens).get_output_embeddings().bias
    counts = np.bincount(tokens, minlength=len(bias)) + 1
    assert torch.allclose(bias.softmax(-1), torch.from_numpy(counts / counts.sum()).float())
    assert not load_masked(save_encoder(tmp_path / "whole", head=True), 0, tokens).get_output_embeddings().bias.any()


def test_a_stopped_run_resumed_gives_the_weights_of_one_in_one_go(tmp_path):
    whole = go_on(tmp_path, 12, "whole")

    def stop(report):
        if report.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        go_on(tmp_path, 12, on_step=stop)
    resumed = go_on(tmp_path, 12, resume=True)
    weights = [(result.folder / "model.safetensors").read_bytes() for result in (whole, resumed)]
    assert weights[0] == weights[1]
    assert history(whole.folder)[-1]["loss"] == history(resumed.folder)[-1]["loss"]


def test_a_run_is_not_resumed_with_another_encoder_or_text(tmp_path):
    go_on(tmp_path, 2)
    with pytest.raises(CheckpointError, match="another training"):
        go_on(tmp_path, 4, resume=True, encoder=save_encoder(tmp_path / "other", seed=5))
    with pytest.raises(CheckpointError, match="another training"):
        go_on(tmp_path, 4, resume=True, texts=TEXTS[:50])


def test_a_folder_that_is_no_such_encoder_or_has_another_vocabulary_is_refused(tmp_path):
    (tmp_path / "t5").mkdir()
    transformers.T5Config(d_model=8, num_layers=1, vocab_size=TOKENIZER.vocab_size).save_pretrained(tmp_path / "t5")
    safetensors.torch.save_file({}, tmp_path / "t5" / "model.safetensors")
    with pytest.raises(PretrainingError, match="span corruption"):
        go_on(tmp_path, 1, encoder=tmp_path / "t5")
    with pytest.raises(PretrainingError, match=r"config\.json cannot be read"):
        go_on(tmp_path, 1, encoder=tmp_path)
    small = save_encoder(tmp_path / "small")
    settings = json.loads((small / "config.json").read_text()) | {"vocab_size": 50}
    model = transformers.BertModel._from_config(transformers.BertConfig.from_dict(settings))
    model.save_pretrained(small)
    with pytest.raises(PretrainingError, match="the encoder 50; give the encoder's own"):
        go_on(tmp_path, 1, encoder=small)
    with pytest.raises(PretrainingError, match="give more text"):
        go_on(tmp_path, 1, encoder=small, texts=[])
    assert not (tmp_path / "out" / "config.json").exists()


def test_noise_is_of_whole_words_as_often_as_bert_has_it_and_keyed_by_document_and_window_alone():
    noise = WordMasking(TOKENIZER)
    tokens = TOKENIZER.encode(TEXTS[3] * 200).ids.astype(np.int64)
    noisy, masked = noise(tokens, rng(0, 0, 1))
    assert masked.mean() == pytest.approx(MASKED, abs=0.001)
    word = np.cumsum(TOKENIZER.opens_word[tokens])
    assert np.array_equal(np.unique(word[masked]), np.setdiff1d(word, word[~masked]))
    assert np.array_equal(noisy[~masked], tokens[~masked])
    shares = [(noisy[masked] == TOKENIZER.mask_id).mean(), (noisy[masked] == tokens[masked]).mean()]
    # Of some 1,800 masked tokens: three standard deviations are 0.03. A random token is now and then the right one.
    assert shares == pytest.approx([0.8, 0.1], abs=0.03)
    again, _ = noise(tokens, rng(0, 0, 1))
    other, _ = noise(tokens, rng(0, 0, 2))
    assert np.array_equal(noisy, again)
    assert not np.array_equal(noisy, other)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_short_text_still_has_something_to_guess(length):
    tokens = TOKENIZER.encode(TEXTS[0]).ids[:length].astype(np.int64)
    for epoch in range(20):
        assert WordMasking(TOKENIZER)(tokens, rng(0, epoch, 0))[1].any()


def test_every_token_is_read_once_an_epoch_within_its_frame_and_the_models_positions(tmp_path):
    shard = shard_of([*TEXTS, TEXTS[0] * 20])
    config = encoders.read_config(save_encoder(tmp_path))
    objective = MaskedLanguage(shard, TOKENIZER, config, 256, 0)
    cursor, read, batches = Cursor(), [], 0
    while cursor.epoch == 0:
        batch, cursor = objective.take(cursor)
        assert batch.input_ids.shape[1] <= 32
        assert batch.input_ids.size <= 256
        for ids, mask, labels in zip(batch.input_ids, batch.attention_mask, batch.labels, strict=True):
            length = mask.sum()
            assert (ids[0], ids[length - 1]) == (TOKENIZER.prefix_ids[0], TOKENIZER.eos_id)
            assert (labels[[0, length - 1]] == IGNORED).all()
            assert (labels[length:] == IGNORED).all()
            read += np.where(labels == IGNORED, ids, labels)[1 : length - 1].tolist()
        batches += 1
    assert sorted(read) == sorted(shard.tokens.tolist())
    assert batches < len(shard)
    tokens, flops = objective.cost(batch)
    assert tokens == batch.attention_mask.sum()
    assert flops > encoders.encoder_flops(config, batch.attention_mask.sum(1))
