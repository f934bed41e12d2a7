"""How good a tagger is on notes it has not seen: cut-offs, one measurement, and cross-validation by patient."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote, TaggedSpan
from pretrain.tokenizer import Tokenizer

OWN_CUTOFF_POSITIVES = 8
"""A label with fewer sentences than this to tune on takes the cut-off of all labels together: its own would be chance."""


class Tagger(Protocol):
    """A model with its cut-offs, such as `FinetunedTagger`."""

    @property
    def cutoffs(self) -> NDArray[np.float32]:
        """(L,)."""
        ...

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """`token_logits` (B, T, L)."""
        ...


def tag(
    run: clip.Run, tokenizer: Tokenizer, cutoff_L: NDArray[np.float32], notes: Sequence[LabelledNote], window_tokens: int = 512
) -> list[list[TaggedSpan]]:
    """What a model says about each note's own sentences; it sees text and sentence borders, never labels."""
    encoded = [clip.encode(note.text, tokenizer, window_tokens, note.sentences) for note in notes]
    logits = clip.predict(run, encoded)
    return [clip.decode(logits_SL, note.sentences, cutoff_L) for logits_SL, note in zip(logits, notes, strict=True)]


def evaluate(
    run: clip.Run, tokenizer: Tokenizer, cutoff_L: NDArray[np.float32], notes: Sequence[LabelledNote], window_tokens: int = 512
) -> dict[str, Any]:
    """`clip.score` of a model on labelled notes, which must not be those it was taught with.

    Args:
        run: a torch module's `as_run`, or an engine: (`input_ids`, `attention_mask`) -> `token_logits`.
        tokenizer: the model's.
        cutoff_L: a sentence is tagged where its score is at least this.
        notes: at least one.
        window_tokens: as the model was taught.
    Raises:
        ValueError: no notes.
    """
    return clip.score(notes, tag(run, tokenizer, cutoff_L, notes, window_tokens))


def cross_validate(
    notes: Sequence[LabelledNote],
    k: int,
    tokenizer: Tokenizer,
    finetune: Callable[[Sequence[LabelledNote], Sequence[LabelledNote]], Tagger],
    *,
    window_tokens: int = 512,
    dev_share: float = 0.2,
    seed: int = 0,
    on_fold: Callable[[int, int], None] = lambda done, folds: None,
) -> dict[str, Any]:
    """`clip.score` over all notes of what `out_of_fold` gives, and `folds`; arguments and errors are its."""
    predicted = out_of_fold(
        notes, k, tokenizer, finetune, window_tokens=window_tokens, dev_share=dev_share, seed=seed, on_fold=on_fold
    )
    return {**clip.score(notes, predicted), "folds": k}


def out_of_fold(
    notes: Sequence[LabelledNote],
    k: int,
    tokenizer: Tokenizer,
    finetune: Callable[[Sequence[LabelledNote], Sequence[LabelledNote]], Tagger],
    *,
    window_tokens: int = 512,
    dev_share: float = 0.2,
    seed: int = 0,
    on_fold: Callable[[int, int], None] = lambda done, folds: None,
) -> list[list[TaggedSpan]]:
    """What a tagger that has not seen a note says about it, for every note.

    Epoch and cut-offs of each fold are chosen on a dev part of the notes it learns from, so nothing of a measured note, nor
    of another one of its group, reaches its tagger. An encoder pretrained on the text of these notes is the caller's to avoid.

    Args:
        notes: labelled ones.
        k: folds.
        tokenizer: the encoder's.
        finetune: makes a tagger from training and dev notes; `finetune_clip` with the rest bound.
        window_tokens: as in `finetune`.
        dev_share: of each fold's training notes.
        seed: of the folds; the same notes and seed give the same folds, in whatever order they come.
        on_fold: told how many of the folds are done.
    Raises:
        DataError: there are fewer groups than folds, or fewer than two folds.
    """
    parts = folds(notes, k, seed)
    predicted: list[list[TaggedSpan]] = [[] for _ in notes]
    on_fold(0, k)
    for done, held_out in enumerate(parts, 1):
        unseen = set(held_out)
        train, dev = hold_out([note for i, note in enumerate(notes) if i not in unseen], dev_share, seed)
        tagger = finetune(train, dev)
        spans = tag(tagger.run, tokenizer, tagger.cutoffs, [notes[i] for i in held_out], window_tokens)
        for i, of_note in zip(held_out, spans, strict=True):
            predicted[i] = of_note
        on_fold(done, k)
    return predicted


def folds(notes: Sequence[LabelledNote], k: int, seed: int = 0) -> list[list[int]]:
    """Indices of the notes of each of k folds; all notes of a group are in one, and folds are of like size.

    Raises:
        DataError: there are fewer groups than folds, or fewer than two folds.
    """
    groups = _groups(notes, seed)
    if not 2 <= k <= len(groups):
        fewer = f"choose 2 to {len(groups)}, or " if len(groups) > 2 else ""
        raise clip.DataError(f"{k} folds of notes from {len(groups)} patients; {fewer}label notes of at least {max(k, 2)}")
    parts: list[list[int]] = [[] for _ in range(k)]
    for group in groups:
        min(parts, key=len).extend(group)
    return [sorted(part) for part in parts]


def hold_out(notes: Sequence[LabelledNote], share: float, seed: int = 0) -> tuple[list[LabelledNote], list[LabelledNote]]:
    """Training notes and about `share` of all notes held out, by group: at least one group on each side where there are two."""
    groups = _groups(notes, seed)
    held: set[int] = set()
    for group in groups[:-1]:
        if len(held) + len(group) / 2 > share * len(notes) and (held or not share):
            break
        held.update(group)
    return [note for i, note in enumerate(notes) if i not in held], [note for i, note in enumerate(notes) if i in held]


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
    f1 = 2 * np.cumsum(truth[order]) / (np.arange(1, len(order) + 1) + positives)
    # Equal scores cannot be cut apart.
    f1 = np.where(ranked[:-1] > ranked[1:], f1, 0.0)
    at = int(np.argmax(f1))
    return float((ranked[at] + ranked[at + 1]) / 2), float(f1[at])


def _groups(notes: Sequence[LabelledNote], seed: int) -> list[list[int]]:
    """Indices by group, the groups in an order that depends on their names and the seed only."""
    members: dict[str, list[int]] = {}
    for i, note in enumerate(notes):
        members.setdefault(note.group, []).append(i)
    return [members[group] for group in sorted(members, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())]
