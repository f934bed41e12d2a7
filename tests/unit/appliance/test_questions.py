"""What a report is asked, and that its own indication is no answer."""

import pytest

from appliance.config import ConfigError, parse
from appliance.demo.note_writer import write_notes
from appliance.questions import QuestionsConfig, from_indication, questions_of, without_indication
from integrations.records import Note, NoteKind


@pytest.mark.parametrize(
    ("indication", "question"),
    [
        ("72M with SOB, r/o PE", "Is there PE?"),
        ("Rule out fracture or dislocation; fell yesterday.", "Is there fracture or dislocation?"),
        ("Evaluate for interval change of pneumothorax.", "Is there interval change of pneumothorax?"),
        ("Suspected appendicitis. Fever.", "Is there appendicitis?"),
        ("Pneumonia?", "Is there pneumonia?"),
        ("?fracture", "Is there fracture?"),
        ("Known nodule: growth?", "Is there growth?"),
        ("Fell. Is there a bleed? On warfarin.", "Is there a bleed?"),
        ("Fever. Any abscess?", "Any abscess?"),
        ("Cough", "What is found for cough?"),
        ("CT for\n staging.", "What is found for CT for staging?"),
        ("", ""),
        (" . ", ""),
        ("A long story. " * 30, ""),
    ],
)
def test_an_indication_is_asked_in_its_own_words(indication, question):
    assert from_indication(indication) == question


def report(**fields):
    return Note("n", NoteKind.RADIOLOGY_REPORT, "FINDINGS: clear", **fields)


def test_a_report_is_asked_what_its_order_was_for_then_its_study_then_everyones():
    config = QuestionsConfig(
        always=["Is there PE?", "Is it normal?"], by_study={"24627-2": ["Is there a nodule?"], "CT": ["Was contrast given?"]}
    )
    note = report(indication="r/o PE", codes=("18748-4", "24627-2", "CT"))
    assert questions_of(note, config) == ["Is there PE?", "Is there a nodule?", "Was contrast given?", "Is it normal?"]


def test_a_study_is_known_by_its_document_type_too():
    config = QuestionsConfig(always=[], by_study={"CTHEAD": ["Is there a bleed?"]})
    assert questions_of(report(document_type="CTHEAD"), config) == ["Is there a bleed?"]


def test_an_order_is_not_asked_where_the_settings_say_so():
    assert questions_of(report(indication="r/o PE"), QuestionsConfig(always=[], ask_indication=False)) == []


def test_settings_name_the_question_that_is_empty():
    with pytest.raises(ConfigError, match=r"\[questions.by_study.CT\] 0: .*at least 1 character"):
        parse('[questions]\nby_study = { CT = [" "] }')


@pytest.mark.parametrize(
    ("marked"),
    [
        "{INDICATION: rule out pneumonia.}\n\nFINDINGS: No pneumonia.",
        "{INDICATION: cough. }FINDINGS: lungs clear.",
        "{Clinical History: fall,\nhip pain}\nTechnique: AP\nFindings: none",
        "{Reason for Exam\n===============\nCough.}\n\nReport\n======\nClear.",
        "{REASON FOR THIS EXAMINATION:\n eval for pna}\n____\nFINAL REPORT\n The lungs are clear.",
        "{INDICATION:}\n\nFINDINGS: history of nodule: unchanged",
        # Where it ends cannot be seen, and a finding may stand in it.
        "History: cough\nThe lungs are clear.\n\nDr. X",
        "FINDINGS: clear.\n\nHistory: cough",
        "IMPRESSION: The clinical history is unclear.",
        "",
    ],
)
def test_only_the_indication_is_blanked_and_every_character_keeps_its_place(marked):
    text = marked.replace("{", "").replace("}", "")
    start, end = marked.find("{"), marked.find("}") - 1
    blanked = "".join(" " if start <= i < end and not c.isspace() else c for i, c in enumerate(text)) if start >= 0 else text
    assert without_indication(text) == blanked


def test_no_finding_of_a_written_report_is_blanked_and_no_indication_left():
    reports = [note for note in write_notes(600, seed=31) if note.questions]
    assert len(reports) > 200
    for written in reports:
        text, rest = written.note.text, without_indication(written.note.text)
        assert len(rest) == len(text)
        for question in written.questions:
            start, end = question.context
            assert rest[start:end] == text[start:end]
        assert not any(word in rest for word in ("Indication", "INDICATION", "Reason for", "REASON FOR", "Clinical History"))


@pytest.mark.parametrize(
    "text", ["HISTORY:\n" * 100_000 + "\nFINDINGS: x", "INDICATION: " + "a: A:\n" * 100_000 + "\nFINDINGS: x"]
)
def test_a_report_of_headings_only_is_looked_through_once(text):
    assert len(without_indication(text)) == len(text)
