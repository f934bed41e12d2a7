import json
from pathlib import Path

import numpy as np
import pytest

from pretrain.tasks import mednli
from pretrain.tasks.clip import DataError
from pretrain.tasks.mednli import LABELS, Pair

GOLD = Path(__file__).parents[5] / "shared" / "data" / "gold" / "nli_gold_mtsamples.jsonl"
PREMISE = "He denies chest pain."
PAIR = {"pairID": "p1", "gold_label": "contradiction", "sentence1": PREMISE, "sentence2": "The patient reports chest pain."}
PARSES = {f"sentence{n}{kind}": "(ROOT ...)" for n in (1, 2) for kind in ("_parse", "_binary_parse")}


def write(path, *records):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records) + "\n")
    return path


def without(key):
    return {k: v for k, v in PAIR.items() if k != key}


def pairs_of(*labels, groups=None):
    return [Pair(f"p{n}", "A.", "B.", label, groups[n] if groups else f"g{n}") for n, label in enumerate(labels)]


def test_a_pair_is_read_with_its_label_and_its_note(tmp_path):
    path = write(tmp_path / "mli_dev_v1.jsonl", {**PAIR, **PARSES, "note_id": "n7"}, "")
    assert mednli.read(path) == [Pair("p1", PREMISE, "The patient reports chest pain.", "contradiction", "n7")]


def test_pairs_of_one_premise_form_one_group_where_no_note_is_named(tmp_path):
    others = [
        {**PAIR, "pairID": "p2", "sentence1": " He  denies chest\npain. "},
        {**PAIR, "pairID": "p3", "sentence1": "He ate."},
    ]
    first, second, third = mednli.read(write(tmp_path / "p.jsonl", PAIR, *others))
    assert first.group == second.group != third.group
    assert "chest" not in first.group


def test_a_pair_does_not_show_its_text_when_printed():
    shown = repr(Pair("p1", "Secret premise.", "Secret hypothesis.", "neutral", "g"))
    assert "Secret" not in shown
    assert "p1" in shown


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ({**PAIR, "pairID": 3}, "pairID is missing"),
        (without("sentence1"), "sentence1 is missing"),
        ({**PAIR, "sentence2": " "}, "sentence2 is missing, empty"),
        ({**PAIR, "sentence2": "He \ud800"}, "sentence2 holds half a surrogate pair"),
        ({**PAIR, "note_id": None}, "note_id is missing"),
        ({**PAIR, "secret": "He"}, "1 unknown keys"),
        ({**PAIR, "pairID": "p9", "gold_label": "-"}, "did not agree, so it can teach and measure nothing; remove the line"),
        ({**PAIR, "gold_label": "Secretly"}, "gold_label is unknown; known are entailment, neutral, contradiction"),
        ({**PAIR, "gold_label": ["neutral"]}, "gold_label is missing, empty or no string"),
        (PAIR, "the pairID of line 1 again"),
    ],
)
def test_what_is_wrong_with_a_line_is_named_by_file_and_line_without_quoting_it(tmp_path, line, found):
    path = write(tmp_path / "p.jsonl", PAIR, line)
    with pytest.raises(DataError) as error:
        mednli.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}:2: ")
    assert found in message
    assert not any(word in message for word in ("chest", "He ", "ecret"))


def test_a_file_that_is_missing_empty_or_not_utf8_is_refused_with_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "latin1").write_bytes(b'{"sentence1": "caf\xe9"}')
    (tmp_path / "empty").write_bytes(b"\n\n")
    for name, found in (("none", "No such file"), ("latin1", "iconv"), ("empty", "holds no pairs")):
        with pytest.raises(DataError, match=found):
            mednli.read(tmp_path / name)
    monkeypatch.setattr(mednli, "MAX_LINE_BYTES", 20)
    with pytest.raises(DataError, match=r"p\.jsonl:1: is longer"):
        mednli.read(write(tmp_path / "p.jsonl", PAIR))


def test_the_figures_equal_those_worked_out_by_hand():
    gold = pairs_of("entailment", "entailment", "neutral", "contradiction")
    result = mednli.score(gold, ["entailment", "neutral", "neutral", "entailment"])
    assert result["accuracy"] == pytest.approx(0.5)
    assert result["confusion"] == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert result["per_label"]["entailment"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert result["per_label"]["neutral"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert result["per_label"]["contradiction"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert result["macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_figures_are_those_of_their_definitions_label_by_label(seed):
    draw = np.random.default_rng(seed)
    gold, said = ([LABELS[i] for i in draw.integers(3, size=60)] for _ in range(2))
    result = mednli.score(pairs_of(*gold), said, resamples=10)
    both = list(zip(gold, said, strict=True))
    f1s = []
    for label, row in result["per_label"].items():
        tp = sum(g == s == label for g, s in both)
        precision, recall = tp / said.count(label), tp / gold.count(label)
        f1s.append(2 * precision * recall / (precision + recall))
        expected = {"precision": precision, "recall": recall, "f1": f1s[-1], "support": gold.count(label)}
        assert row == pytest.approx(expected)
    assert result["macro_f1"] == pytest.approx(sum(f1s) / 3)
    assert result["accuracy"] == pytest.approx(sum(g == s for g, s in both) / 60)
    assert result["confusion"] == [[both.count((g, s)) for s in LABELS] for g in LABELS]


def test_the_score_has_exactly_its_keys_and_is_json():
    result = json.loads(json.dumps(mednli.score(pairs_of("neutral"), ["neutral"])))
    assert list(result) == ["task", "n_pairs", "accuracy", "macro_f1", "per_label", "confusion", "ci95"]
    assert (result["task"], result["n_pairs"]) == ("mednli", 1)
    assert list(result["per_label"]) == list(LABELS)
    assert list(result["ci95"]) == ["accuracy"]


def test_the_interval_comes_from_whole_groups_and_from_its_seed():
    said = ["neutral"] * 50 + ["entailment"] * 50
    of_two = pairs_of(*["neutral"] * 100, groups=["right"] * 50 + ["wrong"] * 50)
    # Two groups: a quarter of the resamples has only the right one, a quarter only the wrong one.
    assert mednli.score(of_two, said)["ci95"]["accuracy"] == [0.0, 1.0]
    low, high = mednli.score(pairs_of(*["neutral"] * 100), said)["ci95"]["accuracy"]
    # Of a hundred groups of one: 1.96 * sqrt(0.25 / 100) = 0.098 on either side; 0.02 is what 2000 resamples may miss it by.
    assert (low, high) == pytest.approx((0.402, 0.598), abs=0.02)
    assert mednli.score(of_two, said, seed=3) == mednli.score(of_two, said, seed=3)


def test_what_is_no_prediction_of_these_pairs_is_not_scored():
    with pytest.raises(ValueError, match="no pairs"):
        mednli.score([], [])
    with pytest.raises(ValueError, match="shorter"):
        mednli.score(pairs_of("neutral"), [])
    with pytest.raises(ValueError, match="pair p0: the prediction is none of entailment, neutral, contradiction"):
        mednli.score(pairs_of("neutral"), ["maybe"])


@pytest.mark.skipif(not GOLD.exists(), reason="pairs of the project's shared data are not here")
def test_the_shared_gold_pairs_are_read_whole():
    pairs = mednli.read(GOLD)
    assert len(pairs) == 135
    assert {pair.label for pair in pairs} == set(LABELS)
    assert len({pair.group for pair in pairs}) < 46
