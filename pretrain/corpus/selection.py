"""What of the parts is trained on: kept apart from what is evaluated, each note once, a patient on one side of the split.

All of it is decided before anything is learnt, by fingerprints; texts are read again only where there are some to keep apart.
The decisions are a byte per document, in the order of the parts' names.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pretrain import dedup
from pretrain.corpus.documents import CorpusError, check_share, require_stamp
from pretrain.corpus.parts import Part, group_key
from pretrain.corpus.stored import DEV, FIRST_REASON, FORMAT, TRAIN, Corpus
from pretrain.shingles import Shelf

_NONE: Mapping[str, int] = {}
REASONS = ("of a patient with labels or on the list to exclude", "evaluated on", *dedup.REASONS.values())
"""Decisions from `FIRST_REASON` on."""


def select(
    folder: Path,
    parts: Sequence[Part],
    stamp: str,
    *,
    groups: Collection[str] = (),
    evaluated: Iterable[str] = (),
    drops: Mapping[str, int] = _NONE,
    held_out: float = 0.05,
) -> Corpus:
    """Decide for every document of the parts, and write it down in `folder`; the same question is answered once.

    In this order: documents of `groups`, documents that are, or nearly are, one of `evaluated`, then duplicates (see
    `pretrain.dedup`; of a note saved again the latest stays, else the longest). The rest is split by group:
    a group's side depends on its name alone, so that it stays where it is when the corpus grows, unless a side would be empty.

    Args:
        folder: the corpus', where the parts are.
        parts: in any order; all carry `stamp`.
        stamp: of the de-identifier.
        groups: never to be trained on.
        evaluated: texts never to be trained on, de-identified as the parts are: tags would hide the likeness.
        drops: what was left out before any part was read, for the corpus' own count.
        held_out: share of groups to watch the loss on.
    Raises:
        NotDeidentified: a part carries another stamp.
        CorpusError: the disk is full, or a part is not what was written.
        ValueError: `held_out` is not a share below one half.
    """
    check_share(held_out)
    parts = sorted(parts, key=lambda part: part.path.name)
    for part in parts:
        require_stamp(part.stamp, stamp)
    texts = list(evaluated)
    asked = {
        "format": FORMAT,
        "stamp": stamp,
        "parts": {part.path.stem: part.sha256 for part in parts},
        "kept_out": _hashed([*sorted(map(str, map(group_key, groups))), *sorted(texts)]),
        "held_out": held_out,
        "drops": dict(sorted(drops.items())),
        "duplicates": [dedup.SAVED_AGAIN_FROM, dedup.CONTAINED_FROM, dedup.NEAR_FROM],
    }
    with suppress(CorpusError):
        corpus = Corpus.open(folder, stamp)
        if corpus.manifest["asked"] == asked:
            return corpus
    try:
        decisions_N, found = _decided(parts, folder, groups, texts, held_out)
        found["drops"] = dict(Counter(found["drops"]) + Counter(drops))
        return Corpus.write(folder, tuple(parts), decisions_N, {"asked": asked, **found})
    except OSError as error:
        raise CorpusError(f"{folder}: cannot be written ({error.strerror}); free disk space and start again") from error


def _decided(
    parts: Sequence[Part], folder: Path, groups: Collection[str], evaluated: Sequence[str], held_out: float
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    with tempfile.TemporaryFile(dir=folder) as scratch:
        notes = _Notes(parts, scratch)
        decisions_N = np.full(notes.n, TRAIN, np.uint8)
        decisions_N[np.isin(notes.group_N, np.array([group_key(group) for group in groups], np.uint64))] = FIRST_REASON
        if evaluated:
            is_evaluated_N = np.concatenate([np.empty(0, np.bool_), *_evaluated(parts, Shelf(evaluated))])[notes.number_N]
            decisions_N[is_evaluated_N & (decisions_N == TRAIN)] = FIRST_REASON + 1
        is_out_N = decisions_N != TRAIN
        verdict_N = dedup.duplicates(notes.group_N, notes.digest_N, notes.runs_N, notes.row, is_out_N)
    is_dropped_N = verdict_N != dedup.KEPT
    decisions_N[is_dropped_N] = FIRST_REASON + 1 + verdict_N[is_dropped_N]
    is_train_N = decisions_N == TRAIN
    decisions_N[is_train_N & np.isin(notes.group_N, _held_out(np.unique(notes.group_N[is_train_N]), held_out))] = DEV
    in_order_of_parts_N = np.empty_like(decisions_N)
    in_order_of_parts_N[notes.number_N] = decisions_N
    return in_order_of_parts_N, notes.said_of(decisions_N)


def _held_out(groups_G: NDArray[np.uint64], share: float) -> NDArray[np.uint64]:
    """The groups to hold out, of sorted ones: neither side is empty where there are two."""
    chosen = int(np.searchsorted(groups_G, share * 2.0**64))
    return groups_G[: max(0, min(max(1, chosen), len(groups_G) - 1))]


def _evaluated(parts: Sequence[Part], shelf: Shelf) -> Iterator[NDArray[np.bool_]]:
    for part in parts:
        for batch in part.row_groups(["text"]):
            yield shelf.nearly_holds(batch.column("text").to_pylist())


class _Notes:
    """Fingerprints of all N documents, the one to keep rather than others first; each one's signature is in a scratch file.

    The latest comes first, then the longest; where those are the same, whatever does not depend on the files' order.
    """

    def __init__(self, parts: Sequence[Part], scratch: BinaryIO) -> None:
        self.n = sum(part.documents for part in parts)
        self.group_N = np.empty(self.n, np.uint64)
        self.digest_N = np.empty(self.n, np.uint64)
        self.runs_N = np.empty(self.n, np.uint32)
        self._characters_N = np.empty(self.n, np.uint32)
        self._words_N = np.empty(self.n, np.uint32)
        self._kind_N = np.empty(self.n, np.uint8)
        self._kinds: list[str] = []
        self._scratch = scratch
        written_N = np.empty(self.n, np.int64)
        at = 0
        for part in parts:
            for batch in part.row_groups(
                ["group_key", "digest", "runs", "written_us", "characters", "words", "kind", "signature"]
            ):
                here = slice(at, at + batch.num_rows)
                self.group_N[here] = batch.column("group_key")
                self.digest_N[here] = _fixed(batch.column("digest"))[:, 0]
                self.runs_N[here] = batch.column("runs")
                self._characters_N[here] = batch.column("characters")
                self._words_N[here] = batch.column("words")
                self._kind_N[here] = self._numbered(batch.column("kind"))
                written_N[here] = batch.column("written_us")
                for r, row in enumerate(np.ascontiguousarray(_fixed(batch.column("signature")).T)):
                    os.pwrite(scratch.fileno(), row.tobytes(), (r * self.n + at) * 8)
                at += batch.num_rows
        # Whatever comes last is looked at first.
        keys = (self.group_N, self.digest_N, np.invert(self._characters_N), np.negative(written_N, out=written_N))
        self.number_N = np.lexsort(keys).astype(np.uint32)
        """Of each document in the order of the parts."""
        for name in ("group_N", "digest_N", "runs_N", "_characters_N", "_words_N", "_kind_N"):
            setattr(self, name, getattr(self, name)[self.number_N])

    def row(self, r: int) -> NDArray[np.uint64]:
        """Eight slots of every signature, from the scratch file."""
        content = os.pread(self._scratch.fileno(), self.n * 8, r * self.n * 8)
        return np.asarray(np.frombuffer(content, "<u8")[self.number_N])

    def _numbered(self, kinds: pa.Array) -> NDArray[np.uint8]:
        coded = kinds.dictionary_encode()
        names = coded.dictionary.to_pylist()
        self._kinds += [kind for kind in names if kind not in self._kinds]
        return np.asarray(np.array([self._kinds.index(kind) for kind in names], np.uint8)[coded.indices])

    def said_of(self, decisions_N: NDArray[np.uint8]) -> dict[str, Any]:
        """What the manifest tells of the documents that were dropped, and of those that were kept."""
        is_kept, is_train = decisions_N < FIRST_REASON, decisions_N == TRAIN
        dropped = np.bincount(decisions_N, minlength=FIRST_REASON + len(REASONS))[FIRST_REASON:]
        doublings = np.bincount(np.ceil(np.log2(self._words_N[is_kept].clip(1))).astype(np.int64))
        kinds = np.bincount(self._kind_N[is_kept], minlength=len(self._kinds))
        return {
            "drops": {reason: int(n) for reason, n in zip(REASONS, dropped, strict=True) if n},
            "kinds": dict(zip(self._kinds, kinds.tolist(), strict=True)),
            "characters": int(self._characters_N[is_train].sum(dtype=np.int64)),
            "length_histogram": [(2**power, int(n)) for power, n in enumerate(doublings) if n],
            "fingerprint": hashlib.sha256(np.sort(self.digest_N[is_train]).tobytes()).hexdigest(),
        }


def _fixed(column: Any) -> NDArray[np.uint64]:
    """A column of fixed-size binaries as rows of 64-bit integers."""
    width = column.type.byte_width
    content = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width : (column.offset + len(column)) * width]
    return content.view("<u8").reshape(len(column), width // 8)


def _hashed(items: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(hashlib.sha256(item.encode("utf-8", "replace")).digest())
    return digest.hexdigest()
