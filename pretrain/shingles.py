"""Texts as hashed runs of words, many texts at once: what tells that two of them are alike, and that one stands in another.

text -> words -> hashes of words -> hashes of runs of words ("shingles") -> MinHash signature. Everything from the words on
is NumPy over a whole batch, which is what makes it some ten times faster than a loop over words.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import rensa
from numpy.typing import NDArray

RUN_WORDS = 5
"""Words in a run, for likeness: long enough that two notes share few by chance, short enough to survive small changes."""
SLOTS = 128
"""Of a signature, a byte each: the share of equal slots estimates the Jaccard similarity, +-0.04 at one half."""
METHOD = f"runs of {RUN_WORDS}, {SLOTS} slots of 8 bits, rensa R-MinHash {rensa.RMinHash.ALGORITHM_VERSION}"
"""Signatures made by another method cannot be compared."""


class Runs(NamedTuple):
    """Hashed runs of words of D texts, one text after the other."""

    hashes: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    """(D + 1,): text i has `hashes[offsets[i]:offsets[i + 1]]`, at least one."""


class Fingerprints(NamedTuple):
    """What is kept of D texts to tell which are alike."""

    words: NDArray[np.int64]
    """(D,): how many each has."""
    runs: NDArray[np.int64]
    """(D,): how many runs of words."""
    digests: list[bytes]
    """16 bytes each, the same for texts that are the same once `normalised`."""
    signatures: NDArray[np.uint8]
    """(D, `SLOTS`)"""


def fingerprints(texts: Iterable[str]) -> Fingerprints:
    """Of texts of any length; what follows the first 4 million bytes of one counts for its digest alone."""
    found = [Fingerprints(np.empty(0, np.int64), np.empty(0, np.int64), [], np.empty((0, SLOTS), np.uint8))]
    for batch in _batches(map(normalised, texts)):
        words_of_D = words(text[:_LONGEST_TEXT] for text in batch)
        runs_of_D = runs(words_of_D)
        sizes = np.diff(words_of_D.offsets), np.diff(runs_of_D.offsets)
        found.append(Fingerprints(*sizes, [digest(text) for text in batch], signatures(runs_of_D)))
    counts, run_counts, digests, made = zip(*found, strict=True)
    return Fingerprints(np.concatenate(counts), np.concatenate(run_counts), list(chain(*digests)), np.concatenate(made))


def normalised(text: str) -> bytes:
    """What counts when two texts are compared, as UTF-8: not case, not white space."""
    content = text.encode("utf-8", "replace")
    others = set(content.translate(None, _ASCII).decode())
    if len(others) > _MANY:
        return " ".join(text.split()).casefold().encode("utf-8", "replace")
    # The same, by bytes: most notes hold a handful of characters beyond ASCII, over and over.
    for character in others:
        folded = " " if character.isspace() else character.casefold()
        if folded != character:
            content = content.replace(character.encode(), folded.encode())
    content = content.translate(_FOLDED)
    while b"  " in content:
        content = content.replace(b"  ", b" ")
    return content.strip(b" ")


def digest(content: bytes) -> bytes:
    """Names a `normalised` text in 16 bytes."""
    return hashlib.blake2b(content, digest_size=16).digest()


def words(texts: Iterable[bytes]) -> Runs:
    """Hashes of the words of `normalised` texts: runs of letters and digits; punctuation does not count.

    A word is told from others by its length and its first 64 bytes.
    """
    spelled = [text.translate(_WORDS_ONLY) for text in texts]
    # Zeros behind the last word: eight bytes are read at once.
    buffer = np.frombuffer(b"\0" + b"\0".join(spelled) + b"\0" * _EIGHT, np.uint8)
    edges = np.diff((buffer != 0).view(np.int8))
    starts, ends = np.flatnonzero(edges == 1) + 1, np.flatnonzero(edges == -1) + 1
    lengths = ends - starts
    eight = np.ndarray((len(buffer) - _EIGHT + 1,), "<u8", buffer=buffer, strides=(1,))
    hashes = _mixed((eight[starts] & _FIRST[np.minimum(lengths, _EIGHT)]) + lengths.astype(np.uint64))
    for at in range(_EIGHT, _LONGEST, _EIGHT):
        longer = np.flatnonzero(lengths > at)
        if not len(longer):
            break
        more = eight[starts[longer] + at] & _FIRST[np.minimum(lengths[longer] - at, _EIGHT)]
        hashes[longer] = _mixed(hashes[longer] * _MULTIPLIER ^ more)
    begins = np.cumsum([1, *(len(text) + 1 for text in spelled)])
    return Runs(hashes, np.searchsorted(starts, begins).astype(np.int64))


def runs(words_of_D: Runs, length: int = RUN_WORDS) -> Runs:
    """Hashes of every run of `length` words; a shorter text is one run."""
    hashes, offsets = words_of_D
    sizes = np.diff(offsets)
    counts = np.maximum(sizes - length + 1, 1)
    begins = np.concatenate([[0], np.cumsum(counts)])
    # All runs of the batch as if it were one text; those across two texts are then left out.
    across = np.zeros(max(len(hashes) - length + 1, 1), np.uint64)
    for k in range(length if len(hashes) >= length else 0):
        across = across * _MULTIPLIER + hashes[k : len(hashes) - length + 1 + k]
    wanted = np.arange(begins[-1]) + np.repeat(offsets[:-1] - begins[:-1], counts)
    found = across[np.minimum(wanted, len(across) - 1)]
    for short in np.flatnonzero(sizes < length):
        whole = np.uint64(0)
        with np.errstate(over="ignore"):
            for word in hashes[offsets[short] : offsets[short + 1]]:
                whole = whole * _MULTIPLIER + word
        found[begins[short]] = whole
    return Runs(_mixed(found), begins)


def signatures(runs_of_D: Runs) -> NDArray[np.uint8]:
    """(D, `SLOTS`): the lowest byte of each slot.

    Source: Li & König 2010 (b-bit minwise hashing): a byte is enough once the 1/256 that is equal by chance is taken off.
    """
    rows = len(runs_of_D.offsets) - 1
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        runs_of_D.hashes, runs_of_D.offsets.astype(np.uint64), SLOTS, seed=1
    )
    return np.asarray(matrix.to_rows(), np.uint32).reshape(rows, SLOTS).astype(np.uint8)


class Shelf:
    """Texts as sorted runs of 8 words, to be found again within others."""

    RUN_WORDS = 8
    NEAR = 0.5
    """Share of a text's runs found in another, from which on it is that text again."""

    def __init__(self, texts: Iterable[str]) -> None:
        hashes, offsets = runs(words([normalised(text) for text in texts]), self.RUN_WORDS)
        owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        order = np.lexsort((owners, hashes))
        hashes, owners = hashes[order], owners[order]
        # A run that a text repeats counts once.
        first = np.ones(len(hashes), bool)
        first[1:] = (np.diff(hashes) != 0) | (np.diff(owners) != 0)
        self._hashes, self._owners = hashes[first], owners[first]
        self._sizes = np.bincount(self._owners, minlength=len(offsets) - 1)
        # Nearly all runs of a corpus are found nowhere here; this says so without a search.
        self._maybe = np.zeros(1 << 22, np.bool_)
        self._maybe[self._hashes % np.uint64(len(self._maybe))] = True

    def nearly_holds(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """(D,): does a text share half of its runs with one of those here, or half of that one's runs with it?"""
        alike = np.zeros(len(texts), bool)
        if not len(self._hashes):
            return alike
        # A longer text is searched a stretch at a time.
        starts = [(i, start) for i, text in enumerate(texts) for start in range(0, max(len(text), 1), _LONGEST_TEXT)]
        at = 0
        for batch in _batches(normalised(texts[i][start : start + _LONGEST_TEXT]) for i, start in starts):
            owners = [i for i, _ in starts[at : at + len(batch)]]
            np.logical_or.at(alike, owners, self._any_near(*runs(words(batch), self.RUN_WORDS)))
            at += len(batch)
        return alike

    def _any_near(self, hashes: NDArray[np.uint64], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        sizes = np.diff(offsets)
        found = np.flatnonzero(self._maybe[hashes % np.uint64(len(self._maybe))])
        left, right = (np.searchsorted(self._hashes, hashes[found], side) for side in ("left", "right"))
        times = right - left
        # One row for every pair of a run found and a text here that it stands in.
        at = np.repeat(left - np.cumsum(times) + times, times) + np.arange(times.sum())
        texts = np.repeat(np.searchsorted(offsets, found, "right") - 1, times)
        pairs = texts * len(self._sizes) + self._owners[at]
        pair, shared = np.unique(pairs, return_counts=True)
        _, shared_distinct = np.unique(np.unique(pairs * len(self._hashes) + at) // len(self._hashes), return_counts=True)
        text, owner = pair // len(self._sizes), pair % len(self._sizes)
        near = (shared >= self.NEAR * sizes[text]) | (shared_distinct >= self.NEAR * self._sizes[owner])
        alike = np.zeros(len(sizes), np.bool_)
        alike[text[near]] = True
        return alike


_ASCII = bytes(range(128))
_FOLDED = bytes(ord(" ") if chr(code).isspace() else ord(chr(code).lower()) for code in range(128)) + bytes(range(128, 256))
_MANY = 32
"""Different characters beyond ASCII, from which on a text is not searched for each."""
_WORDS_ONLY = bytes(code if code >= 128 or chr(code).isalnum() else 0 for code in range(256))
_EIGHT, _LONGEST = 8, 64
_FIRST = np.array([(1 << 8 * n) - 1 for n in range(_EIGHT + 1)], np.uint64)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_BATCH = 1_000_000
"""Bytes that are hashed at once: what a processor's cache holds is twice as fast as what it does not."""
_LONGEST_TEXT = 4_000_000


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread over all 64 bits (the finaliser of MurmurHash3)."""
    hashes = (hashes ^ hashes >> np.uint64(33)) * np.uint64(0xFF51AFD7ED558CCD)
    hashes = (hashes ^ hashes >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
    return hashes ^ hashes >> np.uint64(33)


def _batches(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """A bounded number of bytes at a time; a longer text is alone."""
    batch: list[bytes] = []
    room = _BATCH
    for text in texts:
        if len(text) > room and batch:
            yield batch
            batch, room = [], _BATCH
        batch.append(text)
        room -= len(text)
    if batch:
        yield batch
