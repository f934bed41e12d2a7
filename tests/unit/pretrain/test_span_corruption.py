"""Span corruption: lengths, randomness by key, and the way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.span_corruption import corrupt, masked_lengths, noise_mask, raw_length, restore, rng

FIRST_SENTINEL = 1023


@pytest.mark.parametrize(("window", "raw", "target"), [(512, 568, 114), (1024, 1137, 229)])
def test_masked_text_fills_the_window_without_padding(window, raw, target):
    assert raw_length(window) == raw
    assert masked_lengths(raw) == (window, target)


def test_a_window_too_small_or_too_large_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        raw_length(1)
    with pytest.raises(ValueError, match="100 sentinels"):
        raw_length(4096)


LENGTHS = st.integers(1, 1137)
KEYS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@given(LENGTHS, KEYS, st.floats(0.05, 0.5), st.floats(1.5, 10))
def test_corruption_takes_the_counted_lengths_and_can_be_undone(length, key, noise_density, mean_span):
    if masked_lengths(length, noise_density, mean_span)[1] > 200:
        noise_density, mean_span = 0.15, 3.0
    tokens = rng(*key, 9).integers(3, 900, length)
    inputs, targets = corrupt(tokens, noise_mask(length, rng(*key), noise_density, mean_span), FIRST_SENTINEL)
    assert (len(inputs), len(targets)) == masked_lengths(length, noise_density, mean_span)
    assert inputs[-1] == targets[-1] == 1
    assert np.array_equal(restore(inputs, targets, FIRST_SENTINEL), tokens)


def test_sentinels_count_down_in_input_and_target_alike():
    inputs, targets = corrupt(np.arange(10, 20), np.array([0, 1, 1, 0, 0, 1, 0, 0, 0, 1], bool), FIRST_SENTINEL)
    assert inputs.tolist() == [10, 1023, 13, 14, 1022, 16, 17, 18, 1021, 1]
    assert targets.tolist() == [1023, 11, 12, 1022, 15, 1021, 19, 1]


@given(KEYS)
def test_noise_depends_on_its_key_alone(key):
    seed, epoch, document = key
    mask = noise_mask(568, rng(seed, epoch, document))
    assert np.array_equal(mask, noise_mask(568, rng(seed, epoch, document)))
    assert not np.array_equal(mask, noise_mask(568, rng(seed, epoch ^ 1, document)))
    assert not np.array_equal(mask, noise_mask(568, rng(seed, epoch, document ^ 1)))
    assert not np.array_equal(mask, noise_mask(568, rng(seed ^ 1, epoch, document)))


def test_every_position_is_masked_about_as_often():
    often = np.mean([noise_mask(100, rng(0, 0, document)) for document in range(4000)], axis=0)
    # Standard error 0.006 a position; ends are masked a little less, for a span must fit.
    assert often.mean() == pytest.approx(0.15, abs=1e-9)
    assert often[5:-5].min() > 0.12
    assert often[5:-5].max() < 0.18
    assert min(often[0], often[-1]) > 0.03
