"""Pretraining end to end on a small synthetic corpus: the loss falls, and a stopped run goes on as if it had not been."""

import json
import math
import os
import signal
import time

import pytest
import torch
from tokenizers.models import Unigram
from tokenizers.processors import TemplateProcessing
from transformers import T5Config, T5ForConditionalGeneration

from pretrain import tokenizer as tokenizers
from pretrain.checkpoints import CheckpointError
from pretrain.corpus import Document
from pretrain.pretraining import PretrainingError, history
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget, Interrupted, Settings
from tests.on_shards import pretrain_on

DRUGS = ("lisinopril", "metformin", "furosemide", "warfarin")
CORPUS = [
    Document(
        f"d{n}",
        f"DISCHARGE SUMMARY\n\nShe takes {DRUGS[n % 4]} {n % 9}0 mg daily. See cardiology in {n % 5} weeks; recheck INR.\n" * 2,
        f"g{n}",
    )
    for n in range(60)
]


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train([document.text for document in CORPUS], 512)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # Of the whole file: sums on two threads have other last bits than on one, and `thirty` is made before any test begins.
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


def run(tokenizer, folder, steps, **options):
    return pretrain_on(CORPUS[:50], CORPUS[50:], tokenizer, "mini", folder, Budget(steps=steps), batch_tokens=512, **options)


@pytest.fixture(scope="module")
def thirty(one_thread, tokenizer, tmp_path_factory):
    return run(tokenizer, tmp_path_factory.mktemp("thirty"), 30)


def test_thirty_steps_lower_the_loss(thirty, tokenizer):
    losses = [line["loss"] for line in history(thirty.folder)]
    assert len(losses) == thirty.steps == 30
    # A uniform guess over the vocabulary costs its logarithm.
    assert sum(losses[:3]) / 3 > math.log(tokenizer.vocab_size) - 1
    assert sum(losses[-5:]) / 5 < 0.8 * sum(losses[:3]) / 3
    assert thirty.dev_loss < 0.8 * losses[0]


def test_the_result_counts_tokens_and_operations(thirty):
    assert thirty.tokens == history(thirty.folder)[-1]["tokens"] > 30 * 100
    assert thirty.flops_6pt == 6 * thirty.parameters * thirty.tokens
    # Each token passes only part of an encoder-decoder.
    assert 0.2 < thirty.flops / thirty.flops_6pt < 1


def test_every_line_of_the_history_says_how_fast_by_both_counts_and_against_what(thirty):
    for line in history(thirty.folder):
        # The rule of thumb counts whole parameters for every token, of which an encoder-decoder uses a part.
        assert 0 < line["flops_per_s"] < line["flops_6pt_per_s"]
        assert line["flops_6pt_per_s"] == pytest.approx(6 * thirty.parameters * line["tokens_per_s"], rel=0.01)
        assert 0 < line["mfu"] < 1
    assert thirty.mfu == pytest.approx(sum(line["mfu"] for line in history(thirty.folder)) / 30, rel=0.9)
    assert thirty.mfu_against.startswith("1 x cpu, ")
    assert thirty.mfu_against.endswith("product measured here")


def test_transformers_reads_the_model(thirty, tokenizer):
    model = T5ForConditionalGeneration.from_pretrained(thirty.folder, local_files_only=True)
    assert model.config.vocab_size == tokenizer.vocab_size
    assert not torch.equal(model.lm_head.weight, model.shared.weight)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(thirty, tokenizer, tmp_path):
    def stop(report) -> None:
        if report.step == 12:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run(tokenizer, tmp_path, 30, on_step=stop)
    resumed = run(tokenizer, tmp_path, 30, resume=True)
    whole, parted = ((folder / "model.safetensors").read_bytes() for folder in (thirty.folder, tmp_path))
    assert whole == parted
    assert resumed.dev_loss == thirty.dev_loss
    assert resumed.tokens == thirty.tokens
    timed = {"tokens_per_s", "flops_per_s", "flops_6pt_per_s", "mfu"}
    folders = thirty.folder, tmp_path
    lines = [[{k: v for k, v in line.items() if k not in timed} for line in history(folder)] for folder in folders]
    assert lines[0] == lines[1]


def test_another_text_or_seed_is_not_resumed(tokenizer, tmp_path):
    run(tokenizer, tmp_path, 1)
    with pytest.raises(CheckpointError, match="another training"):
        run(tokenizer, tmp_path, 2, resume=True, seed=1)
    with pytest.raises(CheckpointError, match="another training"):
        pretrain_on(CORPUS[:40], [], tokenizer, "mini", tmp_path, Budget(steps=2), resume=True, batch_tokens=512)


def test_seconds_are_kept(tokenizer, tmp_path):
    begin = time.monotonic()
    result = pretrain_on(CORPUS, [], tokenizer, "mini", tmp_path, Budget(seconds=1.5), batch_tokens=512)
    assert result.dev_loss is None
    assert result.steps > 1
    assert time.monotonic() - begin < 15


def test_nothing_to_learn_from_is_a_clear_error(tokenizer, tmp_path):
    with pytest.raises(PretrainingError, match="no document holds a token"):
        pretrain_on([], CORPUS, tokenizer, "mini", tmp_path, Budget(steps=1))


def others_t5(folder, tied: bool) -> Tokenizer:
    """A folder as others publish a T5: sentinels are added tokens, and the embedding has rows behind them."""
    own = tokenizers.train([document.text for document in CORPUS], 384)
    pieces = [piece for piece in json.loads(own._model.to_str())["model"]["vocab"] if "<" not in piece[0]]
    unigram = Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *map(tuple, pieces)], unk_id=2)
    made = tokenizers.tokenizers.Tokenizer(unigram)
    made.pre_tokenizer = tokenizers.tokenizers.pre_tokenizers.Metaspace()
    made.add_special_tokens(["<pad>", "</s>", "<unk>", *(f"<extra_id_{k}>" for k in reversed(range(100)))])
    made.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.save(str(folder / "tokenizer.json"))
    size = made.get_vocab_size() + 28
    torch.manual_seed(3)
    kind = "relu" if tied else "gated-gelu"
    config = T5Config(vocab_size=size, d_model=64, d_ff=128, d_kv=16, num_heads=4, num_layers=2, feed_forward_proj=kind)
    model = T5ForConditionalGeneration(config)
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(size, 64) / 8)
        model.config.scale_decoder_outputs = False
    model.save_pretrained(folder)
    return Tokenizer.load(folder / "tokenizer.json")


@pytest.mark.parametrize("tied", [True, False])
def test_anothers_t5_is_gone_on_from_at_its_own_loss_with_its_own_vocabulary(tied, tmp_path):
    theirs, ours, again = (tmp_path / name for name in ("theirs", "ours", "again"))
    theirs.mkdir()
    vocabulary = others_t5(theirs, tied)
    fast = Settings(learning_rate=2e-2)
    first = pretrain_on(
        CORPUS[:50], CORPUS[50:], vocabulary, "theirs", ours, Budget(steps=40), batch_tokens=512, settings=fast, begin_from=theirs
    )
    begun = history(ours)[0]["loss"]
    assert begun > math.log(vocabulary.vocab_size) - 1
    assert first.dev_loss < 0.7 * begun
    model = T5ForConditionalGeneration.from_pretrained(ours, local_files_only=True)
    assert torch.equal(model.lm_head.weight, model.shared.weight) == tied
    assert model.config.vocab_size == vocabulary.vocab_size + 28

    second = pretrain_on(CORPUS[:50], CORPUS[50:], vocabulary, "ours", again, Budget(steps=2), batch_tokens=512, begin_from=ours)
    assert history(again)[0]["loss"] == pytest.approx(first.dev_loss, abs=0.3)
    assert second.dev_loss == pytest.approx(first.dev_loss, abs=0.3)
    with pytest.raises(CheckpointError, match="another training"):
        pretrain_on(CORPUS[:50], [], vocabulary, "ours", again, Budget(steps=3), batch_tokens=512, begin_from=theirs, resume=True)


def test_a_vocabulary_of_another_model_is_refused(tokenizer, tmp_path):
    others_t5(tmp_path, tied=True)
    with pytest.raises(PretrainingError, match=r"give the tokenizer\.json that came with it"):
        pretrain_on(CORPUS, [], tokenizer, "theirs", tmp_path / "new", Budget(steps=1), begin_from=tmp_path)
    with pytest.raises(PretrainingError, match=r"config\.json cannot be read"):
        pretrain_on(CORPUS, [], tokenizer, "theirs", tmp_path / "new", Budget(steps=1), begin_from=tmp_path / "nothing")


def test_gpus_that_are_left_idle_are_told(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    said: list[str] = []
    run(tokenizer, tmp_path, 1, say=said.append)
    assert said == ["4 GPUs are here and 1 is used; start it with torchrun to use all"]
