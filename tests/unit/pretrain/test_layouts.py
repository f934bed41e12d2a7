"""Layouts: every piece once, in small memory and short time however many there are."""

import time

import numpy as np
import pytest

from pretrain.layouts import bucketed, packed
from pretrain.span_corruption import masked_lengths, raw_length, rng

LONGEST = raw_length(512)
SIZES_R2 = np.array([(0, 0), *map(masked_lengths, range(1, LONGEST + 1))], np.int32)
SHAPE = (512, 128)


@pytest.fixture(scope="module")
def raw_lengths():
    """Of notes as they are: log-normal, cut at the window."""
    return np.clip(rng(0, 0, 0).lognormal(5.5, 1, 20_000), 3, LONGEST).astype(np.int32)


def test_a_packed_row_keeps_to_its_shape_and_is_nearly_full(raw_lengths):
    order = packed(raw_lengths, SIZES_R2, SHAPE, 16, rng(0, 0, 1))
    rows = [row for batch in range(len(order)) for row in order[batch]]
    sizes = np.array([SIZES_R2[raw_lengths[row]].sum(axis=0) for row in rows])
    assert (sizes <= SHAPE).all()
    assert (sizes.mean(axis=0) > (0.97 * 512, 0.85 * 128)).all()
    assert sorted(np.concatenate(rows)) == list(range(len(raw_lengths)))
    assert {len(order[batch]) for batch in range(len(order) - 1)} == {16}


def test_short_texts_fill_the_decoders_row_first():
    # Three tokens, one of them masked.
    assert masked_lengths(3) == (4, 3)
    order = packed(np.full(1000, 3, np.int32), SIZES_R2, SHAPE, 1, rng(0, 0, 1))
    assert max(len(row) for batch in range(len(order)) for row in order[batch]) == 128 // 3


def test_a_bucket_pads_little(raw_lengths):
    order = bucketed(raw_lengths, SIZES_R2, 2048, rng(0, 0, 1))
    real = padded = 0
    for batch in range(len(order)):
        sizes = SIZES_R2[raw_lengths[np.concatenate(order[batch])], 0]
        real, padded = real + int(sizes.sum()), padded + len(sizes) * int(sizes.max())
        # As nearly as whole rows give it.
        assert len(sizes) * sizes.max() <= 2048 + sizes.max() / 2
    assert real / padded > 0.97


def test_rows_and_batches_are_drawn_anew(raw_lengths):
    for layout, last in ((bucketed, (2048,)), (packed, (SHAPE, 4))):
        first, again, other = (layout(raw_lengths, SIZES_R2, *last, rng(0, epoch, 1))[0] for epoch in (0, 0, 1))
        assert [row.tolist() for row in first] == [row.tolist() for row in again] != [row.tolist() for row in other]


def test_a_million_pieces_are_packed_in_seconds():
    raw_lengths = np.clip(rng(0, 0, 0).lognormal(5.5, 1, 1_000_000), 3, LONGEST).astype(np.int32)
    begin = time.process_time()
    order = packed(raw_lengths, SIZES_R2, SHAPE, 64, rng(0, 0, 1))
    assert time.process_time() - begin < 10
    assert sum(array.nbytes for array in (order.pieces, order.rows, order.batches, order.sequence)) < 12 * len(raw_lengths)
