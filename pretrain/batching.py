"""Batches of corrupted documents, in an order that depends on the seed and the epoch alone.

A document longer than the window is cut into pieces of nearly the same length; pieces of like length share a batch, and
every batch holds about as many tokens. A `Cursor` names one batch of the endless sequence: resuming is starting there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrain.shards import Shard
from pretrain.span_corruption import corrupt, masked_lengths, noise_mask, raw_length, rng

IGNORED = -100
"""A label that no loss counts (PyTorch's default)."""
WIDTH_STEP = 16
"""Widths are multiples of it: for every new shape a CPU compiles kernels and keeps memory. Worth a tenth of the time."""


class Cursor(NamedTuple):
    """The batch at `position` of an epoch's order."""

    epoch: int = 0
    position: int = 0


@dataclass(frozen=True)
class Batch:
    """B corrupted pieces: L encoder positions, T decoder positions, padded to the longest, rounded up."""

    input_ids: NDArray[np.int64]
    """(B, L)"""
    attention_mask: NDArray[np.int64]
    """(B, L)"""
    labels: NDArray[np.int64]
    """(B, T), `IGNORED` where padded."""
    pieces: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    """(B, L) and (B, T): which of its row's pieces a position belongs to, from 1, and 0 where padded. None where each row is
    one piece."""

    @property
    def encoder_lengths(self) -> NDArray[np.int64]:
        """Positions of each piece, row by row; padding is none."""
        return _lengths(self.attention_mask if self.pieces is None else self.pieces[0])

    @property
    def decoder_lengths(self) -> NDArray[np.int64]:
        """Positions of each piece, row by row; padding is none."""
        return _lengths((self.labels != IGNORED).astype(np.int64) if self.pieces is None else self.pieces[1])

    @property
    def begun(self) -> NDArray[np.int64]:
        """(B, T): what the decoder has written before each position; padding, where its piece begins."""
        before = np.pad(self.labels[:, :-1], ((0, 0), (1, 0)), constant_values=IGNORED)
        if self.pieces is not None:
            before[np.diff(self.pieces[1], axis=1, prepend=0) != 0] = IGNORED
        return np.where(before == IGNORED, 0, before)


def _lengths(pieces: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each number above 0 occurs in each row, row by row."""
    most = int(pieces.max(initial=0)) + 1
    counts = np.bincount((np.arange(len(pieces))[:, None] * most + pieces).ravel(), minlength=len(pieces) * most)
    found = counts.reshape(len(pieces), most)[:, 1:]
    return np.asarray(found[found > 0], np.int64)


class CorruptedBatches:
    """A shard as an endless sequence of batches.

    Args:
        shard: the documents.
        window: encoder positions of the longest piece, `</s>` included.
        batch_tokens: encoder positions of a batch, padding included; a piece longer than that is a batch of its own.
        first_sentinel: id of `<extra_id_0>`.
        seed: of the order and of the noise.
    """

    def __init__(self, shard: Shard, window: int, batch_tokens: int, first_sentinel: int, seed: int) -> None:
        if not len(shard):
            raise ValueError("the shard holds no document to train on; give it more text")
        self._shard, self._first_sentinel, self._seed = shard, first_sentinel, seed
        self._batch_tokens = batch_tokens
        self._pieces_P3 = _pieces(np.diff(shard.offsets), raw_length(window))
        lengths = self._pieces_P3[:, 2] - self._pieces_P3[:, 1]
        self._widths_P = np.array([_rounded(masked_lengths(int(raw))[0]) for raw in range(lengths.max() + 1)])[lengths]
        # One epoch's order is kept at a time; it is drawn again when the cursor comes back to it.
        self._order = lru_cache(maxsize=1)(self._drawn_order)

    def __len__(self) -> int:
        """Pieces of one epoch."""
        return len(self._pieces_P3)

    def take(self, cursor: Cursor) -> tuple[Batch, Cursor]:
        """The batch at a cursor, and the cursor after it."""
        order = self._order(cursor.epoch)
        batch = self._batch(order[cursor.position], cursor.epoch)
        last = cursor.position + 1 == len(order)
        return batch, Cursor(cursor.epoch + 1) if last else Cursor(cursor.epoch, cursor.position + 1)

    def one_epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """Every piece once."""
        for pieces in self._order(epoch):
            yield self._batch(pieces, epoch)

    def _drawn_order(self, epoch: int) -> list[NDArray[np.int64]]:
        # A stream that no document's noise has: documents and pieces count from 0.
        random = rng(self._seed, epoch, 2**32 - 1, 2**32 - 1)
        shuffled = random.permutation(len(self._pieces_P3))
        by_width = shuffled[np.argsort(self._widths_P[shuffled], kind="stable")]
        batches: list[NDArray[np.int64]] = []
        begin = 0
        widths = self._widths_P[by_width]
        while begin < len(by_width):
            # Sorted, so a batch is as wide as its last row.
            fitting = np.arange(1, len(widths) - begin + 1)[: self._batch_tokens] * widths[begin : begin + self._batch_tokens]
            end = begin + max(1, int(np.searchsorted(fitting, self._batch_tokens, side="right")))
            batches.append(by_width[begin:end])
            begin = end
        return [batches[at] for at in random.permutation(len(batches))]

    def _batch(self, pieces: NDArray[np.int64], epoch: int) -> Batch:
        rows = [self._corrupted(epoch, *piece) for piece in self._pieces_P3[pieces].tolist()]
        inputs, targets = _padded([row[0] for row in rows], 0), _padded([row[1] for row in rows], IGNORED)
        lengths_B = np.array([len(row[0]) for row in rows])
        return Batch(inputs, (np.arange(inputs.shape[1]) < lengths_B[:, None]).astype(np.int64), targets)

    def _corrupted(self, epoch: int, document: int, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        tokens = self._shard.document(document)[start:end]
        masked = noise_mask(len(tokens), rng(self._seed, epoch, document, start))
        return corrupt(tokens, masked, self._first_sentinel)


def _pieces(lengths_D: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
    """Rows of (document, start, end), none longer than `longest`.

    A document's pieces are of nearly the same length: cut to the brim, the last would be a scrap without context.
    """
    count_D = -(-lengths_D // longest)
    document_P = np.repeat(np.arange(len(lengths_D)), count_D)
    number_P = np.arange(len(document_P)) - np.repeat(np.cumsum(count_D) - count_D, count_D)
    length_P, count_P = lengths_D[document_P], count_D[document_P]
    return np.stack([document_P, number_P * length_P // count_P, (number_P + 1) * length_P // count_P], axis=1)


def _rounded(length: int) -> int:
    return -(-length // WIDTH_STEP) * WIDTH_STEP


def _padded(rows: list[NDArray[np.int64]], value: int) -> NDArray[np.int64]:
    padded = np.full((len(rows), _rounded(max(map(len, rows)))), value, np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded
