"""Fertility: what is counted, and that a vocabulary of one's own text takes fewer tokens than another's."""

import json
from pathlib import Path

import pytest

from pretrain.fertility import Fertility, measure
from pretrain.tokenizer import train
from tests.benchmarks.fertility import parted

CLINICAL = [f"furosemide {n} mg daily, recheck potassium in {n} days" for n in range(100)]
OTHER = [f"the quarterly revenue of branch {n} rose by {n} points" for n in range(100)]


def test_tokens_are_counted_per_word_and_characters_per_token() -> None:
    digits = train(["1 2 3 4 5 6 7 8 9 0"] * 20, 256)
    # ▁ 1 2 ▁ 3, and ▁ 4 ▁\n ▁ 5 6
    found = measure("digits", digits, ["12 3", "4\n56"])
    assert found == Fertility("digits", digits.vocab_size, 11 / 4, 8 / 11)
    assert str(found) == "digits 2.75 tokens a word"


def test_a_vocabulary_of_the_same_kind_of_text_takes_fewer_tokens_than_anothers() -> None:
    held_out = ["recheck furosemide daily", "potassium 40 mg in 3 days"]
    own, other = (measure("", train(texts, 512), held_out) for texts in (CLINICAL, OTHER))
    assert own.tokens_per_word < other.tokens_per_word
    assert own.characters_per_token == pytest.approx(other.characters_per_token * other.tokens_per_word / own.tokens_per_word)


def test_the_benchmark_keeps_near_duplicates_on_one_side(tmp_path: Path) -> None:
    rows = [{"note_id": f"n{n}", "text": f"{n // 3}", "cluster": f"c{n // 3:02}" if n < 60 else ""} for n in range(90)]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    learnt, held_out = parted(tmp_path / "notes.jsonl")
    assert len(learnt) + len(held_out) == 90
    assert 3 < len(held_out) < 20
    assert {text for text in held_out if int(text) < 20}.isdisjoint(learnt)
