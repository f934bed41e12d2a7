"""The loss on held-out documents, by kind of note."""

import numpy as np
import pytest
import torch

from pretrain import shards
from pretrain import tokenizer as tokenizers
from pretrain.held_out import HeldOut
from pretrain.models.families import new_t5
from pretrain.objective import SpanCorruption

TEXTS = [f"She takes {drug} {n} mg daily and sees cardiology." for n in range(40) for drug in ("warfarin", "metformin")]


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train(TEXTS, 384)


@pytest.fixture(scope="module")
def model(tokenizer):
    return new_t5("mini", tokenizer.vocab_size, seed=0)


def shard(tokenizer, folder, kinds):
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    # Another kind speaks another language: its words backwards.
    ids = [text[::-1] if kinds and kinds[n] == "radiology_report" else text for n, text in enumerate(ids)]
    return shards.write(folder / "dev", ids, tokenizer.vocab_size, kinds=kinds)


def test_every_kind_has_a_loss_of_its_own_and_the_whole_is_theirs_by_share(tokenizer, model, tmp_path):
    kinds = ["radiology_report" if n % 8 == 0 else "discharge_summary" for n in range(len(TEXTS))]
    written = shard(tokenizer, tmp_path, kinds)
    found = HeldOut(written, tokenizer, model.config, 256, 8).loss(model, 8)
    assert set(found.by_kind) == {"radiology_report", "discharge_summary"}
    tokens = {kind: sum(len(written.document(int(n))) for n in numbers) for kind, numbers in written.by_kind().items()}
    assert tokens["radiology_report"] < tokens["discharge_summary"] / 5
    expected = sum(tokens[kind] * loss for kind, loss in found.by_kind.items()) / sum(tokens.values())
    assert found.mean == pytest.approx(expected)
    assert found.by_kind["radiology_report"] != found.by_kind["discharge_summary"]


def test_where_kinds_are_not_known_there_is_one_loss(tokenizer, model, tmp_path):
    found = HeldOut(shard(tokenizer, tmp_path, None), tokenizer, model.config, 256, 4).loss(model, 4)
    assert found.by_kind == {}
    # Random weights guess about evenly.
    assert abs(found.mean - np.log(tokenizer.vocab_size)) < 1.5


def test_the_loss_is_the_mean_over_tokens_and_not_over_batches(tokenizer, model, tmp_path):
    written = shard(tokenizer, tmp_path, None)
    everything = HeldOut(written, tokenizer, model.config, 1024, 100)
    objective = SpanCorruption(written, tokenizer, model.config, 1024, seed=0)
    batches = everything._kinds[0].batches
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        losses = [objective.loss(model, batch).item() for batch in batches]
    weights = [objective.weight(batch) for batch in batches]
    assert len(set(weights)) > 1
    assert everything.loss(model, 100).mean == pytest.approx(np.average(losses, weights=weights), rel=1e-2)


def test_a_look_on_the_way_takes_fewer_batches_and_is_the_same_every_time(tokenizer, model, tmp_path):
    held_out = HeldOut(shard(tokenizer, tmp_path, None), tokenizer, model.config, 256, 8)
    assert held_out.loss(model, 2) == held_out.loss(model, 2) != held_out.loss(model, 8)


def test_without_documents_there_is_nothing_to_look_at(tokenizer, model, tmp_path):
    empty = shards.write(tmp_path / "dev", [], tokenizer.vocab_size)
    assert not HeldOut(empty, tokenizer, model.config, 256, 8)
