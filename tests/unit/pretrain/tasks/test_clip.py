import json
from pathlib import Path

import numpy as np
import pytest
import sklearn
from scipy.stats import hmean
from sklearn.metrics import f1_score, precision_recall_fscore_support

from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote, TaggedSpan
from pretrain.text import Span

GOLD = Path(__file__).parents[5] / "shared" / "data" / "gold" / "clip_gold_mtsamples.jsonl"
TEXT = "He is well. See cardiology in two weeks."
NOTE = {
    "note_id": "a1",
    "text": TEXT,
    "sentences": [{"start": 0, "end": 11, "labels": []}, {"start": 12, "end": 40, "text": TEXT[12:], "labels": ["Appointment"]}],
}
ALWAYS = np.full(len(clip.LABELS), 0.5, np.float32)


def write(path, *records):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records) + "\n")
    return path


def tagged(note, *pairs):
    return [TaggedSpan(*note.sentences[s], label, 1.0) for s, label in pairs]


def test_a_labelled_note_is_read_with_its_sentences_labels_and_group(tmp_path):
    alone, of_patient = clip.read(write(tmp_path / "c.jsonl", NOTE, "", {**NOTE, "note_id": "a2", "patient_id": "p"}))
    assert alone == LabelledNote("a1", TEXT, (Span(0, 11), Span(12, 40)), (frozenset(), frozenset({"Appointment"})), "a1")
    assert of_patient.group == "p"


def with_sentence(**change):
    return {**NOTE, "sentences": [{**NOTE["sentences"][0], **change}, NOTE["sentences"][1]]}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ({**NOTE, "note_id": 3}, "note_id is missing"),
        ({**NOTE, "text": " "}, "text is missing, empty"),
        ({**NOTE, "text": TEXT + "\ud800"}, "surrogate"),
        ({**NOTE, "sentences": None}, "sentences is missing"),
        ({**NOTE, "secret": "He"}, "unknown keys"),
        (NOTE, "the note_id of line 1 again"),
        (with_sentence(end=41), "sentence 0: start and end do not name characters of the note's 40"),
        (with_sentence(start=True), "sentence 0: start and end"),
        (with_sentence(end=13), "sentence 1 starts before"),
        (with_sentence(text="He is ill.."), "sentence 0: its text is not characters 0:11"),
        (with_sentence(labels=["Follow-up"]), "sentence 0: labels"),
        (with_sentence(labels="Lab"), "sentence 0: labels"),
        (with_sentence(note="x"), "sentence 0 is not an object"),
    ],
)
def test_what_is_wrong_with_a_line_is_named_by_file_and_line_without_quoting_it(tmp_path, line, found):
    path = write(tmp_path / "c.jsonl", NOTE, line)
    with pytest.raises(clip.DataError) as error:
        clip.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}:2: ")
    assert found in message
    assert "\n" not in message
    assert not any(word in message for word in ("cardiology", "He is", "secret", "Follow-up"))


def test_a_file_that_is_missing_empty_or_not_utf8_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "latin1").write_bytes(b'{"text": "caf\xe9"}')
    (tmp_path / "empty").write_bytes(b"\n\n")
    for name, found in (("none", "No such file"), ("latin1", "iconv"), ("empty", "holds no notes")):
        with pytest.raises(clip.DataError, match=found):
            clip.read(tmp_path / name)


def test_a_byte_order_mark_at_the_start_of_the_file_does_no_harm(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(NOTE).encode())
    assert clip.read(path)[0].note_id == "a1"


def test_every_token_of_a_sentence_and_no_other_belongs_to_it(tokenizer, notes):
    for note in notes[:5]:
        encoded = clip.encode(note.text, tokenizer, 4096, note.sentences)
        [ids], [owner] = encoded.windows, encoded.owners
        assert ids[-1] == tokenizer.eos_id
        assert owner[-1] == -1
        for s, (start, end) in enumerate(note.sentences):
            assert tokenizer.decode(ids[owner == s]) == note.text[start:end]


@pytest.mark.parametrize("window_tokens", [2, 3, 7, 16, 40, 512])
def test_windows_hold_whole_consecutive_sentences_wherever_they_fit_and_lose_no_token(tokenizer, notes, window_tokens):
    note = notes[0]
    encoded = clip.encode(note.text, tokenizer, window_tokens, note.sentences)
    whole = clip.encode(note.text, tokenizer, 4096, note.sentences)
    assert np.array_equal(np.concatenate([w[:-1] for w in encoded.windows]), whole.windows[0][:-1])
    assert np.array_equal(np.concatenate([o[:-1] for o in encoded.owners]), whole.owners[0][:-1])
    assert all(2 <= len(window) <= window_tokens for window in encoded.windows)
    lengths = np.bincount(whole.owners[0][:-1] + 1)[1:]
    for s in np.flatnonzero(lengths < window_tokens):
        assert sum(s in owner for owner in encoded.owners) == 1


def test_a_window_takes_every_sentence_that_still_fits(tokenizer, make_note):
    note = make_note("n", [("See cardiology in two weeks.", set())] * 4)
    each = len(tokenizer.encode("See cardiology in two weeks.").ids)
    encoded = clip.encode(note.text, tokenizer, 2 * each + 1, note.sentences)
    assert [sorted(set(owner.tolist())) for owner in encoded.owners] == [[-1, 0, 1], [-1, 2, 3]]


def test_windows_of_a_note_are_of_like_length(tokenizer, make_note):
    note = make_note("n", [("See cardiology in two weeks.", set())] * 9)
    each = len(tokenizer.encode("See cardiology in two weeks.").ids)
    encoded = clip.encode(note.text, tokenizer, 8 * each + 1, note.sentences)
    lengths = [len(window) for window in encoded.windows]
    assert len(lengths) == 2
    assert abs(lengths[0] - lengths[1]) <= each


def test_line_breaks_between_sentences_are_nobodys(tokenizer):
    text = "She ate well.\n\nChest was clear."
    encoded = clip.encode(text, tokenizer, 512, [Span(0, 13), Span(15, 31)])
    [owner] = encoded.owners
    assert owner.tolist().count(-1) >= 1
    assert np.all(np.diff(owner[owner >= 0]) >= 0)
    assert {0, 1} <= set(owner.tolist())


def test_sentences_are_found_where_none_are_given(tokenizer):
    assert len(clip.encode(TEXT, tokenizer, 512).sentences) == 2


def test_a_text_without_sentences_gives_no_windows_and_no_logits(tokenizer):
    encoded = clip.encode("  \n ", tokenizer, 512)
    assert encoded.windows == ()
    assert clip.sentence_logits(encoded, []).shape == (0, len(clip.LABELS))
    assert clip.predict(lambda ids, mask: pytest.fail("nothing to ask"), [encoded])[0].shape == (0, len(clip.LABELS))


def test_a_window_needs_room_for_one_token(tokenizer):
    with pytest.raises(ValueError, match="at least 2"):
        clip.encode(TEXT, tokenizer, 1)


def logits_of_ids(input_ids, attention_mask):
    """A model without context: every position's logits follow from its id."""
    table = np.random.default_rng(0).normal(size=(512, len(clip.LABELS))).astype(np.float32)
    return np.where(attention_mask[..., None] == 1, table[input_ids], np.float32(1e6))


@pytest.mark.parametrize("window_tokens", [3, 16, 512])
@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
def test_sentence_logits_are_the_mean_over_own_tokens_however_notes_are_cut_and_batched(
    tokenizer, notes, window_tokens, batch_tokens
):
    encoded = [clip.encode(note.text, tokenizer, window_tokens, note.sentences) for note in notes[:4]]
    answers = clip.predict(logits_of_ids, encoded, batch_tokens)
    for note, answer in zip(notes, answers, strict=False):
        tokens = tokenizer.encode(note.text)
        token_logits = logits_of_ids(tokens.ids[None], np.ones((1, len(tokens.ids))))[0]
        for s, (start, end) in enumerate(note.sentences):
            # The mark before a text's first word has no character of its own.
            own = (tokens.starts >= start) & (tokens.ends <= end) & (tokens.starts < tokens.ends)
            np.testing.assert_allclose(answer[s], token_logits[own].mean(0), rtol=1e-5, atol=1e-6)


def test_batches_hold_at_most_the_token_budget_unless_one_window_is_longer(tokenizer, notes):
    shapes = []

    def run(ids, mask):
        shapes.append(ids.shape)
        return logits_of_ids(ids, mask)

    clip.predict(run, [clip.encode(note.text, tokenizer, 20, note.sentences) for note in notes], 64)
    assert all(b * t <= 64 for b, t in shapes)
    assert max(b for b, _ in shapes) > 1


def test_a_sentence_without_a_token_is_never_tagged_and_never_nan(tokenizer):
    encoded = clip.encode("ab  cd", tokenizer, 512, [Span(0, 2), Span(2, 3), Span(4, 6)])
    logits = clip.sentence_logits(encoded, [np.full((len(w), len(clip.LABELS)), 9.0, np.float32) for w in encoded.windows])
    assert np.isfinite(logits).all()
    assert {span.start for span in clip.decode(logits, encoded.sentences, ALWAYS * 0.01)} == {0, 4}


def test_decode_gives_a_span_wherever_the_score_reaches_the_cutoff():
    logits = np.full((2, len(clip.LABELS)), -3.0, np.float32)
    logits[1, 3], logits[0, 1] = 0.0, 1.0
    cutoffs = np.array([0.5, 0.8, 0.5, 0.5, 0.5, 0.5, 0.5], np.float32)
    assert clip.decode(logits, [Span(0, 4), Span(5, 9)], cutoffs) == [TaggedSpan(5, 9, "Lab", 0.5)]


def test_scores_of_any_logit_are_probabilities():
    assert clip.scores(np.array([-1e4, -2.0, 0.0, 2.0, 1e4], np.float32)) == pytest.approx(
        [0, 0.119203, 0.5, 0.880797, 1], abs=1e-6
    )


def test_f1_equals_the_one_worked_out_by_hand(make_note):
    first = make_note("a", [("One.", {"Lab"}), ("Two.", {"Lab", "Imaging"}), ("Three.", set())])
    second = make_note("b", [("Four.", {"Appointment"}), ("Five.", set())])
    predicted = [tagged(first, (0, "Lab"), (1, "Appointment"), (2, "Lab")), tagged(second, (0, "Appointment"))]
    result = clip.score([first, second], predicted)
    # tp: Lab 1, Appointment 1; fp: Lab 1, Appointment 1; fn: Lab 1, Imaging 1. Any label: tp 3, fp 1, fn 0.
    assert result["micro_f1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 2))
    assert result["macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 7)
    assert result["macro_f1_clip"] == pytest.approx(2 * (1 / 7) * (1.5 / 7) / (2.5 / 7))
    assert result["binary_f1"] == pytest.approx(2 * 3 / (2 * 3 + 1))
    assert result["per_label"]["Lab"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert result["per_label"]["Appointment"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert result["per_label"]["Imaging"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert result["per_label"]["Other"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert (result["task"], result["n_notes"], result["n_sentences"]) == ("clip", 2, 5)


def test_10_000_random_scores_are_scikit_learns_to_the_last_digit(make_note):
    random = np.random.default_rng(0)
    for _ in range(10_000):
        # Some labels are rare, so that many cases have none of one, said or true.
        often = random.uniform(0, 0.5, len(clip.LABELS)) ** 2
        truth, said = random.random((2, int(random.integers(1, 30)), len(clip.LABELS))) < often
        note = make_note("a", [("One.", {clip.LABELS[label] for label in np.flatnonzero(row)}) for row in truth])
        result = clip.score([note], [tagged(note, *((s, clip.LABELS[label]) for s, label in np.argwhere(said)))], resamples=1)
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            each = precision_recall_fscore_support(truth, said, zero_division=0)
            micro = f1_score(truth, said, average="micro", zero_division=0)
            binary = f1_score(truth.any(1), said.any(1), zero_division=0)
        assert [list(result["per_label"][label].values()) for label in clip.LABELS] == np.array(each).T.tolist()
        assert (result["micro_f1"], result["macro_f1"], result["binary_f1"]) == (micro, each[2].mean(), binary)
        assert result["macro_f1_clip"] == pytest.approx(hmean([each[0].mean(), each[1].mean()]), rel=1e-15)


def test_the_score_has_exactly_the_keys_of_the_command_line_and_is_json(make_note):
    note = make_note("a", [("One.", {"Lab"})])
    result = json.loads(json.dumps(clip.score([note], [[]])))
    assert list(result) == [
        "task",
        "n_notes",
        "n_sentences",
        "micro_f1",
        "macro_f1",
        "macro_f1_clip",
        "binary_f1",
        "per_label",
        "ci95",
    ]
    assert list(result["per_label"]) == list(clip.LABELS)
    assert list(result["ci95"]) == ["micro_f1", "macro_f1", "macro_f1_clip", "binary_f1"]


def test_the_interval_comes_from_whole_notes_and_from_its_seed(make_note):
    right = make_note("a", [("One.", {"Lab"})] * 5)
    wrong = make_note("b", [("One.", {"Lab"})] * 5)
    gold, predicted = [right, wrong], [tagged(right, *((s, "Lab") for s in range(5))), []]
    result = clip.score(gold, predicted)
    # Two notes: a quarter of the resamples has only the right one, a quarter only the wrong one.
    assert result["ci95"]["micro_f1"] == [0.0, 1.0]
    assert clip.score(gold, predicted) == result
    many = clip.score(gold * 50, predicted * 50)
    low, high = many["ci95"]["micro_f1"]
    assert many["micro_f1"] == pytest.approx(2 / 3)
    assert low < 2 / 3 < high
    assert high - low < 0.3


def test_a_span_that_is_no_sentence_of_the_note_is_not_scored(make_note):
    note = make_note("a", [("One.", {"Lab"})])
    with pytest.raises(ValueError, match="note a: characters 1:4 are no sentence"):
        clip.score([note], [[TaggedSpan(1, 4, "Lab", 1.0)]])
    with pytest.raises(ValueError, match="no notes"):
        clip.score([], [])


@pytest.mark.skipif(not GOLD.exists(), reason="labelled notes of the project's shared data are not here")
def test_the_shared_gold_notes_are_read_whole():
    notes = clip.read(GOLD)
    assert len(notes) == 30
    assert sum(len(note.sentences) for note in notes) == 962
    assert sum(bool(labels) for note in notes for labels in note.labels) == 114


def test_a_row_of_dashes_is_no_sentence_to_tag(tokenizer):
    encoded = clip.encode("Plan\n-----\nRecheck INR Friday.\n* * *\n", tokenizer, 64)
    assert [(s.start, s.end) for s in encoded.sentences] == [(0, 4), (11, 30)]


def test_what_two_ways_share_does_not_blur_their_difference(make_note):
    notes = [make_note(f"n{i}", [("One.", {"Lab"}), ("Two.", {"Lab"})]) for i in range(40)]
    # Every fourth note is missed by both; beyond that one way finds a sentence more in each.
    worse = [tagged(note, (0, "Lab")) if i % 4 else [] for i, note in enumerate(notes)]
    better = [tagged(note, (0, "Lab"), (1, "Lab")) if i % 4 else [] for i, note in enumerate(notes)]
    result = clip.compare(notes, [better, better], [worse], resamples=500)
    micro = result["micro_f1"]
    assert micro["ours"] == pytest.approx(2 * 60 / (2 * 60 + 20))
    assert micro["theirs"] == pytest.approx(2 * 30 / (2 * 30 + 50))
    assert micro["difference"] == pytest.approx(micro["ours"] - micro["theirs"])
    low, high = micro["ci95"]
    assert 0.2 < low < micro["difference"] < high < 0.4
    assert (result["n_notes"], result["n_runs"]) == (40, [2, 1])
    assert clip.compare(notes, [better], [better], resamples=100)["micro_f1"]["ci95"] == [0.0, 0.0]


def test_a_difference_between_seeds_alone_is_not_certain(make_note):
    notes = [make_note(f"n{i}", [("One.", {"Lab"})]) for i in range(20)]
    lucky, unlucky = [tagged(note, (0, "Lab")) for note in notes], [[] for _ in notes]
    low, high = clip.compare(notes, [lucky, lucky, unlucky], [lucky, unlucky, unlucky], resamples=500)["micro_f1"]["ci95"]
    assert low < 0 < high


def test_nothing_cannot_be_compared(make_note):
    with pytest.raises(ValueError, match="at least one run"):
        clip.compare([make_note("a", [("One.", set())])], [], [[]])
