import base64
import json
from pathlib import Path

import pytest

from integrations.records import Identifier, NoteKind

SAMPLES = Path(__file__).parents[5] / "shared/samples/fhir"
LOINC = "http://loinc.org"


def attachment(text="x", content_type="text/plain", encoding="utf-8"):
    return {"contentType": content_type, "data": base64.b64encode(text.encode(encoding)).decode()}


def document(*attachments, **more):
    return {"resourceType": "DocumentReference", "content": [{"attachment": a} for a in attachments], **more}


def test_a_document_reference_is_a_note_of_its_patient(read_one):
    resource = document(
        attachment("Discharge summary."),
        id="d1",
        type={"coding": [{"system": LOINC, "code": "18842-5"}]},
        subject={"reference": "https://ehr.example/fhir/Patient/p1/_history/2"},
        context={"encounter": [{"reference": "Encounter/e1"}]},
        date="2026-11-01T08:30:00-05:00",
    )
    (note,), drops, remarks = read_one("DocumentReference.ndjson", json.dumps(resource))
    assert (note.note_id, note.text, note.kind) == ("DocumentReference/d1", "Discharge summary.", NoteKind.DISCHARGE_SUMMARY)
    assert (note.patient, note.encounter, note.document_type) == (Identifier("p1"), Identifier("e1"), "18842-5")
    assert note.written_at.isoformat() == "2026-11-01T08:30:00-05:00"
    assert (drops, remarks) == ({}, {})


@pytest.mark.parametrize(
    ("attached", "text"),
    [
        (attachment("<p>one</p><p>two</p>", "text/html; charset=utf-8"), "one\ntwo"),
        (attachment("<div>one<br/>two</div>", "application/xhtml+xml"), "one\ntwo"),
        (attachment("{\\rtf1 one\\par two}", "text/rtf"), "one\ntwo"),
        (attachment("{\\rtf1 one\\par two}", "text/plain"), "one\ntwo"),
        (attachment("été", "text/plain; charset=ISO-8859-1", "latin-1"), "été"),
        (attachment("été", 'text/plain;charset="UTF-16LE"', "utf-16-le"), "été"),
        (attachment("été", "text/plain", "utf-8-sig"), "été"),
        ({"data": base64.b64encode(b"x").decode()}, "x"),
    ],
)
def test_an_attachment_is_read_by_what_it_is(read_one, attached, text):
    (note,), _, remarks = read_one("n.ndjson", json.dumps(document(attached)))
    assert (note.text, remarks) == (text, {})


def test_of_the_same_document_in_several_formats_the_plainest_is_read(read_one):
    formats = [attachment("%PDF", "application/pdf"), attachment("{\\rtf1 r}", "text/rtf"), attachment("p"), {"url": "Binary/1"}]
    (note,), drops, _ = read_one("n.ndjson", json.dumps(document(*formats)))
    assert (note.text, drops) == ("p", {})


def test_an_attachment_in_another_character_set_than_it_says_is_kept_and_remarked(read_one):
    (note,), _, remarks = read_one("n.ndjson", json.dumps(document(attachment("été", "text/plain;charset=utf-8", "latin-1"))))
    assert note.text == "été"
    assert remarks == {"an attachment in another character set than it says, read as Windows-1252": 1}


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (document({"url": "Binary/1"}), "a DocumentReference whose attachment is only a link"),
        (document(attachment("%PDF", "application/pdf")), "a DocumentReference whose attachment cannot be read: application/pdf"),
        (document(attachment("%PDF-1.7")), "a DocumentReference whose attachment cannot be read: application/pdf"),
        (document(attachment("x", "secret/name")), "a DocumentReference whose attachment cannot be read: of another type"),
        (document({"data": "x"}), "a DocumentReference whose attachment is not base64"),
        (document(), "a DocumentReference without an attachment"),
        (document(attachment(" ")), "empty text"),
        (document(attachment(), status="entered-in-error"), "a DocumentReference entered in error or cancelled"),
        ({"resourceType": "DiagnosticReport"}, "a DiagnosticReport without an attachment"),
        ({"resourceType": "Composition", "section": [{"title": "Empty"}]}, "a Composition without narrative"),
        ({"resourceType": "Patient", "name": [{"family": "x"}]}, "a FHIR resource that is no note: Patient"),
        ({"resourceType": "DOE, JANE"}, "a FHIR resource that is no note: of another kind"),
    ],
)
def test_a_resource_that_gives_no_note_is_counted_by_why(read_one, resource, reason):
    assert read_one("n.ndjson", json.dumps(resource)) == ([], {reason: 1}, {})


def test_a_diagnostic_report_is_told_by_its_category(read_one):
    report = {
        "resourceType": "DiagnosticReport",
        "code": {"coding": [{"system": LOINC, "code": "24627-2"}]},
        "category": [{"coding": [{"code": "RAD"}]}],
        "presentedForm": [attachment("CT chest.")],
    }
    (note,), _, _ = read_one("n.ndjson", json.dumps(report))
    assert (note.text, note.kind, note.document_type) == ("CT chest.", NoteKind.RADIOLOGY_REPORT, "24627-2")


def test_a_composition_is_its_sections_in_order(read_one):
    plan = {"title": "Plan", "section": [{"title": "Labs", "text": {"div": "<div><p>INR</p>Friday</div>"}}]}
    sections = [{"title": "Course", "text": {"div": '<div xmlns="http://www.w3.org/1999/xhtml">Well.</div>'}}, plan]
    (note,), _, _ = read_one("n.ndjson", json.dumps({"resourceType": "Composition", "section": sections}))
    assert note.text == "Course\nWell.\n\nPlan\n\nLabs\nINR\nFriday"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no samples in {SAMPLES}")
def test_the_sample_resources_give_their_notes(read_one):
    samples = [json.dumps(json.loads(path.read_text())) for path in sorted(SAMPLES.glob("*.json"))]
    notes, drops, _ = read_one("n.ndjson", "\n".join(samples))
    assert len(notes) + sum(drops.values()) == len(samples)
    assert {n.note_id for n in notes} >= {"DocumentReference/discharge-summary", "DocumentReference/d1", "Composition/example"}
