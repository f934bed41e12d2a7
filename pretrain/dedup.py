"""Which notes say again what another one says: within a patient first, then across patients.

Notes are compared in the order of preference, best first, and one is dropped only where a better one that is *kept* is alike.
So a chain of daily notes, each alike to the next alone, loses every other one and not all but one; and the answer depends
on neither the order of files nor the number of workers.

Candidates come from signatures (see `pretrain.shingles`) by locality-sensitive hashing, one band at a time: sort its keys, and
look at notes that stand side by side. A note takes some sixty bytes of memory while this goes on.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pretrain.shingles import SLOTS

ROWS = SLOTS // 8
"""A signature as 64-bit integers, eight slots in each."""
KEPT, SAVED_AGAIN, EXACT, NEAR = range(4)
REASONS = {
    SAVED_AGAIN: "the same note saved again (same patient)",
    EXACT: "exact duplicate",
    NEAR: "near duplicate of another patient's note",
}
SAVED_AGAIN_FROM = 0.5
"""Jaccard similarity of two notes of one patient from which on they are one note, saved twice."""
CONTAINED_FROM = 0.85
"""Estimated share of the shorter note's runs that stand in the longer one, from which on it adds nothing."""
NEAR_FROM = 0.8
"""Jaccard similarity of notes of two patients: templates are alike, so more is asked."""

Row = Callable[[int], NDArray[np.uint64]]
"""Row r of the signatures, (N,): slots 8r to 8r + 7 of every note. Asked for again and again, so that nobody holds them all."""


def duplicates(
    group_N: NDArray[np.uint64],
    digest_N: NDArray[np.uint64],
    runs_N: NDArray[np.uint32],
    row: Row,
    is_out_N: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Why each of N notes is dropped, (N,): `KEPT` or a key of `REASONS`.

    All arrays are in the order of preference, the note to keep rather than others first.

    Args:
        group_N: whose note it is.
        digest_N: of the normalised text.
        runs_N: how many runs of words it has.
        row: of the signatures.
        is_out_N: notes that are not looked at; `KEPT` is said of them.
    """
    verdict_N = np.zeros(len(group_N), np.uint8)
    is_in_N = np.ones(len(group_N), np.bool_) if is_out_N is None else ~is_out_N

    def jaccard(better: NDArray[np.int64], worse: NDArray[np.int64]) -> NDArray[np.float32]:
        equal = np.zeros(len(better), np.int32)
        for r in range(ROWS):
            eight = row(r)
            equal += ((eight[better] ^ eight[worse]).view(np.uint8).reshape(-1, 8) == 0).sum(axis=1, dtype=np.int32)
        # Slots of one byte are equal by chance once in 256.
        return ((equal / SLOTS - 1 / 256) / (1 - 1 / 256)).astype(np.float32)

    def saved_again(better: NDArray[np.int64], worse: NDArray[np.int64]) -> NDArray[np.bool_]:
        similarity = jaccard(better, worse)
        a, b = runs_N[better].astype(np.float32), runs_N[worse].astype(np.float32)
        shared = similarity / (1 + similarity) * (a + b)
        # A key holds 48 bits of a group: two patients may share them.
        is_one_patient: NDArray[np.bool_] = group_N[better] == group_N[worse]
        return is_one_patient & ((similarity >= SAVED_AGAIN_FROM) | (shared >= CONTAINED_FROM * np.minimum(a, b)))

    def within_a_group(index: NDArray[np.int64]) -> Iterator[NDArray[np.uint64]]:
        yield group_N[index] * _ODD ^ digest_N[index]
        # Bands of two slots: a note that is a third of another shares one of 64 with it in 99.9 % of cases.
        low = np.uint64(0xFFFF)
        for r in range(ROWS):
            eight = row(r)[index]
            for shift in range(0, 64, 16):
                yield group_N[index] & ~low | eight >> np.uint64(shift) & low

    _mark(verdict_N, SAVED_AGAIN, np.flatnonzero(_has_twin(group_N) & is_in_N), within_a_group, saved_again)
    _mark(
        verdict_N,
        EXACT,
        np.flatnonzero((verdict_N == KEPT) & is_in_N),
        lambda index: iter([digest_N[index]]),
        lambda better, worse: digest_N[better] == digest_N[worse],
    )
    _mark(
        verdict_N,
        NEAR,
        np.flatnonzero((verdict_N == KEPT) & is_in_N),
        # Bands of eight slots: of pairs that are 0.8 alike, 95 % share one of 16.
        lambda index: (row(r)[index] for r in range(ROWS)),
        lambda better, worse: jaccard(better, worse) >= NEAR_FROM,
    )
    return verdict_N


_ODD = np.uint64(0x9E3779B97F4A7C15)
_BESIDE = 4
"""With so many of its neighbours a note is compared, and with the first that has its key."""
_PASSES = 8
"""Through those that have too many neighbours."""
_PAIRS = 4_000_000
"""Candidates that are looked at together, eight bytes each and some fifty while they are."""

_Alike = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]


def _has_twin(group_N: NDArray[np.uint64]) -> NDArray[np.bool_]:
    by_group = np.argsort(group_N)
    group_N = group_N[by_group]
    same = group_N[1:] == group_N[:-1]
    has_twin = np.zeros(len(group_N), np.bool_)
    has_twin[by_group[1:][same]] = has_twin[by_group[:-1][same]] = True
    return has_twin


def _mark(
    verdict_N: NDArray[np.uint8],
    reason: int,
    index: NDArray[np.int64],
    bands: Callable[[NDArray[np.int64]], Iterator[NDArray[np.uint64]]],
    alike: _Alike,
) -> None:
    """Write `reason` where a note of `index` is alike a better one that is kept."""
    for _ in range(_PASSES):
        edges, crowded = _edges(index, bands(index), alike)
        before = np.count_nonzero(verdict_N)
        better, worse = edges >> np.uint64(32), edges & np.uint64(0xFFFFFFFF)
        for a, b in zip(better.tolist(), worse.tolist(), strict=True):
            # Edges come sorted, so that by now it is known whether the better one is kept.
            if verdict_N[a] == KEPT:
                verdict_N[b] = reason
        # Among many of one key not all were compared; now that some are gone, others stand side by side.
        index = crowded[verdict_N[crowded] == KEPT]
        if not len(index) or np.count_nonzero(verdict_N) == before:
            return


def _edges(
    index: NDArray[np.int64], bands: Iterator[NDArray[np.uint64]], alike: _Alike
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Pairs that are alike, as `better << 32 | worse`, sorted; and the notes that share a key with too many."""
    sure: list[NDArray[np.uint64]] = []
    maybe = np.empty(0, np.uint64)
    is_crowded = np.zeros(len(index), np.bool_)
    for keys in bands:
        maybe = np.union1d(maybe, _candidates(index, keys, is_crowded))
        if len(maybe) > _PAIRS:
            sure.append(_verified(maybe, alike))
            maybe = maybe[:0]
    sure.append(_verified(maybe, alike))
    return np.unique(np.concatenate(sure)), index[is_crowded]


def _candidates(index: NDArray[np.int64], keys: NDArray[np.uint64], is_crowded: NDArray[np.bool_]) -> NDArray[np.uint64]:
    # Stable: among notes of one key the best stays first.
    by_key = np.argsort(keys, kind="stable")
    keys = keys[by_key]
    begins = np.concatenate([np.ones(1, np.bool_), keys[1:] != keys[:-1]])
    if begins.all():
        return np.empty(0, np.uint64)
    position = np.arange(len(keys), dtype=np.int32)
    first = np.where(begins, position, 0).astype(np.int32, copy=False)
    np.maximum.accumulate(first, out=first)
    far = np.flatnonzero(position - first > _BESIDE)
    is_crowded[by_key[far]] = True
    pairs: list[tuple[NDArray[np.integer], NDArray[np.integer]]] = [(first[far], far)]
    for distance in range(1, _BESIDE + 1):
        later = distance + np.flatnonzero(first[distance:] <= position[:-distance])
        pairs.append((later - distance, later))
    found = index[by_key]
    better, worse = (found[np.concatenate(side)].astype(np.uint64) for side in zip(*pairs, strict=True))
    return np.asarray(better << np.uint64(32) | worse)


def _verified(pairs: NDArray[np.uint64], alike: _Alike) -> NDArray[np.uint64]:
    better, worse = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return pairs[alike(better, worse)]
