"""Pretraining end to end on a small synthetic corpus: the loss falls, and a stopped run goes on as if it had not been."""

import math
import os
import signal
import time

import pytest
import torch
from transformers import T5ForConditionalGeneration

from pretrain import tokenizer as tokenizers
from pretrain.checkpoints import CheckpointError
from pretrain.corpus import Document
from pretrain.pretraining import PretrainingError, history, pretrain
from pretrain.trainer import Budget, Interrupted

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


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(tokenizer, folder, steps, **options):
    return pretrain(CORPUS[:50], CORPUS[50:], tokenizer, "mini", folder, Budget(steps=steps), batch_tokens=512, **options)


@pytest.fixture(scope="module")
def thirty(tokenizer, tmp_path_factory):
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
    rate = "tokens_per_s"
    lines = [[{k: v for k, v in line.items() if k != rate} for line in history(folder)] for folder in (thirty.folder, tmp_path)]
    assert lines[0] == lines[1]


def test_another_text_or_seed_is_not_resumed(tokenizer, tmp_path):
    run(tokenizer, tmp_path, 1)
    with pytest.raises(CheckpointError, match="another training"):
        run(tokenizer, tmp_path, 2, resume=True, seed=1)
    with pytest.raises(CheckpointError, match="another training"):
        pretrain(CORPUS[:40], [], tokenizer, "mini", tmp_path, Budget(steps=2), resume=True, batch_tokens=512)


def test_seconds_are_kept(tokenizer, tmp_path):
    begin = time.monotonic()
    result = pretrain(CORPUS, [], tokenizer, "mini", tmp_path, Budget(seconds=1.5), batch_tokens=512)
    assert result.dev_loss is None
    assert result.steps > 1
    assert time.monotonic() - begin < 15


def test_nothing_to_learn_from_is_a_clear_error(tokenizer, tmp_path):
    with pytest.raises(PretrainingError, match="0 documents hold no token"):
        pretrain([], CORPUS, tokenizer, "mini", tmp_path, Budget(steps=1))
