"""How good a tagger is on notes it has not seen: one measurement, and cross-validation by patient."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pretrain.judging import Judge
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote, TaggedSpan
from pretrain.tokenizer import Tokenizer


class Grouped(Protocol):
    """An example of somebody's: those of one group are never on both sides of a split."""

    @property
    def group(self) -> str:
        """Whose it is."""
        ...


G = TypeVar("G", bound=Grouped)


class Tagger(Protocol):
    """A model with its judge, such as `FinetunedTagger`."""

    @property
    def judge(self) -> Judge:
        """What its logits are worth."""
        ...

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """`token_logits` (B, T, L)."""
        ...


def tag(
    run: clip.Run, tokenizer: Tokenizer, judge: Judge, notes: Sequence[LabelledNote], window_tokens: int = clip.WINDOW_TOKENS
) -> list[list[TaggedSpan]]:
    """What a model says about each note's own sentences; it sees text and sentence borders, never labels."""
    encoded = [clip.encode(note.text, tokenizer, window_tokens, note.sentences) for note in notes]
    logits = clip.predict(run, encoded)
    return [judge.spans(logits_SL, note.text, note.sentences) for logits_SL, note in zip(logits, notes, strict=True)]


def evaluate(
    run: clip.Run, tokenizer: Tokenizer, judge: Judge, notes: Sequence[LabelledNote], window_tokens: int = clip.WINDOW_TOKENS
) -> dict[str, Any]:
    """`clip.score` of a model on labelled notes, which must not be those it was taught with.

    Args:
        run: a torch module's `as_run`, or an engine: (`input_ids`, `attention_mask`) -> `token_logits`.
        tokenizer: the model's.
        judge: what its logits are worth.
        notes: at least one.
        window_tokens: as the model was taught.
    Raises:
        ValueError: no notes.
    """
    return clip.score(notes, tag(run, tokenizer, judge, notes, window_tokens))


def cross_validate(
    notes: Sequence[LabelledNote],
    k: int,
    tokenizer: Tokenizer,
    finetune: Callable[[Sequence[LabelledNote], Sequence[LabelledNote]], Tagger],
    *,
    window_tokens: int = clip.WINDOW_TOKENS,
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
    window_tokens: int = clip.WINDOW_TOKENS,
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
        spans = tag(tagger.run, tokenizer, tagger.judge, [notes[i] for i in held_out], window_tokens)
        for i, of_note in zip(held_out, spans, strict=True):
            predicted[i] = of_note
        on_fold(done, k)
    return predicted


def folds(notes: Sequence[Grouped], k: int, seed: int = 0) -> list[list[int]]:
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


def hold_out(notes: Sequence[G], share: float, seed: int = 0) -> tuple[list[G], list[G]]:
    """Training notes and about `share` of all notes held out, by group: at least one group on each side where there are two."""
    groups = _groups(notes, seed)
    held: set[int] = set()
    for group in groups[:-1]:
        if len(held) + len(group) / 2 > share * len(notes) and (held or not share):
            break
        held.update(group)
    return [note for i, note in enumerate(notes) if i not in held], [note for i, note in enumerate(notes) if i in held]


def _groups(notes: Sequence[Grouped], seed: int) -> list[list[int]]:
    """Indices by group, the groups in an order that depends on their names and the seed only."""
    members: dict[str, list[int]] = {}
    for i, note in enumerate(notes):
        members.setdefault(note.group, []).append(i)
    return [members[group] for group in sorted(members, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())]
