import hashlib
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pretrain.tasks import radqa, squad_json
from pretrain.tasks.clip import DataError
from pretrain.tasks.radqa import NO_SPAN_SCORE, Answer, Question
from pretrain.text import Span
from pretrain.tokenizer import Tokenizer, train

GOLD = Path(__file__).parents[5] / "shared" / "data" / "gold" / "radqa_gold_mtsamples.json"
CONTEXT = "IMPRESSION:  Small left effusion.\r\n\tNo pneumothorax.\f\nHeart size is normal, lungs are clear.\n"
EFFUSION = {
    "id": "900001_I_1",
    "question": "Is there an effusion?",
    "answers": [{"text": "Small left effusion", "answer_start": 13}, {"text": "left effusion", "answer_start": 19}],
    "is_impossible": False,
}
FRACTURE = {"id": "900001_I_2", "question": "Any rib fracture?", "answers": [], "is_impossible": True}
fuzz = settings(max_examples=60, deadline=None, derandomize=True)


def report(*qas, title="900001", **change):
    return {"title": title, "paragraphs": [{"document_id": "900001_I", "context": CONTEXT, "qas": [*qas], **change}]}


def write(path, *reports, indent=1):
    path.write_text(json.dumps({"version": "mock", "data": [*reports]}, indent=indent))
    return path


def line_of(path, text, occurrence=0):
    return [number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line][occurrence]


# Reading


def test_a_question_is_read_with_its_context_answers_and_report(tmp_path):
    other = report({**FRACTURE, "id": "900002_F_1", "plausible_answers": []}, title="900002")
    effusion, fracture, elsewhere = radqa.read(write(tmp_path / "q.json", report(EFFUSION, FRACTURE), other))
    assert effusion == Question("900001_I_1", "Is there an effusion?", CONTEXT, (Span(13, 32), Span(19, 32)), "900001")
    assert fracture == Question("900001_I_2", "Any rib fracture?", CONTEXT, (), "900001")
    assert (elsewhere.question_id, elsewhere.group) == ("900002_F_1", "900002")
    assert "effusion" not in repr(effusion)


def answered(**change):
    return {**EFFUSION, "id": "q-77", "answers": [{**EFFUSION["answers"][0], **change}]}


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({**EFFUSION, "id": "q-77", "question": " "}, "question is missing, empty"),
        ({**EFFUSION, "id": "q-77", "question": 3}, "question is missing, empty or no string"),
        ({**EFFUSION, "id": "q-77", "question": "effusion \ud800"}, "question holds half a surrogate pair"),
        ({**EFFUSION, "id": "q-77", "answers": None}, "answers is missing or no list"),
        ({**EFFUSION, "id": "q-77", "answers": []}, "has no answers although is_impossible is false"),
        ({**EFFUSION, "id": "q-77", "is_impossible": True}, "has answers although is_impossible is true"),
        ({**EFFUSION, "id": "q-77", "is_impossible": 0}, "is_impossible is missing or neither"),
        ({**EFFUSION, "id": "q-77", "answers": ["Small"]}, "answer 0 is no object"),
        (answered(text=" "), "answer 0 is no object of a text that is not empty"),
        (answered(text=3), "answer 0 is no object"),
        (answered(answer_start=13.0), "answer 0 is no object of a text that is not empty and a whole answer_start"),
        (answered(answer_start=True), "answer 0 is no object"),
        (answered(answer_start=12), "answer 0: its text does not stand at answer_start"),
        (answered(text="clear", answer_start=-7), "answer 0: its text does not stand at answer_start"),
        (answered(text=CONTEXT[13:] + "x"), "answer 0: its text does not stand at answer_start"),
        (answered(text="Small left effusion\ud800"), "answer 0: its text does not stand at answer_start"),
    ],
)
@pytest.mark.parametrize("key_order", ["id first", "id last"])
def test_what_is_wrong_with_a_question_is_named_by_the_line_of_its_id_without_quoting_it(tmp_path, wrong, found, key_order):
    if key_order == "id last":
        wrong = dict(sorted(wrong.items(), reverse=True))
    # The id stands in other places before: as a title, within a text, and as another key's value.
    before = report({**FRACTURE, "question": 'Is "id": "q-77" what is asked?', "note": {"id": "q-77"}}, title="q-77")
    path = write(tmp_path / "q.json", before, report(EFFUSION, wrong))
    with pytest.raises(DataError) as error:
        radqa.read(path)
    message, line = str(error.value), line_of(path, '"id": "q-77"', occurrence=1)
    assert message.startswith(f"{path}:{line}: data[1].paragraphs[0].qas[1]: ")
    assert found in message
    assert "\n" not in message
    assert not any(word in message for word in ("effusion", "clear", "900001", "q-77"))


def test_an_id_that_stands_there_twice_is_named_by_both_lines(tmp_path):
    path = write(tmp_path / "q.json", report(EFFUSION, FRACTURE), report({**FRACTURE, "id": EFFUSION["id"]}))
    first, second = (line_of(path, '"id": "900001_I_1"', occurrence) for occurrence in (0, 1))
    assert first < second
    with pytest.raises(DataError, match=rf"q\.json:{second}: .*: the id of line {first} again; give"):
        radqa.read(path)


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("", 1, "is not JSON"),
        ('{"data":\n[}', 2, "is not JSON"),
        ("[" * 100_000, 1, "is not JSON"),
        ('{"data":\n\n' + "1" * 5000 + "}", 1, "is not JSON"),
        ("\n[]", 2, "the file: data is missing or no list"),
        ('{"version": "1",\n "data": {}}', 2, "the file: data is missing or no list"),
        ('{"data": [{"title": "t", "paragraphs": []},\n\n7]}', 3, "data: entry 1 of data is no object"),
        ('{"data": [\n{"paragraphs": []}]}', 2, "data[0]: title is missing"),
        ('{"data": [{"paragraphs": [],\n"title": 5}]}', 2, "data[0]: title is missing, empty or no string"),
        ('{"data": [\n{"title": "t"}]}', 2, "data[0]: paragraphs is missing"),
        ('{"data": [{"title": "t", "paragraphs": [\n{}]}]}', 2, "data[0].paragraphs[0]: context is missing"),
        ('{"data": [{"title": "t", "paragraphs": [{"context":\n" "}]}]}', 2, "data[0].paragraphs[0]: context is missing, empty"),
        ('{"data": [{"title": "t", "paragraphs": [{"context":\n"\\ud83d"}]}]}', 2, "context holds half a surrogate pair"),
        ('{"data": [{"title": "t", "paragraphs": [{"context": "c", "qas":\n3}]}]}', 2, "qas is missing or no list"),
        ('{"data": [{"title": "t", "paragraphs": [{"context": "c",\n"qas": [\n{}]}]}]}', 3, "qas[0]: id is missing"),
        ('{"data": [{"title": "t",\n"title": "",\n"paragraphs": []}]}', 2, "title is missing, empty"),
    ],
)
def test_a_file_of_another_layout_is_refused_at_the_line_where_it_differs(tmp_path, text, line, found):
    path = tmp_path / "q.json"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        radqa.read(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert found in str(error.value)


def test_a_file_that_is_missing_a_folder_not_utf8_or_without_questions_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "latin1").write_bytes(b'{"data":\n "caf\xe9"}')
    (tmp_path / "none").write_text('{"data": []}')
    for name, found in (
        ("missing", "No such file"),
        ("", "Is a directory"),
        ("latin1", "latin1:2: is not UTF-8; .*iconv"),
        ("none", "holds no questions"),
    ):
        with pytest.raises(DataError, match=found):
            radqa.read(tmp_path / name)


def test_a_file_far_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "q.json"
    with path.open("wb") as file:
        file.truncate(squad_json.MAX_FILE_BYTES + 1)  # takes no room on the disk
    with pytest.raises(DataError, match=r"q\.json: is larger than 512 MB; split it"):
        radqa.read(path)


def test_a_file_may_begin_with_a_byte_order_mark_and_stand_on_one_line(tmp_path):
    path = write(tmp_path / "q.json", report(EFFUSION, FRACTURE), indent=None)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [question.question_id for question in radqa.read(path)] == ["900001_I_1", "900001_I_2"]


@pytest.mark.skipif(not GOLD.exists(), reason="labelled notes of the project's shared data are not here")
def test_the_shared_gold_questions_are_read_whole_and_their_own_answers_score_1():
    questions = radqa.read(GOLD)
    assert len(questions) == 135
    assert len({question.group for question in questions}) == 45
    assert sum(not question.answers for question in questions) == 45
    result = radqa.score(questions, [Answer(next(iter(q.answers), None), 0.0).text(q.context) for q in questions], resamples=10)
    assert (result["em"], result["f1"], result["n_notes"]) == (1.0, 1.0, 45)
    assert result["has_answer"] == {"em": 1.0, "f1": 1.0, "n": 90}
    assert result["no_answer"] == {"accuracy": 1.0, "n": 45}


# Windows


def wordpiece():
    made = tokenizers.BertWordPieceTokenizer()
    made.train_from_iterator([CONTEXT, EFFUSION["question"]], 200, show_progress=False)
    made.post_processor = tokenizers.processors.BertProcessing(*((name, made.token_to_id(name)) for name in ("[SEP]", "[CLS]")))
    return made._tokenizer


def byte_level():
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator([CONTEXT], 300, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False)
    made.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made._tokenizer


def trailing():
    """Whole words, each with the white space behind it."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\s+"), "merged_with_previous")
    names = ["<pad>", "</s>", "<unk>"]
    made.train_from_iterator([CONTEXT], tokenizers.trainers.WordLevelTrainer(special_tokens=names, show_progress=False))
    made.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return made


VOCABULARIES = {
    "own": train([CONTEXT, EFFUSION["question"]], 256),
    "wordpiece": Tokenizer(wordpiece()),
    "byte-level": Tokenizer(byte_level()),
    "trailing": Tokenizer(trailing()),
}


@pytest.fixture(params=VOCABULARIES)
def vocabulary(request):
    return VOCABULARIES[request.param]


def test_a_window_is_the_question_and_a_stretch_of_the_context_each_closed(vocabulary):
    encoded = radqa.encode(EFFUSION["question"], CONTEXT, vocabulary, 512, 64)
    question, context = (vocabulary.encode(text).ids.tolist() for text in (EFFUSION["question"], CONTEXT))
    [ids], [starts], [ends] = encoded.windows, encoded.starts, encoded.ends
    opens, between, closes = map(list, (vocabulary.prefix_ids, vocabulary.between_ids, vocabulary.suffix_ids))
    assert ids.tolist() == [*opens, *question, *between, *context, *closes]
    before = len(opens) + len(question) + len(between)
    assert np.flatnonzero(starts >= 0).tolist() == list(range(before, before + len(context)))
    assert np.array_equal(starts >= 0, ends >= 0)


def test_a_bert_opens_with_cls_and_a_t5_with_the_question(vocabulary):
    first = radqa.encode("Is", CONTEXT, vocabulary, 512, 0).windows[0][0]
    assert first == (vocabulary.prefix_ids or vocabulary.encode("Is").ids)[0]


@pytest.mark.parametrize("window_tokens", [12, 16, 33, 60, 512])
@pytest.mark.parametrize("stride_tokens", [0, 1, 5])
def test_every_token_of_the_context_is_in_a_window_and_neighbours_share_the_stride(vocabulary, window_tokens, stride_tokens):
    encoded = radqa.encode(EFFUSION["question"], CONTEXT, vocabulary, window_tokens, stride_tokens)
    whole = vocabulary.encode(CONTEXT)
    lengths = [int(np.sum(starts >= 0)) for starts in encoded.starts]
    room = lengths[0]
    joined, at = [], 0
    for ids, starts, ends, length in zip(encoded.windows, encoded.starts, encoded.ends, lengths, strict=True):
        inside = starts >= 0
        assert ids[inside].tolist() == whole.ids[at : at + length].tolist()
        for start, end, token in zip(starts[inside], ends[inside], range(at, at + length), strict=True):
            # The same characters as the tokenizer's, but for white space at the ends.
            assert CONTEXT[start:end] == CONTEXT[whole.starts[token] : whole.ends[token]].strip()
        joined += whole.ids[max(at, len(joined)) : at + length].tolist()
        at += room - stride_tokens
    assert joined == whole.ids.tolist()
    assert all(length == room for length in lengths[:-1])
    # The last window is there for tokens of its own.
    assert len(lengths) == 1 or stride_tokens < lengths[-1] <= room
    assert all(len(window) <= window_tokens for window in encoded.windows)
    assert len(encoded.windows[0]) == window_tokens or len(encoded.windows) == 1


@pytest.mark.parametrize("window_tokens", [12, 13, 64])
def test_an_overlong_question_is_cut_so_that_half_of_the_window_is_the_contexts(vocabulary, window_tokens):
    question = "Is there an effusion or a pneumothorax? " * 20
    encoded = radqa.encode(question, CONTEXT * 3, vocabulary, window_tokens, 2)
    inside = encoded.starts[0] >= 0
    assert inside.sum() == math.ceil(window_tokens / 2)
    kept = encoded.windows[0][len(vocabulary.prefix_ids) : int(np.argmax(inside)) - len(vocabulary.between_ids)]
    assert len(kept) >= 1
    assert kept.tolist() == vocabulary.encode(question).ids[: len(kept)].tolist()


def test_a_window_too_small_or_a_stride_too_long_is_refused_with_what_would_do(vocabulary):
    least = 2 * (vocabulary.frame_tokens + len(vocabulary.between_ids)) + 2
    with pytest.raises(ValueError, match=f"window_tokens={least - 1} .* at least {least}"):
        radqa.encode("Is it?", CONTEXT, vocabulary, least - 1, 0)
    assert len(radqa.encode("Is it?", CONTEXT, vocabulary, least, least // 2 - 1).windows) > 1
    for stride in (-1, 10):
        with pytest.raises(ValueError, match=f"stride_tokens={stride} .* use 0 to 9"):
            radqa.encode("Is it?", CONTEXT, vocabulary, 20, stride)


# Answers


def windows_of(*spans):
    """Windows of two frame positions, then one token per pair of characters, then a closing one."""
    starts = [np.array([-1, -1, *(start for start, _ in window), -1]) for window in spans]
    ends = [np.array([-1, -1, *(end for _, end in window), -1]) for window in spans]
    return radqa.EncodedQuestion(tuple(np.zeros(len(s), np.int64) for s in starts), tuple(starts), tuple(ends))


def searched(encoded, window_logits, max_answer_tokens):
    """The best score and its spans, one pair of positions after the other."""
    found = {}
    for starts, ends, logits in zip(encoded.starts, encoded.ends, window_logits, strict=True):
        for i in range(len(starts)):
            for j in range(i, min(i + max_answer_tokens, len(starts))):
                if 0 <= starts[i] < ends[i] and 0 <= starts[j] < ends[j]:
                    found.setdefault(float(logits[i, 0]) + float(logits[j, 1]), []).append(Span(starts[i], ends[j]))
    no_answer = min(float(logits[0, 0]) + float(logits[0, 1]) for logits in window_logits)
    return max(found) - no_answer, found[max(found)]


@pytest.mark.parametrize("max_answer_tokens", [1, 2, 7, 64, 1000])
def test_the_best_span_is_the_one_that_looking_at_every_pair_finds(vocabulary, max_answer_tokens):
    draw = np.random.default_rng(max_answer_tokens)
    for window_tokens in (12, 20, 512):
        encoded = radqa.encode(EFFUSION["question"], CONTEXT, vocabulary, window_tokens, 3)
        for _ in range(5):
            # Padding, as another window of the batch may need it, is full of the best answers.
            rows = [draw.normal(size=(len(window), 2)) for window in encoded.windows]
            padded = [np.concatenate([row, np.full((4, 2), 1e3)]).astype(np.float32) for row in rows]
            score, spans = searched(encoded, [row[:-4] for row in padded], max_answer_tokens)
            answer = radqa.decode(encoded, padded, -math.inf, max_answer_tokens)
            assert answer.score == pytest.approx(score, abs=1e-12)
            assert answer.span in spans


def test_no_answer_is_position_0_of_the_window_that_says_so_least():
    encoded = windows_of([(0, 4), (5, 9)], [(5, 9), (10, 14)])
    first, second = np.zeros((5, 2), np.float32), np.zeros((5, 2), np.float32)
    first[0], second[0] = [9, 1], [2, 3]
    first[1], second[1] = 100, 100  # the question
    second[2, 0], second[3, 1] = 4, 3.5
    assert radqa.decode(encoded, [first, second]) == Answer(Span(5, 14), 2.5)
    assert radqa.decode(encoded, [second, first]) == Answer(Span(0, 9), 2.5)


def test_a_question_is_answered_only_beyond_the_cutoff_and_its_score_is_told_either_way():
    encoded = windows_of([(3, 7)])
    logits = np.array([[1, 1], [9, 9], [2, 1.5], [9, 9]], np.float32)
    assert radqa.decode(encoded, [logits], 1.25) == Answer(Span(3, 7), 1.5)
    assert radqa.decode(encoded, [logits], 1.5) == Answer(None, 1.5)
    assert radqa.decode(encoded, [-logits]) == Answer(None, -1.5)
    assert radqa.decode(encoded, [-logits], -math.inf) == Answer(Span(3, 7), -1.5)


def test_an_answer_is_of_one_window_at_most_so_long_and_never_ends_before_it_starts():
    encoded = windows_of([(0, 1), (1, 2), (2, 3)], [(2, 3), (3, 4), (4, 5)])
    first, second = np.zeros((6, 2), np.float32), np.zeros((6, 2), np.float32)
    first[4, 0] = second[2, 1] = second[4, 1] = 5  # the last start of one window, the first and the last end of the other
    first[2, 1] = 7  # before that start
    assert radqa.decode(encoded, [first, second], max_answer_tokens=1).span == Span(0, 1)
    first[2, 1], first[2, 0] = 0, 6
    first[4, 1] = 3
    assert radqa.decode(encoded, [first, second], max_answer_tokens=3) == Answer(Span(0, 3), 9.0)
    assert radqa.decode(encoded, [first, second], max_answer_tokens=2) == Answer(Span(2, 3), 8.0)
    with pytest.raises(ValueError, match="at least 1"):
        radqa.decode(encoded, [first, second], max_answer_tokens=0)
    with pytest.raises(ValueError, match="zip"):
        radqa.decode(encoded, [first])


def test_of_equal_spans_the_first_and_shortest_is_taken():
    encoded = windows_of([(0, 1), (1, 2)], [(1, 2), (2, 3)])
    assert radqa.decode(encoded, [np.zeros((5, 2), np.float32)] * 2, -1.0).span == Span(0, 1)


def test_scores_that_float32_cannot_tell_apart_are_told_apart():
    encoded = windows_of([(0, 1), (1, 2)])
    logits = np.array([[0, 0], [0, 0], [2**24, 0], [2**24, 1], [0, 0]], np.float32)
    # In float32 2**24 + 1 is 2**24, and the first span would do.
    assert radqa.decode(encoded, [logits], max_answer_tokens=1) == Answer(Span(1, 2), 2.0**24 + 1)


@pytest.mark.parametrize("context", ["", " \t\r\n\f\u2003 ", "\n\n"])
def test_a_context_of_white_space_answers_nothing_whatever_the_logits(vocabulary, context):
    encoded = radqa.encode("Is it?", context, vocabulary, 32, 4)
    answer = radqa.decode(encoded, [np.full((len(w), 2), 9.0, np.float32) for w in encoded.windows], -math.inf)
    assert answer == Answer(None, NO_SPAN_SCORE)
    assert answer.text(context) == ""
    json.dumps(answer.score, allow_nan=False)


def test_a_context_without_a_token_asks_nothing_of_a_model(vocabulary):
    assert radqa.encode("Is it?", "", vocabulary, 32, 4) == radqa.EncodedQuestion((), (), ())


PIECES = [
    "Small",
    "left",
    "effusion",
    "No",
    "3",
    "a",
    ".",
    ",",
    "½",
    "ﬁbrosis",
    "e\u0301",
    "\u0301",
    "日本",
    "😀",
    "한",
    "\u1112\u1161",
]
ODD = ["▁", "<", "</s>", "[SEP]", "<extra_id_0>", "\ufdfa", "İ"]
SPACES = [*" \n\r\t\f\v\x1c\x85\xa0\u2028\u3000\u200b\ufeff\x00\ud800", "  ", "\r\n", "\n\n"]
texts = st.one_of(st.lists(st.sampled_from(PIECES + ODD + SPACES), max_size=40).map("".join), st.text(max_size=60))


@pytest.mark.parametrize("kind", VOCABULARIES)
@fuzz
@given(context=texts, window_tokens=st.integers(10, 40), stride=st.integers(0, 3), seed=st.integers(0, 10**6))
@example(context="\r\nSmall\f effusion \x0b\n\n", window_tokens=10, stride=0, seed=0)
def test_an_answer_is_a_slice_of_the_context_as_it_stands_without_space_around_it(kind, context, window_tokens, stride, seed):
    encoded = radqa.encode("Is there an effusion?", context, VOCABULARIES[kind], window_tokens, stride)
    draw = np.random.default_rng(seed)
    answer = radqa.decode(encoded, [draw.normal(size=(len(w), 2)).astype(np.float32) for w in encoded.windows], -math.inf)
    whole = VOCABULARIES[kind].encode(context)
    read = [context[start:end].strip() for start, end in zip(whole.starts, whole.ends, strict=True)]
    # Every token is in a window, and there is an answer exactly where one of them holds a character.
    starts, ends = (np.concatenate([np.empty(0, np.int64), *arrays]).tolist() for arrays in (encoded.starts, encoded.ends))
    assert {context[start:end] for start, end in zip(starts, ends, strict=True) if start >= 0} == set(read)
    assert (answer.span is not None) == any(read)
    if answer.span:
        start, end = answer.span
        assert 0 <= start < end <= len(context)
        assert answer.text(context) == context[start:end] == context[start:end].strip() != ""
        assert start in starts
        assert end in ends


WORDS = st.lists(st.sampled_from(["Small", "left", "effusion", "No", "½", "ﬁbrosis", "e\u0301dema"]), min_size=1, max_size=20)
BREAKS = st.sampled_from([" ", "\r\n", "\n\n", "\t", " \f", "\n "])


@pytest.mark.parametrize("kind", VOCABULARIES)
@fuzz
@given(data=st.data(), words=WORDS)
def test_the_words_that_a_model_points_at_are_the_answer_to_the_character(kind, data, words):
    spaces = data.draw(st.lists(BREAKS, min_size=len(words), max_size=len(words)))
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    context = "".join(space + word for space, word in zip(spaces, words, strict=True))
    at = np.cumsum([0, *(len(space + word) for space, word in zip(spaces, words, strict=True))])
    start, end = int(at[first]) + len(spaces[first]), int(at[last + 1])
    encoded = radqa.encode("Is there an effusion?", context, VOCABULARIES[kind], 1024, 0)
    logits = np.stack([encoded.starts[0] == start, encoded.ends[0] == end], -1).astype(np.float32)
    answer = radqa.decode(encoded, [logits], max_answer_tokens=1024)
    assert answer == Answer(Span(start, end), 2.0)


# Scores


def asked(*golds, group="r", separator=" | "):
    """A question whose annotators gave these texts."""
    context, spans = separator.join(golds), []
    for gold in golds:
        at = spans[-1].end + len(separator) if spans else 0
        spans.append(Span(at, at + len(gold)))
    return Question("q", "What?", context, tuple(spans), group)


@pytest.mark.parametrize(
    ("golds", "said", "em", "f1"),
    [
        (["small left effusion"], "Small left effusion.", 1, 1),
        (["small left effusion"], "the  small\n left (effusion)", 1, 1),
        (["small left effusion"], "left effusion", 0, 0.8),
        (["left, left lung"], "left left left", 0, 2 / 3),
        (["effusion", "small left effusion"], "left effusion", 0, 0.8),
        (["no", "effusion"], "Effusion", 1, 1),
        (["effusion"], "", 0, 0),
        (["effusion"], "clear", 0, 0),
        ([], "", 1, 1),
        ([], "the .", 1, 1),
        ([], "clear", 0, 0),
        (["The", "effusion"], "a", 0, 0),  # an answer without a word is none as long as there is another
        (["The"], "", 1, 1),
        (["T-2 a.m."], "t2 am", 1, 1),  # punctuation goes before articles do
        (["a-lobe"], "alobe", 1, 1),
        (["the‘a’lobe"], "the‘ ’lobe", 1, 1),  # articles stand between any letters that are none
        (["theatre"], "atre", 0, 0),
        (["“effusion”"], "effusion", 0, 0),  # only ASCII punctuation goes
    ],
)
def test_an_answer_scores_as_in_squads_own_script(golds, said, em, f1):
    assert radqa.exact_and_f1(asked(*golds), said) == (em, pytest.approx(f1))


def random_cases(count):
    draw = random.Random(2)
    pieces = [
        "effusion",
        "Effusion",
        "left",
        "LEFT",
        "lobe",
        "3",
        "mm",
        "a",
        "An",
        "the",
        "THE",
        "theatre",
        "İ",
        "straße",
        "µ",
        "x",
    ]
    joints = [*"    \n\t\xa0\u2003\x1c\u200b-.!’–_$/", ", ", ""]
    for _ in range(count):
        texts = ["".join(draw.choice(pieces) + draw.choice(joints) for _ in range(draw.randrange(6))) for _ in range(4)]
        golds = [text for text in texts[: draw.randrange(4)] if text]
        mixed = draw.sample(words := " ".join(texts).split(" "), k=draw.randint(0, len(words)))
        yield golds, draw.choice([*golds, texts[3], draw.choice(joints), draw.choice(texts).upper(), *[" ".join(mixed)] * 4])


def test_ten_thousand_answers_score_to_the_last_digit_what_the_published_implementation_gives_them():
    """The digest is of `get_raw_scores` in `transformers` 4.44.2, whose later versions have no SQuAD metrics any more."""
    told = hashlib.sha256()
    for golds, said in random_cases(10_000):
        em, f1 = radqa.exact_and_f1(asked(*golds), said)
        told.update(f"{em!r} {f1!r}\n".encode())
    assert told.hexdigest() == "8fd24cdc6d8e25630848f399f762b9a1c04a81af1af8297a3c358de0281ead6a"


def test_means_are_over_all_questions_and_over_those_with_and_without_an_answer():
    questions = [asked("left effusion"), asked("clear", group="s"), asked("x"), asked(), asked(group="s")]
    result = radqa.score(questions, ["effusion", "Clear", "", "", "effusion"])
    assert (result["task"], result["n_questions"], result["n_notes"]) == ("radqa", 5, 2)
    assert result["em"] == pytest.approx(2 / 5)
    assert result["f1"] == pytest.approx((2 / 3 + 1 + 0 + 1 + 0) / 5)
    assert result["has_answer"] == {"em": pytest.approx(1 / 3), "f1": pytest.approx((2 / 3 + 1) / 3), "n": 3}
    assert result["no_answer"] == {"accuracy": 0.5, "n": 2}


def test_the_score_has_exactly_the_keys_of_the_command_line_and_is_json_even_of_one_kind_of_question():
    for questions in ([asked()], [asked("x")]):
        result = json.loads(json.dumps(radqa.score(questions, [""], resamples=10), allow_nan=False))
        assert list(result) == ["task", "n_questions", "n_notes", "em", "f1", "has_answer", "no_answer", "ci95"]
        assert list(result["has_answer"]) == ["em", "f1", "n"]
        assert list(result["no_answer"]) == ["accuracy", "n"]
        assert list(result["ci95"]) == ["em", "f1"]
        assert result["has_answer"]["n"] + result["no_answer"]["n"] == 1


def test_the_interval_comes_from_whole_reports_and_from_its_seed():
    # One report is answered in full, the other half: 30 of 40 questions, but only two reports.
    questions = [asked("x y", group=group) for group in "rs" for _ in range(20)]
    predicted = ["x y"] * 20 + ["x"] * 20
    result = radqa.score(questions, predicted)
    assert result["ci95"] == {"em": [0.0, 1.0], "f1": [pytest.approx(2 / 3), 1.0]}
    assert radqa.score(questions, predicted) == result
    many = [asked("x y", group=f"r{n}") for n in range(200)]
    low, high = radqa.score(many, ["x y", ""] * 100)["ci95"]["em"]
    assert 0.4 < low < 0.5 < high < 0.6
    assert radqa.score(many, ["x y", ""] * 100, seed=1)["ci95"]["em"] != [low, high]


def test_a_report_with_more_questions_weighs_more_in_every_resample():
    questions = [asked("x", group="long")] * 9 + [asked("x", group="short")]
    result = radqa.score(questions, ["x"] * 9 + [""])
    assert result["em"] == pytest.approx(0.9)
    # Two reports are drawn: twice the short one, each once, or twice the long one.
    draws = {radqa.score(questions, ["x"] * 9 + [""], resamples=1, seed=seed)["ci95"]["em"][0] for seed in range(12)}
    assert draws == {0.0, 0.9, 1.0}


def test_nothing_or_too_few_answers_cannot_be_scored():
    with pytest.raises(ValueError, match="no questions"):
        radqa.score([], [])
    with pytest.raises(ValueError, match="zip"):
        radqa.score([asked("x")], [])


def tuned(*pairs):
    """The cut-off for questions that are right to answer (True) or not, at these scores."""
    questions = [asked("x") if right else Question("q", "?", "x", (), "r") for _, right in pairs]
    return radqa.best_no_answer_cutoff(questions, [Answer(Span(0, 1), score) for score, _ in pairs])


def test_the_cutoff_lies_halfway_between_what_to_answer_and_what_not():
    assert tuned((4.0, True), (3.0, True), (1.0, False), (-2.0, False)) == 2.0
    assert tuned((1.0, False), (-4.0, True), (-3.0, True), (-5.0, False), (-6.0, False)) == -4.5


def test_where_all_or_none_are_best_answered_the_cutoff_lies_beyond_their_scores():
    assert tuned((4.0, True), (3.0, True)) == 2.0
    assert tuned((-4.0, False), (3.0, False)) == 4.0


def test_of_equally_good_cutoffs_the_one_nearest_to_0_is_taken():
    # 8 between the first two is as good, or 8.5.
    assert tuned((9.0, True), (7.0, False), (5.0, True), (1.0, False), (-8.0, False)) == 3.0
    assert tuned((9.0, True), (8.0, False), (-7.0, True)) == -8.0
    assert tuned((3.0, True), (1.0, False), (-8.0, True)) == 2.0


@fuzz
@given(st.lists(st.tuples(st.integers(-6, 6), st.sampled_from(["x", "x y", "z", None])), min_size=1, max_size=12))
def test_no_other_cutoff_scores_higher(pairs):
    questions = [Question("q", "?", "x y z", () if gold is None else (Span(0, 1),), "r") for _, gold in pairs]
    spans = {"x": Span(0, 1), "x y": Span(0, 3), "z": Span(4, 5), None: Span(0, 1)}
    answers = [Answer(spans[gold], float(score)) for score, gold in pairs]

    def f1(cutoff):
        texts = [answer.text("x y z") if answer.score > cutoff else "" for answer in answers]
        return radqa.score(questions, texts, resamples=1)["f1"]

    assert f1(radqa.best_no_answer_cutoff(questions, answers)) >= max(f1(n / 2) for n in range(-16, 17)) - 1e-12


def test_questions_without_any_span_do_not_move_the_cutoff():
    nowhere = Answer(None, NO_SPAN_SCORE)
    assert radqa.best_no_answer_cutoff([asked("x")], [nowhere]) == 0.0
    questions = [asked("x"), asked("x"), Question("q", "?", "x", (), "r")]
    assert radqa.best_no_answer_cutoff(questions, [nowhere, Answer(Span(0, 1), 3.0), Answer(Span(0, 1), 2.0)]) == 2.5
    assert radqa.best_no_answer_cutoff(questions[:2], [nowhere, Answer(Span(0, 1), -3.0)]) == -4.0


def test_answers_that_a_cutoff_has_taken_away_cannot_tune_one():
    with pytest.raises(ValueError, match=r"decode with no_answer_cutoff=-math\.inf"):
        radqa.best_no_answer_cutoff([asked("x")], [Answer(None, -1.0)])
    with pytest.raises(ValueError, match="zip"):
        radqa.best_no_answer_cutoff([asked("x")], [])


def test_importing_the_task_loads_no_torch():
    code = "import sys, pretrain.tasks.radqa; assert not {'torch', 'transformers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


# From question to answer


def flat(ids, mask):
    """A model that knows nothing."""
    return np.zeros((*ids.shape, 2), np.float32)


def a_question(text, context=CONTEXT):
    return Question("q", text, context, (), "g")


def test_hints_raise_the_sentence_that_says_the_question_and_nothing_of_the_frame(vocabulary):
    encoded = radqa.encode("Is there pneumothorax?", CONTEXT, vocabulary, 64, 8)
    sentence = CONTEXT.index("No pneumothorax"), CONTEXT.index("\f")
    for hints, starts, ends in zip(
        radqa.hints("Is there pneumothorax?", CONTEXT, encoded), encoded.starts, encoded.ends, strict=True
    ):
        assert hints.shape == (len(starts), 2)
        inside = (starts >= sentence[0]) & (ends <= sentence[1]) & (starts < ends)
        assert np.all(hints[inside] == radqa.HINT)
        assert np.all(hints[starts < 0] == 0)
        assert np.all(hints[(starts < ends) & (ends <= sentence[0])] == 0)


def test_without_a_model_the_words_and_the_kind_of_a_question_answer_it(vocabulary):
    questions = [a_question("Is there pneumothorax?"), a_question("What about the heart size?")]
    answers = radqa.answer(flat, vocabulary, questions, 0.0, window_tokens=512)
    assert [one.text(CONTEXT) for one in answers] == ["No pneumothorax", "Heart size is normal, lungs are clear"]
    # What is not named gains nothing over "no answer".
    [silent] = radqa.answer(flat, vocabulary, [a_question("Any fracture?")], 0.0, window_tokens=512)
    assert (silent.span, silent.score) == (None, 0.0)


@pytest.mark.parametrize("batch_tokens", [1, 100, 4096])
def test_answers_do_not_depend_on_what_else_is_asked_nor_on_the_batches(vocabulary, batch_tokens):
    def run(ids, mask):
        assert ids.shape[0] == 1 or ids.size <= batch_tokens
        return np.stack([np.sin(ids * 1.0), np.cos(ids * 3.0)], -1).astype(np.float32)

    questions = [a_question("Is there pneumothorax?"), a_question("Is there an effusion?", CONTEXT * 3), a_question("Size?", "-")]
    windows = {"window_tokens": 40, "stride_tokens": 8, "cuts_by_kind": False}
    together = radqa.answer(run, vocabulary, questions, -math.inf, batch_tokens=batch_tokens, **windows)
    assert together == [radqa.answer(run, vocabulary, [one], -math.inf, batch_tokens=1, **windows)[0] for one in questions]


def test_a_context_without_a_token_has_no_answer(vocabulary):
    assert radqa.answer(flat, vocabulary, [a_question("Any mass?", " ")], -math.inf) == [Answer(None, NO_SPAN_SCORE)]


def test_an_answer_is_trimmed_to_what_its_question_asks_for_within_its_sentence_and_keeps_its_score():
    context = "The liver is normal. The spleen measures 12 cm in length. No ascites."
    wide = Answer(Span(context.index("The spleen"), context.index(". No")), 3.5)
    cut = radqa.cut_by_kind("How large is the spleen?", context, wide)
    assert (cut.text(context), cut.score) == ("12 cm", 3.5)
    assert radqa.cut_by_kind("How large is the spleen?", context, Answer(None, -1.0)) == Answer(None, -1.0)
