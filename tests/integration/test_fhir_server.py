"""Real transactions to a real FHIR R4 server."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from integrations.codecs import fhir
from integrations.codecs.fhir_summary import summary
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind
from integrations.transports.fhir_capability import Form, ask, choose
from integrations.transports.fhir_rest import FhirConfig, Refused, create, post

TEXT = "See cardiology in 2 weeks. Recheck INR on Friday. Stop naproxen."
MODEL = ModelVersion("clip-q", "1", "0f" * 32)


def transaction(note_id: str, model: ModelVersion = MODEL) -> dict[str, Any]:
    """Three findings in one note, of which two stand on one sentence."""
    note = Note(note_id, NoteKind.DISCHARGE_SUMMARY, TEXT, Identifier("MRN88", "urn:oid:2.16.840.1.113883.3.999"))
    marks = [
        ("See cardiology in 2 weeks.", "Appointment"),
        ("Recheck INR on Friday.", "Lab"),
        ("Recheck INR on Friday.", "Other"),
    ]
    findings = [
        Finding(f"{note_id}-{model}-{n}", note_id, at := TEXT.index(q), at + len(q), q, label, 0.8, str(model), datetime.now(UTC))
        for n, (q, label) in enumerate(marks)
    ]
    (bundle,) = fhir.transactions(note, findings, model)
    return bundle


def config(url: str) -> FhirConfig:
    return FhirConfig.model_validate({"url": url})


def search(url: str, kind: str, **parameters: str) -> list[dict[str, Any]]:
    found = httpx.get(f"{url}/{kind}", params=parameters, trust_env=False).raise_for_status().json()
    return [entry["resource"] for entry in found.get("entry", [])]


def test_a_transaction_sent_again_finds_everything_in_place(fhir_server):
    bundle = transaction("replayed")
    first = post(config(fhir_server), bundle)
    assert (first[0] in {"200", "201"}, first[1:]) == (True, ["201"] * 4)
    assert post(config(fhir_server), bundle) == ["200"] * 5
    tasks = [t for f in range(3) for t in search(fhir_server, "Task", identifier=f"{fhir.FINDING_ID}|replayed-{MODEL}-{f}")]
    assert len(tasks) == 3
    run = bundle["entry"][-1]["resource"]["meta"]["tag"][0]["code"]
    (provenance,) = search(fhir_server, "Provenance", _tag=f"{fhir.RUN}|{run}")
    (device,) = search(fhir_server, "Device", identifier=f"{fhir.MODEL_ID}|{MODEL}#{MODEL.sha256[:16]}")
    assert {t["reference"] for t in provenance["target"]} == {f"Task/{t['id']}" for t in tasks}
    assert provenance["agent"][0]["who"]["reference"] == f"Device/{device['id']}"
    assert {t["requester"]["reference"] for t in tasks} == {f"Device/{device['id']}"}
    assert all(TEXT[slice(*(e["valueUnsignedInt"] for e in t["extension"][1]["extension"]))] == t["description"] for t in tasks)


def answers(note_id: str) -> dict[str, Any]:
    """A report with an answer to one question and none to another."""
    note = Note(note_id, NoteKind.RADIOLOGY_REPORT, TEXT, Identifier("MRN88"), document=Identifier("R1", "RIS"))
    common = {"note_id": note_id, "label": "", "score": 0.8, "model": str(MODEL), "at": datetime.now(UTC)}
    quote = "Recheck INR on Friday."
    start = TEXT.index(quote)
    found = [
        Finding(f"{note_id}-1", start=start, end=start + len(quote), quote=quote, question="When?", unsure=True, **common),
        Finding(f"{note_id}-2", start=0, end=0, quote="", question="Is there a nodule?", **common),
    ]
    (bundle,) = fhir.transactions(note, found, MODEL)
    return bundle


def test_answers_sent_again_find_everything_in_place(fhir_server):
    bundle = answers("asked")
    assert post(config(fhir_server), bundle)[1:] == ["201"] * 3
    assert post(config(fhir_server), bundle) == ["200"] * 4
    answered, unanswered = (
        search(fhir_server, "Observation", identifier=f"{fhir.FINDING_ID}|asked-{n}", _security="AIAST") for n in (1, 2)
    )
    assert [o["valueString"] for o in answered] == ["Recheck INR on Friday."]
    assert [o["dataAbsentReason"]["coding"][0]["code"] for o in unanswered] == ["unknown"]
    (device,) = search(fhir_server, "Device", identifier=f"{fhir.MODEL_ID}|{MODEL}#{MODEL.sha256[:16]}")
    assert {o["device"]["reference"] for o in (*answered, *unanswered)} == {f"Device/{device['id']}"}


def test_another_version_of_the_model_adds_its_own(fhir_server):
    post(config(fhir_server), transaction("reread"))
    newer = post(config(fhir_server), transaction("reread", replace(MODEL, version="2")))
    assert newer == ["201"] * 5
    assert len(search(fhir_server, "Task", _security="AIAST", identifier=f"{fhir.FINDING_ID}|reread-clip-q@2-0")) == 1


@pytest.mark.parametrize("damage", ["unknown property", "missing element"])
def test_what_the_server_refuses_is_told_without_its_words(fhir_server, damage):
    bundle = transaction(damage.replace(" ", "-"))
    first, task = bundle["entry"][1]["resource"], bundle["entry"][3]["resource"]
    if damage == "unknown property":
        task["secret"] = "See cardiology"
    else:
        del task["status"]
    with pytest.raises(Refused, match=r"HTTP 400|entry 1: 400") as caught:
        post(config(fhir_server), bundle)
    assert "ardiology" not in str(caught.value)
    assert not search(fhir_server, "Task", identifier="{system}|{value}".format(**first["identifier"][0]))


def test_the_real_server_says_what_it_takes_and_is_told_by_transactions(fhir_server):
    form, why = choose("auto", ask(config(fhir_server)))
    assert form is Form.TRANSACTION, why


def test_a_summary_sent_again_is_there_once(fhir_server):
    document = summary([transaction("summarised")])
    assert [create(config(fhir_server), document) for _ in range(2)] == ["201", "200"]
    (found,) = search(fhir_server, "DocumentReference", identifier="{system}|{value}".format(**document["identifier"][0]))
    assert found["content"] == document["content"]


def test_an_address_beside_the_server_is_refused(fhir_server):
    with pytest.raises(Refused, match="HTTP 4"):
        post(config(fhir_server.replace("/fhir", "/elsewhere")), transaction("elsewhere"))
