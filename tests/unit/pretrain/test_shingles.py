"""Fingerprints of texts: the same alone or in a batch, equal where the words are, and as alike as the sets they stand for."""

import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain import shingles
from pretrain.shingles import Shelf, fingerprints, normalised, runs, signatures
from tests.unit.pretrain.corpus.notes import text

ANY = st.text(st.sampled_from("aB1 .\n\u00e9\u4e2d\u00a0\ud800\0") | st.characters(), max_size=60)


def words(texts: list[str]) -> shingles.Runs:
    return shingles.words([text.encode("utf-8", "replace") for text in texts])


def row(of, i: int) -> list[int]:
    return of.hashes[of.offsets[i] : of.offsets[i + 1]].tolist()


@given(st.lists(ANY, max_size=6))
def test_a_text_hashes_alone_as_it_does_among_others(texts):
    batch = words(texts)
    assert len(batch.offsets) == len(texts) + 1
    for i, alone in enumerate(texts):
        assert row(batch, i) == words([alone]).hashes.tolist()
        assert row(runs(batch), i) == runs(words([alone])).hashes.tolist()


@given(st.text(st.characters(codec="ascii")))
def test_words_are_runs_of_letters_and_digits(text):
    spelled = re.findall(r"[^\W_]+", text)
    assert len(words([text]).hashes) == len(spelled)
    assert len(set(words([text]).hashes.tolist())) == len(set(spelled))


@pytest.mark.parametrize(("one", "other"), [("ab", "ba"), ("x" * 8, "x" * 9), ("x" * 70, "x" * 71), ("12345678a", "12345678b")])
def test_other_words_have_other_hashes_and_punctuation_does_not_count(one, other):
    assert words([one]).hashes.tolist() == words([f"({one}.)"]).hashes.tolist()
    assert words([one]).hashes.tolist() != words([other]).hashes.tolist()


def test_a_text_has_as_many_runs_as_places_for_one_and_at_least_one():
    assert np.diff(runs(words(["", "a", "a b c d", "a b c d e", "a b c d e f g"]), 5).offsets).tolist() == [1, 1, 1, 1, 3]
    assert row(runs(words(["a b c d e f", "b c d e f g"]), 5), 0)[1] == row(runs(words(["b c d e f"]), 5), 0)[0]
    assert row(runs(words(["a b c d"])), 0) != row(runs(words(["a b d c"])), 0)


@given(
    st.lists(st.sampled_from(["Ab ", " \t\n", "\u00a0\u3000", "\u1e9eX", "\u212a", "\ud800", "\x1f"]) | st.characters()).map(
        "".join
    )
)
def test_normalising_folds_case_and_white_space_of_every_script(text):
    assert normalised(text) == " ".join(text.split()).casefold().encode("utf-8", "replace")


def test_normalising_a_text_of_many_characters_takes_no_search_for_each():
    text = " \u3000".join(map(chr, range(0x100, 0x400)))
    assert normalised(text) == " ".join(text.split()).casefold().encode()


def test_case_and_white_space_do_not_count_in_a_digest_and_words_do():
    one, same, other, empty = fingerprints(["Lasix 40 mg\n p.o.", "LASIX 40\u00a0mg p.o. ", "Lasix 4 0mg p.o.", ""]).digests
    assert one == same != other
    assert len(empty) == 16


def test_fingerprints_do_not_depend_on_what_is_hashed_together(monkeypatch):
    texts = [text(n, 10 + 7 * n) for n in range(30)]
    together = fingerprints(texts)
    monkeypatch.setattr(shingles, "_BATCH", 500)
    for one, other in zip(together, fingerprints(texts), strict=True):
        assert np.array_equal(one, other)
    assert together.words.tolist() == [10 + 7 * n for n in range(30)]
    assert together.runs.tolist() == [6 + 7 * n for n in range(30)]
    assert [len(part) for part in fingerprints([])] == [0, 0, 0, 0]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 1.0])
def test_equal_slots_estimate_the_jaccard_similarity(share):
    # Half of 2 * n * share / (1 + share) runs are shared where the union has n * 2 / (1 + share).
    estimates = []
    for seed in range(40):
        everything = random.Random(seed).sample(range(10**9), 1000)
        shared = round(1000 * 2 * share / (1 + share) / 2)
        hashes = np.array(everything[:shared], np.uint64), np.array(everything[shared:], np.uint64)
        half = len(hashes[1]) // 2
        pair = shingles.Runs(
            np.concatenate([hashes[0], hashes[1][:half], hashes[0], hashes[1][half:]]) * np.uint64(0x9E3779B97F4A7C15),
            np.array([0, shared + half, 1000 + shared]),
        )
        a, b = signatures(pair)
        estimates.append(((a == b).mean() - 1 / 256) / (1 - 1 / 256))
    exact = shared / 1000
    assert np.mean(estimates) == pytest.approx(exact, abs=4 * 0.045 / 40**0.5)
    assert np.std(estimates) < 0.06


def nearly(kept: list[str], text: str) -> bool:
    """What `Shelf` does, one run after the other."""

    def cut(text: str) -> list[tuple[str, ...]]:
        spelled = re.findall(r"[^\W_]+", normalised(text).decode())
        return [tuple(spelled[at : at + 8]) for at in range(max(1, len(spelled) - 7))]

    def shared(here: list[tuple[str, ...]], there: list[tuple[str, ...]]) -> float:
        return sum(run in there for run in here) / len(here)

    here = cut(text)
    return any(max(shared(here, cut(k)), shared(sorted(set(cut(k))), here)) >= 0.5 for k in kept)


def test_what_is_on_the_shelf_is_found_as_a_search_run_by_run_finds_it():
    rng = random.Random(3)
    kept = [text(n, rng.choice([3, 8, 30, 100])) for n in range(12)]
    asked = [text(900 + n, rng.choice([2, 10, 50])) for n in range(20)]
    for k in kept:
        spelled = k.split()
        for _ in range(6):
            a, b = sorted(rng.sample(range(len(spelled) + 1), 2))
            asked.append(" ".join([*text(rng.randrange(99), rng.randrange(1, 60)).split(), *spelled[a:b]]))
    found = Shelf(kept).nearly_holds(asked)
    assert found.tolist() == [nearly(kept, a) for a in asked]
    assert 10 < found.sum() < len(asked) - 10


def test_a_text_that_is_too_long_to_hash_at_once_is_searched_to_its_end(monkeypatch):
    monkeypatch.setattr(shingles, "_BATCH", 3000)
    monkeypatch.setattr(shingles, "_LONGEST_TEXT", 3000)
    haystack = text(1, 2000)
    needle = text(2, 60)
    assert Shelf([needle]).nearly_holds([haystack, haystack + " " + needle, "", needle]).tolist() == [False, True, False, True]


def test_an_empty_shelf_holds_nothing():
    assert Shelf([]).nearly_holds(["a b c", ""]).tolist() == [False, False]
    assert Shelf(["a b"]).nearly_holds([]).tolist() == []
