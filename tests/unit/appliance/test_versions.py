"""Which version of a document stands, and what its findings become, told as versions of one note."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from appliance.versions import Standing, VersionError, change, why_not_read
from integrations.records import Finding, Identifier, Note, NoteKind, NoteStatus

PRELIMINARY, FINAL, CORRECTED = NoteStatus.PRELIMINARY, NoteStatus.FINAL, NoteStatus.CORRECTED
CANCELLED, ENTERED_IN_ERROR = NoteStatus.CANCELLED, NoteStatus.ENTERED_IN_ERROR


def note(text: str = "See cardiology. Recheck INR.", status: NoteStatus = FINAL, note_id: str = "n1") -> Note:
    return Note(note_id, NoteKind.DISCHARGE_SUMMARY, text, Identifier("88", "HOSP"), document=Identifier("D1"), status=status)


def tag(note: Note, quote: str, label: str = "Appointment", model: str = "q@1", nth: int = 0) -> Finding:
    start = -1
    for _ in range(nth + 1):
        start = note.text.index(quote, start + 1)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    name = f"{note.note_id}-{start}-{label}"
    return Finding(name, note.note_id, start, start + len(quote), quote, label, 0.9, model, at)


def answer(note: Note, question: str, quote: str) -> Finding:
    found = tag(note, quote, "") if quote else replace(tag(note, note.text[:3], ""), start=0, end=0, quote="")
    return replace(found, finding_id=f"{note.note_id}-{question}-{quote}", question=question)


def standing(status: NoteStatus, message_id: int = 5, text: str = "a") -> Standing:
    return Standing(1, message_id, status, note().patient_key, text, ())


@pytest.mark.parametrize(
    ("stands", "comes", "is_read"),
    [
        (PRELIMINARY, PRELIMINARY, True),
        (PRELIMINARY, FINAL, True),
        (FINAL, PRELIMINARY, False),
        (FINAL, FINAL, True),
        (FINAL, CORRECTED, True),
        (CORRECTED, FINAL, False),
        (CORRECTED, CORRECTED, True),
        (FINAL, CANCELLED, True),
        (CANCELLED, ENTERED_IN_ERROR, True),
        (CANCELLED, CANCELLED, False),
        (CANCELLED, PRELIMINARY, False),
        (CANCELLED, FINAL, False),
        (CANCELLED, CORRECTED, True),
    ],
)
def test_a_lower_status_never_replaces_a_higher_one(stands, comes, is_read):
    assert (why_not_read(note(status=comes), "b", 6, standing(stands)) == "") is is_read


def test_of_two_versions_of_like_status_the_later_one_stands():
    assert why_not_read(note(), "b", 4, standing(FINAL)) == "late: its final version stands (message 5)"
    assert why_not_read(note(), "b", 6, standing(FINAL)) == ""


def test_the_same_text_again_is_not_read_again_but_a_replayed_message_is():
    assert why_not_read(note(), "a", 6, standing(FINAL)) == "the same text as message 5"
    assert why_not_read(note(), "a", 5, standing(FINAL)) == ""
    assert why_not_read(note(), "a", 6, standing(PRELIMINARY)) == ""


def test_a_document_that_changes_its_patient_is_for_a_person_to_look_at():
    with pytest.raises(VersionError, match="message 5 gave this document to another patient"):
        why_not_read(replace(note(), patient=Identifier("89", "HOSP")), "b", 6, standing(FINAL))


def test_a_sentence_that_stays_keeps_its_finding_and_one_that_is_gone_loses_it():
    before, now = note(), note("Well today. See cardiology. Recheck potassium.", CORRECTED, "n2")
    old = [tag(before, "See cardiology."), tag(before, "Recheck INR.", "Lab")]
    found = [tag(now, "See cardiology.", model="q@2"), tag(now, "Recheck potassium.", "Lab", model="q@2")]
    changed = change(now, found, old)
    (kept,) = changed.kept
    assert (kept.finding_id, kept.model, now.text[kept.start : kept.end]) == (old[0].finding_id, "q@1", "See cardiology.")
    assert changed.added == (found[1],)
    assert changed.withdrawn == (old[1],)
    assert [f.quote for f in changed.standing] == ["See cardiology.", "Recheck potassium."]


def test_a_sentence_that_stays_keeps_its_finding_though_another_model_would_not_find_it():
    before, now = note(), note("See cardiology. Recheck INR. Amended.", CORRECTED, "n2")
    assert change(now, [], [tag(before, "Recheck INR.", "Lab")]).withdrawn == ()


def test_a_sentence_that_stands_twice_and_then_once_keeps_one_finding():
    before, now = note("Call us. Rest. Call us."), note("Rest. Call us.", CORRECTED, "n2")
    old = [tag(before, "Call us."), tag(before, "Call us.", nth=1)]
    changed = change(now, [tag(now, "Call us.")], old)
    assert (changed.added, [f.start for f in changed.kept], changed.withdrawn) == ((), [6], (old[1],))


def test_nothing_is_added_by_reading_the_same_text_with_the_same_model():
    one = note()
    found = [tag(one, "See cardiology."), tag(one, "See cardiology.", "Other")]
    changed = change(one, found, found)
    assert (changed.added, changed.withdrawn, changed.standing) == ((), (), found)


def test_an_answer_stays_only_where_the_report_is_understood_as_before():
    before, now = note("Nodule of 4 mm. No effusion."), note("Nodule of 9 mm. No effusion.", CORRECTED, "n2")
    old = [answer(before, "How large?", "4 mm"), answer(before, "Effusion?", "No effusion"), answer(before, "Fracture?", "")]
    found = [answer(now, "How large?", "9 mm"), answer(now, "Effusion?", "No effusion"), answer(now, "Fracture?", "")]
    changed = change(now, found, old)
    assert (changed.added, changed.withdrawn) == ((found[0],), (old[0],))
    assert [f.finding_id for f in changed.kept] == [f.finding_id for f in old[1:]]


def test_everything_is_withdrawn_with_its_document():
    one = note()
    found = (tag(one, "See cardiology."), answer(one, "INR?", "Recheck INR"))
    assert change(note("", CANCELLED, "n2"), [], found).withdrawn == found
