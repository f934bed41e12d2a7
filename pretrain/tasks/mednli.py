"""MedNLI: whether a premise from a clinical note entails a hypothesis, contradicts it, or leaves it open.

A pair goes `read` -> `encode` into one window of tokens -> a model's token logits -> `pair_logits` ->
`probabilities` -> `decode` into a label -> `score`. Training, evaluation and use run this same file, so they cannot drift
apart; it needs no torch. Every pair is judged alone.

Shape suffixes: B = windows of a batch, T = tokens of a window, N = pairs, C = channels, L = labels, G = groups,
R = resamples.
Source of the task: Romanov and Shivade 2018, "Lessons from Natural Language Inference in the Clinical Domain".
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.tasks.clip import DataError, Run, lines_of, pad
from pretrain.tokenizer import Tokenizer

LABELS = ("entailment", "neutral", "contradiction")
"""What a hypothesis can be to its premise, in this order wherever there are numbers for them."""

CHANNELS = 2 * len(LABELS)
"""Of the model: what a premise's tokens say of each label, then what a hypothesis's do. One mean over both would let the
longer text speak for the shorter one."""

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

    @property
    def names_note(self) -> bool:
        """Whether the group is a note's that the file names, and not only the premise's."""
        return self.group != _hash(self.premise)


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


def line_of(path: Path, pair_id: str) -> int:
    """On which line of a file that `read` takes a pair stands."""
    return next(number for number, line in lines_of(path, MAX_LINE_BYTES, "pair") if _pair(line).pair_id == pair_id)


@dataclass(frozen=True)
class EncodedPair:
    """A premise and a hypothesis as one window of token ids, framed as its encoder reads a pair of texts."""

    window: NDArray[np.int64] = field(repr=False)
    """(T,)"""
    owner: NDArray[np.int64] = field(repr=False)
    """(T,): 0 where a token is the premise's, 1 where it is the hypothesis's, -1 for the frame."""


def encode(premise: str, hypothesis: str, tokenizer: Tokenizer, window_tokens: int) -> EncodedPair:
    """Put a premise before its hypothesis, `[CLS] premise [SEP] hypothesis [SEP]` or as a T5 has it.

    A premise that is too long loses its end, so that the hypothesis is whole; a hypothesis loses its end only where it alone
    is longer than a window.

    Args:
        premise: what is known.
        hypothesis: what is asked.
        tokenizer: what turns both into ids.
        window_tokens: positions of a window, the frame included.
    Raises:
        ValueError: a window that does not hold a token of each text beside its frame.
    """
    frame = tokenizer.frame_tokens + len(tokenizer.between_ids)
    room = window_tokens - frame
    if room < 2:
        raise ValueError(f"{window_tokens=} holds no pair beside its frame; use at least {frame + 2}")
    second = tokenizer.encode(hypothesis).ids[: room - 1]
    first = tokenizer.encode(premise).ids[: room - len(second)]
    owner = np.full(frame + len(first) + len(second), -1)
    start = len(tokenizer.prefix_ids)
    owner[start : start + len(first)] = 0
    start += len(first) + len(tokenizer.between_ids)
    owner[start : start + len(second)] = 1
    return EncodedPair(tokenizer.framed_pair(first, second), owner)


def pair_logits(encoded: EncodedPair, window_logits_TC: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the tokens say of each label (L,): the sum of the means over the premise's own and over the hypothesis's own.

    Args:
        encoded: the pair.
        window_logits_TC: of its window, as a model gives them; rows beyond the window are padding.
    """
    said_L = np.zeros(len(LABELS), np.float64)
    for text, channels in enumerate((slice(None, len(LABELS)), slice(len(LABELS), None))):
        if (own := encoded.owner == text).any():
            said_L += window_logits_TC[: len(own)][own, channels].mean(0, dtype=np.float64)
    return said_L.astype(np.float32)


def predict(
    run: Run, tokenizer: Tokenizer, pairs: Sequence[Pair], window_tokens: int = 256, batch_tokens: int = 4096
) -> NDArray[np.float32]:
    """How likely each label is (N, L), for every pair alone; a row sums to 1. The pairs' own labels are not looked at.

    Args:
        run: the model, of `CHANNELS` channels.
        tokenizer: the model's.
        pairs: any number of them.
        window_tokens: as the model was taught.
        batch_tokens: at most so many positions in a batch, padding included; a longer window goes alone.
    """
    encoded = [encode(pair.premise, pair.hypothesis, tokenizer, window_tokens) for pair in pairs]
    return probabilities(logits(run, encoded, batch_tokens))


def logits(run: Run, encoded: Sequence[EncodedPair], batch_tokens: int = 4096) -> NDArray[np.float32]:
    """`pair_logits` of every pair (N, L), in batches of like length; arguments as `predict` takes them."""
    found_NL = np.zeros((len(encoded), len(LABELS)), np.float32)
    for batch in _batches([len(pair.window) for pair in encoded], batch_tokens):
        input_ids_BT, attention_mask_BT = pad([encoded[n].window for n in batch])
        for n, logits_TC in zip(batch, run(input_ids_BT, attention_mask_BT), strict=True):
            found_NL[n] = pair_logits(encoded[n], logits_TC)
    return found_NL


def probabilities(logits_NL: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the labels; does not overflow."""
    raised_NL = np.exp(logits_NL.astype(np.float64) - logits_NL.max(1, keepdims=True, initial=-np.inf))
    return np.asarray(raised_NL / raised_NL.sum(1, keepdims=True), np.float32)


def decode(probability_NL: NDArray[np.float32]) -> list[str]:
    """The likeliest label of each pair; of equally likely ones the first of `LABELS`."""
    return [LABELS[i] for i in probability_NL.argmax(1)]


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


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices, the shortest first, cut into batches of at most `batch_tokens` padded positions."""
    batch: list[int] = []
    for n in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if batch and (len(batch) + 1) * lengths[n] > batch_tokens:
            yield batch
            batch = []
        batch.append(n)
    if batch:
        yield batch


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
