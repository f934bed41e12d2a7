import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from pretrain import judging
from pretrain.judging import Judge, calibrated, plain, reliability, risk_coverage, sure_from
from pretrain.labelling import evidence
from pretrain.tasks import clip

COUNT = len(clip.LABELS)
HALF = np.full(COUNT, 0.5, np.float32)


def test_the_best_cutoff_lies_halfway_between_the_scores_it_parts():
    cutoff, f1 = judging.best_cutoff(np.array([1, 1, 0, 1, 0], bool), np.array([0.9, 0.8, 0.6, 0.5, 0.1], np.float32))
    # Three of four found: precision 3/4, recall 1.
    assert cutoff == pytest.approx(0.3)
    assert f1 == pytest.approx(6 / 7)


def test_equal_scores_are_never_cut_apart():
    cutoff, f1 = judging.best_cutoff(np.array([1, 0, 0], bool), np.array([0.7, 0.7, 0.2], np.float32))
    assert cutoff == pytest.approx(0.45)
    assert f1 == pytest.approx(2 / 3)


def test_sure_is_what_scores_at_least_where_nine_in_ten_were_right():
    score = np.linspace(1.0, 0.01, 100)
    right = np.ones(100, bool)
    right[50:] = False
    # Of the 55 best 50 are right, of the 56 best too few.
    assert sure_from(right, score) == pytest.approx(score[54])
    assert sure_from(right[::-1], score) is None


def test_nothing_is_sure_where_little_was_shown_and_equal_scores_are_sure_together():
    assert sure_from(np.ones(judging.LEAST_SHOWN - 1, bool), np.ones(judging.LEAST_SHOWN - 1)) is None
    assert sure_from(np.array([], bool), np.array([])) is None
    right = np.array([True] * 20 + [False] * 5)
    assert sure_from(right, np.full(25, 0.7)) is None
    assert sure_from(right, np.array([0.8] * 20 + [0.7] * 5)) == 0.8


def test_without_anything_to_find_the_cutoff_is_a_half():
    assert judging.best_cutoff(np.zeros(3, bool), np.ones(3, np.float32)) == (0.5, 0.0)
    assert judging.tune_cutoffs(np.zeros((0, 7), bool), np.zeros((0, 7), np.float32)).tolist() == [0.5] * 7


def test_a_label_with_few_sentences_takes_the_cutoff_of_all_labels_together():
    truth = np.zeros((40, 2), bool)
    truth[:10, 0], truth[0, 1] = True, True
    score = np.full((40, 2), 0.1, np.float32)
    score[:10, 0], score[0, 1] = 0.9, 0.3
    own, shared = judging.tune_cutoffs(truth, score)
    assert own == pytest.approx(0.5)
    assert shared == pytest.approx(judging.best_cutoff(truth.ravel(), score.ravel())[0])
    assert shared == pytest.approx(0.2)


def drawn(sentences: int, seed: int = 0, scale: float = 1.0):
    """Labels as likely as their logits say, and logits that claim `scale` times as much."""
    draw = np.random.default_rng(seed)
    logits_SL = draw.normal(-2, 1.5, (sentences, COUNT)).astype(np.float32)
    return draw.random(logits_SL.shape) < clip.scores(logits_SL), logits_SL * np.float32(scale)


def test_a_model_that_claims_too_much_is_brought_down_to_what_is_true():
    truth_SL, logits_SL = drawn(3000, scale=3.0)
    judge = calibrated(truth_SL, logits_SL, None)
    assert judge.model == pytest.approx(1 / 3, rel=0.05)
    new_truth, new_logits = drawn(3000, seed=1, scale=3.0)
    before, after = (reliability(new_truth, one.weighed(new_logits, None)) for one in (plain(HALF), judge))
    # Measured 0.085 and 0.003.
    assert after["ece"] < 0.01 < 0.05 < before["ece"]
    assert after["brier"] < before["brier"]


def test_with_much_to_go_by_calibration_is_plain_logistic_regression():
    truth_SL, logits_SL = drawn(20_000, scale=0.5)
    judge = calibrated(truth_SL, logits_SL + 1, None)
    design = np.hstack([(logits_SL + 1).T.reshape(-1, 1), np.repeat(np.eye(COUNT), len(truth_SL), axis=0)])
    known = LogisticRegression(C=1e6, fit_intercept=False, max_iter=1000).fit(design, truth_SL.T.ravel()).coef_[0]
    assert judge.model == pytest.approx(known[0], rel=0.01)
    assert judge.biases == pytest.approx(known[1:], abs=0.05)


def test_with_little_to_go_by_the_model_is_left_nearly_as_it_is():
    truth_SL, logits_SL = drawn(5)
    judge = calibrated(truth_SL, logits_SL, np.where(truth_SL, 5.7, -1.1).astype(np.float32))
    assert 0.7 < judge.model < 1.4
    assert 0.7 < judge.rules < 1.4


def test_rules_that_say_nothing_true_are_turned_down():
    truth_SL, logits_SL = drawn(2000)
    votes_SL = np.random.default_rng(5).random(truth_SL.shape) < 0.2
    judge = calibrated(truth_SL, logits_SL, np.where(votes_SL, 5.7, -1.1).astype(np.float32))
    assert judge.rules < 0.1


def test_nothing_true_is_calibrated_without_trouble():
    judge = calibrated(np.zeros((3, COUNT), bool), np.zeros((3, COUNT), np.float32), None)
    assert judge.cutoffs.tolist() == HALF.tolist()
    assert np.isfinite([judge.model, *judge.biases]).all()
    assert calibrated(np.zeros((0, COUNT), bool), np.zeros((0, COUNT), np.float32), None).model == 1.0


def test_what_rules_see_is_added_to_what_the_model_says():
    text = "Vital signs were stable. Follow up with Dr. Smith in two weeks."
    sentences = clip.sentences_of(text)
    unsure_SL = np.full((len(sentences), COUNT), -2.0, np.float32)
    assert plain(HALF).spans(unsure_SL, text, sentences) == []
    [span] = plain(HALF, rules=True).spans(unsure_SL, text, sentences)
    assert (text[span.start : span.end], span.label) == ("Follow up with Dr. Smith in two weeks.", "Appointment")
    # Log odds add up.
    assert span.score == pytest.approx(clip.scores(unsure_SL[0, 0] + evidence(text, sentences).max()), abs=1e-6)


def test_a_sentence_that_the_model_has_not_read_is_not_shown_whatever_rules_say():
    text = "Follow up with Dr. Smith in two weeks."
    unread_SL = np.full((1, COUNT), clip.NO_TOKEN_LOGIT, np.float32)
    assert plain(HALF, rules=True).spans(unread_SL, text, clip.sentences_of(text)) == []


@given(scale=st.floats(0, 3), rules=st.floats(0, 3), logit=st.floats(-1e4, 1e4), bias=st.floats(-9, 9))
def test_scores_are_probabilities_whatever_the_judge(scale, rules, logit, bias):
    judge = Judge(HALF, scale, rules, np.full(COUNT, bias, np.float32))
    score_SL = judge.weighed(np.full((2, COUNT), logit, np.float32), np.full((2, COUNT), 5.7, np.float32))
    assert np.isfinite(score_SL).all()
    assert ((score_SL >= 0) & (score_SL <= 1)).all()


def test_the_calibration_error_is_the_one_worked_out_by_hand_and_brier_scikit_learns():
    truth, score = np.array([1, 0, 1, 1], bool), np.array([0.05, 0.05, 0.95, 0.85], np.float32)
    found = reliability(truth, score)
    assert [(row["from"], row["n"], row["share_true"]) for row in found["bins"]] == [(0.0, 2, 0.5), (0.8, 1, 1.0), (0.9, 1, 1.0)]
    assert found["ece"] == pytest.approx((2 * 0.45 + 0.15 + 0.05) / 4)
    assert found["brier"] == pytest.approx(brier_score_loss(truth, score), abs=1e-6)


def test_risk_falls_where_the_surest_answers_are_right_and_equal_ones_are_taken_together():
    right, confidence = np.array([1, 1, 0, 1], bool), np.array([0.9, 0.8, 0.5, 0.5], np.float32)
    curve = risk_coverage(right, confidence)
    assert (curve["coverage"], curve["risk"]) == ([0.25, 0.5, 1.0], [0.0, 0.0, 0.25])
    assert curve["aurc"] == pytest.approx(0.125)
    assert risk_coverage(~right, confidence)["aurc"] > curve["aurc"]


def test_nothing_to_look_at_is_refused():
    with pytest.raises(ValueError, match="no scores"):
        reliability(np.zeros(0, bool), np.zeros(0, np.float32))
    with pytest.raises(ValueError, match="no answers"):
        risk_coverage(np.zeros(0, bool), np.zeros(0, np.float32))
