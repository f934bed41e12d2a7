"""Findings as text in one DocumentReference."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

from integrations.codecs import fhir
from integrations.codecs.fhir_summary import summary, withdrawn
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind, NoteStatus

TEXT = "See cardiology in 2 weeks. Recheck INR\non Friday. Stop naproxen."
MODEL = ModelVersion("clip-q", "1", "0f" * 32)
NOTE = Note(
    "n1", NoteKind.DISCHARGE_SUMMARY, TEXT, Identifier("MRN88", "urn:oid:1.2"), Identifier("V1"), Identifier("D1", "urn:oid:1.3")
)
AT = datetime(2026, 1, 2, tzinfo=UTC)


def findings(times: int = 1) -> list[Finding]:
    marks = [("See cardiology in 2 weeks.", "Appointment"), ("Recheck INR\non Friday.", "Lab")] * times
    return [
        Finding(f"{n:064}", "n1", at := TEXT.index(q), at + len(q), q, label, 0.8, str(MODEL), AT)
        for n, (q, label) in enumerate(marks)
    ]


def text(document: dict[str, object]) -> str:
    (content,) = document["content"]  # type: ignore[misc]
    return base64.b64decode(content["attachment"]["data"]).decode()


def test_every_finding_is_a_line_that_quotes_the_note_and_the_first_line_says_who_found_them() -> None:
    lines = text(summary(fhir.transactions(NOTE, findings(), MODEL))).splitlines()
    assert lines == [
        "Found by an AI (clinappliance clip-q) and not reviewed by a clinician. Each line quotes the document.",
        "",
        "- Appointment: See cardiology in 2 weeks.",
        "- Lab: Recheck INR on Friday.",
    ]


def test_it_is_preliminary_labelled_and_about_the_same_patient_stay_and_document() -> None:
    document = summary(fhir.transactions(NOTE, findings(), MODEL))
    assert (document["status"], document["docStatus"], document["meta"]) == ("current", "preliminary", {"security": [fhir.AIAST]})
    assert document["subject"]["identifier"] == {"value": "MRN88", "system": "urn:oid:1.2"}
    assert [r["identifier"]["value"] for r in (*document["context"]["encounter"], *document["context"]["related"])] == [
        "V1",
        "D1",
    ]
    assert document["contained"][0]["identifier"][0]["value"].startswith("clip-q@1#")


def test_all_transactions_of_a_note_make_one_document() -> None:
    bundles = fhir.transactions(NOTE, findings(10), MODEL)
    assert len(bundles) == 4
    assert len(text(summary(bundles)).splitlines()) == 22


def test_it_is_named_by_what_it_tells() -> None:
    one, again, other = (summary(fhir.transactions(NOTE, findings(n), MODEL)) for n in (1, 1, 2))
    assert json.dumps(one) == json.dumps(again)
    assert one["identifier"] != other["identifier"]


def test_an_answer_a_missing_one_and_what_holds_no_longer_are_said_to_be_so() -> None:
    bundles = fhir.transactions(NOTE, findings(), MODEL)
    bundles[0]["entry"][1]["resource"]["status"] = "cancelled"
    asked = {"resourceType": "Observation", "status": "preliminary", "code": {"text": "Is there a nodule?"}}
    found = [{**asked, "identifier": [{"value": v}], **answer} for v, answer in (("a", {"valueString": "4 mm"}), ("b", {}))]
    lines = text(summary([*bundles, {"entry": [{"resource": r} for r in found]}])).splitlines()
    assert lines[2].startswith("- NO LONGER HOLDS - Appointment: ")
    assert lines[4:] == ["- Is there a nodule?: 4 mm", "- Is there a nodule?: The report does not answer this question."]


def test_a_withdrawn_document_has_its_findings_told_once_more_as_no_longer_holding() -> None:
    cancelled = replace(NOTE, note_id="n2", text="", status=NoteStatus.CANCELLED)
    document = summary([withdrawn(cancelled, findings())])
    assert text(document).splitlines()[2:] == [
        "- NO LONGER HOLDS - Appointment: See cardiology in 2 weeks.",
        "- NO LONGER HOLDS - Lab: Recheck INR on Friday.",
    ]
    assert document["identifier"] != summary(fhir.transactions(NOTE, findings(), MODEL))["identifier"]
