"""Labelled notes in each layout: what is read, what is refused, and that nothing is lost on the way."""

import csv
import io
import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.tasks import clip, clip_formats
from pretrain.tasks.base import LabelledNote
from pretrain.tasks.clip import LABELS, DataError
from pretrain.text import Span
from pretrain.text import sentences as split_sentences

GOLD = Path(__file__).parents[5] / "shared" / "data" / "gold"
LONG = {
    "Imaging-related followup": "Imaging",
    "Appointment-related followup": "Appointment",
    "Medication-related followups": "Medication",
    "Procedure-related followup": "Procedure",
    "Lab-related followup": "Lab",
    "Case-specific instructions for patient": "Patient instructions",
    "Other helpful contextual information": "Other",
}
HEADER = "doc_id,sent_index,sentence,labels"
ROWS = [
    "900001,0,\"['Follow', 'up', 'with', 'cardiology', '.']\",['I-Appointment-related followup']",
    "900001,1,\"['Stable', 'overnight', '.']\",[]",
    "900002,0,\"['Pt', \"\"'s\"\", 'INR', ',', 'on', '``', 'Friday', \"\"''\"\"]\","
    "\"['I-Lab-related followup', 'I-Other helpful contextual information']\"",
]
TEXT = "Stable overnight. Follow up with cardiology in two weeks.\nRecheck INR\non Friday."
SECRET = ("cardiology", "Stable", "Friday", "secret", "Follow ")
"""Nothing of a note or of what stands in its place may be in a message."""


def write(path, *lines, end="\n"):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def refused(path, read=clip_formats.read):
    with pytest.raises(DataError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert not any(word in message.removeprefix(str(path)) for word in SECRET)
    return message.removeprefix(str(path))


def said(note: LabelledNote) -> list[tuple[str, set[str]]]:
    """What every sentence says, and its labels."""
    return [(note.text[start:end], set(labels)) for (start, end), labels in zip(note.sentences, note.labels, strict=True)]


# By what stands at the path


def test_json_lines_are_read_as_ever_whatever_their_name(tmp_path):
    note = {"note_id": "a", "text": TEXT, "sentences": [{"start": 0, "end": 17, "labels": []}], "patient_id": "p"}
    for name in ("c.jsonl", "c.json", "c.ndjson", "c"):
        path = write(tmp_path / name, json.dumps(note))
        assert clip_formats.read(path) == clip.read(path)


def test_a_path_where_nothing_stands_is_refused_with_what_to_do(tmp_path):
    for name in ("no.jsonl", "no.csv", "no.json", "no"):
        assert refused(tmp_path / name) == ": No such file or directory; check the path and its rights"
    (tmp_path / "empty").mkdir()
    assert "holds neither sentence_level.csv" in refused(tmp_path / "empty")


# sentence_level.csv


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_note_is_its_sentences_tokens_one_sentence_a_line(tmp_path, end):
    first, second = clip_formats.read(write(tmp_path / "s.csv", HEADER, *ROWS, end=end))
    assert first == LabelledNote(
        "900001",
        "Follow up with cardiology .\nStable overnight .",
        (Span(0, 27), Span(28, 46)),
        (frozenset({"Appointment"}), frozenset()),
        "900001",
    )
    assert said(second) == [("Pt 's INR , on `` Friday ''", {"Lab", "Other"})]


@pytest.mark.parametrize("long", LONG)
@pytest.mark.parametrize(
    "spell", [str, str.upper, "I-{}".format, "i-{}".format, lambda long: LONG[long], lambda long: f"I-{LONG[long]}"]
)
def test_each_label_goes_by_its_long_and_its_short_name(tmp_path, long, spell):
    [note] = clip_formats.read(write(tmp_path / "s.csv", HEADER, f"1,0,\"['Go', '.']\",['{spell(long)}']"))
    assert note.labels == (frozenset({LONG[long]}),)


def test_the_labels_are_those_of_the_task():
    assert set(LONG.values()) == set(LABELS)
    assert {v: k for k, v in clip_formats.files.LONG_NAMES.items()} == LONG


def test_rows_stand_in_any_order_under_columns_in_any_order_with_the_index_that_pandas_adds(tmp_path):
    rows = ["0,['A'],7,1,[]", "1,['x'],8,0,['Lab']", "2,['B'],7,0,[]"]
    first, second = clip_formats.read(write(tmp_path / "s.csv", "\ufeff,sentence,doc_id,sent_index,labels", "", *rows))
    assert (first.note_id, first.text, second.text) == ("7", "B\nA", "x")


def test_a_row_without_tokens_is_no_sentence(tmp_path):
    [note] = clip_formats.read(write(tmp_path / "s.csv", HEADER, "1,0,[],[]", "1,1,['A'],['Lab']", "1,2,[],[]", "1,3,['B'],[]"))
    assert said(note) == [("A", {"Lab"}), ("B", set())]
    assert note.text == "A\nB"


def test_a_cell_may_be_longer_than_the_csv_module_reads_and_its_limit_stays(tmp_path):
    tokens = ["potassium"] * 20_000
    before = csv.field_size_limit(131_072)  # its own, which others may have lifted
    try:
        [note] = clip_formats.read(write(tmp_path / "s.csv", HEADER, f'1,0,"{tokens}",[]'))
        assert len(str(tokens)) > csv.field_size_limit() == 131_072
    finally:
        csv.field_size_limit(before)
    assert note.text == " ".join(tokens)


def test_a_cell_is_bounded_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_formats.physionet, "MAX_CELL_CHARACTERS", 40)
    found = refused(write(tmp_path / "s.csv", HEADER, ROWS[1], ROWS[0]))
    assert found == ":3: sentence has 43 characters, more than 40; write one sentence per line"
    monkeypatch.setattr(clip_formats.files, "MAX_FILE_BYTES", 40)
    assert "is larger than 0 MB; divide it" in refused(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("900001,0,['secret'],[]", "the sent_index of line 2 again"),
        ("900001,2,['secret'],[]", "sent_index 2 where 1 is due: a row is missing"),
        ("900002,1,['secret'],[]", "sent_index 1 where 0 is due"),
        ("900002,-1,['secret'],[]", "sent_index is no number"),
        ("900002,1.0,['secret'],[]", "sent_index is no number"),
        ("900002,²,['secret'],[]", "sent_index is no number"),
        (" ,0,['secret'],[]", "has no doc_id"),
        ("900002,0,['secret']", "has 3 cells, its header 4"),
        ("900002,0,['secret', 'x'],[]", "has 5 cells, its header 4"),
        ("900002,0,\"['secret', 'x'],[]", "has a cell with a quote or carriage return amiss"),
        ('900002,0,"[\'secret\']""x,[]', "has a cell with a quote or carriage return amiss"),
        ("900002,0,['secret'],[]\r900003,0,['x'],[]", "has a cell with a quote or carriage return amiss"),
        ("900002,0,['secret'],['Follow-up']", "label 1 is unknown; known are Patient instructions, Appointment"),
        ("900002,0,['secret'],\"['Lab', 'Secret']\"", "label 2 is unknown"),
        ("900002,0,['secret'],Lab", "labels is no list of strings"),
        ("900002,0,secret,[]", "sentence is no list of strings"),
        (
            "900002,0,['secret' 'as NumPy prints it'],[]",
            "sentence is no list of strings; write it as Python prints one, with commas",
        ),
        ("900002,0,[1],[]", "sentence is no list of strings"),
        ("900002,0,[['secret']],[]", "sentence is no list of strings"),
        ("900002,0,\"['secret'].__class__\",[]", "sentence is no list of strings"),
        ("900002,0,__import__('secret'),[]", "sentence is no list of strings"),
        (f"900002,0,{'[' * 100_000},[]", "sentence is no list of strings"),
        (r"900002,0,['secret \d'],[]", "sentence is no list of strings"),
        (r"900002,0,['secret \ud800'],[]", "sentence holds half a surrogate pair"),
        ("900002,0,[],['Lab']", "labels a sentence without text; remove its labels"),
        ("900002,0,[' '],[]", "begins a note without text; remove it"),
    ],
)
def test_what_is_wrong_with_a_row_is_named_by_file_and_line_without_quoting_it(tmp_path, row, found):
    message = refused(write(tmp_path / "s.csv", HEADER, ROWS[0], row))
    assert message.startswith(":3: ")
    assert found in message


@pytest.mark.parametrize(
    "head", ["doc_id,sent_index,sentence", f"{HEADER},secret", "900001,0,['secret'],[]", f"{HEADER},labels", '"']
)
def test_columns_that_are_not_those_of_the_data_set_are_refused(tmp_path, head):
    assert refused(write(tmp_path / "s.csv", head, *ROWS)).startswith(":1: ")


def test_a_csv_file_without_notes_or_in_another_encoding_is_refused(tmp_path):
    assert "does not name the columns" in refused(write(tmp_path / "s.csv"))
    assert "holds no notes" in refused(write(tmp_path / "s.csv", HEADER))
    (tmp_path / "s.csv").write_bytes(f"{HEADER}\n1,0,['caf\xe9'],[]\n".encode("latin1"))
    assert "iconv" in refused(tmp_path / "s.csv")


@pytest.mark.skipif(not GOLD.exists(), reason="labelled notes of the project's shared data are not here")
def test_the_shared_gold_notes_have_the_same_labels_in_both_layouts():
    as_csv, as_lines = (clip_formats.read(GOLD / f"clip_gold_mtsamples.{kind}") for kind in ("csv", "jsonl"))
    assert [(note.note_id, note.labels) for note in as_csv] == [(note.note_id, note.labels) for note in as_lines]
    words = [["".join(re.findall(r"\w+", text)) for note in notes for text, _ in said(note)] for notes in (as_csv, as_lines)]
    assert words[0] == words[1]


# PhysioNet's folder


def physionet(folder, train=("900001",), dev=("900002",), test=("900003",)):
    write(folder / "sentence_level.csv", HEADER, *ROWS, "900003,0,['Home'],[]")
    for name, ids in (("train_ids.csv", train), ("val_ids.csv", dev), ("test_ids.csv", test)):
        write(folder / name, *ids)
    return folder


def test_physionets_folder_is_read_whole_or_by_its_splits(tmp_path):
    folder = physionet(tmp_path, train=("900003", '"900001"'), test=())
    assert [note.note_id for note in clip_formats.read(folder)] == ["900001", "900002", "900003"]
    assert {name: [note.note_id for note in part] for name, part in clip_formats.splits(folder).items()} == {
        "train": ["900003", "900001"],
        "dev": ["900002"],
        "test": [],
    }
    assert clip_formats.splits(folder)["dev"] == clip_formats.read(folder)[1:2]


@pytest.mark.parametrize(
    ("ids", "file", "found"),
    [
        ({"dev": ["900002", "900001"]}, "val_ids.csv", ":2: the id of train_ids.csv:1 again"),
        ({"test": ["900003", "900003"]}, "test_ids.csv", ":2: the id of test_ids.csv:1 again"),
        ({"test": ["900003", "", "900004"]}, "test_ids.csv", ":3: names a note that sentence_level.csv lacks"),
        ({"train": ["doc_id", "900001"]}, "train_ids.csv", ":1: names a note that sentence_level.csv lacks"),
        ({"train": ["900001,1"]}, "train_ids.csv", ":1: has 2 cells; write one id per line"),
        ({"dev": []}, "sentence_level.csv", ":4: begins a note that no *_ids.csv names"),
    ],
)
def test_ids_in_two_splits_in_none_or_without_a_note_are_refused(tmp_path, ids, file, found):
    folder = physionet(tmp_path, **ids)
    with pytest.raises(DataError) as error:
        clip_formats.splits(folder)
    assert str(error.value).startswith(f"{folder / file}{found}")


def test_splits_need_all_their_files(tmp_path):
    (physionet(tmp_path) / "val_ids.csv").unlink()
    with pytest.raises(DataError, match=r"val_ids\.csv: No such file"):
        clip_formats.splits(tmp_path)


# Label Studio


def labels_result(start, end, *labels, **more):
    return {
        "id": "r1",
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "value": {"start": start, "end": end, "labels": list(labels)} | more,
    }


def task(*results, **more):
    annotation = {"id": 5, "completed_by": 1, "result": list(results), "was_cancelled": False, "ground_truth": False}
    return {"id": 17, "data": {"text": TEXT}, "annotations": [annotation], "predictions": [], "project": 1} | more


def exported(path, *tasks):
    return write(path, json.dumps(tasks))


def marking(words, *labels):
    start = TEXT.index(words)
    return labels_result(start, start + len(words), *labels, text=words)


def test_a_label_studio_span_gives_its_labels_to_every_sentence_it_touches(tmp_path):
    choice = {"type": "choices", "value": {"choices": ["x"]}}
    path = exported(
        tmp_path / "e.json",
        task(marking("t. Follow", "Other"), marking("INR\non Fri", "Lab", "Imaging-related followup"), choice),
    )
    [note] = clip_formats.read(path)
    assert (note.note_id, note.text, note.group) == ("17", TEXT, "17")
    assert said(note) == [
        ("Stable overnight.", {"Other"}),
        ("Follow up with cardiology in two weeks.", {"Other"}),
        ("Recheck INR\non Friday.", {"Lab", "Imaging"}),
    ]


def test_a_span_touches_a_sentence_by_its_letters_and_digits_alone(tmp_path):
    [note] = clip_formats.read(exported(tmp_path / "e.json", task(marking(". Follow", "Appointment"))))
    assert [labels for _, labels in said(note)] == [set(), {"Appointment"}, set()]


def test_the_sentences_are_those_of_the_bedside(tmp_path, tokenizer):
    text = "Plan\n-----\nRecheck INR Friday.\n* * *\n"
    [note] = clip_formats.read(exported(tmp_path / "e.json", task(data={"text": text})))
    assert note.sentences == clip.encode(text, tokenizer, 64).sentences


def test_a_task_may_name_its_note_and_patient(tmp_path):
    data = {"text": TEXT, "note_id": "n1", "patient_id": 4, "ward": "x"}
    [note] = clip_formats.read(exported(tmp_path / "e.json", task(data=data)))
    assert (note.note_id, note.group) == ("n1", "4")


def test_what_annotators_marked_is_taken_together_and_what_was_skipped_is_not(tmp_path):
    kept, skipped = task(marking("INR", "Lab"))["annotations"], task(marking("weeks", "Imaging"))["annotations"]
    skipped[0]["was_cancelled"] = True
    more = task(marking("INR", "Other"))["annotations"]
    [note] = clip_formats.read(exported(tmp_path / "e.json", task(annotations=kept + skipped + more)))
    assert [labels for _, labels in said(note)] == [set(), set(), {"Lab", "Other"}]


@pytest.mark.parametrize(("start", "end"), [(12, 15), (14, 17)])
def test_offsets_after_an_emoji_are_taken_for_what_their_words_say(tmp_path, start, end):
    """Label Studio counts characters; its older versions counted UTF-16 units, in which each emoji is two."""
    text = "Well 🙂🙂. An INR. An INX."
    path = exported(tmp_path / "e.json", task(labels_result(start, end, "Lab", text="INR"), data={"text": text}))
    [note] = clip_formats.read(path)
    assert [labels for _, labels in said(note)] == [set(), {"Lab"}, set()]


def test_a_utf16_offset_at_the_end_of_the_text_is_found_too(tmp_path):
    text = "Well 🙂. An INR"
    [note] = clip_formats.read(exported(tmp_path / "e.json", task(labels_result(12, 15, "Lab", text="INR"), data={"text": text})))
    assert [labels for _, labels in said(note)] == [set(), {"Lab"}]


@pytest.mark.parametrize("quoted", ["Recheck INR on", "Recheck INR\\non", "Recheck INRon"])
def test_a_line_break_in_a_spans_words_is_written_in_several_ways(tmp_path, quoted):
    start = TEXT.index("Recheck")
    [note] = clip_formats.read(exported(tmp_path / "e.json", task(labels_result(start, start + 14, "Lab", text=quoted))))
    assert note.labels[2] == {"Lab"}


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ("secret", "task 2: is not an object of data and annotations"),
        (
            {"id": 2, "text": "secret", "label": []},
            "task 2: is not an object of data and annotations; export the project as JSON, not",
        ),
        (task(id=None), "task 2: id is missing"),
        (task(id=True), "task 2: id is missing"),
        (task(id="\ud800"), "task 2: id holds half a surrogate pair"),
        (task(), "task 2: the id of task 1 again"),
        (task(id=2, data={"note": "secret"}), "task 2: data.text is missing"),
        (task(id=2, data={"text": " "}), "task 2: data.text is missing, empty"),
        (task(id=2, data={"text": "secret\ud800"}), "task 2: data.text holds half a surrogate pair"),
        (task(id=2, data={"text": TEXT, "patient_id": ""}), "task 2: patient_id is missing, empty"),
        (task(id=2, annotations=[]), "task 2: was not annotated"),
        (task(id=2, annotations=[{"was_cancelled": True, "result": []}]), "task 2: was not annotated"),
        (task(id=2, annotations=["secret"]), "task 2: annotation 1: is not an object with a list named result"),
        (task("secret", id=2), "task 2: annotation 1: result 1: is not an object with a type"),
        (task(marking("INR", "Lab"), {"type": "labels"}, id=2), "task 2: annotation 1: result 2: value is not an object"),
        (task({"type": "hypertextlabels"}, id=2), "result 1: marks something else than plain text"),
        (task(labels_result(0, 3), id=2), "result 1: labels is empty or no list of strings"),
        (task(labels_result(0, 3, 7), id=2), "result 1: labels is empty or no list of strings"),
        (task(labels_result(0, 3, "Lab", "Follow-up"), id=2), "result 1: label 2 is unknown; known are Patient"),
        (task(labels_result(0, 81, "Lab"), id=2), "result 1: start and end do not name characters of the text's 80"),
        (task(labels_result(0, 10**9, "Lab", text="secret"), id=2), "result 1: start and end do not name"),
        (task(labels_result(-1, 3, "Lab"), id=2), "result 1: start and end do not name"),
        (task(labels_result(3, 3, "Lab"), id=2), "result 1: start and end do not name"),
        (task(labels_result("0", 3, "Lab"), id=2), "result 1: start and end do not name"),
        (task(labels_result(0, 3, "Lab", text="secret"), id=2), "result 1: its text is not characters 0:3 of data.text"),
        (task(labels_result(0, 3, "Lab", text=["secret"]), id=2), "result 1: its text is not characters 0:3 of data.text"),
        (task(labels_result(16, 18, "Lab"), id=2), "result 1: covers no letter or digit"),
    ],
)
def test_what_is_wrong_with_a_task_is_named_by_its_number_without_quoting_it(tmp_path, record, found):
    assert f": {found}" in refused(exported(tmp_path / "e.json", task(), record))


def test_an_export_that_is_broken_off_or_empty_is_refused(tmp_path):
    assert "holds no tasks" in refused(exported(tmp_path / "e.json"))
    assert "is not JSON" in refused(write(tmp_path / "e.json", '[{"secret'))
    assert "is not JSON" in refused(write(tmp_path / "e.json", "[" * 100_000))


# brat


def brat(folder, *lines, text=TEXT, name="d1"):
    write(folder / f"{name}.ann", *lines)
    (folder / f"{name}.txt").write_bytes(text.encode())
    return folder


def test_brats_marks_give_their_labels_to_the_sentences_they_touch(tmp_path):
    folder = brat(
        tmp_path,
        "T1\tAppointment-related_followup 18 27;33 43\tFollow up cardiology",
        "T2\tPatient_instructions 66 75\tINR on Fr",
        "T3\tI-Lab-related-followup 0 6\tStable",
        "R1\tAfter Arg1:T1 Arg2:T2",
        "A1\tNegated T1",
        "#1\tAnnotatorNotes T1\tsecret",
        "",
    )
    [note] = clip_formats.read(folder)
    assert (note.note_id, note.text, note.group) == ("d1", TEXT, "d1")
    assert [labels for _, labels in said(note)] == [{"Lab"}, {"Appointment"}, {"Patient instructions"}]


def test_notes_of_a_brat_folder_are_called_by_their_path_in_it(tmp_path):
    brat(brat(tmp_path, name="b"), name="a.1")
    brat(tmp_path / "ward", "T1\tLab 0 6\tStable")
    write(tmp_path / "._b.ann", "secret")
    write(tmp_path / ".kept" / "b.txt", "secret")
    write(tmp_path / "annotation.conf", "[entities]")
    notes = clip_formats.read(tmp_path)
    assert [note.note_id for note in notes] == ["a.1", "b", "ward/d1"]
    assert [any(note.labels) for note in notes] == [False, False, True]


def test_offsets_of_brat_count_characters_and_both_characters_of_a_windows_line_break(tmp_path):
    text = "Caf\u00e9 🙂 stable.\r\nRecheck INR\r\non Friday."
    start, end = text.index("INR"), text.index(" Friday")
    [note] = clip_formats.read(brat(tmp_path, f"T1\tLab {start} {end}\tINR  on\r", text=text))
    assert note.labels == (frozenset(), frozenset({"Lab"}))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("secret", "is no line of brat's"),
        ("T2\tLab 0 6", "is no line of brat's"),
        ("T2 Lab 0 6 Stable", "is no line of brat's"),
        ("T2\tLab followup 0 6\tStable", "is no line of brat's"),
        ("T2\tLab 0 -6\tStable", "is no line of brat's"),
        ("T2\tLab 0 6;\tStable", "is no line of brat's"),
        ("T2\tLab 0 9999999999\tStable", "is no line of brat's"),
        ("T2\tLab 74 81\tFriday.", "start and end do not name characters of the text's 80; copy both files again"),
        ("T2\tLab 0 6;70 90\tStable", "start and end do not name"),
        ("T2\tLab 6 6\t", "start and end do not name"),
        ("T2\tLab 1 7\tStable", "its text is not what stands there in the .txt file"),
        ("T2\tSecret 0 6\tStable", "label 1 is unknown; known are Patient instructions"),
        ("T2\tLab 16 18\t. ", "covers no letter or digit"),
    ],
)
def test_what_is_wrong_with_a_mark_is_named_by_file_and_line_without_quoting_it(tmp_path, line, found):
    brat(tmp_path, "T1\tLab 0 6\tStable", line)
    with pytest.raises(DataError) as error:
        clip_formats.read(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'd1.ann'}:2: {found}")
    assert not any(word in message for word in SECRET)


def test_a_text_and_its_marks_come_in_pairs(tmp_path):
    brat(tmp_path)
    write(tmp_path / "d2.txt", "secret")
    with pytest.raises(DataError, match=r"d2\.txt: has no d2\.ann beside it; copy it too"):
        clip_formats.read(tmp_path)
    write(tmp_path / "d2.ann")
    (tmp_path / "d1.txt").unlink()
    with pytest.raises(DataError, match=r"d1\.ann: has no d1\.txt beside it"):
        clip_formats.read(tmp_path)
    brat(tmp_path, text="\n")
    with pytest.raises(DataError, match=r"d1\.txt: holds no text"):
        clip_formats.read(tmp_path)


# Round trips

TOKENS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(str.strip)
LABEL_SETS = st.frozensets(st.sampled_from(LABELS), max_size=3)
NOTES = st.lists(
    st.lists(st.tuples(st.lists(TOKENS, min_size=1, max_size=5), LABEL_SETS), min_size=1, max_size=4), min_size=1, max_size=4
)
TEXTS = st.text(st.sampled_from("aB1é🙂 .:-\n\r\t_"), min_size=1, max_size=60).filter(str.strip)
few = settings(max_examples=60, deadline=None)


@few
@given(NOTES, st.sampled_from(["\n", "\r\n"]), st.randoms(use_true_random=False))
def test_what_is_written_as_csv_comes_back(notes, end, draw):
    rows = [(n, s, tokens, labels) for n, note in enumerate(notes) for s, (tokens, labels) in enumerate(note)]
    draw.shuffle(rows)
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=end)
    writer.writerow(HEADER.split(","))
    for n, s, tokens, labels in rows:
        writer.writerow([n, s, str(tokens), str([f"I-{clip_formats.files.LONG_NAMES[label]}" for label in labels])])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sentence_level.csv")
        path.write_bytes(file.getvalue().encode())
        back = {note.note_id: said(note) for note in clip_formats.read(path)}
    assert back == {str(n): [(" ".join(tokens), labels) for tokens, labels in note] for n, note in enumerate(notes)}


def sentences_of(text):
    return [span for span in split_sentences(text) if any(map(str.isalnum, text[span.start : span.end]))]


@st.composite
def marked_texts(draw):
    """A text, what its sentences are to be labelled, and marks that say so: (pieces, label)."""
    text = draw(TEXTS)
    marks, expected = [], []
    for start, end in sentences_of(text):
        expected.append(draw(LABEL_SETS))
        for label in sorted(expected[-1]):
            at = draw(st.sampled_from([i for i in range(start, end) if text[i].isalnum()]))
            begin, stop = draw(st.integers(start, at)), draw(st.integers(at + 1, end))
            cut = draw(st.integers(begin, stop))
            marks.append(([(begin, cut), (cut, stop)] if begin < cut < stop else [(begin, stop)], label))
    return text, expected, draw(st.permutations(marks))


@few
@given(marked_texts())
def test_what_is_marked_in_label_studio_comes_back(marked):
    text, expected, marks = marked
    spans = [(pieces[0][0], pieces[-1][1], label) for pieces, label in marks]
    plain = task(*(labels_result(start, end, label) for start, end, label in spans), data={"text": text})
    quoting = task(
        *(labels_result(start, end, label, text=text[start:end]) for start, end, label in spans), data={"text": text}, id=2
    )
    with tempfile.TemporaryDirectory() as folder:
        notes = clip_formats.read(exported(Path(folder, "e.json"), plain, quoting))
    for note in notes:
        assert note.text == text
        assert list(note.sentences) == sentences_of(text)
        assert list(note.labels) == expected


@few
@given(marked_texts())
def test_what_is_marked_in_brat_comes_back(marked):
    text, expected, marks = marked
    lines = [
        f"T{n}\t{label.replace(' ', '_')} {';'.join(f'{start} {end}' for start, end in pieces)}\t"
        + " ".join(re.sub("[\r\n]", " ", text[start:end]) for start, end in pieces)
        for n, (pieces, label) in enumerate(marks)
    ]
    with tempfile.TemporaryDirectory() as folder:
        [note] = clip_formats.read(brat(Path(folder), *lines, text=text))
    assert note.text == text
    assert list(note.sentences) == sentences_of(text)
    assert list(note.labels) == expected


FILES = {
    "s.csv": "\n".join([HEADER, *ROWS]).encode(),
    "e.json": json.dumps([task(marking("INR", "Lab"))]).encode(),
    "d/d1.ann": b"T1\tLab 0 6;11 17\tStable night.",
}


@few
@given(st.sampled_from(sorted(FILES)), st.integers(0, 300), st.integers(0, 20), st.binary(max_size=12))
def test_whatever_stands_in_a_file_is_read_or_refused_and_nothing_else(name, at, gone, instead):
    body = FILES[name]
    at %= len(body)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write(Path(folder, "d", "d1.txt"), TEXT)
        path.write_bytes(body[:at] + instead + body[at + gone :])
        try:
            notes = clip_formats.read(path.parent if name.endswith(".ann") else path)
        except DataError:
            return
    assert all(0 <= start < end <= len(note.text) for note in notes for start, end in note.sentences)
