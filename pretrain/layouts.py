"""How pieces of text are laid out in batches: in buckets of like length, or packed into rows of one length.

Buckets suit a CPU: short texts make narrow batches, whose attention costs little, and a batch's real positions are nearly all.
Packing suits a GPU, which wants one large shape for compiled code. Both take every piece once and draw everything else from
one generator, so that an epoch is the same wherever it is laid out.

Shape suffixes: P = pieces, R = raw lengths in tokens, from 0.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH_STEP = 16
"""Widths are multiples of it: for every new shape a CPU compiles kernels and keeps memory. Worth a tenth of the time."""
TARGET_STEP = 4
"""The same for decoder positions, of which there are few: a quarter of the encoder's."""


def rounded(length: int, step: int = WIDTH_STEP) -> int:
    """The next width."""
    return -(-length // step) * step


@dataclass(frozen=True)
class Order:
    """The batches of an epoch. Some 12 bytes a piece: ten million notes make 20 million."""

    pieces: NDArray[np.int32]
    """(P,): row by row."""
    rows: NDArray[np.int32]
    """Row r is `pieces[rows[r]:rows[r + 1]]`."""
    batches: NDArray[np.int32]
    """Batch b is rows `batches[b]` to `batches[b + 1]`."""
    sequence: NDArray[np.int32]
    """Which batch comes when."""

    def __len__(self) -> int:
        return len(self.sequence)

    def __getitem__(self, position: int) -> list[NDArray[np.int32]]:
        """The pieces of each row of a batch."""
        batch = self.sequence[position]
        bounds = self.rows[self.batches[batch] : self.batches[batch + 1] + 1]
        return [self.pieces[begin:end] for begin, end in pairwise(bounds)]


def bucketed(raw_P: NDArray[np.int32], sizes_R2: NDArray[np.int32], batch_tokens: int, random: np.random.Generator) -> Order:
    """Rows of one piece; pieces of like length together.

    Args:
        raw_P: raw length of each piece.
        sizes_R2: encoder and decoder positions of a piece by its raw length.
        batch_tokens: encoder positions of a batch, padding included, as nearly as whole rows give it.
        random: draws which pieces of a width meet, and which batch comes when.
    """
    width_R = -(-sizes_R2[:, 0] // WIDTH_STEP) * WIDTH_STEP
    shuffled = random.permutation(len(raw_P)).astype(np.int32)
    widths = width_R[raw_P[shuffled]]
    pieces = shuffled[np.argsort(widths, kind="stable")]
    # Where batches begin: those of one width at once, for there are few widths.
    begins, begin, narrower = [], 0, 0
    wide, count = np.unique(widths, return_counts=True)
    for width, end in zip(wide.tolist(), np.cumsum(count).tolist(), strict=True):
        rows = max(1, round(batch_tokens / width))
        # What is left of narrower ones is as wide as what joins it.
        if narrower - begin >= rows:
            begins.append([begin])
            begin = narrower
        begins.append(list(range(begin, end - rows + 1, rows)))
        begin += rows * len(begins[-1])
        narrower = end
    begins.append(list(range(begin, len(pieces), len(pieces))))
    batches = np.array([*chain.from_iterable(begins), len(pieces)], np.int32)
    sequence = random.permutation(len(batches) - 1).astype(np.int32)
    return Order(pieces, np.arange(len(pieces) + 1, dtype=np.int32), batches, sequence)


def packed(
    raw_P: NDArray[np.int32], sizes_R2: NDArray[np.int32], shape: tuple[int, int], rows: int, random: np.random.Generator
) -> Order:
    """Rows of as many pieces as fit; which pieces of a length share a row is drawn.

    Args:
        raw_P: raw length of each piece.
        sizes_R2: encoder and decoder positions of a piece by its raw length.
        shape: encoder and decoder positions of a row.
        rows: of a batch; the last of an epoch may have fewer.
        random: draws the pieces and the order of the rows.
    """
    shuffled = random.permutation(len(raw_P)).astype(np.int32)
    shuffled = shuffled[np.argsort(raw_P[shuffled], kind="stable")]
    count_R = np.bincount(raw_P, minlength=len(sizes_R2))
    taken_R = np.cumsum(count_R) - count_R
    pieces, lengths = [], []
    for contents, count in _best_fit(count_R, sizes_R2, shape):
        columns = []
        for raw in contents:
            columns.append(shuffled[taken_R[raw] : taken_R[raw] + count])
            taken_R[raw] += count
        pieces.append(np.stack(columns, axis=1).ravel())
        lengths.append(np.full(count, len(contents), np.int32))
    return _in_rows(np.concatenate(pieces), np.concatenate(lengths), rows, random)


class _Rows(NamedTuple):
    """So many rows of the same raw lengths."""

    contents: tuple[int, ...]
    times: int


def _best_fit(count_R: NDArray[np.int64], sizes_R2: NDArray[np.int32], shape: tuple[int, int]) -> list[_Rows]:
    """Best-fit decreasing over the histogram of lengths: its work depends on the window, not on the number of pieces.

    Source: Krell et al. 2021, longest-pack-first histogram packing; here a row is also limited by its decoder positions.
    """
    # By what is left of the encoder's positions, then of the decoder's.
    open_rows: dict[int, dict[int, list[_Rows]]] = defaultdict(lambda: defaultdict(list))
    for raw in np.flatnonzero(count_R)[::-1].tolist():
        (source, target), left = sizes_R2[raw].tolist(), int(count_R[raw])
        while left:
            place = _tightest(open_rows, source, target)
            row = open_rows[place[0]][place[1]].pop() if place else _Rows((), left)
            source_left, target_left = place or shape
            # A row that takes one takes the next as well, for now it is tighter still.
            copies = min(left, source_left // source, target_left // target)
            times = min(row.times, left // copies)
            if place and times < row.times:
                open_rows[source_left][target_left].append(_Rows(row.contents, row.times - times))
            filled = _Rows(row.contents + (raw,) * copies, times)
            open_rows[source_left - copies * source][target_left - copies * target].append(filled)
            left -= copies * times
    return [row for by_target in open_rows.values() for kinds in by_target.values() for row in kinds]


def _tightest(open_rows: dict[int, dict[int, list[_Rows]]], source: int, target: int) -> tuple[int, int] | None:
    for source_left in sorted(left for left in open_rows if left >= source):
        fitting = [left for left, kinds in open_rows[source_left].items() if kinds and left >= target]
        if fitting:
            return source_left, min(fitting)
    return None


def _in_rows(pieces: NDArray[np.int32], lengths: NDArray[np.int32], rows: int, random: np.random.Generator) -> Order:
    """Rows in random order, so many a batch."""
    starts = np.cumsum(lengths) - lengths
    drawn = random.permutation(len(lengths))
    ends = np.cumsum(lengths[drawn])
    moved = np.repeat(starts[drawn] - (ends - lengths[drawn]), lengths[drawn])
    batches = np.append(np.arange(0, len(lengths), rows), len(lengths)).astype(np.int32)
    return Order(
        pieces[moved + np.arange(len(pieces))],
        np.concatenate([[0], ends]).astype(np.int32),
        batches,
        np.arange(len(batches) - 1, dtype=np.int32),
    )
