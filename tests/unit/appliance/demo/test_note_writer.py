import hashlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import fields
from pathlib import Path
from random import Random

import pytest

from appliance.demo.note_writer import (
    IdentifierKind,
    SyntheticNote,
    discharge_phrases,
    lexicon,
    write_export,
    write_notes,
    writer,
)
from appliance.demo.note_writer.conditions import CONDITIONS
from appliance.demo.note_writer.grammar import Choice, Draft, Marked, Slot, Template, parse
from appliance.demo.note_writer.page import wrap
from appliance.demo.note_writer.people import GIVEN_F, GIVEN_M, HOSPITALS, STREETS, TOWNS
from appliance.demo.note_writer.studies import STUDIES
from integrations.ehr_export import read_notes
from integrations.records import NoteKind
from pretrain.tasks.clip import LABELS, read

SEED = 11


@pytest.fixture(scope="module")
def notes() -> list[SyntheticNote]:
    return list(write_notes(3000, SEED))


@pytest.fixture(scope="module")
def summaries(notes):
    return [n for n in notes if n.note.kind is NoteKind.DISCHARGE_SUMMARY]


@pytest.fixture(scope="module")
def reports(notes):
    return [n for n in notes if n.note.kind is NoteKind.RADIOLOGY_REPORT]


def quotes(note, spans):
    return [note.note.text[span.start : span.end] for span in spans]


def outside(note, spans):
    """The text with every span blanked out."""
    text = note.note.text
    for span in spans:
        text = text[: span.start] + " " * (span.end - span.start) + text[span.end :]
    return text


# Determinism and variety


def digest(notes):
    return hashlib.sha256("\0".join(map(repr_of_all, notes)).encode()).hexdigest()


def repr_of_all(note):
    truth = note.sentences, [sorted(s) for s in note.labels], note.questions, note.identifiers
    return repr(
        (note.note.note_id, note.note.text, note.note.patient.value, note.written_at, note.patient.name, note.author, truth)
    )


def test_another_process_with_another_hash_seed_writes_the_same_notes(monkeypatch):
    program = "import sys; sys.path.insert(0, {!r}); import test_note_writer as t; print(t.digest(t.write_notes(60, 5)))"
    command = [sys.executable, "-c", program.format(str(Path(__file__).parent))]
    monkeypatch.setenv("PYTHONHASHSEED", "4711")
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert elsewhere == digest(write_notes(60, 5))


def test_asking_for_more_notes_changes_none_of_the_first(notes):
    assert list(write_notes(100, SEED)) == notes[:100]


def test_no_two_of_three_thousand_notes_are_the_same(notes):
    assert len({n.note.text for n in notes}) == len({n.note.note_id for n in notes}) == 3000


def test_another_seed_writes_other_notes_of_other_patients(notes):
    others = list(write_notes(300, SEED + 1))
    assert not {n.note.text for n in notes} & {n.note.text for n in others}
    assert not {n.patient.record_number for n in notes} & {n.patient.record_number for n in others}


def test_sentences_vary_even_without_their_numbers_and_identifiers(notes):
    skeletons = Counter(
        re.sub(r"\d+|\s+", " ", sentence) for n in notes for sentence in re.split(r"(?<=\.)\s|\n", outside(n, n.identifiers))
    )
    assert len(skeletons) > 5000


def test_no_notes_are_written_where_none_are_asked_for_and_less_is_refused():
    assert list(write_notes(0)) == []
    with pytest.raises(ValueError, match="0 or more"):
        list(write_notes(-1))


def test_a_thousand_notes_take_less_than_a_second():
    # 0.26 s where this was measured; a slower or busier machine gets four times that.
    began = time.process_time()
    assert sum(1 for _ in write_notes(1000, 1)) == 1000
    assert time.process_time() - began < 1.0


def test_a_patient_has_one_to_four_notes_and_a_record_number_of_their_own(notes):
    per_patient = Counter(n.patient.record_number for n in notes[:-4])
    people = {(n.patient.record_number, n.patient.name, n.patient.born) for n in notes}
    assert set(per_patient.values()) == {1, 2, 3, 4}
    assert len(people) == len({number for number, *_ in people})


def test_every_note_says_that_it_is_synthetic(notes):
    assert all("synthetic note, not a patient" in n.note.text.lower() for n in notes)


def test_neither_names_nor_text_are_in_what_a_note_prints(notes):
    for note in notes[:50]:
        shown = repr(note)
        assert note.patient.family not in shown
        assert note.author not in shown
        assert note.patient.record_number not in shown
        assert note.note.text[:40] not in shown


# Sentences and labels


def test_sentences_are_trimmed_in_order_and_hold_every_word(notes):
    for note in notes:
        text, end = note.note.text, 0
        for start, stop in note.sentences:
            assert end <= start < stop <= len(text)
            assert text[start:stop] == text[start:stop].strip()
            end = stop
        # What is left is white space and the lines that underline headings.
        assert re.fullmatch(r"(\s|[-=]{3,}$)*", outside(note, note.sentences), re.M)


def test_no_space_is_doubled_inside_a_sentence_or_stands_before_its_end(notes):
    for note in notes:
        for sentence in quotes(note, note.sentences):
            assert not re.search(r"\s[.,;]|\w  (?! )\w", sentence.split(":", 1)[-1].strip())


def test_a_sentence_runs_over_a_line_break_only_where_the_note_is_wrapped(notes):
    for note in notes:
        broken = [s for s in quotes(note, note.sentences) if "\n" in s]
        longest = max(map(len, note.note.text.split("\n")))
        assert not broken or longest <= 100


def test_there_is_one_set_of_labels_for_each_sentence_and_only_the_seven(notes):
    assert all(len(n.labels) == len(n.sentences) for n in notes)
    assert {label for n in notes for labels in n.labels for label in labels} == set(LABELS)


def test_about_an_eighth_of_the_sentences_of_discharge_summaries_are_labelled(summaries):
    labels = [labels for n in summaries for labels in n.labels]
    assert 0.10 <= sum(map(bool, labels)) / len(labels) <= 0.15
    assert sum(len(found) > 1 for found in labels) > 100


def test_every_label_is_frequent_enough_to_be_learnt(summaries):
    support = Counter(label for n in summaries for labels in n.labels for label in labels)
    assert min(support.values()) / support.total() > 0.03


def test_some_summaries_ask_for_nothing_and_they_are_few(summaries):
    silent = sum(not any(n.labels) for n in summaries) / len(summaries)
    assert 0.03 < silent < 0.15


@pytest.mark.parametrize(
    "word",
    ["INR", "CT", "pathology|culture", "echocardiogram", "appointment|appt|visit", "clinic", "mg", "follow-up|follow up|f/u"],
)
def test_no_word_gives_a_label_away(summaries, word):
    found = [
        bool(ls)
        for n in summaries
        for q, ls in zip(quotes(n, n.sentences), n.labels, strict=True)
        if re.search(rf"\b({word})\b", q, re.I)
    ]
    assert 0.02 < sum(found) / len(found) < 0.98


@pytest.mark.parametrize(
    ("marked", "labels"),
    [
        ("to have the staples taken out", {"Appointment", "Procedure"}),
        ("until seen by Dr.", {"Medication"}),
        ("Discharge instructions were given and understood", set()),
        ("No further imaging is needed", set()),
        ("had missed two appointments", set()),
        ("Gastric biopsy pathology had not returned", {"Lab"}),
        ("Regular diet", {"Patient instructions"}),
        ("Home physical therapy has been arranged", {"Other"}),
        ("Follow-up CT in", {"Imaging"}),
        ("Acetaminophen 1000 mg", set()),
    ],
)
def test_labels_follow_the_conventions(notes, marked, labels):
    found = {ls for n in notes for q, ls in zip(quotes(n, n.sentences), n.labels, strict=True) if marked in q.replace("\n", " ")}
    assert found == {frozenset(labels)}


def test_summaries_have_from_under_a_dozen_to_eighty_sentences(summaries):
    lengths = sorted(len(n.sentences) for n in summaries)
    assert lengths[0] <= 10
    assert lengths[len(lengths) // 10] < 25 < lengths[len(lengths) // 2] < 60
    assert 75 < lengths[-len(lengths) // 50] <= lengths[-1] < 120


@pytest.mark.parametrize(
    "look",
    [
        r"^[A-Z ]{5,}:$",
        r"^[A-Z][a-z]+( [A-Z][a-z]+)*:$",
        r"^HOSPITAL COURSE: \w+",
        r"^[A-Z][\w ]+\n-{5,}$",
        r"^[A-Z][\w ]+\n={5,}$",
        r"^1\. \w+",
        r"^1\) \w+",
        r"^- \w+",
        r"^• \w+",
        r"\bq\.d\.|\bBID\b",
        r"   Age",
    ],
)
def test_layouts_differ(summaries, look):
    assert 0.01 < sum(bool(re.search(look, n.note.text, re.M)) for n in summaries) / len(summaries) < 0.99


def test_some_notes_are_wrapped_and_some_are_not(notes):
    assert 0.3 < sum(max(map(len, n.note.text.split("\n"))) <= 100 for n in notes) / len(notes) < 0.9


# Identifiers

_LOOKS = {
    IdentifierKind.NAME: r"([A-Z]\w+ |[A-Z]\. )?Test(patient|doctor)-[A-Z][a-z]+(, [A-Z]\w+)?",
    IdentifierKind.DATE: r"\d{1,2}/\d{1,2}(/\d{2,4})?|\d{4}-\d\d-\d\d|[A-Z][a-z]{2,8} \d{1,2}(, \d{4})?|\d\d-[A-Z][a-z]{2}-\d{4}",
    IdentifierKind.RECORD_NUMBER: r"SYN\d{7}|SYN-\d{8}",
    IdentifierKind.PHONE: r"(\(000\) |000[-.])?555[-.]01\d\d",
    IdentifierKind.EMAIL: r"[a-z0-9._+-]+@([a-z-]+\.)?example\.org",
    IdentifierKind.ADDRESS: r"\d+ [A-Z][A-Za-z ]+, [A-Z][A-Za-z ]+, ZZ \d{5}",
    IdentifierKind.HOSPITAL: "|".join(HOSPITALS),
}
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_LOOKS_LIKE_AN_IDENTIFIER = re.compile(
    rf"(?i:test(patient|doctor))|@|SYN[\d-]|555|\d{{5,}}|\b\d{{1,2}}/\d{{1,2}}/\d|\d-\d\d-\d\d|\b({_MONTHS[:-9]})\b"
    rf"|\b({_MONTHS}) \d|\d-[A-Z][a-z]{{2}}-\d|\bZZ\b|\b({'|'.join([*GIVEN_F, *GIVEN_M, *STREETS, *TOWNS, *HOSPITALS])})\b"
)


def test_every_identifier_stands_where_it_is_said_to(notes):
    for note in notes:
        end = 0
        for span in note.identifiers:
            assert end <= span.start < span.end
            assert re.fullmatch(_LOOKS[span.kind], note.note.text[span.start : span.end].replace("\n", " "))
            end = span.end


def test_nothing_that_looks_like_an_identifier_stands_outside_of_one(notes):
    for note in notes:
        # "100,000 colonies" and doses have no five digits in a row; "24-26 mg" is no date.
        assert not _LOOKS_LIKE_AN_IDENTIFIER.search(outside(note, note.identifiers))


def test_some_notes_hold_an_email_address_and_most_do_not(notes):
    assert 0.2 < sum(any(i.kind is IdentifierKind.EMAIL for i in n.identifiers) for n in notes) / len(notes) < 0.5


def test_the_patient_named_in_a_note_is_the_one_it_is_about(notes):
    named = Counter()
    for note in notes:
        for span, quote in zip(note.identifiers, quotes(note, note.identifiers), strict=True):
            if span.kind is IdentifierKind.NAME and "Testpatient" in quote:
                assert note.patient.family in quote
                named[note.note.note_id] += 1
            if span.kind is IdentifierKind.RECORD_NUMBER and "SYN-" not in quote:
                assert quote == note.patient.record_number == note.note.patient.value
    assert len(named) > 1500


def test_no_note_id_holds_a_record_number(notes):
    assert not any(n.patient.record_number.removeprefix("SYN") in n.note.note_id for n in notes)


# Questions


def test_answers_are_phrases_of_one_sentence_of_the_section_they_were_asked_of(reports):
    for note in reports:
        for question in note.questions:
            assert 0 <= question.context.start < question.context.end <= len(note.note.text)
            if question.answer is not None:
                start, end = question.answer
                assert question.context.start <= start < end <= question.context.end
                assert any(s.start <= start and end <= s.end for s in note.sentences)
                assert not note.note.text[start:end].endswith((".", " "))


def test_about_half_of_the_questions_have_no_answer(reports):
    answers = [q.answer is None for n in reports for q in n.questions]
    assert 0.35 < sum(answers) / len(answers) < 0.6


def test_every_report_is_asked_and_no_summary_is(reports, summaries):
    assert all(3 <= len(n.questions) <= 10 for n in reports)
    assert not any(n.questions for n in summaries)


def test_what_is_denied_is_not_asked_for_its_size_or_place(reports):
    for note in reports:
        for question in note.questions:
            if question.text.startswith(("How", "Where", "Which")) and question.answer:
                assert not quotes(note, [question.answer])[0].lower().startswith("no ")


@pytest.mark.parametrize(
    ("question", "answer"),
    [("Is there a pneumothorax?", "pneumothorax"), ("Is there intracranial hemorrhage?", "hemorrhage|bleeding|hematoma")],
)
def test_an_answer_speaks_of_what_was_asked(reports, question, answer):
    found = [quotes(n, [q.answer])[0] for n in reports for q in n.questions if q.text == question and q.answer]
    assert len(set(found)) > 5
    assert all(re.search(answer, phrase.replace("\n", " ")) for phrase in found)


# The language templates are written in


def templates(thing):
    """Every template in a table, however deep."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, dict):
        yield from templates(list(thing.values()))
    elif isinstance(thing, list | tuple):
        for part in thing:
            yield from templates(part)
    elif hasattr(thing, "__dataclass_fields__"):
        for field in fields(thing):
            yield from templates(getattr(thing, field.name))


def slots(template: Template):
    for part in template:
        if isinstance(part, Slot):
            yield part.name
        elif isinstance(part, Choice):
            for option in part.options:
                yield from slots(option)
        elif isinstance(part, Marked):
            yield from slots(part.body)


def test_every_slot_of_every_template_has_something_to_fill_it():
    phrases = [value for name, value in vars(discharge_phrases).items() if name.isupper() and name != "HEADINGS"]
    wanted = {slot for table in (CONDITIONS, STUDIES, phrases) for text in templates(table) for slot in slots(parse(text))}
    note = next(write_notes(1))
    known = {*lexicon.LEXICON, *lexicon.person_facts(note.patient, 40), "side", "size", "lobe", "mm"}
    day = note.written_at.date()
    known |= set(writer.stay_facts(Random(0), CONDITIONS[0], day, day, note.patient))
    assert wanted - known == set()


def test_abbreviations_replace_words_and_leave_none_out():
    assert set(lexicon.TERSE) == set(lexicon.LEXICON)


def write(template, **facts):
    draft = Draft(Random(3), {name: parse(words) for name, words in facts.items()})
    draft.write(parse(template))
    return draft


def test_a_template_chooses_fills_and_marks():
    draft = write("The <lung|lung> is [<clear|clear>] {when}.", when="<today|today>")
    assert draft.text == "The lung is clear today."
    assert [draft.text[a:b] for a, b in draft.marks] == ["clear"]
    assert draft.length == len(draft.text)


def test_numbers_stay_between_their_bounds_and_reach_both():
    draft = Draft(Random(0), {})
    for _ in range(500):
        draft.write(parse("{3-6} {1.0-1.2} "))
    assert set(draft.text.split()) == {"3", "4", "5", "6", "1.0", "1.1", "1.2"}


@pytest.mark.parametrize("template", ["<a|b", "a]", "a|b", "[a", "<a|[b>"])
def test_a_bracket_that_is_not_closed_is_refused(template):
    with pytest.raises(ValueError, match="template"):
        parse(template)


@pytest.mark.parametrize("width", [20, 33, 68])
def test_wrapping_turns_spaces_into_line_breaks_and_changes_nothing_else(notes, width):
    for note in notes[:50]:
        wrapped = wrap(note.note.text, width)
        assert wrapped.replace("\n", " ") == note.note.text.replace("\n", " ")
        assert all(len(line) <= width or " " not in line.lstrip(" -*•.)0123456789")[:width] for line in wrapped.split("\n"))


# Files


def test_the_export_is_read_back_as_it_was_written(tmp_path):
    export = write_export(tmp_path / "export", 120, SEED, labelled=30)
    written = list(write_notes(120, SEED))
    drops = Counter()
    got = list(read_notes(export.notes, drops))
    assert [(n.note_id, n.kind, n.text, n.patient.value, n.written_at) for n in got] == [
        (n.note.note_id, n.note.kind, n.note.text, n.patient.record_number, n.written_at) for n in written
    ]
    assert not drops
    labelled = [n.labelled() for n in written if n.note.kind is NoteKind.DISCHARGE_SUMMARY][:30]
    assert read(export.clip) == labelled
    assert (export.n_notes, export.n_labelled) == (120, 30)


def test_every_sentence_of_the_labels_is_quoted_as_it_stands(tmp_path):
    export = write_export(tmp_path, 40, SEED, labelled=10)
    rows = [json.loads(line) for line in export.clip.read_text("utf-8").splitlines()]
    assert set(rows[0]) == {"note_id", "patient_id", "name", "text", "sentences"}
    assert all(row["text"][s["start"] : s["end"]] == s["text"] for row in rows for s in row["sentences"])


def test_the_questions_are_nested_as_squad_nests_them(tmp_path):
    export = write_export(tmp_path, 60, SEED, labelled=5)
    data = json.loads(export.radqa.read_text("utf-8"))["data"]
    questions = [(p["context"], q) for report in data for p in report["paragraphs"] for q in p["qas"]]
    assert len({q["id"] for _, q in questions}) == len(questions) == export.n_questions > 100
    for context, question in questions:
        assert question["is_impossible"] is not bool(question["answers"])
        for answer in question["answers"]:
            start = answer["answer_start"]
            assert context[start : start + len(answer["text"])] == answer["text"]
    assert all(1 <= len(report["paragraphs"]) <= 2 for report in data)


def test_the_identifiers_stand_beside_the_notes(tmp_path):
    export = write_export(tmp_path, 20, SEED, labelled=2)
    rows = [json.loads(line) for line in export.identifiers.read_text("utf-8").splitlines()]
    for row, note in zip(rows, write_notes(20, SEED), strict=True):
        assert row["note_id"] == note.note.note_id
        assert row["identifiers"] == [{"start": i.start, "end": i.end, "kind": i.kind.value} for i in note.identifiers]


def test_more_labelled_notes_than_there_are_summaries_are_refused(tmp_path):
    with pytest.raises(ValueError, match="ask for more notes"):
        write_export(tmp_path, 5, SEED, labelled=6)
