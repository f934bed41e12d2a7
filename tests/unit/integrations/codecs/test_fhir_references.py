"""What is said to a server about its own resources."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.codecs import fhir
from integrations.codecs.fhir_references import at_server
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind, Source

BASE = "https://ehr.example/fhir"
MODEL = ModelVersion("clip-q", "3", "ab" * 32)
NOTE = Note(
    note_id="0123456789abcdef",
    kind=NoteKind.DISCHARGE_SUMMARY,
    text="See cardiology.",
    patient=Identifier("Patient/p1", BASE),
    encounter=Identifier("Encounter/e1", BASE),
    document=Identifier("DocumentReference/d1", BASE),
    source=Source(BASE, "DocumentReference/d1/_history/2", "cd" * 32),
)


def bundle(note: Note, question: str = "") -> dict[str, Any]:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    label = "" if question else "Appointment"
    finding = Finding("f1", note.note_id, 0, 15, note.text, label, 0.9, str(MODEL), at, question)
    (found,) = fhir.transactions(note, [finding], MODEL)
    return found


@pytest.mark.parametrize("base", [BASE, BASE + "/"])
def test_a_server_is_told_of_its_own_resources_by_where_they_are(base: str) -> None:
    found = at_server(bundle(NOTE), base)
    fhir.check(found)
    task, provenance = (e["resource"] for e in found["entry"][1:])
    assert (task["for"], task["encounter"]) == ({"reference": "Patient/p1"}, {"reference": "Encounter/e1"})
    assert task["focus"] == {"reference": "DocumentReference/d1"}
    (entity,) = provenance["entity"]
    assert entity["what"]["reference"] == "DocumentReference/d1"
    assert "cd" * 32 in entity["what"]["display"]
    assert task["identifier"] == [{"system": fhir.FINDING_ID, "value": "f1"}]


def test_another_server_is_told_their_names() -> None:
    assert at_server(bundle(NOTE), "https://other.example/fhir") == bundle(NOTE)
    by_number = replace(NOTE, patient=Identifier("MRN88", BASE))
    (_, task, _) = (e["resource"] for e in at_server(bundle(by_number), BASE)["entry"])
    assert task["for"] == {"type": "Patient", "identifier": {"system": BASE, "value": "MRN88"}}


@pytest.mark.parametrize(
    ("document", "element"),
    [("DocumentReference/d1", "derivedFrom"), ("DiagnosticReport/d1", "focus"), ("Composition/d1", "focus")],
)
def test_an_answer_refers_to_its_report_where_r4_takes_that_type(document: str, element: str) -> None:
    found = at_server(bundle(replace(NOTE, document=Identifier(document, BASE)), "Is there a fracture?"), BASE)
    fhir.check(found)
    assert found["entry"][1]["resource"][element] == [{"reference": document}]
