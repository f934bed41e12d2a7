"""Batches of corrupted documents, in an order that depends on the seed and the epoch alone.

A document longer than the window is cut into pieces of nearly the same length. Pieces of like length share a batch, for CPUs,
or share rows without seeing each other, for GPUs (`pretrain.layouts`). The noise on a piece depends on the seed, the epoch and
the piece alone. A `Cursor` names one batch of the endless sequence: resuming is starting there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrain.layouts import TARGET_STEP, WIDTH_STEP, Order, bucketed, packed, rounded
from pretrain.shards import Shard
from pretrain.span_corruption import corrupt, masked_lengths, noise_mask, raw_length, rng

__all__ = ["IGNORED", "WIDTH_STEP", "Batch", "CorruptedBatches", "Cursor"]

IGNORED = -100
"""A label that no loss counts (PyTorch's default)."""


class Cursor(NamedTuple):
    """The batch at `position` of an epoch's order."""

    epoch: int = 0
    position: int = 0


@dataclass(frozen=True)
class Batch:
    """B rows of corrupted pieces: L encoder positions, T decoder positions."""

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
        batch_tokens: encoder positions of a batch, padding included, as nearly as whole rows give it.
        first_sentinel: id of `<extra_id_0>`.
        seed: of the order and of the noise.
        packed: whether all batches have one shape, whose rows several pieces share.
    """

    def __init__(
        self, shard: Shard, window: int, batch_tokens: int, first_sentinel: int, seed: int, *, packed: bool = False
    ) -> None:
        if not len(shard):
            raise ValueError("the shard holds no document to train on; give it more text")
        self._shard, self._first_sentinel, self._seed = shard, first_sentinel, seed
        self._batch_tokens = batch_tokens
        longest = raw_length(window)
        self._pieces_P3 = cut_into_pieces(np.diff(shard.offsets), longest)
        # No piece is of no token.
        self._sizes_R2 = np.array([(0, 0), *map(masked_lengths, range(1, longest + 1))], np.int32)
        self._shape = (rounded(window), rounded(masked_lengths(longest)[1])) if packed else None
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
        order = self._order(epoch)
        for position in range(len(order)):
            yield self._batch(order[position], epoch)

    def first(self, count: int) -> list[Batch]:
        """At most `count` batches of the first epoch."""
        return list(islice(self.one_epoch(), count))

    def _drawn_order(self, epoch: int) -> Order:
        # A stream that no document's noise has: documents and pieces count from 0.
        random = rng(self._seed, epoch, 2**32 - 1, 2**32 - 1)
        raw_P = self._pieces_P3[:, 2] - self._pieces_P3[:, 1]
        if self._shape is None:
            return bucketed(raw_P, self._sizes_R2, self._batch_tokens, random)
        return packed(raw_P, self._sizes_R2, self._shape, self._rows, random)

    @property
    def _rows(self) -> int:
        """Of a packed batch."""
        return max(1, self._batch_tokens // self._shape[0]) if self._shape else 0

    def _batch(self, rows: list[NDArray[np.int32]], epoch: int) -> Batch:
        texts = [[self._corrupted(epoch, *piece) for piece in self._pieces_P3[row].tolist()] for row in rows]
        # An epoch's last packed batch is filled up with empty rows.
        texts += [[] for _ in range(self._rows - len(rows))]
        sources, targets = ([[text[side] for text in row] for row in texts] for side in (0, 1))
        shape = self._shape or (rounded(_longest(sources)), rounded(_longest(targets), TARGET_STEP))
        inputs, source_pieces = _laid_out(sources, 0, shape[0])
        labels, target_pieces = _laid_out(targets, IGNORED, shape[1])
        mask = (source_pieces > 0).astype(np.int64)
        return Batch(inputs, mask, labels, (source_pieces, target_pieces) if self._shape else None)

    def _corrupted(self, epoch: int, document: int, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        tokens = self._shard.document(document)[start:end]
        masked = noise_mask(len(tokens), rng(self._seed, epoch, document, start))
        return corrupt(tokens, masked, self._first_sentinel)


def cut_into_pieces(lengths_D: NDArray[np.int64], longest: int) -> NDArray[np.int32]:
    """Rows of (document, start, end), none longer than `longest`.

    A document's pieces are of nearly the same length: cut to the brim, the last would be a scrap without context.
    """
    count_D = -(-lengths_D // longest)
    document_P = np.repeat(np.arange(len(lengths_D), dtype=np.int32), count_D)
    number_P = np.arange(len(document_P)) - np.repeat(np.cumsum(count_D) - count_D, count_D)
    pieces_P3 = np.empty((len(document_P), 3), np.int32)
    pieces_P3[:, 0] = document_P
    for column in (1, 2):
        pieces_P3[:, column] = (number_P + column - 1) * lengths_D[document_P] // count_D[document_P]
    return pieces_P3


def _longest(rows: list[list[NDArray[np.int64]]]) -> int:
    return max(sum(map(len, row)) for row in rows)


def _laid_out(rows: list[list[NDArray[np.int64]]], padding: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Texts one behind the other, (B, width), and each position's text in its row, from 1."""
    ids, numbers = np.full((len(rows), width), padding, np.int64), np.zeros((len(rows), width), np.int64)
    for row, texts in enumerate(rows):
        begin = 0
        for number, text in enumerate(texts, start=1):
            end = begin + len(text)
            ids[row, begin:end], numbers[row, begin:end] = text, number
            begin = end
    return ids, numbers
