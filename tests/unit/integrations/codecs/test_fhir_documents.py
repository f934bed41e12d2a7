"""What a FHIR document becomes: its text, its patient, its status; or the reason why nobody can say."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from integrations.codecs import CodecError
from integrations.codecs.fhir_documents import note
from integrations.codecs.fhir_messages import encoded, split
from integrations.codecs.hl7v2 import NoText
from integrations.records import Identifier, Note, NoteKind, NoteStatus
from tests.pdf_file import pdf

BASE = "https://ehr.example/fhir"
TEXT = "Stable.\nSee cardiology in 2 weeks."
SAMPLES = Path(__file__).parents[5] / "shared/samples/fhir"


def concept(code: str, system: str = "http://loinc.org") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def attachment(data: str | bytes = TEXT, kind: str = "text/plain") -> dict[str, Any]:
    return {"contentType": kind, "data": base64.b64encode(data.encode() if isinstance(data, str) else data).decode()}


def document(*attachments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    resource = {
        "resourceType": "DocumentReference",
        "id": "d1",
        "status": "current",
        "type": concept("18842-5"),
        "subject": {"reference": "Patient/p1"},
        "date": "2026-11-01T08:30:00-05:00",
        "content": [{"attachment": a} for a in attachments or (attachment(),)],
        "context": {"encounter": [{"reference": "Encounter/e1"}]},
    }
    return {k: v for k, v in (resource | changes).items() if v is not None}


def report(**changes: Any) -> dict[str, Any]:
    resource = {
        "resourceType": "DiagnosticReport",
        "id": "r1",
        "status": "final",
        "category": [concept("LP29684-5")],
        "code": concept("30746-2"),
        "subject": {"reference": "Patient/p1"},
        "encounter": {"reference": "Encounter/e1"},
        "issued": "2026-11-01T13:30:00Z",
        "presentedForm": [attachment()],
    }
    return {k: v for k, v in (resource | changes).items() if v is not None}


def composition(*sections: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Composition",
        "id": "c1",
        "status": "final",
        "type": concept("18842-5"),
        "subject": {"reference": "Patient/p1"},
        "date": "2026-11-01T08:30:00Z",
        "author": [{"display": "Ward 7"}],
        "title": "Discharge summary",
        "section": list(sections),
    } | changes


def section(title: str, words: str, *inner: dict[str, Any]) -> dict[str, Any]:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{words}</p></div>'
    return {"title": title, "text": {"status": "generated", "div": div}} | ({"section": list(inner)} if inner else {})


def bundle(kind: str, *resources: tuple[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"fullUrl": u, "resource": r} for u, r in resources]} | more


def read(resource: dict[str, Any] | bytes) -> Note | NoText:
    body = resource if isinstance(resource, bytes) else json.dumps(resource).encode()
    return note(body, BASE, "DocumentReference/d1/_history/2")


def as_note(resource: dict[str, Any] | bytes) -> Note:
    found = read(resource)
    assert isinstance(found, Note), found
    return found


def test_a_document_reference_becomes_a_note_with_the_names_that_its_server_gives() -> None:
    found = as_note(document())
    assert (found.kind, found.text, found.document_type) == (NoteKind.DISCHARGE_SUMMARY, TEXT, "18842-5")
    assert found.patient == Identifier("Patient/p1", BASE)
    assert found.encounter == Identifier("Encounter/e1", BASE)
    assert found.document == Identifier("DocumentReference/d1", BASE)
    assert found.written_at == datetime(2026, 11, 1, 8, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert found.source
    assert (found.source.sender, found.source.control_id) == (BASE, "DocumentReference/d1/_history/2")
    assert found.source.carrier == "DocumentReference"


def test_one_report_as_document_reference_and_as_diagnostic_report_gives_the_same_text_of_the_same_patient() -> None:
    one = as_note(document(attachment("A\r\nB"), type=concept("18748-4")))
    other = as_note(report(presentedForm=[attachment("A\nB", "text/plain; charset=utf-8")]))
    assert one.text == other.text == "A\nB"
    assert one.patient_key == other.patient_key
    assert one.kind is other.kind is NoteKind.RADIOLOGY_REPORT


def test_the_versions_of_a_document_share_its_key_whatever_else_changes() -> None:
    first = document(masterIdentifier={"system": "urn:oid:1.2.3", "value": "v1"})
    second = document(masterIdentifier={"system": "urn:oid:1.2.3", "value": "v2"}, meta={"versionId": "2"})
    assert as_note(first).document_key == as_note(second).document_key
    assert as_note(first).note_id != as_note(second).note_id


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("text/plain", TEXT.encode()),
        ("text/plain;charset=UTF-8", TEXT.encode()),
        ("text/plain; charset=utf-16le", TEXT.encode("utf-16le")),
        ("text/rtf", rb"{\rtf1\ansi Stable.\par See cardiology in 2 weeks.}"),
        ("application/rtf", rb"{\rtf1\ansi Stable.\line See cardiology in 2 weeks.}"),
        ("text/html", b"<html><body><p>Stable.</p><p>See cardiology in 2 weeks.</p></body></html>"),
        ("application/xhtml+xml", b"<div><p>Stable.</p>See cardiology in 2 weeks.</div>"),
        ("text/plain", rb"{\rtf1\ansi Stable.\par See cardiology in 2 weeks.}"),
        ("application/pdf", pdf([TEXT.split("\n")])),
    ],
)
def test_an_attachment_reads_the_same_in_every_format(kind: str, data: bytes) -> None:
    assert as_note(document(attachment(data, kind))).text == TEXT


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("text/plain; charset=iso-8859-1", "Müller".encode("latin-1"), "Müller"),
        ("text/plain", "Müller".encode(), "Müller"),
        ("text/plain", "Müller – fine".encode("cp1252"), "Müller – fine"),
        ("text/plain", "Müller".encode("utf-16"), "Müller"),
        ("text/plain", b"\xef\xbb\xbfplain", "plain"),
    ],
)
def test_a_character_set_is_the_declared_one_else_found_out(kind: str, data: bytes, text: str) -> None:
    assert as_note(document(attachment(data, kind))).text == text


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("text/plain; charset=utf-8", b"M\xfcller", "is no text in a known character set"),
        ("text/plain; charset=iso-8859-1", "Müller".encode(), "single-byte character set, but is UTF-8"),
        ("text/plain; charset=unicode_escape", b"x", "declares a character set that is not known"),
        ("text/plain", b"a\0\xff", "no text"),
        ("application/pdf", b"%PDF-1.4", "its attachment is a PDF that"),
        ("text/plain", b"%PDF-1.4", "its attachment is a PDF that"),
        ("image/tiff", b"II*\0", r"its attachment is an image \(TIFF\)"),
        ("application/x-jane-doe", b"x", "is of a type that is not read"),
    ],
)
def test_an_attachment_that_could_only_be_guessed_at_is_refused(kind: str, data: bytes, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        read(document(attachment(data, kind)))


def test_of_several_formats_the_plainest_is_read_and_two_texts_of_one_format_are_not() -> None:
    assert (
        as_note(document(attachment(b"%PDF-1.4", "application/pdf"), attachment("<p>x</p>", "text/html"), attachment())).text
        == TEXT
    )
    assert as_note(document(attachment(), attachment())).text == TEXT
    with pytest.raises(CodecError, match="several attachments of one format"):
        read(document(attachment("one"), attachment("two")))


@pytest.mark.parametrize("blank", ["", " \n"])
def test_an_empty_text_beside_the_printed_page_does_not_stand_for_it(blank: str) -> None:
    page = attachment(pdf([["Recheck INR."]]), "application/pdf")
    assert as_note(document(attachment(blank), page)).text.strip() == "Recheck INR."
    assert isinstance(read(document(attachment(blank))), NoText)
    with pytest.raises(CodecError, match="only a link"):
        read(document(attachment(blank), {"contentType": "application/pdf", "url": "Binary/b1"}))


def test_a_link_is_read_where_its_binary_came_with_the_message() -> None:
    link = {"contentType": "text/plain", "url": "Binary/b1"}
    binary = {"resourceType": "Binary", "id": "b1", **attachment()}
    whole = bundle("collection", (f"{BASE}/DocumentReference/d1", document(link)), (f"{BASE}/Binary/b1", binary))
    assert as_note(whole).text == TEXT
    with pytest.raises(CodecError, match=r"\(text/plain\) is only a link"):
        read(document(link))


def test_a_report_with_nothing_but_its_conclusion_is_read_and_one_with_a_scan_beside_it_is_not() -> None:
    assert as_note(report(presentedForm=None, conclusion="No fracture.")).text == "No fracture."
    with pytest.raises(CodecError, match="is a PDF that"):
        read(report(presentedForm=[attachment(b"%PDF-1.4", "application/pdf")], conclusion="No fracture."))
    assert read(report(presentedForm=None)) == NoText("it has no text (presentedForm, conclusion)")


def test_a_composition_reads_its_sections_in_order_each_with_its_title() -> None:
    found = as_note(composition(section("Course", "Stable.", section("Labs", "INR 2.")), section("Plan", "Walk &amp; rest.")))
    assert found.text == "Course\nStable.\n\nLabs\nINR 2.\n\nPlan\nWalk & rest."


def test_a_document_bundle_is_its_composition_with_references_of_its_own_server() -> None:
    patient = {
        "resourceType": "Patient",
        "identifier": [{"value": "no"}, {"type": concept("MR"), "system": "urn:h", "value": "MRN1"}],
    }
    whole = bundle(
        "document",
        ("https://other.example/r4/Composition/c1", composition(section("Plan", "Rest."), subject={"reference": "urn:uuid:p"})),
        ("urn:uuid:p", patient),
        identifier={"system": "urn:ietf:rfc:3986", "value": "urn:uuid:x"},
        timestamp="2026-11-01T08:30:00Z",
    )
    found = as_note(whole)
    assert found.document == Identifier("Composition/c1", "https://other.example/r4")
    assert found.patient == Identifier("MRN1", "urn:h")
    with pytest.raises(CodecError, match="bdl-10"):
        read({k: v for k, v in whole.items() if k != "timestamp"})
    with pytest.raises(CodecError, match="bdl-11"):
        read(whole | {"entry": whole["entry"][::-1]})


@pytest.mark.parametrize(
    ("resource", "status"),
    [
        (document(), NoteStatus.FINAL),
        (document(docStatus="preliminary"), NoteStatus.PRELIMINARY),
        (document(docStatus="amended"), NoteStatus.CORRECTED),
        (document(docStatus="entered-in-error"), NoteStatus.ENTERED_IN_ERROR),
        (document(status="superseded", docStatus="final"), NoteStatus.CANCELLED),
        (document(status="entered-in-error"), NoteStatus.ENTERED_IN_ERROR),
        (report(status="registered"), NoteStatus.PRELIMINARY),
        (report(status="partial"), NoteStatus.PRELIMINARY),
        (report(status="preliminary"), NoteStatus.PRELIMINARY),
        (report(status="amended"), NoteStatus.CORRECTED),
        (report(status="corrected"), NoteStatus.CORRECTED),
        (report(status="appended"), NoteStatus.CORRECTED),
        (report(status="cancelled"), NoteStatus.CANCELLED),
        (report(status="entered-in-error"), NoteStatus.ENTERED_IN_ERROR),
        (composition(section("A", "b"), status="amended"), NoteStatus.CORRECTED),
    ],
)
def test_every_status_of_r4_has_its_meaning(resource: dict[str, Any], status: NoteStatus) -> None:
    assert as_note(resource).status is status


def test_a_withdrawal_counts_even_where_its_text_is_gone_or_cannot_be_read() -> None:
    for gone in (
        report(status="cancelled", presentedForm=None),
        document(attachment(b"%PDF-1.4", "application/pdf"), status="superseded"),
    ):
        found = as_note(gone)
        assert (found.status.is_withdrawn, found.text) == (True, "")


def test_a_report_of_unknown_status_waits_for_a_person() -> None:
    with pytest.raises(CodecError, match="unknown to its own server"):
        read(report(status="unknown"))


def test_what_a_document_replaces_or_appends_is_named_as_that_document_names_itself() -> None:
    old = as_note(document(id="old"))
    new = as_note(document(relatesTo=[{"code": "replaces", "target": {"reference": f"{BASE}/DocumentReference/old"}}]))
    added = as_note(document(relatesTo=[{"code": "appends", "target": {"reference": "DocumentReference/old/_history/3"}}]))
    extension = {
        "url": "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces",
        "valueReference": {"reference": "DiagnosticReport/old"},
    }
    assert new.key_of(new.replaces) == added.key_of(added.appends) == old.document_key
    assert as_note(report(extension=[extension])).replaces == Identifier("DiagnosticReport/old", BASE)
    twice = [{"code": "replaces", "target": {"reference": f"DocumentReference/{n}"}} for n in (1, 2)]
    with pytest.raises(CodecError, match="several documents"):
        read(document(relatesTo=twice))


def test_the_reason_of_a_contained_order_is_the_reports_indication() -> None:
    order = {
        "resourceType": "ServiceRequest", "id": "o", "status": "active", "intent": "order",
        "subject": {"reference": "Patient/p1"}, "reasonCode": [{"text": "Fever"}, {"coding": [{"display": "Cough"}]}],
    }  # fmt: skip
    assert as_note(report(contained=[order], basedOn=[{"reference": "#o"}])).indication == "Fever; Cough"


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ({"type": concept("18842-5")}, NoteKind.DISCHARGE_SUMMARY),
        ({"type": concept("DS", "urn:local")}, NoteKind.DISCHARGE_SUMMARY),
        ({"type": {"coding": [{"system": "urn:l", "code": "DI"}, {"system": "http://loinc.org", "code": "18842-5"}]}},
         NoteKind.DISCHARGE_SUMMARY),
        ({"type": concept("11488-4"), "category": [concept("LP29684-5")]}, NoteKind.RADIOLOGY_REPORT),
        ({"type": concept("11488-4")}, NoteKind.OTHER),
        ({"type": {"text": "Discharge summary"}}, NoteKind.OTHER),
    ],
)  # fmt: skip
def test_a_document_is_routed_by_loinc_type_then_local_code_then_category(codes: dict[str, Any], kind: NoteKind) -> None:
    assert as_note(document(**codes)).kind is kind


def test_the_patient_is_the_subjects_identifier_else_its_reference() -> None:
    identified = document(subject={"reference": "Patient/p1", "identifier": {"system": "urn:h", "value": "MRN1"}})
    assert as_note(identified).patient == Identifier("MRN1", "urn:h")
    elsewhere = document(subject={"reference": "https://other.example/r4/Patient/9/_history/2"})
    assert as_note(elsewhere).patient == Identifier("Patient/9", "https://other.example/r4")


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (document(subject=None), "subject names no patient"),
        (document(subject={"reference": "Group/g"}), "subject names no patient"),
        (document(subject={"reference": "urn:uuid:1"}), "subject names no patient"),
        (document(status="bogus"), "DocumentReference.status holds a code that R4 does not have"),
        (document(docStatus="done"), "DocumentReference.docStatus holds a code"),
        (report(status="finished"), "DiagnosticReport.status holds a code"),
        (document(relatesTo=[{"code": "eats", "target": {"reference": "DocumentReference/x"}}]), "relatesTo.code holds a code"),
        (document({"data": "eA=="}), "att-1"),
        (document({"contentType": "text/plain", "data": "e"}), r"content.0.attachment.data \("),
        (bundle("collection", (f"{BASE}/DocumentReference/d1", document({"contentType": "text/plain", "url": "Binary/b"})),
                (f"{BASE}/Binary/b", {"resourceType": "Binary", "contentType": "text/plain", "data": "e"})), "not base64"),
        (document(Doe="Jane"), r"the resource \(an element that R4 does not have\)$"),
        (document(date="2026-13-01"), r"date \("),
        (document(date="2026-11-01T08:30:00"), r"date \("),
        (document(content=None), r"content \(missing\)"),
        (document(subject={"reference": "#nobody"}), "ref-1"),
        (composition({"title": "empty"}), "cmp-1"),
        (report(contained=[{"resourceType": "Observation", "id": "o", "status": "final", "code": concept("1"), "valueString": "x",
                            "dataAbsentReason": concept("unknown")}], result=[{"reference": "#o"}]), "obs-6"),
        (document(context=[{"reference": "Encounter/1"}]), "shape of FHIR R5"),
        (document(version="2"), r"shape of FHIR R5 \(version\)"),
        (bundle("transaction", (f"{BASE}/DocumentReference/d1", document())), "Bundle of type transaction"),
        (bundle("collection", ("urn:uuid:1", document()), ("urn:uuid:2", document(id="d2"))), "a Bundle of 2 documents"),
        (b"<Bundle/>", "it is XML"),
        (b"{", "it is no JSON"),
        (b"{}\n{}", "more than one JSON value"),
        (b'{"resourceType": "DocumentReference", "status": "current", "status": "superseded"}', "says one element twice"),
        (b'{"resourceType": NaN}', "number that JSON does not have"),
        (b'{"resourceType": "X", "a": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "too deep"),
        (b"[]", "no FHIR resource"),
        (report(presentedForm=None, conclusion="\ud800"), "half a surrogate pair"),
    ],
)  # fmt: skip
def test_what_is_not_r4_is_refused_with_its_reason(resource: dict[str, Any] | bytes, reason: str) -> None:
    with pytest.raises(CodecError, match=reason) as caught:
        read(resource)
    assert "Jane" not in str(caught.value)
    assert "Doe" not in str(caught.value)


def test_a_resource_that_is_no_document_or_that_an_ai_made_has_nothing_to_read() -> None:
    assert read({"resourceType": "Patient"}) == NoText("Patient is no document")
    ours = document(meta={"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}]})
    assert read(ours) == NoText("it is labelled as made by an AI (AIAST)")


def test_nothing_about_a_patient_shows_in_repr() -> None:
    shown = repr(as_note(document()))
    assert "p1" not in shown
    assert "cardiology" not in shown


def test_a_bundle_of_several_documents_is_split_into_messages_that_are_whole() -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:h", "value": "MRN1"}]}
    linked = document({"contentType": "text/plain", "url": "Binary/b1"}, id="d2")
    whole = bundle(
        "searchset",
        ("urn:uuid:p", patient),
        ("urn:uuid:d1", document(subject={"reference": "urn:uuid:p"})),
        (f"{BASE}/DocumentReference/d2", linked),
        (f"{BASE}/Binary/b1", {"resourceType": "Binary", **attachment("Other.")}),
    )
    first, second = map(as_note, split(json.dumps(whole).encode()))
    assert (first.text, first.patient) == (TEXT, Identifier("MRN1", "urn:h"))
    assert (second.text, second.patient) == ("Other.", Identifier("Patient/p1", BASE))
    assert split(encoded(document())) == [encoded(document())]


AT = datetime(2026, 11, 1, 13, 30, tzinfo=UTC)
SAMPLE_FILES = {
    "w_docref_plain.json": (NoteKind.DISCHARGE_SUMMARY, NoteStatus.FINAL, 391, AT),
    "w_docref_superseded.json": (NoteKind.DISCHARGE_SUMMARY, NoteStatus.CANCELLED, 1, AT),
    "w_docref_r5_shape.json": "DocumentReference has the shape of FHIR R5",
    "w_bulk.ndjson": [
        (NoteKind.DISCHARGE_SUMMARY, NoteStatus.FINAL, 139, AT),
        (NoteKind.DISCHARGE_SUMMARY, NoteStatus.FINAL, 205, AT),
        (NoteKind.DISCHARGE_SUMMARY, NoteStatus.FINAL, 253, AT),
    ],
    "uscore_documentreference-discharge-summary.json": (NoteKind.DISCHARGE_SUMMARY, NoteStatus.FINAL, 98, None),
    "uscore_DiagnosticReport-chest-xray-report.json": (
        NoteKind.RADIOLOGY_REPORT, NoteStatus.FINAL, 642, datetime(2019, 2, 4, 19, 43, 30, tzinfo=UTC)),
    "uscore_diagnosticreport-cbc.json": NoText("it has no text (presentedForm, conclusion)"),
    "DiagnosticReport-f201.json": (NoteKind.RADIOLOGY_REPORT, NoteStatus.FINAL, 39, datetime(2012, 12, 1, 11, tzinfo=UTC)),
    "DocumentReference-example.json": "its attachment (application/hl7-v3+xml) is only a link",
    "Composition-example.json": (NoteKind.OTHER, NoteStatus.FINAL, 244, datetime(2012, 1, 4, 9, 10, 14, tzinfo=UTC)),
    "Bundle-father.json": (NoteKind.DISCHARGE_SUMMARY, NoteStatus.FINAL, 313, datetime(2013, 2, 1, 12, 30, 2, tzinfo=UTC)),
    "synthea_a.json": [NoText("it has no text (presentedForm, conclusion)")] * 5,
    "v2tofhir_MDM_T02_bundle.xml": "it is XML; ask its sender for JSON",
}  # fmt: skip
"""What becomes of each sample: kind, status, characters and time of its note, no text, or the beginning of its refusal."""


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the shared samples are not here")
def test_every_sample_is_expected() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(SAMPLE_FILES)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the shared samples are not here")
@pytest.mark.parametrize("name", SAMPLE_FILES)
def test_a_sample_is_read_rightly_or_refused_with_its_true_reason(name: str) -> None:
    content, expected = (SAMPLES / name).read_bytes(), SAMPLE_FILES[name]
    if isinstance(expected, str):
        with pytest.raises(CodecError) as caught:
            read(content)
        assert str(caught.value).startswith(expected)
        return
    messages = content.splitlines() if name.endswith(".ndjson") else split(content)
    found = [n if isinstance(n, NoText) else (n.kind, n.status, len(n.text), n.written_at) for n in map(read, messages)]
    assert found == (expected if isinstance(expected, list) else [expected])
