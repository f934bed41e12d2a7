"""Notes saved again: what is found of them and what is taken for one wrongly, on notes whose truth is known."""

import random

import numpy as np
import pytest

from pretrain import dedup
from pretrain.shingles import fingerprints
from tests.unit.pretrain.corpus.notes import WORDS, text


def verdicts(notes: list[tuple[str, int]], factor: int = 0x9E3779B97F4A7C15) -> np.ndarray:
    """Why each of (text, patient) is dropped; earlier ones are preferred. Patients are hashed by a factor."""
    made = fingerprints(note for note, _ in notes)
    rows = np.ascontiguousarray(made.signatures.view("<u8").T)
    return dedup.duplicates(
        np.array([patient for _, patient in notes], np.uint64) * np.uint64(factor),
        np.array([int.from_bytes(digest[:8], "little") for digest in made.digests], np.uint64),
        made.runs.astype(np.uint32),
        lambda r: rows[r],
    )


def with_addendum(note: str, rng: random.Random) -> str:
    return note + " ADDENDUM: " + " ".join(rng.choices(WORDS, k=len(note.split()) * rng.randint(5, 80) // 100))


def with_words_changed(note: str, rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) if rng.random() < 0.03 else word for word in note.split())


def cut_short(note: str, rng: random.Random) -> str:
    return " ".join(note.split()[: len(note.split()) * rng.randint(50, 95) // 100])


def doubled(note: str, rng: random.Random) -> str:
    """Copied into a note twice as long."""
    return note + " " + " ".join(rng.choices(WORDS, k=len(note.split())))


@pytest.mark.parametrize(
    ("changed", "least"), [(with_addendum, 0.99), (with_words_changed, 0.98), (cut_short, 0.99), (doubled, 0.95)]
)
def test_a_note_that_one_patient_has_twice_is_found(changed, least):
    rng = random.Random(0)
    originals = [(text(n, rng.randint(60, 500)), n // 5) for n in range(300)]
    again = [(changed(note, rng), patient) for note, patient in originals]
    found = verdicts(again + originals)
    assert (found[:300] == dedup.KEPT).all()
    assert (found[300:] == dedup.SAVED_AGAIN).mean() >= least


def test_notes_of_one_patient_that_share_a_third_are_kept():
    rng = random.Random(1)
    notes = []
    for patient in range(60):
        template = text(1000 + patient, 50)
        notes += [(template + " " + text(patient * 5 + n, 100), patient) for n in range(5)]
    rng.shuffle(notes)
    assert (verdicts(notes) == dedup.KEPT).mean() == 1


def test_notes_of_two_patients_have_to_be_more_alike_than_notes_of_one():
    rng = random.Random(2)
    originals = [(text(n, 300), n) for n in range(200)]
    # 3 % of words changed leaves three quarters of the runs, half a per cent leaves 95 %.
    changed = [(with_words_changed(note, rng), 1000 + patient) for note, patient in originals]
    barely = [(" ".join([*note.split()[:150], "x", *note.split()[151:]]), 2000 + patient) for note, patient in originals]
    found = verdicts(originals + changed + barely)
    assert (found[:200] == dedup.KEPT).all()
    assert (found[200:400] == dedup.KEPT).mean() > 0.6
    assert (found[400:] == dedup.NEAR).mean() == 1


def test_patients_whose_hashes_differ_in_the_last_bits_alone_are_two_patients():
    # One word in twenty-five is another: two thirds of the runs are shared, too few for notes of two patients.
    words = text(1, 500).split()
    note, again = " ".join(words), " ".join("x" if n % 25 == 0 else word for n, word in enumerate(words))
    notes = [(note, 0), (again, 1), (text(2), 0), (text(3), 1)]
    assert (verdicts(notes, factor=1) == dedup.KEPT).all()
    assert verdicts([(note, 0), (again, 0)]).tolist() == [dedup.KEPT, dedup.SAVED_AGAIN]


def test_in_a_crowd_of_alike_notes_every_copy_is_found():
    # All begin alike, so that thousands share a key and not each can be compared with each.
    opening = text(0, 60)
    notes = [(opening + " " + text(n % 100, 40), 7) for n in range(100, 1100)]
    found = verdicts(notes)
    kept = [notes[n][0] for n in np.flatnonzero(found == dedup.KEPT)]
    assert len(kept) == len(set(kept)) <= 100


def test_what_is_dropped_has_a_kept_note_like_it():
    rng = random.Random(4)
    chain = [text(1, 300).split()]
    for n in range(60):
        chain.append([*chain[-1][30:], *text(n, 30).split()])
    rng.shuffle(chain)
    notes = [(" ".join(note), 1) for note in chain]
    found = verdicts(notes)
    sets = [set(zip(*(note[k:] for k in range(5)), strict=False)) for note in chain]
    kept = [here for here, verdict in zip(sets, found, strict=True) if verdict == dedup.KEPT]
    for here, verdict in zip(sets, found, strict=True):
        best = max(len(here & k) / len(here | k) for k in kept)
        assert best == 1 if verdict == dedup.KEPT else best > 0.3


def test_nothing_is_no_duplicate():
    assert verdicts([]).tolist() == []
    assert verdicts([("one note only", 1)]).tolist() == [dedup.KEPT]
