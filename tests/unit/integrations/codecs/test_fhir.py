import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from subprocess import run
from typing import Any

import pytest

from integrations.codecs import CodecError, fhir
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind, Source

MODEL = ModelVersion("clip-q", "3", "ab" * 32)
TEXT = "Stable.\nSee cardiology in 2 weeks.\nRecheck INR on Friday."
AT = datetime(2026, 11, 1, 8, 30, 5, 123456, tzinfo=UTC)
NOTE = Note(
    note_id="0123456789abcdef",
    kind=NoteKind.DISCHARGE_SUMMARY,
    text=TEXT,
    patient=Identifier("MRN88", "urn:oid:2.16.840.1.113883.3.999"),
    encounter=Identifier("V100234", "GENHOSP"),
    document=Identifier("DOC100", "EHR"),
    source=Source("EHR|GENHOSP", "M-1", "cd" * 32),
)


def finding(quote: str, label: str, score: float = 0.91234567) -> Finding:
    start = TEXT.index(quote)
    return Finding(f"{label}-{start}", NOTE.note_id, start, start + len(quote), quote, label, score, str(MODEL), AT)


FINDINGS = [finding("See cardiology in 2 weeks.", "Appointment"), finding("Recheck INR on Friday.", "Patient instructions")]


def resources(bundle: dict[str, Any] | None, kind: str) -> list[dict[str, Any]]:
    assert bundle
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def test_a_finding_becomes_a_proposed_task_that_quotes_its_sentence():
    bundle = fhir.transactions(NOTE, FINDINGS, MODEL)[0]
    first, second = resources(bundle, "Task")
    assert (first["status"], first["intent"], first["description"]) == ("requested", "proposal", "See cardiology in 2 weeks.")
    assert first["code"]["coding"] == [{"system": fhir.FOLLOW_UP, "code": "appointment", "display": "Appointment"}]
    assert second["code"]["coding"][0]["code"] == "patient-instructions"
    assert first["for"] == {"type": "Patient", "identifier": {"system": "urn:oid:2.16.840.1.113883.3.999", "value": "MRN88"}}
    assert first["encounter"]["identifier"] == {"value": "V100234", "assigner": {"display": "GENHOSP"}}
    assert first["focus"] == {"type": "DocumentReference", "identifier": {"value": "DOC100", "assigner": {"display": "EHR"}}}
    assert first["authoredOn"] == "2026-11-01T08:30:05.123Z"
    assert first["requester"] == {"reference": bundle["entry"][0]["fullUrl"]}
    confidence, span = first["extension"]
    assert (confidence["url"], confidence["valueDecimal"]) == (fhir.CONFIDENCE, 0.9123)
    offsets = {e["url"]: e["valueUnsignedInt"] for e in span["extension"]}
    assert TEXT[offsets["start"] : offsets["end"]] == first["description"]


REPORT = replace(NOTE, kind=NoteKind.RADIOLOGY_REPORT, written_at=AT)
ANSWER = replace(FINDINGS[1], finding_id="a", label="", question="When is the INR to be checked?")
NO_ANSWER = replace(ANSWER, finding_id="n", question="Is there a nodule?", start=0, end=0, quote="")


def test_an_answer_becomes_a_preliminary_observation_in_the_reports_own_words():
    bundle = fhir.transactions(REPORT, [ANSWER], MODEL)[0]
    (found,) = resources(bundle, "Observation")
    assert (found["status"], found["code"]) == ("preliminary", {"text": "When is the INR to be checked?"})
    assert (found["valueString"], "dataAbsentReason" in found) == ("Recheck INR on Friday.", False)
    assert found["focus"] == [{"type": "DiagnosticReport", "identifier": {"value": "DOC100", "assigner": {"display": "EHR"}}}]
    assert found["subject"]["identifier"]["value"] == "MRN88"
    assert found["encounter"]["identifier"]["value"] == "V100234"
    assert (found["effectiveDateTime"], found["issued"]) == ("2026-11-01T08:30:05.123Z", "2026-11-01T08:30:05.123Z")
    assert found["device"] == {"reference": bundle["entry"][0]["fullUrl"]}
    assert found["category"][0]["coding"][0]["code"] == "imaging"
    confidence, span = found["extension"]
    assert (confidence["url"], confidence["valueDecimal"]) == (fhir.CONFIDENCE, 0.9123)
    offsets = {e["url"]: e["valueUnsignedInt"] for e in span["extension"]}
    assert TEXT[offsets["start"] : offsets["end"]] == found["valueString"]
    assert bundle["entry"][1]["request"]["ifNoneExist"] == f"identifier={fhir.FINDING_ID}|a"
    (provenance,) = resources(bundle, "Provenance")
    assert [t["reference"] for t in provenance["target"]] == [bundle["entry"][1]["fullUrl"]]


def test_a_question_that_is_not_answered_becomes_an_observation_without_a_value_and_says_why():
    (found,) = resources(fhir.transactions(REPORT, [NO_ANSWER], MODEL)[0], "Observation")
    assert found["dataAbsentReason"]["text"] == "The report does not answer this question"
    assert found["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    assert not [name for name in found if name.startswith("value")]
    assert [e["url"] for e in found["extension"]] == [fhir.CONFIDENCE], "there is no stretch of the report to point at"


def test_an_answer_from_a_document_is_derived_from_it():
    (found,) = resources(fhir.transactions(NOTE, [ANSWER], MODEL)[0], "Observation")
    assert [source["type"] for source in found["derivedFrom"]] == ["DocumentReference"]
    assert not {"focus", "category", "effectiveDateTime"} & found.keys()


@pytest.mark.parametrize("finding", [FINDINGS[0], ANSWER], ids=["Task", "Observation"])
def test_what_the_model_is_unsure_of_says_so_to_people_and_to_machines(finding):
    sure, unsure = (
        fhir.transactions(REPORT, [replace(finding, unsure=unsure)], MODEL)[0]["entry"][1]["resource"] for unsure in (False, True)
    )
    assert "note" not in sure
    assert "unsure" in unsure["note"][0]["text"]
    ratings = [e["valueCodeableConcept"]["coding"][0]["code"] for e in unsure["extension"] if "valueCodeableConcept" in e]
    assert ratings == ["low"]
    assert unsure["status"] == sure["status"]


def test_a_device_says_which_model_read_and_a_provenance_what_it_made_from_what():
    bundle = fhir.transactions(NOTE, FINDINGS, MODEL)[0]
    (device,), (provenance,) = resources(bundle, "Device"), resources(bundle, "Provenance")
    assert device["type"]["coding"][0]["code"] == "Artificial-Intelligence"
    assert [v["value"] for v in device["version"]] == ["3", MODEL.sha256]
    assert [t["reference"] for t in provenance["target"]] == [e["fullUrl"] for e in bundle["entry"][1:-1]]
    assert provenance["reason"][0]["coding"][0]["code"] == "AIAST"
    (agent,) = provenance["agent"]
    assert agent["type"]["coding"][0]["code"] == "assembler"
    assert agent["who"]["reference"] == bundle["entry"][0]["fullUrl"]
    (entity,) = provenance["entity"]
    assert (entity["role"], entity["what"]["identifier"]["value"]) == ("source", "DOC100")
    assert "cd" * 32 in entity["what"]["display"]


def test_the_same_reading_gives_the_same_bytes():
    assert json.dumps(fhir.transactions(NOTE, FINDINGS, MODEL)[0]) == json.dumps(fhir.transactions(NOTE, FINDINGS, MODEL)[0])


def test_every_entry_is_made_only_once_and_a_model_trained_again_is_another():
    def keys(model: ModelVersion) -> list[str]:
        bundle = fhir.transactions(NOTE, FINDINGS, model)[0]
        assert bundle
        return [e["request"]["ifNoneExist"] for e in bundle["entry"]]

    device, *tasks, provenance = keys(MODEL)
    assert device == f"identifier=urn:clinappliance:model|clip-q%403%23{'ab' * 8}"
    assert tasks == [f"identifier=urn:clinappliance:finding|{f.finding_id.replace(' ', '%20')}" for f in FINDINGS]
    assert provenance.startswith("_tag=urn:clinappliance:run|")
    again = keys(replace(MODEL, sha256="ef" * 32))
    assert (again[0] != device, again[-1] != provenance, again[1:-1]) == (True, True, tasks)


def test_nothing_found_is_nothing_to_send():
    assert fhir.transactions(NOTE, [], MODEL) == []


def test_a_note_that_names_no_document_is_named_by_its_own_id():
    note = replace(NOTE, document=None, encounter=None, source=None, kind=NoteKind.RADIOLOGY_REPORT)
    task, _ = resources(fhir.transactions(note, FINDINGS, MODEL)[0], "Task")
    assert task["focus"] == {"type": "DiagnosticReport", "identifier": {"system": fhir.NOTE_ID, "value": NOTE.note_id}}
    assert "encounter" not in task


def test_control_characters_of_a_quote_do_not_make_the_bundle_invalid():
    note = replace(NOTE, text="a\x0cb\x00\r\n\tc")
    one = replace(FINDINGS[0], start=0, end=8, quote=note.text)
    assert resources(fhir.transactions(note, [one], MODEL)[0], "Task")[0]["description"] == "ab\n\tc"


@pytest.mark.parametrize(
    "changes",
    [
        {"note_id": "another"}, {"model": "clip-q@2"}, {"start": 0}, {"quote": "See Cardiology in 2 weeks."},
        {"start": 7, "end": 8, "quote": "\n"}, {"start": 0, "end": 0, "quote": ""}, {"question": "Is it?"}, {"label": ""},
        {"at": datetime(2026, 11, 1)},
    ],
)  # fmt: skip
def test_a_finding_that_does_not_fit_its_note_is_refused_without_quoting_it(changes):
    with pytest.raises(CodecError) as caught:
        fhir.transactions(NOTE, [FINDINGS[1], replace(FINDINGS[0], **changes)], MODEL)
    assert "ardiology" not in str(caught.value)
    assert NOTE.note_id in str(caught.value)


Break = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda b: b["entry"][1]["resource"].update(status="bogus"), "Task.status"),
        (lambda b: b["entry"][1]["resource"].update(intent="wish"), "Task.intent"),
        (lambda b: b["entry"][0]["resource"].update(status="on"), "Device.status"),
        (lambda b: b.update(type="pile"), "Bundle.type"),
        (lambda b: b["entry"][1]["resource"].pop("meta"), "AIAST"),
        (lambda b: b["entry"][1]["resource"].update(secret="Recheck INR"), "secret"),
        (lambda b: b["entry"][1]["resource"].update(authoredOn="2026-13-01"), "authoredOn"),
        (lambda b: b["entry"][-1]["resource"].update(recorded="2026-11-01T08:30:05"), "recorded"),
        (lambda b: b["entry"][-1]["resource"].pop("agent"), "agent"),
        (lambda b: b["entry"][1]["resource"].update(description=""), "description"),
    ],
)  # fmt: skip
def test_what_is_not_valid_r4_never_leaves(damage: Break, named: str):
    bundle = copy.deepcopy(fhir.transactions(NOTE, FINDINGS, MODEL)[0])
    assert bundle
    damage(bundle)
    with pytest.raises(CodecError, match=named) as caught:
        fhir.check(bundle)
    assert "INR" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda o: o.update(status="requested"), "Observation.status"),
        (lambda o: o.update(dataAbsentReason={"text": "x"}), "obs-6"),
        (lambda o: o.update(component=[{"code": o["code"], "valueString": "INR"}]), "obs-7"),
        (lambda o: o.pop("valueString"), "neither a value nor a reason"),
        (lambda o: o.pop("code"), "code"),
        (lambda o: o.update(valueInteger=1), "value"),
        (lambda o: o.update(issued="2026-11-01T08:30:05"), "issued"),
    ],
)  # fmt: skip
def test_an_observation_that_is_not_valid_r4_never_leaves(damage: Break, named: str):
    bundle = copy.deepcopy(fhir.transactions(REPORT, [ANSWER], MODEL)[0])
    damage(bundle["entry"][1]["resource"])
    with pytest.raises(CodecError, match=named) as caught:
        fhir.check(bundle)
    assert "INR" not in str(caught.value)


def test_the_models_of_fhir_are_loaded_only_when_a_bundle_is_made():
    code = "import sys, integrations.codecs.fhir; sys.exit('fhir.resources' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("n", "entries"), [(1, [3]), (6, [8]), (7, [8, 3]), (160, [8] * 26 + [6])])
def test_many_findings_are_shared_out_over_bundles_that_every_server_takes(n, entries):
    many = [replace(FINDINGS[0], finding_id=f"f{i}") for i in range(n)]
    bundles = fhir.transactions(NOTE, many, MODEL)
    assert [len(bundle["entry"]) for bundle in bundles] == entries
    named = [t["identifier"][0]["value"] for bundle in bundles for t in resources(bundle, "Task")]
    assert named == [f"f{i}" for i in range(n)]
    runs = {p["meta"]["tag"][0]["code"] for bundle in bundles for p in resources(bundle, "Provenance")}
    assert len(runs) == len(bundles)
