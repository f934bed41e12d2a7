"""The loss is transformers', and so are fifty steps of it."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain import shards, trainer
from pretrain import tokenizer as tokenizers
from pretrain.batching import Batch, CorruptedBatches, Cursor
from pretrain.models import t5_on_cpu
from pretrain.models.families import new_t5
from pretrain.objective import SpanCorruption, target_states, total_loss
from pretrain.trainer import Budget, Settings, train


@pytest.fixture(scope="module")
def tokenizer():
    words = [f"{stem}{number}" for stem in ("lisinopril", "metformin", "effusion", "INR") for number in range(40)]
    return tokenizers.train([" ".join(words[n::7]) for n in range(7)] * 3, 512)


@pytest.fixture(scope="module")
def shard(tokenizer, tmp_path_factory):
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(4, 0.8, 120), 3, 400).astype(int)
    documents = [random.zipf(1.5, length).clip(2, tokenizer.vocab_size - 101).astype(np.int32) for length in lengths]
    return shards.write(tmp_path_factory.mktemp("objective") / "shard", documents, tokenizer.vocab_size)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plain_loss(model, batch: Batch) -> torch.Tensor:
    """As a script of transformers' would have it."""
    arrays = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "labels": batch.labels}
    return model(**{name: torch.from_numpy(array) for name, array in arrays.items()}).loss


def test_loss_and_gradients_are_transformers(shard, tokenizer):
    model = new_t5("mini", tokenizer.vocab_size, seed=1)
    objective = SpanCorruption(shard, tokenizer, model.config, 1024, seed=0)
    assert t5_on_cpu.fits(model)
    for batch in objective.first(3):
        found = []
        for loss_of in (objective.loss, plain_loss):
            model.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            found.append((loss.item(), [parameter.grad.clone() for parameter in model.parameters()]))
        (ours, our_gradients), (theirs, their_gradients) = found
        assert ours == pytest.approx(theirs, rel=1e-6)
        for ours, theirs in zip(our_gradients, their_gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_model_of_another_kind_is_computed_by_its_library(shard, tokenizer):
    model = new_t5("mini", tokenizer.vocab_size, seed=1).eval()
    objective = SpanCorruption(shard, tokenizer, model.config, 1024, seed=0)
    (batch,) = objective.first(1)
    expected = objective.loss(model, batch).item()
    model.config.dropout_rate = 0.1  # in eval mode it drops nothing, but it is not what t5_on_cpu was written for
    assert not t5_on_cpu.fits(model)
    assert objective.loss(model, batch).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("attention", ["on the CPU's own", "eager", "sdpa"])
def test_texts_packed_into_one_row_do_not_see_each_other(shard, tokenizer, attention):
    model = new_t5("mini", tokenizer.vocab_size, seed=1).eval()
    for parameter in model.parameters():
        parameter.data *= 3  # attention is sharp, so that a glance at another text would show
    if attention in ("eager", "sdpa"):
        model.config.dropout_rate = 0.1  # not what t5_on_cpu was written for
        model.set_attn_implementation(attention)
    apart, together = (CorruptedBatches(shard, 128, 512, tokenizer.sentinel_id(0), 0, packed=packed) for packed in (False, True))
    with torch.inference_mode():
        losses = [sum(total_loss(model, batch).item() for batch in batches.one_epoch()) for batches in (apart, together)]
        assert max(batch.pieces[0].max() for batch in together.one_epoch()) >= 3
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_logits_of_packed_texts_are_those_of_each_alone(shard, tokenizer):
    model = new_t5("mini", tokenizer.vocab_size, seed=1).eval()
    (batch,) = CorruptedBatches(shard, 128, 256, tokenizer.sentinel_id(0), 0, packed=True).first(1)
    with torch.inference_mode():
        logits = model.lm_head(target_states(model, batch))
        sources, targets = batch.pieces
        for row, piece in {(row, piece) for row, pieces in enumerate(sources) for piece in pieces if piece}:
            ids, begun = batch.input_ids[row][sources[row] == piece], batch.begun[row][targets[row] == piece]
            alone = model(input_ids=torch.from_numpy(ids)[None], decoder_input_ids=torch.from_numpy(begun)[None]).logits[0]
            torch.testing.assert_close(logits[row][torch.from_numpy(targets[row] == piece)], alone, rtol=1e-5, atol=1e-5)


def test_bfloat16_moves_the_loss_by_little(shard, tokenizer):
    model = new_t5("mini", tokenizer.vocab_size, seed=1)
    objective = SpanCorruption(shard, tokenizer, model.config, 1024, seed=0)
    (batch,) = objective.first(1)
    exact = objective.loss(model, batch).item()
    with torch.autocast("cpu", torch.bfloat16):
        assert objective.loss(model, batch).item() == pytest.approx(exact, rel=2e-3)


def test_fifty_steps_are_those_of_a_plain_loop(shard, tokenizer, monkeypatch):
    steps, settings = 50, Settings(learning_rate=1e-2)
    monkeypatch.setattr(trainer, "computes_bf16", lambda device: False)
    model = new_t5("mini", tokenizer.vocab_size, seed=1)
    objective = SpanCorruption(shard, tokenizer, model.config, 512, seed=0)
    ours = []
    train(model, objective, Budget(steps=steps), settings, on_step=lambda report: ours.append(report.batch_loss))

    model = new_t5("mini", tokenizer.vocab_size, seed=1)
    batches, theirs = _cycled(objective, steps), []
    moments = {parameter: (torch.zeros_like(parameter), torch.zeros_like(parameter)) for parameter in model.parameters()}
    for step, batch in enumerate(batches):
        model.zero_grad()
        loss = plain_loss(model, batch)
        loss.backward()
        theirs.append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for parameter, (first, second) in moments.items():
            _adamw(parameter, first, second, _rate(step / steps), step + 1)
    assert theirs[-1] < theirs[0] - 1
    assert max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True)) < 1e-5


def _cycled(objective: SpanCorruption, steps: int) -> list[Batch]:
    batches, cursor = [], Cursor()
    for _ in range(steps):
        batch, cursor = objective.take(cursor)
        batches.append(batch)
    return batches


def _rate(progress: float) -> float:
    """5 % linear warm-up to 1e-2, then a cosine to 2 % of it."""
    if progress < 0.05:
        return 1e-2 * max(progress / 0.05, 0.01)
    return 1e-2 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - 0.05) / 0.95)))


@torch.no_grad()
def _adamw(parameter, first, second, rate, step):
    first.lerp_(parameter.grad, 1 - 0.9)
    second.lerp_(parameter.grad.square(), 1 - 0.98)
    scaled = rate * max(parameter.square().mean().sqrt().item(), 1e-3)
    parameter -= scaled * (first / (1 - 0.9**step)) / ((second / (1 - 0.98**step)).sqrt() + 1e-8)


def test_the_benchmark_says_where_there_is_no_gpu():
    benchmark = Path(__file__).parents[2] / "benchmarks" / "pretraining.py"
    command = [sys.executable, str(benchmark), "--device", "cuda", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    line = json.loads(said.stdout)
    assert (line["value"], line["note"]) == (None, "there is no GPU here")
