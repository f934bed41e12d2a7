"""CLIP: which sentences of a discharge summary ask for follow-up, and of which kinds.

A note goes `read` (or comes from a hospital) -> `encode` into windows of tokens -> a model's token logits -> `sentence_logits`
-> `decode` into tagged spans -> `score`. Training, evaluation and the bedside run this same file, so they cannot drift apart;
it needs no torch.

Shape suffixes: B = windows of a batch, T = tokens of a window, S = sentences of a note, L = labels, N = notes.
Source of the task: Mullenbach et al. 2021, "CLIP: A Dataset for Extracting Action Items for Physicians from Hospital
Discharge Notes".
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.tasks.base import LabelledNote, TaggedSpan
from pretrain.text import Span
from pretrain.text import sentences as split_sentences
from pretrain.tokenizer import Tokenizer

LABELS = ("Patient instructions", "Appointment", "Medication", "Lab", "Procedure", "Imaging", "Other")
"""The seven kinds of follow-up, in the order of the model's channels."""

NO_TOKEN_LOGIT = -1e4
"""What a sentence gets that no token belongs to: the model has said nothing about it."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Of a file of labelled notes; a longer line is no note, and is refused before it fills the memory."""

WINDOW_TOKENS = 256
"""Positions of a window, where the encoder has as many: attention takes half of what it takes in windows of 512, and a tagger
of few labels tags no worse."""

Run = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""A model: `input_ids` and `attention_mask` (B, T) -> `token_logits` (B, T, L)."""


class DataError(ValueError):
    """A file of labelled notes is not what it should be; the message names file and line and quotes nothing of it."""


@dataclass(frozen=True)
class EncodedNote:
    """A note as windows of token ids, each framed as its encoder reads them, and whose sentence every position is."""

    sentences: tuple[Span, ...]
    windows: tuple[NDArray[np.int64], ...] = field(repr=False)
    """One array of ids (T,) per window."""
    owners: tuple[NDArray[np.int64], ...] = field(repr=False)
    """One array (T,) per window: the index of the position's sentence, -1 for the frame and what lies between sentences."""


def read(path: Path) -> list[LabelledNote]:
    """The labelled notes of a JSON-lines file, in its order.

    A line is `{"note_id", "text", "sentences": [{"start", "end", "labels", "text"?}], "name"?, "patient_id"?}`, where
    `start:end` are characters of `text`. Notes of one `patient_id` form one group; without it a note is its own.

    Raises:
        DataError: the file cannot be read, or a line of it is not such a note.
    """
    notes: list[LabelledNote] = []
    first_line: dict[str, int] = {}
    for number, line in lines_of(path, MAX_LINE_BYTES, "note"):
        try:
            note = _note(line)
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        if note.note_id in first_line:
            raise DataError(f"{path}:{number}: the note_id of line {first_line[note.note_id]} again; give every note its own")
        first_line[note.note_id] = number
        notes.append(note)
    if not notes:
        raise DataError(f"{path}: holds no notes; write one JSON object per line")
    return notes


def lines_of(path: Path, most_bytes: int, one: str) -> Iterator[tuple[int, str]]:
    """The lines of a JSON-lines file that hold something, with their numbers.

    Args:
        path: the file.
        most_bytes: of a line.
        one: what a line holds, to tell what is wrong.
    Raises:
        DataError: the file cannot be read or is not UTF-8, or a line is longer.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(iter(lambda: file.readline(most_bytes + 1), b""), 1):
                if len(raw) > most_bytes:
                    raise DataError(f"{path}:{number}: is longer than {most_bytes >> 20} MB; write one {one} per line")
                if raw.strip():
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; check the path and its rights") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8; convert it (iconv -f LATIN1 -t UTF-8)") from None


def sentences_of(text: str) -> tuple[Span, ...]:
    """A note's sentences that hold a letter or digit: a rule of dashes asks for nothing, and no annotator labels one."""
    return tuple(span for span in split_sentences(text) if any(map(str.isalnum, text[span.start : span.end])))


def encode(text: str, tokenizer: Tokenizer, window_tokens: int, sentences: Sequence[Span] | None = None) -> EncodedNote:
    """Cut a note into windows of whole consecutive sentences, each of at most `window_tokens` tokens with its frame.

    Those of one note are of like length: a rest in a window of its own would be read out of context, and padded where it
    shares a batch. The note is tokenised once, so a sentence's tokens do not depend on how it is cut; a sentence longer than
    a window is cut into pieces.

    Args:
        text: the note.
        tokenizer: what turns it into ids with character offsets.
        window_tokens: positions of a window, one more than `</s>`, or `[CLS]` and `[SEP]`, take at least.
        sentences: in order and not overlapping; where not given, `sentences_of` the text.
    Raises:
        ValueError: a window that holds no token beside its frame.
    """
    room = window_tokens - tokenizer.frame_tokens
    if room < 1:
        raise ValueError(f"{window_tokens=} holds no token beside its frame; use at least {tokenizer.frame_tokens + 1}")
    spans = sentences_of(text) if sentences is None else tuple(sentences)
    if not spans:
        return EncodedNote((), (), ())
    tokens = tokenizer.encode(text)
    # A piece may reach back over the space before its word, so a token is the last sentence's that it touches.
    last = np.searchsorted([span.start for span in spans], tokens.ends, side="left") - 1
    owner = np.where((last >= 0) & (np.array([span.end for span in spans])[last] > tokens.starts), last, -1)
    windows = _pack(owner, room)
    frame = len(tokenizer.prefix_ids), len(tokenizer.suffix_ids)
    return EncodedNote(
        spans,
        tuple(tokenizer.framed(tokens.ids[cut]) for cut in windows),
        tuple(np.pad(owner[cut], frame, constant_values=-1) for cut in windows),
    )


def sentence_logits(encoded: EncodedNote, window_logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Mean of each sentence's own token logits: (S, L), `NO_TOKEN_LOGIT` where a sentence has no token.

    Args:
        encoded: the note.
        window_logits: one array (T', L) per window, T' >= T: rows beyond the window are padding.
    """
    sums_SL = np.zeros((len(encoded.sentences), len(LABELS)), np.float64)
    counts_S = np.zeros(len(encoded.sentences), np.int64)
    for owner_T, logits_TL in zip(encoded.owners, window_logits, strict=True):
        own = owner_T >= 0
        np.add.at(sums_SL, owner_T[own], logits_TL[: len(owner_T)][own])
        np.add.at(counts_S, owner_T[own], 1)
    means_SL = sums_SL / np.maximum(counts_S, 1)[:, None]
    return np.where(counts_S[:, None] > 0, means_SL, NO_TOKEN_LOGIT).astype(np.float32)


def predict(run: Run, notes: Sequence[EncodedNote], batch_tokens: int = 4096) -> list[NDArray[np.float32]]:
    """Sentence logits (S, L) of every note, its windows batched with those of the others.

    Args:
        run: the model.
        notes: any number of them.
        batch_tokens: at most so many positions in a batch, padding included; a longer window goes alone.
    """
    windows = [(n, w) for n, note in enumerate(notes) for w in range(len(note.windows))]
    # Windows of like length share a batch, so that little is padded; the order of the answers is restored by (n, w).
    windows.sort(key=lambda at: len(notes[at[0]].windows[at[1]]))
    answers: dict[tuple[int, int], NDArray[np.float32]] = {}
    for batch in _batches(windows, [len(notes[n].windows[w]) for n, w in windows], batch_tokens):
        input_ids_BT, attention_mask_BT = pad([notes[n].windows[w] for n, w in batch])
        logits_BTL = run(input_ids_BT, attention_mask_BT)
        answers.update(zip(batch, logits_BTL, strict=True))
    return [sentence_logits(note, [answers[n, w] for w in range(len(note.windows))]) for n, note in enumerate(notes)]


def pad(windows: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`input_ids` and `attention_mask` (B, T) of windows, padded at the end to the longest.

    With id 0, whatever the vocabulary: no encoder looks at what the mask hides.
    """
    mask_BT = np.arange(max(map(len, windows)))[None, :] < np.array([len(window) for window in windows])[:, None]
    input_ids_BT = np.zeros(mask_BT.shape, np.int64)
    input_ids_BT[mask_BT] = np.concatenate(windows)
    return input_ids_BT, mask_BT.astype(np.int64)


def scores(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logistic function, of any shape; does not overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), np.float32)


def decode(logits_SL: NDArray[np.float32], sentences: Sequence[Span], cutoff_L: NDArray[np.float32]) -> list[TaggedSpan]:
    """`tagged` from logits as they are."""
    return tagged(scores(logits_SL), sentences, cutoff_L)


def tagged(score_SL: NDArray[np.float32], sentences: Sequence[Span], cutoff_L: NDArray[np.float32]) -> list[TaggedSpan]:
    """The spans worth showing a clinician: a sentence and a label wherever the score reaches the label's cut-off."""
    return [
        TaggedSpan(sentences[s].start, sentences[s].end, LABELS[label], float(score_SL[s, label]))
        for s, label in np.argwhere(score_SL >= cutoff_L)
    ]


def truth(note: LabelledNote) -> NDArray[np.bool_]:
    """The note's labels as (S, L)."""
    return np.array([[label in labels for label in LABELS] for labels in note.labels], bool).reshape(-1, len(LABELS))


def score(
    gold: Sequence[LabelledNote], predicted: Sequence[Sequence[TaggedSpan]], resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """F1 per label, over all labels (micro, macro) and for any label at all (binary), as the command line prints it.

    Follows scikit-learn's `f1_score` with `zero_division=0`; macro is the mean of the labels' F1, as in Lehman et al.
    `macro_f1_clip` is what CLIP's own script calls macro-F1, of the labels' mean precision and mean recall; the two must not be
    compared. `ci95` is a percentile bootstrap over whole notes, because sentences of one note are not independent.

    Args:
        gold: the notes.
        predicted: for each of them what the model says; every span is a sentence of the note.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    Raises:
        ValueError: no notes, or a span that is not a sentence of its note.
    """
    if not gold:
        raise ValueError("no notes to score; give at least one")
    counts = np.array([counts_of(note, spans) for note, spans in zip(gold, predicted, strict=True)])  # (N, L + 1, tp fp fn)
    tp, fp, fn = counts.sum(0).T
    f1 = f1s_of(counts.sum(0)[None])
    rng = np.random.default_rng(seed)
    weights_RN = rng.multinomial(len(gold), np.full(len(gold), 1 / len(gold)), size=resamples)
    bounds = {name: np.quantile(values, (0.025, 0.975)) for name, values in f1s_of(np.tensordot(weights_RN, counts, 1)).items()}
    return {
        "task": "clip",
        "n_notes": len(gold),
        "n_sentences": sum(len(note.sentences) for note in gold),
        **{name: float(values[0]) for name, values in f1.items()},
        "per_label": {
            label: {
                "precision": float(tp[i] / max(tp[i] + fp[i], 1)),
                "recall": float(tp[i] / max(tp[i] + fn[i], 1)),
                "f1": float(_ratio(counts.sum(0)[i])),
                "support": int(tp[i] + fn[i]),
            }
            for i, label in enumerate(LABELS)
        },
        "ci95": {name: [float(low), float(high)] for name, (low, high) in bounds.items()},
    }


def compare(
    gold: Sequence[LabelledNote],
    ours: Sequence[Sequence[Sequence[TaggedSpan]]],
    theirs: Sequence[Sequence[Sequence[TaggedSpan]]],
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """How much better one way of making taggers is than another, on the same notes.

    Each way is a list of runs (other seeds), each run what its tagger says about every note. A way's F1 is the mean over its
    runs. The interval is a paired percentile bootstrap: every resample draws notes, the same for both ways, and runs of each,
    so that it covers both which notes were measured and which seeds were taken.

    Returns:
        For each F1 of `score`: `ours`, `theirs`, `difference` and its `ci95`; `n_notes`, `n_runs`.
    Raises:
        ValueError: no notes, no run, or a span that is not a sentence of its note.
    """
    if not gold or not ours or not theirs:
        raise ValueError("nothing to compare; give notes, and at least one run of each way")
    # (R, N, L + 1, tp fp fn)
    tables = [
        np.array([[counts_of(note, spans) for note, spans in zip(gold, run, strict=True)] for run in runs])
        for runs in (ours, theirs)
    ]
    means = [{name: values.mean() for name, values in f1s_of(table.sum(1)).items()} for table in tables]
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in means[0]}
    for weight_N in rng.multinomial(len(gold), np.full(len(gold), 1 / len(gold)), size=resamples):
        sides = []
        for table in tables:
            runs = rng.integers(len(table), size=len(table))
            sides.append(f1s_of(np.tensordot(weight_N, table[runs], (0, 1))))
        for name, values in draws.items():
            values.append(float(sides[0][name].mean() - sides[1][name].mean()))
    return {
        "n_notes": len(gold),
        "n_runs": [len(ours), len(theirs)],
        **{
            name: {
                "ours": float(means[0][name]),
                "theirs": float(means[1][name]),
                "difference": float(means[0][name] - means[1][name]),
                "ci95": [float(bound) for bound in np.quantile(draws[name], (0.025, 0.975))],
            }
            for name in draws
        },
    }


def _ratio(counts: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
    """F1 from counts of tp, fp and fn in the last axis; 0 where there are none."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    return np.asarray(2 * tp / np.maximum(2 * tp + fp + fn, 1))


def f1s_of(counts: NDArray[np.integer] | NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Each figure for every row of counts (R, L + 1, 3), whose last entry counts sentences with any label."""
    labels = counts[:, :-1]
    tp, fp, fn = np.moveaxis(labels, -1, 0)
    precision, recall = ((tp / np.maximum(tp + wrong, 1)).mean(1) for wrong in (fp, fn))
    return {
        "micro_f1": _ratio(labels.sum(1)),
        "macro_f1": _ratio(labels).mean(1),
        "macro_f1_clip": 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny),
        "binary_f1": _ratio(counts[:, -1]),
    }


def counts_of(note: LabelledNote, spans: Sequence[TaggedSpan]) -> NDArray[np.int64]:
    """True positives, false positives and false negatives of one note: (L + 1, 3), the last row for any label."""
    index = {sentence: s for s, sentence in enumerate(note.sentences)}
    said_SL = np.zeros((len(note.sentences), len(LABELS)), bool)
    for span in spans:
        sentence = index.get(Span(span.start, span.end))
        if sentence is None:
            raise ValueError(
                f"note {note.note_id}: characters {span.start}:{span.end} are no sentence of it; tag its own sentences"
            )
        said_SL[sentence, LABELS.index(span.label)] = True
    true_SL = truth(note)
    true_S1, said_S1 = (np.column_stack([table, table.any(1)]) for table in (true_SL, said_SL))
    return np.stack([(true_S1 & said_S1).sum(0), (~true_S1 & said_S1).sum(0), (true_S1 & ~said_S1).sum(0)], -1)


def _pack(owner: NDArray[np.int64], room: int) -> list[slice]:
    """Cut tokens into windows of like length, at most `room`, at sentence borders wherever a sentence fits."""
    # What lies between two sentences goes with the one before it.
    lengths = [len(list(run)) for _, run in groupby(np.maximum.accumulate(np.maximum(owner, 0)))]
    pieces = [piece for length in lengths for piece in [room] * (length // room) + [length % room] if piece]
    windows, start, stop = [], 0, 0
    for piece in pieces:
        left = len(owner) - start
        wanted = left / math.ceil(left / room)
        if stop + piece - start > room or stop + piece / 2 - start > wanted:
            windows.append(slice(start, stop))
            start = stop
        stop += piece
    return [*windows, slice(start, stop)] if stop else []


def _batches(items: Sequence[tuple[int, int]], lengths: Sequence[int], batch_tokens: int) -> Iterator[list[tuple[int, int]]]:
    """Cut items, sorted by length, into batches of at most `batch_tokens` padded tokens."""
    batch: list[tuple[int, int]] = []
    for item, length in zip(items, lengths, strict=True):
        if batch and (len(batch) + 1) * length > batch_tokens:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _note(line: str) -> LabelledNote:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError("is not JSON; write one JSON object per line") from None
    if not isinstance(record, dict):
        raise DataError("is not a JSON object; write one note per line")
    unknown = record.keys() - {"note_id", "name", "text", "sentences", "patient_id"}
    if unknown:
        raise DataError(f"has {len(unknown)} unknown keys; a note has note_id, text, sentences, and may have name and patient_id")
    note_id, text = _text(record, "note_id"), _text(record, "text")
    sentences = record.get("sentences")
    if not isinstance(sentences, list):
        raise DataError("sentences is missing or no list; give one entry per sentence")
    spans: list[Span] = []
    labels: list[frozenset[str]] = []
    for number, sentence in enumerate(sentences):
        span, kinds = _sentence(sentence, number, text)
        if spans and span.start < spans[-1].end:
            raise DataError(f"sentence {number} starts before the one before it ends; put sentences in order, without overlap")
        spans.append(span)
        labels.append(kinds)
    group = _text(record, "patient_id") if "patient_id" in record else note_id
    return LabelledNote(note_id, text, tuple(spans), tuple(labels), group)


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{key} is missing, empty or no string")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise DataError(f"{key} holds half a surrogate pair, which is no text; write the file again as UTF-8")
    return value


def _sentence(sentence: Any, number: int, text: str) -> tuple[Span, frozenset[str]]:
    if not isinstance(sentence, dict) or not {"start", "end", "labels"} <= sentence.keys() <= {"start", "end", "labels", "text"}:
        raise DataError(f"sentence {number} is not an object of start, end, labels and perhaps text")
    start, end, labels = sentence["start"], sentence["end"], sentence["labels"]
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise DataError(f"sentence {number}: start and end do not name characters of the note's {len(text)}")
    if "text" in sentence and sentence["text"] != text[start:end]:
        raise DataError(
            f"sentence {number}: its text is not characters {start}:{end} of the note; offsets count characters, not bytes"
        )
    if not isinstance(labels, list) or not all(label in LABELS for label in labels):
        raise DataError(f"sentence {number}: labels is no list of known labels; known are {', '.join(LABELS)}")
    return Span(start, end), frozenset(labels)
