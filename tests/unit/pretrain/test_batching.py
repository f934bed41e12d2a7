"""Batches: nothing lost, little padded, and the same order from any cursor on."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain import shards
from pretrain.batching import IGNORED, CorruptedBatches, Cursor
from pretrain.span_corruption import restore

FIRST_SENTINEL = 65_535


@pytest.fixture
def batches_of(tmp_path):
    """Batches of documents with the given lengths; no token occurs twice."""

    def build(lengths: list[int], window: int = 64, batch_tokens: int = 256, seed: int = 0, **layout: bool) -> CorruptedBatches:
        starts = np.cumsum([3, *lengths])
        documents = [np.arange(a, a + n, dtype=np.int32) for a, n in zip(starts, lengths, strict=False)]
        shard = shards.write(tmp_path / "shard", documents, 65_536)
        return CorruptedBatches(shard, window, batch_tokens, FIRST_SENTINEL, seed, **layout)

    return build


def raw_rows(batch):
    sources, targets = batch.pieces or (batch.attention_mask, (batch.labels != IGNORED).astype(int))
    for ids, labels, source, target in zip(batch.input_ids, batch.labels, sources, targets, strict=True):
        for piece in range(1, source.max() + 1):
            yield restore(ids[source == piece], labels[target == piece], FIRST_SENTINEL).tolist()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(0, 3), st.integers(1, 600), st.booleans())
def test_an_epoch_holds_every_token_once(batches_of, lengths, epoch, batch_tokens, packed):
    batches = batches_of(lengths, batch_tokens=batch_tokens, packed=packed)
    rows = [row for batch in batches.one_epoch(epoch) for row in raw_rows(batch)]
    assert sorted(token for row in rows for token in row) == list(range(3, 3 + sum(lengths)))
    assert all(row == list(range(row[0], row[0] + len(row))) for row in rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_a_batch_keeps_to_its_window_and_its_tokens(batches_of, lengths):
    for batch in batches_of(lengths).one_epoch():
        rows, width = batch.input_ids.shape
        assert width <= 64
        assert rows * width <= 256 + width / 2
        assert np.array_equal(batch.attention_mask.sum(axis=1), batch.encoder_lengths)
        assert 0 <= batch.labels.shape[1] - batch.decoder_lengths.max() < 4
        assert width % 16 == batch.labels.shape[1] % 4 == 0


def test_pieces_of_a_long_document_are_of_nearly_the_same_length(batches_of):
    # 64 positions hold 71 raw tokens; 150 would leave a scrap of 8.
    lengths = sorted(len(row) for batch in batches_of([150]).one_epoch() for row in raw_rows(batch))
    assert lengths == [50, 50, 50]


def test_little_is_padded(batches_of):
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(4, 1, 300), 5, 600).astype(int).tolist()
    batches = list(batches_of(lengths, batch_tokens=1024).one_epoch())
    real = sum(batch.attention_mask.sum() for batch in batches)
    assert real / sum(batch.attention_mask.size for batch in batches) > 0.85
    assert len({batch.input_ids.shape[1] for batch in batches}) <= 4


def test_any_cursor_takes_up_the_sequence_where_it_points(batches_of):
    whole = batches_of([30, 80, 5, 200, 64] * 4)
    cursor, seen = Cursor(), []
    for _ in range(25):
        batch, following = whole.take(cursor)
        seen.append((cursor, batch))
        cursor = following
    assert seen[-1][0].epoch >= 2
    for cursor, batch in reversed(seen):
        again, _ = batches_of([30, 80, 5, 200, 64] * 4).take(cursor)
        assert np.array_equal(again.input_ids, batch.input_ids)
        assert np.array_equal(again.labels, batch.labels)


def test_packing_changes_no_noise(batches_of):
    lengths = [30, 80, 5, 200, 64] * 4
    rows = [
        sorted(row for batch in batches_of(lengths, packed=packed).one_epoch(2) for row in corrupted_rows(batch))
        for packed in (False, True)
    ]
    assert rows[0] == rows[1]


def corrupted_rows(batch):
    sources, targets = batch.pieces or (batch.attention_mask, (batch.labels != IGNORED).astype(int))
    for row in range(len(batch.labels)):
        for piece in range(1, sources[row].max() + 1):
            of_source, of_target = sources[row] == piece, targets[row] == piece
            yield [array[row][of].tolist() for array, of in zip(arrays(batch), (of_source, of_target, of_target), strict=True)]


def arrays(batch):
    return batch.input_ids, batch.labels, batch.begun


def test_packed_batches_have_one_shape(batches_of):
    batches = list(batches_of([30, 80, 5, 200, 64] * 4, packed=True).one_epoch())
    assert {batch.input_ids.shape for batch in batches} == {(4, 64)}
    assert {batch.labels.shape for batch in batches} == {(4, 16)}
    assert sum(len(batch.encoder_lengths) for batch in batches) == 32
    assert all(len(batch.encoder_lengths) == len(batch.decoder_lengths) for batch in batches)


def test_the_decoder_begins_with_padding_and_reads_what_it_wrote(batches_of):
    (batch,) = batches_of([30, 20]).one_epoch()
    assert np.array_equal(batch.begun[:, 0], [0, 0])
    shorter = batch.decoder_lengths.argmin()
    length = batch.decoder_lengths[shorter]
    assert np.array_equal(batch.begun[shorter, 1:length], batch.labels[shorter, : length - 1])


def test_epochs_and_seeds_differ_in_order_and_noise(batches_of):
    def first(seed: int, epoch: int) -> list[list[int]]:
        return [batch.input_ids.tolist() for batch in batches_of([60] * 40, seed=seed).one_epoch(epoch)]

    assert first(0, 0) == first(0, 0)
    assert first(0, 0) != first(0, 1)
    assert first(0, 0) != first(1, 0)


def test_an_empty_shard_is_refused(batches_of):
    with pytest.raises(ValueError, match="no document"):
        batches_of([])
