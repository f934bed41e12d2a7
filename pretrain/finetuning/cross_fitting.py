"""A tagger from few labels: every note teaches it, and every note measures it by a tagger that has not seen it.

Thirty notes are what a hospital has on its first day. A fifth of them kept apart would choose cut-offs and measure by chance; so
taggers are finetuned on all but one fold each, what they say about the notes left out makes cut-offs and probabilities, and the
tagger that is kept learns from all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.evaluation import folds as by_group
from pretrain.finetuning.clip import FinetunedTagger
from pretrain.judging import Judge, calibrated, reliability, sure_from
from pretrain.labelling import evidence
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote, TaggedSpan
from pretrain.text import Span
from pretrain.tokenizer import Tokenizer


@dataclass(frozen=True)
class CrossFitted:
    """What taggers say about notes that they have not seen."""

    judge: Judge
    """Calibrated on all notes: for a tagger taught with all of them."""
    metrics: dict[str, Any]
    """`clip.score` over all notes, `folds`, and `calibration`: `reliability` of the scores. The cut-offs that a note is measured
    with were chosen on the other folds."""


def cross_fit(
    notes: Sequence[LabelledNote],
    tokenizer: Tokenizer,
    finetune: Callable[[Sequence[LabelledNote]], FinetunedTagger],
    *,
    folds: int,
    window_tokens: int = clip.WINDOW_TOKENS,
    seed: int = 0,
    on_fold: Callable[[int, int], None] = lambda done, folds: None,
) -> CrossFitted:
    """Finetune once per fold and ask each tagger about the notes that it has not seen.

    Args:
        notes: labelled ones.
        tokenizer: the encoder's.
        finetune: makes a tagger of notes, without dev notes; `finetune_clip` with the rest bound.
        folds: how many; notes of a group are in one.
        window_tokens: as in `finetune`.
        seed: of the folds.
        on_fold: told how many of the folds are done.
    Raises:
        DataError: there are fewer groups than folds, or fewer than two folds.
    """
    parts = by_group(notes, folds, seed)
    logits = [np.zeros((0, len(clip.LABELS)), np.float32) for _ in notes]
    rules = False
    on_fold(0, folds)
    for done, part in enumerate(parts, 1):
        tagger = finetune([notes[i] for i in _others(part, len(notes))])
        rules = bool(tagger.judge.rules)
        for i, said_SL in zip(part, logits_of(tagger, [notes[i] for i in part], tokenizer, window_tokens), strict=True):
            logits[i] = said_SL
        on_fold(done, folds)
    return _judged(notes, parts, _Said(notes, logits, rules))


def calibrated_on(
    tagger: FinetunedTagger, notes: Sequence[LabelledNote], tokenizer: Tokenizer, window_tokens: int
) -> FinetunedTagger:
    """The tagger with a judge calibrated on notes that it was not taught with."""
    said = _Said(notes, logits_of(tagger, notes, tokenizer, window_tokens), bool(tagger.judge.rules))
    judge = said.judge(range(len(notes)))
    shown = [clip.tagged(said.scores(judge, i), note.sentences, judge.cutoffs) for i, note in enumerate(notes)]
    return replace(tagger, judge=replace(judge, sure_from=_sure_from(notes, shown)))


def logits_of(
    tagger: FinetunedTagger, notes: Sequence[LabelledNote], tokenizer: Tokenizer, window_tokens: int
) -> list[NDArray[np.float32]]:
    """(S, L) of every note."""
    return clip.predict(tagger.run, [clip.encode(note.text, tokenizer, window_tokens, note.sentences) for note in notes])


def _judged(notes: Sequence[LabelledNote], parts: Sequence[Sequence[int]], said: "_Said") -> CrossFitted:
    scores = [np.zeros((0, len(clip.LABELS)), np.float32) for _ in notes]
    spans: list[list[TaggedSpan]] = [[] for _ in notes]
    for part in parts:
        judge = said.judge(_others(part, len(notes)))
        for i in part:
            scores[i] = said.scores(judge, i)
            spans[i] = clip.tagged(scores[i], notes[i].sentences, judge.cutoffs)
    calibration = reliability(np.concatenate([clip.truth(note) for note in notes]), np.concatenate(scores))
    metrics = {**clip.score(notes, spans), "folds": len(parts), "calibration": calibration}
    return CrossFitted(replace(said.judge(range(len(notes))), sure_from=_sure_from(notes, spans)), metrics)


def _sure_from(notes: Sequence[LabelledNote], shown: Sequence[Sequence[TaggedSpan]]) -> float | None:
    """By what was shown of notes to a tagger that had not seen them."""
    right, score = [], []
    for note, spans in zip(notes, shown, strict=True):
        labels = dict(zip(note.sentences, note.labels, strict=True))
        right += [span.label in labels[Span(span.start, span.end)] for span in spans]
        score += [span.score for span in spans]
    return sure_from(np.array(right, bool), np.array(score))


def _others(part: Sequence[int], count: int) -> list[int]:
    return sorted(set(range(count)) - set(part))


class _Said:
    """What taggers say about notes they have not seen, and what rules do."""

    def __init__(self, notes: Sequence[LabelledNote], logits: Sequence[NDArray[np.float32]], rules: bool) -> None:
        self._truth, self._logits = [clip.truth(note) for note in notes], logits
        self._evidence = [evidence(note.text, note.sentences) for note in notes] if rules else None

    def judge(self, notes: Sequence[int]) -> Judge:
        """Calibrated on some of them."""
        beside = None if self._evidence is None else np.concatenate([self._evidence[i] for i in notes])
        return calibrated(
            np.concatenate([self._truth[i] for i in notes]), np.concatenate([self._logits[i] for i in notes]), beside
        )

    def scores(self, judge: Judge, note: int) -> NDArray[np.float32]:
        """(S, L)."""
        return judge.weighed(self._logits[note], None if self._evidence is None else self._evidence[note])
