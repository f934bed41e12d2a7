"""What stands of a document after its versions came, in whichever order, on a real database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.messages import show
from appliance.storage import Storage
from appliance.versions import Change
from integrations.records import Finding, Identifier, Note, NoteKind, NoteStatus, Source

WRITTEN = datetime(2026, 1, 1, 9, tzinfo=UTC)
PRELIMINARY, FINAL, CORRECTED, CANCELLED = (
    NoteStatus.PRELIMINARY,
    NoteStatus.FINAL,
    NoteStatus.CORRECTED,
    NoteStatus.CANCELLED,
)


class Documents:
    """Receives notes and reads them with a rule: every sentence is an appointment."""

    def __init__(self, storage: Storage) -> None:
        self.storage, self.number = storage, 0

    def receive(self, text: str, status: NoteStatus = FINAL, document: str = "D1", **more: object) -> tuple[int, Change]:
        self.number += 1
        body = b"%d" % self.number
        self.storage.inbox.put("EHR|WARD", str(self.number), body)
        message = self.storage.inbox.claim(60)
        assert message is not None
        note = Note(
            note_id=f"n{self.number}",
            kind=NoteKind.DISCHARGE_SUMMARY,
            text=text,
            patient=Identifier("88", "HOSP"),
            document=Identifier(document),
            written_at=WRITTEN,
            source=Source("EHR|WARD", str(self.number), "0" * 64),
            status=status,
        )
        note = replace(note, **more)
        found = [
            Finding(f"{note.note_id}-{start}", note.note_id, start, start + len(s), s, "Appointment", 0.9, "q@1", WRITTEN)
            for s in text.split("\n")
            if s and (start := text.index(s)) >= 0
        ]
        changed = self.storage.record(message.message_id, note, found, "q@1")
        assert changed is not None
        return message.message_id, changed


@pytest.fixture
def documents(place: Path | str) -> Iterator[Documents]:
    storage = Storage(place)
    yield Documents(storage)
    storage.close()


def quotes(findings: tuple[Finding, ...]) -> list[str]:
    return [f.quote for f in findings]


def test_a_final_version_keeps_what_stays_of_the_preliminary_one(documents):
    documents.receive("See cardiology.\nRecheck INR.", PRELIMINARY)
    message, changed = documents.receive("See cardiology.\nStop naproxen.", FINAL)
    assert (quotes(changed.added), quotes(changed.kept), quotes(changed.withdrawn)) == (
        ["Stop naproxen."],
        ["See cardiology."],
        ["Recheck INR."],
    )
    assert [f.finding_id for f in show(documents.storage, message).findings] == ["n1-0", "n2-16"]


def test_a_late_preliminary_version_changes_nothing_and_says_why(documents):
    documents.receive("See cardiology.", FINAL)
    message, changed = documents.receive("See nobody.", PRELIMINARY)
    assert changed == Change()
    story = show(documents.storage, message)
    assert (story.message.reason, story.findings, story.model) == ("late: its final version stands (message 1)", (), "")
    _, corrected = documents.receive("See cardiology.\nEat well.", CORRECTED)
    assert (quotes(corrected.added), quotes(corrected.kept)) == (["Eat well."], ["See cardiology."])


def test_a_cancelled_document_takes_its_findings_with_it_and_stays_cancelled(documents):
    documents.receive("See cardiology.")
    _, changed = documents.receive("", CANCELLED)
    assert quotes(changed.withdrawn) == ["See cardiology."]
    assert documents.receive("See cardiology.\nAgain.")[1] == Change()


def test_a_cancellation_that_overtook_its_document_holds(documents):
    documents.receive("", CANCELLED)
    message, changed = documents.receive("See cardiology.")
    assert (changed, show(documents.storage, message).message.reason) == (
        Change(),
        "late: its cancelled version stands (message 1)",
    )


def test_a_replacement_takes_the_place_of_the_document_it_names(documents):
    documents.receive("See cardiology.\nRecheck INR.", document="D1")
    _, changed = documents.receive("See cardiology.\nRest.", document="D2", replaces=Identifier("D1"))
    assert (quotes(changed.added), quotes(changed.kept), quotes(changed.withdrawn)) == (
        ["Rest."],
        ["See cardiology."],
        ["Recheck INR."],
    )
    assert documents.receive("See cardiology.\nOnce more.", document="D1")[1] == Change()


def test_an_addendum_leaves_the_findings_of_what_it_adds_to(documents):
    documents.receive("See cardiology.", document="D1")
    _, changed = documents.receive("Recheck INR.", document="D2", appends=Identifier("D1"))
    assert (quotes(changed.added), changed.withdrawn) == (["Recheck INR."], ())


def test_a_report_that_comes_two_ways_is_read_once_and_corrected_once(documents):
    one, other = Source("FHIR", "1", "0" * 64, "DocumentReference"), Source("FHIR", "2", "1" * 64, "DiagnosticReport")
    documents.receive("See cardiology.", document="7", source=one)
    later = WRITTEN + timedelta(hours=1)
    message, changed = documents.receive("See cardiology.", document="9", written_at=later, source=other)
    assert (changed, show(documents.storage, message).message.reason) == (Change(), "the same text as message 1")
    _, changed = documents.receive("See nobody.", CORRECTED, document="9", source=other)
    assert (quotes(changed.added), quotes(changed.withdrawn)) == (["See nobody."], ["See cardiology."])
    _, changed = documents.receive("See nobody.", CORRECTED, document="7", source=one)
    assert changed == Change()


def test_the_same_words_in_two_documents_of_a_sender_or_on_two_days_are_two_reports(documents):
    documents.receive("No change.", document="D1")
    _, changed = documents.receive("No change.", document="D2", written_at=WRITTEN + timedelta(days=3))
    assert quotes(changed.added) == ["No change."]
    _, changed = documents.receive("No change.", document="D4")
    assert quotes(changed.added) == ["No change."]
    _, changed = documents.receive("No change.", document="D3", patient=Identifier("89", "HOSP"))
    assert quotes(changed.added) == ["No change."]


def test_a_document_keeps_to_its_sender(documents):
    documents.receive("See cardiology.", document="7")
    _, changed = documents.receive("Rest.", document="7", source=Source("LAB|EAST", "9", "1" * 64))
    assert (quotes(changed.added), changed.withdrawn) == (["Rest."], ())
