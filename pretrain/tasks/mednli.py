"""MedNLI: whether a premise from a clinical note entails a hypothesis, contradicts it, or leaves it open.

A pair goes `read` -> a model's label -> `score`. Training and evaluation run this same file; it needs no torch.

Shape suffixes: G = groups, R = resamples, L = labels.
Source of the task: Romanov and Shivade 2018, "Lessons from Natural Language Inference in the Clinical Domain".
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.tasks.clip import DataError, lines_of

LABELS = ("entailment", "neutral", "contradiction")
"""What a hypothesis can be to its premise, in the order of the model's channels."""

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Of a file of pairs; a longer line is no pair, and is refused before it fills the memory."""

_NEEDED = {"pairID", "gold_label", "sentence1", "sentence2"}
_PARSES = {"sentence1_parse", "sentence2_parse", "sentence1_binary_parse", "sentence2_binary_parse"}


@dataclass(frozen=True)
class Pair:
    """A premise and a hypothesis, and what the annotators agreed on."""

    pair_id: str
    premise: str = field(repr=False)
    hypothesis: str = field(repr=False)
    label: str
    group: str
    """Whose pair it is: pairs of one group are never on both sides of a split. The note's, or the premise's where unknown."""


def read(path: Path) -> list[Pair]:
    """The pairs of a `mli_*_v1.jsonl` file, in its order.

    A line is `{"pairID", "gold_label", "sentence1", "sentence2"}`; the four parse fields may be there and are not looked
    at. Pairs of one `note_id` form one group; without it those of one premise do, white space and case aside.

    Raises:
        DataError: the file cannot be read, or a line of it is not such a pair.
    """
    pairs: list[Pair] = []
    first_line: dict[str, int] = {}
    for number, line in lines_of(path, MAX_LINE_BYTES, "pair"):
        try:
            pair = _pair(line)
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        if pair.pair_id in first_line:
            raise DataError(f"{path}:{number}: the pairID of line {first_line[pair.pair_id]} again; give every pair its own")
        first_line[pair.pair_id] = number
        pairs.append(pair)
    if not pairs:
        raise DataError(f"{path}: holds no pairs; write one JSON object per line")
    return pairs


def score(pairs: Sequence[Pair], predicted: Sequence[str], resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Accuracy, the figure MedNLI is compared by, with precision, recall and F1 per label and their mean F1.

    Follows scikit-learn's `precision_recall_fscore_support` with `zero_division=0`, over all of `LABELS`. `ci95` is a
    percentile bootstrap over whole groups, because pairs of one premise or note are not independent.

    Args:
        pairs: the pairs.
        predicted: one of `LABELS` for each of them.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    Returns:
        task, n_pairs, accuracy, macro_f1, per_label {precision, recall, f1, support}, confusion (L x L, a row per gold
        label and a column per predicted one, both in the order of `LABELS`), ci95 {accuracy}.
    Raises:
        ValueError: no pairs, another number of predictions, or one that is none of `LABELS`.
    """
    if not pairs:
        raise ValueError("no pairs to score; give at least one")
    said = [_index(pair, label) for pair, label in zip(pairs, predicted, strict=True)]
    confusion_LL = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(confusion_LL, ([LABELS.index(pair.label) for pair in pairs], said), 1)
    right_L = confusion_LL.diagonal()
    gold_L, said_L = confusion_LL.sum(1), confusion_LL.sum(0)
    f1_L = 2 * right_L / np.maximum(gold_L + said_L, 1)
    low, high = _accuracy_interval(pairs, predicted, resamples, seed)
    return {
        "task": "mednli",
        "n_pairs": len(pairs),
        "accuracy": float(right_L.sum() / len(pairs)),
        "macro_f1": float(f1_L.mean()),
        "per_label": {
            label: {
                "precision": float(right_L[i] / max(said_L[i], 1)),
                "recall": float(right_L[i] / max(gold_L[i], 1)),
                "f1": float(f1_L[i]),
                "support": int(gold_L[i]),
            }
            for i, label in enumerate(LABELS)
        },
        "confusion": confusion_LL.tolist(),
        "ci95": {"accuracy": [low, high]},
    }


def _index(pair: Pair, label: str) -> int:
    if label not in LABELS:
        raise ValueError(f"pair {pair.pair_id}: the prediction is none of {', '.join(LABELS)}; predict one of them")
    return LABELS.index(label)


def _accuracy_interval(pairs: Sequence[Pair], predicted: Sequence[str], resamples: int, seed: int) -> tuple[float, float]:
    counts: dict[str, NDArray[np.int64]] = {}
    for pair, label in zip(pairs, predicted, strict=True):
        counts.setdefault(pair.group, np.zeros(2, np.int64))[:] += (pair.label == label, 1)
    counts_G2 = np.array(list(counts.values()))
    weights_RG = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    right_R, all_R = (weights_RG @ counts_G2).T
    low, high = np.quantile(right_R / all_R, (0.025, 0.975))
    return float(low), float(high)


def _pair(line: str) -> Pair:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError("is not JSON; write one JSON object per line") from None
    if not isinstance(record, dict):
        raise DataError("is not a JSON object; write one pair per line")
    unknown = record.keys() - _NEEDED - _PARSES - {"note_id"}
    if unknown:
        raise DataError(
            f"has {len(unknown)} unknown keys; a pair has pairID, gold_label, sentence1, sentence2, and may have the four parses"
            " and note_id"
        )
    premise = _text(record, "sentence1")
    group = _text(record, "note_id") if "note_id" in record else _hash(premise)
    return Pair(_text(record, "pairID"), premise, _text(record, "sentence2"), _label(record), group)


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{key} is missing, empty or no string; give every pair its own text for it")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise DataError(f"{key} holds half a surrogate pair, which is no text; write the file again as UTF-8")
    return value


def _label(record: dict[str, Any]) -> str:
    label = _text(record, "gold_label")
    if label == "-":
        raise DataError("gold_label is -: its annotators did not agree, so it can teach and measure nothing; remove the line")
    if label not in LABELS:
        raise DataError(f"gold_label is unknown; known are {', '.join(LABELS)}")
    return label


def _hash(premise: str) -> str:
    """Names a premise without telling it."""
    return hashlib.sha256(" ".join(premise.split()).casefold().encode()).hexdigest()
