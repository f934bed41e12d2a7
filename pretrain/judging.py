"""From a tagger's logits to what a clinician is shown: what rules see beside the model, how sure that makes, what is enough.

`Judge` is a tagger's last step, the same in evaluation and at the bedside; `calibrated` finds it from notes that the model has
not seen. Needs no torch.

Shape suffixes: S = sentences, L = labels, P = parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.labelling import evidence
from pretrain.tasks import clip
from pretrain.tasks.base import TaggedSpan
from pretrain.text import Span

OWN_CUTOFF_POSITIVES = 8
"""A label with fewer sentences than this to tune on takes the cut-off of all labels together: its own would be chance."""
FIRM = 20.0
"""How much is needed to move a scale from 1, or one label's bias from that of all: some twenty sentences' worth of doubt."""
SURE = 0.9
"""How often what is shown as sure has to be right."""
LEAST_SHOWN = 20
"""Fewer say too little about how often that is."""
BINS = 10
"""Of equal width, for the calibration error."""


@dataclass(frozen=True)
class Judge:
    """What a tagger's logits are worth."""

    cutoffs: NDArray[np.float32]
    """(L,): a sentence is tagged where its score is at least this."""
    model: float = 1.0
    """What the logits are multiplied by."""
    rules: float = 0.0
    """What the evidence of the follow-up rules is multiplied by; 0: they are not asked."""
    biases: NDArray[np.float32] = field(default_factory=lambda: np.zeros(len(clip.LABELS), np.float32))
    """(L,), added."""
    sure_from: float | None = None
    """As `sure_from` found it: what scores less is shown as unsure."""

    def scores(self, logits_SL: NDArray[np.float32], text: str, sentences: Sequence[Span]) -> NDArray[np.float32]:
        """How likely each label is (S, L): probabilities where the judge was calibrated.

        A sentence that no token belongs to stays unlikely, whatever rules say: the model has not read it.
        """
        return self.weighed(logits_SL, evidence(text, sentences) if self.rules else None)

    def weighed(self, logits_SL: NDArray[np.float32], evidence_SL: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """`scores` where the evidence of the rules is known, or not asked for."""
        rules_SL = 0.0 if evidence_SL is None else self.rules * evidence_SL
        return clip.scores(np.asarray(self.model * logits_SL + rules_SL + self.biases, np.float32))

    def spans(self, logits_SL: NDArray[np.float32], text: str, sentences: Sequence[Span]) -> list[TaggedSpan]:
        """The spans worth showing a clinician: a sentence and a label wherever the score reaches the label's cut-off."""
        return clip.tagged(self.scores(logits_SL, text, sentences), sentences, self.cutoffs)


def plain(cutoff_L: NDArray[np.float32], rules: bool = False) -> Judge:
    """The logits as they are, beside the rules' evidence or alone."""
    return Judge(cutoff_L, rules=float(rules))


def calibrated(truth_SL: NDArray[np.bool_], logits_SL: NDArray[np.float32], evidence_SL: NDArray[np.float32] | None) -> Judge:
    """The judge that makes probabilities of logits, with the cut-off for all labels that gives the best micro-F1.

    Logistic regression of what is true on the logits and the rules' evidence, with a bias per label (Platt 1999); with little to
    go by it stays near the model as it is.

    Args:
        truth_SL: of notes that the model has not been taught with.
        logits_SL: what it says of them.
        evidence_SL: of the rules, where the model was taught beside them.
    """
    count = logits_SL.shape[1]
    read = (logits_SL > clip.NO_TOKEN_LOGIT).all(1)
    truth = truth_SL[read].T.ravel().astype(np.float64)
    logits = logits_SL[read].T.ravel().astype(np.float64)
    labels = np.repeat(np.eye(count), read.sum(), axis=0)
    columns = (
        [logits[:, None]] if evidence_SL is None else [logits[:, None], evidence_SL[read].T.ravel().astype(np.float64)[:, None]]
    )
    scales = len(columns)
    design = np.hstack([*columns, np.ones((len(truth), 1)), labels])
    start_P = np.array([*[1.0] * scales, *[0.0] * (1 + count)])
    # The bias of all labels together is free; what is left almost free keeps the equations solvable.
    firm_P = np.array([*[FIRM] * scales, 1e-3, *[1.0] * count])
    found_P = _regression(design, truth, start_P, firm_P)
    judge = Judge(
        np.full(count, 0.5, np.float32),
        model=max(float(found_P[0]), 0.0),
        rules=0.0 if evidence_SL is None else max(float(found_P[1]), 0.0),
        biases=(found_P[scales] + found_P[scales + 1 :]).astype(np.float32),
    )
    # What is worth showing for micro-F1 is one and the same probability, whatever the label (half the F1 that it gives; Lipton et
    # al. 2014). A cut-off per label, chosen on its few sentences, undoes what calibration has done: 0.56 fell to 0.41.
    shared, _ = best_cutoff(truth_SL.ravel(), judge.weighed(logits_SL, evidence_SL).ravel())
    return replace(judge, cutoffs=np.full(count, shared, np.float32))


def _regression(
    design: NDArray[np.float64], truth: NDArray[np.float64], start_P: NDArray[np.float64], firm_P: NDArray[np.float64]
) -> NDArray[np.floating]:
    """Logistic regression held to `start_P`, by Newton's method with steps halved until they help."""

    def loss(at_P: NDArray[np.floating]) -> float:
        total = design @ at_P
        return float(np.logaddexp(0, total).sum() - truth @ total + firm_P @ np.square(at_P - start_P) / 2)

    now_P: NDArray[np.floating] = start_P
    value = loss(start_P)
    for _ in range(50):
        likely = 0.5 * (1 + np.tanh(0.5 * design @ now_P))
        slope_P: NDArray[np.float64] = design.T @ (likely - truth) + firm_P * (now_P - start_P)
        curvature = design.T @ (design * (likely * (1 - likely))[:, None]) + np.diag(firm_P)
        step_P: NDArray[np.floating] = np.linalg.solve(curvature, slope_P)
        length = 1.0
        while (after := loss(now_P - length * step_P)) > value and length > 1e-6:
            length /= 2
        if not value - after > 1e-9 * max(abs(value), 1.0):
            break
        now_P, value = now_P - length * step_P, after
    return now_P


def tune_cutoffs(truth_SL: NDArray[np.bool_], score_SL: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cut-off of each label (L,) that gives the best F1 on sentences not trained on; 0.5 where nothing is to be found.

    Labels with fewer than `OWN_CUTOFF_POSITIVES` sentences share the best one of all labels together.
    """
    shared, _ = best_cutoff(truth_SL.ravel(), score_SL.ravel())
    columns = zip(truth_SL.T, score_SL.T, strict=True)
    own = [best_cutoff(truth, score)[0] if truth.sum() >= OWN_CUTOFF_POSITIVES else shared for truth, score in columns]
    return np.array(own, np.float32)


def best_cutoff(truth: NDArray[np.bool_], score: NDArray[np.float32]) -> tuple[float, float]:
    """The cut-off with the best F1, halfway between two scores, and that F1; (0.5, 0.0) where nothing is true."""
    positives = int(truth.sum())
    if not positives:
        return 0.5, 0.0
    order = np.argsort(-score, kind="stable")
    ranked = np.append(score[order].astype(np.float64), 0.0)
    f1: NDArray[np.floating] = np.asarray(2 * np.cumsum(truth[order]) / (np.arange(1, len(order) + 1) + positives), np.float64)
    # Equal scores cannot be cut apart.
    f1 = np.where(ranked[:-1] > ranked[1:], f1, 0.0)
    at = int(np.argmax(f1))
    return float((ranked[at] + ranked[at + 1]) / 2), float(f1[at])


def reliability(truth: NDArray[np.bool_], score: NDArray[np.float32], bins: int = BINS) -> dict[str, Any]:
    """Whether scores are probabilities: of all that scored about so much, how much was true.

    Args:
        truth: of any shape.
        score: of the same.
        bins: of equal width.
    Returns:
        `ece`: the expected calibration error, the mean distance of the two weighted by how many there are (Guo et al. 2017);
        `brier`: the mean squared error; `bins`: for each that holds anything `from`, `n`, `mean_score`, `share_true`.
    Raises:
        ValueError: nothing to look at.
    """
    truth, score = truth.ravel(), score.ravel().astype(np.float32)
    if not len(truth):
        raise ValueError("no scores to look at; give at least one")
    at = np.minimum((score * bins).astype(int), bins - 1)
    rows = [
        {
            "from": b / bins,
            "n": int(inside.sum()),
            "mean_score": float(score[inside].mean()),
            "share_true": float(truth[inside].mean()),
        }
        for b in range(bins)
        if (inside := at == b).any()
    ]
    ece = sum(row["n"] * abs(row["mean_score"] - row["share_true"]) for row in rows) / len(truth)
    return {"ece": ece, "brier": float(np.square(score - truth).mean()), "bins": rows}


def sure_from(right: NDArray[np.bool_], score: NDArray[np.floating]) -> float | None:
    """The lowest score from which on at least `SURE` of what is shown is right: below it the appliance says that it is unsure.

    Args:
        right: (N,), whether each of the things shown is, said by models that had not seen it.
        score: (N,), of each.
    Returns:
        None where fewer than `LEAST_SHOWN` are shown, or no score is enough: then nothing is sure.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    # Equal scores cannot be told apart.
    is_last = np.append(ranked[1:] < ranked[:-1], True)[: len(ranked)]
    shown = np.arange(1, len(ranked) + 1)
    enough = np.flatnonzero(is_last & (shown >= LEAST_SHOWN) & (np.cumsum(right[order]) >= SURE * shown))
    return float(ranked[enough[-1]]) if len(enough) else None


def risk_coverage(right: NDArray[np.bool_], confidence: NDArray[np.float32]) -> dict[str, Any]:
    """What is wrong among the answers that one is surest of, from none to all of them.

    Args:
        right: (N,), whether each answer is.
        confidence: (N,), in whatever measure; equal ones are taken together.
    Returns:
        `coverage` and `risk`: points of the curve, one for each confidence that occurs; `aurc`: the mean risk over them,
        weighted by how much coverage each adds (Geifman and El-Yaniv 2017).
    Raises:
        ValueError: nothing to look at.
    """
    if not len(right):
        raise ValueError("no answers to look at; give at least one")
    order = np.argsort(-confidence, kind="stable")
    last = np.append(np.flatnonzero(np.diff(confidence[order]) != 0), len(order) - 1)
    wrong = np.cumsum(~right[order])[last]
    coverage, risk = (last + 1) / len(order), wrong / (last + 1)
    aurc = float(np.diff(coverage, prepend=0.0) @ risk)
    return {"coverage": coverage.tolist(), "risk": risk.tolist(), "aurc": aurc}
