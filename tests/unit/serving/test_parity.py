"""Two models' answers are alike, or are refused."""

import numpy as np
import pytest

from serving.parity import ParityError, compare

LOGITS_BTC = np.random.default_rng(0).normal(size=(2, 8, 3)).astype(np.float32)
MASK_BT = np.array([[1] * 8, [1] * 3 + [0] * 5])


def test_what_stands_at_padding_does_not_count():
    other = np.where(MASK_BT[..., None] == 1, LOGITS_BTC, 99).astype(np.float32)
    assert compare(LOGITS_BTC, other, MASK_BT).max_error == 0


def test_the_difference_is_measured_in_standard_deviations():
    parity = compare(LOGITS_BTC * 10, LOGITS_BTC * 10 + 1, np.ones((2, 8), np.int64))
    assert parity.max_error == pytest.approx(1 / (10 * LOGITS_BTC.std()), rel=1e-5)
    assert parity.rms_error == pytest.approx(parity.max_error, rel=1e-5)


def test_logits_next_to_zero_may_have_either_sign():
    expected = np.array([[[1.0, -1.0, 1e-4, -1e-4]]], np.float32)
    assert compare(expected, expected * [1, 1, -1, -1], np.ones((1, 1), np.int64)).sign_agreement == 1.0
    assert compare(expected, expected * [1, -1, 1, 1], np.ones((1, 1), np.int64)).sign_agreement == 0.5


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (LOGITS_BTC * np.nan, "not finite"),
        (LOGITS_BTC[:, :4], "shape"),
        (np.where(LOGITS_BTC > 1, np.inf, LOGITS_BTC), "not finite"),
    ],
)
def test_answers_that_are_no_logits_are_refused(found, what):
    with pytest.raises(ParityError, match=what):
        compare(LOGITS_BTC, found, MASK_BT)


def test_a_probe_that_proves_nothing_is_refused():
    with pytest.raises(ParityError, match="proves nothing"):
        compare(np.zeros((1, 2, 3), np.float32), np.zeros((1, 2, 3), np.float32), np.ones((1, 2), np.int64))
