import json
from pathlib import Path

import numpy as np
import pytest

from pretrain.tasks import mednli
from pretrain.tasks.clip import DataError
from pretrain.tasks.mednli import CHANNELS, LABELS, Pair

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


TEXTS = [
    ("She ate well.", "The wound is clean."),
    ("Blood culture is pending. Chest was clear. He walked the hall.", "She ate."),
    ("Vital signs were stable.", "Vital signs were not stable on Monday."),
    ("See cardiology in two weeks.", "Repeat potassium next week."),
]


def scripted(ids, mask):
    """Logits that depend on a window's own tokens and their places only, as a model's do; nonsense where it is padded."""
    channels = np.arange(1, CHANNELS + 1)
    logits = np.sin(ids[..., None] * channels + np.arange(ids.shape[1])[None, :, None])
    return np.where(mask[..., None] == 1, logits, 1e6).astype(np.float32)


@pytest.mark.parametrize("window_tokens", [12, 20, 64])
def test_an_overlong_premise_is_cut_and_leaves_the_hypothesis_whole(tokenizer, window_tokens):
    premise, hypothesis = "Blood culture is pending. " * 20, "She ate."
    encoded = mednli.encode(premise, hypothesis, tokenizer, window_tokens)
    asked = tokenizer.encode(hypothesis).ids
    assert len(encoded.window) == len(encoded.owner) == window_tokens
    assert encoded.window[encoded.owner == 1].tolist() == asked.tolist()
    kept = encoded.window[encoded.owner == 0]
    assert kept.tolist() == tokenizer.encode(premise).ids[: len(kept)].tolist()
    assert len(kept) == window_tokens - 2 - len(asked)


def test_a_pair_that_fits_is_framed_as_its_encoder_reads_two_texts(tokenizer):
    first, second = (tokenizer.encode(text).ids for text in TEXTS[0])
    encoded = mednli.encode(*TEXTS[0], tokenizer, 256)
    assert encoded.window.tolist() == tokenizer.framed_pair(first, second).tolist()
    assert encoded.window[encoded.owner == 0].tolist() == first.tolist()


def test_a_hypothesis_longer_than_a_window_leaves_a_token_of_the_premise(tokenizer):
    encoded = mednli.encode("She ate well.", "Blood culture is pending. " * 20, tokenizer, 16)
    assert np.bincount(encoded.owner + 1).tolist() == [2, 1, 13]


def test_a_window_without_room_for_both_texts_is_refused(tokenizer):
    assert len(mednli.encode(*TEXTS[0], tokenizer, 4).window) == 4
    with pytest.raises(ValueError, match="window_tokens=3 holds no pair beside its frame; use at least 4"):
        mednli.encode(*TEXTS[0], tokenizer, 3)


def test_logits_are_the_means_over_either_texts_own_tokens(tokenizer):
    encoded = mednli.encode(*TEXTS[0], tokenizer, 64)
    logits = np.random.default_rng(0).normal(size=(len(encoded.window) + 3, CHANNELS)).astype(np.float32)
    own = logits[: len(encoded.window)]
    expected = own[encoded.owner == 0, :3].mean(0) + own[encoded.owner == 1, 3:].mean(0)
    assert mednli.pair_logits(encoded, logits) == pytest.approx(expected, abs=1e-5)


def test_probabilities_sum_to_one_and_do_not_overflow():
    found = mednli.probabilities(np.array([[1e4, 0, -1e4], [1.0, 1.0, 1.0]], np.float32))
    assert found == pytest.approx(np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]))
    assert mednli.decode(found) == ["entailment", "entailment"]
    assert mednli.probabilities(np.zeros((0, 3), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("batch_tokens", [1, 40, 4096])
def test_batching_changes_no_answer_and_no_pair_hears_of_another(tokenizer, batch_tokens):
    pairs = [Pair(f"p{n}", *texts, "neutral", "g") for n, texts in enumerate(TEXTS)]
    found = mednli.predict(scripted, tokenizer, pairs, 64, batch_tokens)
    alone = [mednli.predict(scripted, tokenizer, [pair], 64)[0] for pair in pairs]
    np.testing.assert_allclose(found, alone, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert mednli.predict(scripted, tokenizer, []).shape == (0, 3)


def test_a_batch_holds_no_more_positions_than_it_may(tokenizer):
    seen = []

    def run(ids, mask):
        seen.append(ids.size)
        return scripted(ids, mask)

    mednli.predict(run, tokenizer, [Pair("p", *texts, "neutral", "g") for texts in TEXTS * 5], 64, 120)
    assert max(seen) <= 120
    assert len(seen) > 1
