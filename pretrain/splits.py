"""Labelled examples as a study needs them: what is learnt from, what is chosen with and what is measured on, apart.

A folder as the published data sets come in has its three splits, and they are kept. Any other labels are cut by patient into
folds, each measured once by a model that has not seen it. Whose examples are measured are never learnt from; a folder that mixes
them is refused with file and line.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.evaluation import Grouped, folds, hold_out
from pretrain.tasks import clip_formats, mednli, squad_json
from pretrain.tasks.clip import DataError
from pretrain.tasks.clip_formats.physionet import SENTENCES
from pretrain.tasks.clip_formats.physionet import SPLITS as ID_FILES

FOLDS = 5
DEV_SHARE = 0.2
"""Of a fold's training examples, to choose with."""
SPLITS = ("train", "dev", "test")
TASKS = ("mednli", "radqa", "clip")
"""In the order of the paper's tables."""


@dataclass(frozen=True)
class Split:
    """Examples of one task in three parts that share no group."""

    train: list[Any]
    dev: list[Any]
    test: list[Any]

    def thinned(self, share: float, seed: int) -> "Split":
        """The same dev and test examples, and a share of the groups to learn from, drawn by the seed; at least one.

        The groups of a smaller share are among those of a larger one. The authors drew sentences of all summaries where their
        figure counts summaries, and without a seed.
        """
        return Split(_thinned(self.train, share, seed), self.dev, self.test)

    @property
    def examples(self) -> list[Any]:
        """All of them."""
        return [*self.train, *self.dev, *self.test]


@dataclass(frozen=True)
class Labels:
    """What stands at a path."""

    examples: list[Any]
    published: Split | None = None
    """How the data set's own files divide them; None where whoever uses them has to."""
    left_out: int = 0
    """Pairs to learn from that are about a premise which is measured too."""

    def thinned(self, share: float, seed: int) -> "Labels":
        """Of a published split what is learnt from, else everything, thinned out by group as `Split.thinned` does it."""
        if self.published is None:
            return replace(self, examples=_thinned(self.examples, share, seed))
        split = self.published.thinned(share, seed)
        return replace(self, examples=split.examples, published=split)


def _thinned(examples: list[Any], share: float, seed: int) -> list[Any]:
    if share == 1:
        return examples
    groups = sorted({example.group for example in examples})
    order = np.random.default_rng(seed).permutation(len(groups))
    kept = {groups[i] for i in order[: max(1, round(share * len(groups)))]}
    return [example for example in examples if example.group in kept]


@dataclass(frozen=True)
class Labelled:
    """All that is labelled for a task, divided for a study."""

    task: str
    splits: list[Split]
    """One as published, or one per fold: every example is in the test part of exactly one of them, or of none."""
    source: str
    """How they were divided, for people."""
    left_out: int = 0
    """As `Labels` has it."""

    @cached_property
    def fingerprint(self) -> str:
        """Tells these examples, divided this way, from others."""
        digest = hashlib.sha256()
        for split in self.splits:
            for part in (split.train, split.dev, split.test):
                # Not their repr, which leaves a note's text out.
                digest.update(json.dumps([asdict(example) for example in part], default=sorted).encode())
        return digest.hexdigest()[:16]

    @property
    def test(self) -> list[Any]:
        """Everything that is measured on."""
        return [example for split in self.splits for example in split.test]


def read(task: str, path: Path) -> Labels:
    """The labels at `path`, in any layout that the task has: a file, or a folder as its data set is published.

    Raises:
        DataError: they cannot be read, or the folder's files mix what is learnt from with what is measured on.
    """
    return _PUBLISHED[task](path) or Labels(list(_READ[task](path)))


def divided(task: str, path: Path, seed: int = 0) -> Labelled:
    """The labels at `path` as they are published, or in folds by patient.

    Raises:
        DataError: as `read`, or they are of fewer than two patients.
    """
    labels = read(task, path)
    if labels.published:
        return Labelled(task, [labels.published], "the published splits", labels.left_out)
    groups = {example.group for example in labels.examples}
    if len(groups) < 2:
        raise DataError(f"{path}: is of one patient or report, who cannot be learnt from and measured on; label another")
    parts = folds(labels.examples, min(FOLDS, len(groups)), seed)
    return Labelled(task, [_fold(labels.examples, part, seed) for part in parts], f"{len(parts)} folds, each measured unseen")


def _fold(examples: Sequence[Any], part: Sequence[int], seed: int) -> Split:
    measured = set(part)
    train, dev = hold_out([example for i, example in enumerate(examples) if i not in measured], DEV_SHARE, seed)
    return Split(train, dev, [examples[i] for i in part])


# As published


def _clip(path: Path) -> Labels | None:
    # The sentences may stand alone; with the ids of one split they are the published folder, or a part of it is missing.
    if not (path / SENTENCES).exists() or not any((path / name).exists() for name in ID_FILES.values()):
        return None
    split = Split(**clip_formats.splits(path))
    return Labels(split.examples, split)


def _radqa(path: Path) -> Labels | None:
    files = [path / f"{split}.json" for split in SPLITS]
    if not path.is_dir():
        return None
    parts = [squad_json.read(file) for file in files]
    _apart(parts, files, squad_json.line_of, lambda question: question.question_id, "report")
    split = Split(*parts)
    return Labels(split.examples, split)


def _mednli(path: Path) -> Labels | None:
    files = [path / f"mli_{split}_v1.jsonl" for split in SPLITS]
    if not path.is_dir():
        return None
    train, dev, test = (mednli.read(file) for file in files)
    named = [[pair for pair in part if pair.names_note] for part in (train, dev, test)]
    _apart(named, files, mednli.line_of, lambda pair: pair.pair_id, "note")
    # The data set names no notes: short premises may well stand in several, so equal ones are no fault of the files.
    measured = {pair.group for pair in test}
    kept, chosen = ([pair for pair in part if pair.group not in measured] for part in (train, dev))
    left_out = len(train) + len(dev) - len(kept) - len(chosen)
    split = Split(kept, chosen, test)
    return Labels(split.examples, split, left_out)


def _apart(
    parts: Sequence[Sequence[Any]],
    files: Sequence[Path],
    line_of: Callable[[Path, str], int],
    id_of: Callable[[Any], str],
    whose: str,
) -> None:
    """Make sure that no group and no id is in two of the files."""
    first: dict[tuple[str, str], tuple[Path, str]] = {}
    for examples, file in zip(parts, files, strict=True):
        here: dict[tuple[str, str], tuple[Path, str]] = {}
        for example in examples:
            for said, what in (("id", id_of(example)), (whose, example.group)):
                if (said, what) in first:
                    other, its_id = first[said, what]
                    raise DataError(
                        f"{file}:{line_of(file, id_of(example))}: the {said} of {other.name}:{line_of(other, its_id)} again; "
                        "what is measured on may not be learnt from, so take it out of one of them"
                    )
                here.setdefault((said, what), (file, id_of(example)))
        first |= here


_PUBLISHED: dict[str, Callable[[Path], Labels | None]] = {"mednli": _mednli, "radqa": _radqa, "clip": _clip}
_READ: dict[str, Callable[[Path], Sequence[Grouped]]] = {
    "mednli": mednli.read,
    "radqa": squad_json.read,
    "clip": clip_formats.read,
}
