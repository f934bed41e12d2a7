"""FHIR R4 out: a note's findings as transaction Bundles that may be sent any number of times, each by itself.

A Device says which model read; one Task per label proposes the follow-up with the sentence it stands on, one Observation per
question holds the report's own words or that it does not answer; and one Provenance says that an AI made them and from which
document. Every entry is created only if it is not there yet.
Source: FHIR 4.0.1; HL7 AI Transparency on FHIR (STU 1 ballot) for the AIAST label, AI Device, confidence and Provenance.
"""

import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from integrations.codecs import CodecError
from integrations.codecs.er7 import WITHOUT_CONTROLS
from integrations.codecs.fhir_references import type_of
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind

AI_TRANSPARENCY = "http://hl7.org/fhir/uv/aitransparency"
AIAST = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
ARTIFICIAL_INTELLIGENCE = {"system": f"{AI_TRANSPARENCY}/CodeSystem/AIdeviceTypeCS", "code": "Artificial-Intelligence"}
ASSEMBLER = {"system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type", "code": "assembler"}
CONFIDENCE = f"{AI_TRANSPARENCY}/StructureDefinition/AIconfidence"

# Ours, as URNs: nothing stands behind a web address that we could name.
FOLLOW_UP = "urn:clinappliance:follow-up"
FINDING_ID = "urn:clinappliance:finding"
NOTE_ID = "urn:clinappliance:note"
MODEL_ID = "urn:clinappliance:model"
RUN = "urn:clinappliance:run"
SOURCE_SPAN = "urn:clinappliance:source-span"

IMAGING = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}
LOW_CERTAINTY = {"system": "http://terminology.hl7.org/CodeSystem/certainty-rating", "code": "low", "display": "Low"}
UNKNOWN = {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown", "display": "Unknown"}
NOT_ANSWERED = "The report does not answer this question"
UNSURE = (
    "The model is unsure: of what scores so, fewer than nine in ten were right, or nobody knows how many. Look at the source."
)

MOST_ENTRIES = 8
"""Of one transaction: Medplum takes no more where each entry is created only if it is not there yet."""

_REQUIRED_CODES = {
    ("Bundle", "type"): {"transaction"},
    ("Device", "status"): {"active", "inactive", "entered-in-error", "unknown"},
    ("Observation", "status"): {
        "registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown",
    },
    ("Task", "status"): {
        "draft", "requested", "received", "accepted", "rejected", "ready", "cancelled", "in-progress", "on-hold", "failed",
        "completed", "entered-in-error",
    },
    ("Task", "intent"): {
        "unknown", "proposal", "plan", "order", "original-order", "reflex-order", "filler-order", "instance-order", "option",
    },
}  # fmt: skip
"""Required bindings of R4 that fhir.resources accepts any code for."""


def transactions(note: Note, findings: Sequence[Finding], model: ModelVersion) -> list[dict[str, Any]]:
    """The findings of one model in one note, each Bundle to be posted to the FHIR server's base.

    Patient, encounter and document are logical references (identifier, no URL): we know the names that the sender gave
    them, not where this server keeps them. Nothing in it depends on when it is built, so that sending it again after a
    crash finds everything in place (200 instead of 201).

    Returns:
        As few Bundles as hold `MOST_ENTRIES` entries each, whole in themselves; none without findings. A Provenance needs a
        target, and a Device alone says nothing about the note: that a note was read and nothing found stays in the appliance.
    Raises:
        CodecError: a finding is of another note or model or does not quote the note, or the Bundle is not valid R4.
    """
    _check_findings(note, findings, model)
    return [_transaction(note, some, model) for some in _shares(findings, MOST_ENTRIES - 2)]


def _shares(findings: Sequence[Finding], most: int) -> Iterator[Sequence[Finding]]:
    """Neighbours together, `most` at a time."""
    for start in range(0, len(findings), most):
        yield findings[start : start + most]


def _transaction(note: Note, findings: Sequence[Finding], model: ModelVersion) -> dict[str, Any]:
    device_id = f"{model}#{model.sha256[:16]}"
    device = entry(_device(model, device_id), MODEL_ID, device_id)
    found = [entry(resource(note, f, device["fullUrl"]), FINDING_ID, f.finding_id) for f in findings]
    run = hashlib.sha256("\x1f".join([device_id, note.note_id, *sorted(f.finding_id for f in findings)]).encode()).hexdigest()
    recorded = _instant(max(f.at for f in findings))
    provenance = entry(_provenance(note, [f["fullUrl"] for f in found], device["fullUrl"], run, recorded), RUN, run, "_tag")
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [device, *found, provenance]}
    check(bundle)
    return bundle


def check(bundle: dict[str, Any]) -> None:
    """Refuse what is not valid R4.

    fhir.resources knows R4B, which has these resources unchanged; it checks structure, types and times, but no
    required codes and no invariants.

    Raises:
        CodecError: names the elements at fault, never their values.
    """
    from fhir.resources.R4B.bundle import Bundle  # 0.25 s
    from pydantic import ValidationError

    try:
        Bundle.model_validate(bundle)
    except ValidationError as error:
        faults = sorted({f"{'.'.join(str(p) for p in e['loc'])} ({e['type']})" for e in error.errors(include_input=False)})
        raise CodecError(f"the FHIR Bundle is not valid: {', '.join(faults)[:500]}") from None
    for resource in (bundle, *(entry["resource"] for entry in bundle["entry"])):
        kind = resource["resourceType"]
        for (of, element), codes in _REQUIRED_CODES.items():
            if of == kind and resource.get(element) not in codes:
                raise CodecError(f"the FHIR Bundle is not valid: {kind}.{element} holds a code that R4 does not have")
        if kind == "Observation":
            _check_observation(resource)
        if kind != "Bundle" and AIAST not in resource.get("meta", {}).get("security", ()):
            raise CodecError(f"the FHIR Bundle is not valid: {kind} is not labelled as made by an AI (AIAST)")


def _check_observation(resource: dict[str, Any]) -> None:
    """Invariants of R4 by their keys, and what we promise: a value, or the reason why there is none."""
    has_value = any(name.startswith("value") for name in resource)
    if has_value and "dataAbsentReason" in resource:
        raise CodecError("the FHIR Bundle is not valid: an Observation has a value and a reason why there is none (obs-6)")
    if has_value and any(part.get("code") == resource.get("code") for part in resource.get("component", ())):
        raise CodecError("the FHIR Bundle is not valid: an Observation says in a component what it has as its value (obs-7)")
    if not has_value and not resource.keys() & {"dataAbsentReason", "component", "hasMember"}:
        raise CodecError("the FHIR Bundle is not valid: an Observation has neither a value nor a reason why there is none")


def _check_findings(note: Note, findings: Sequence[Finding], model: ModelVersion) -> None:
    for finding in findings:
        if (finding.note_id, finding.model) != (note.note_id, str(model)):
            raise CodecError(f"note {note.note_id}: a finding is of another note or model")
        is_unanswered = finding.question and (finding.start, finding.end, finding.quote) == (0, 0, "")
        quotes = finding.quote == note.text[finding.start : finding.end] and finding.quote.translate(WITHOUT_CONTROLS).strip()
        if not quotes and not is_unanswered:
            raise CodecError(f"note {note.note_id}: a finding does not quote the note at {finding.start}:{finding.end}")
        if bool(finding.label) == bool(finding.question.strip()):
            raise CodecError(f"note {note.note_id}: a finding must have either a label or a question")
        if finding.at.tzinfo is None:
            raise CodecError(f"note {note.note_id}: a finding's time has no zone")


def entry(resource: dict[str, Any], system: str, value: str, parameter: str = "identifier") -> dict[str, Any]:
    """An entry of a transaction that is created only if there is none of that name yet."""
    kind = resource["resourceType"]
    return {
        "fullUrl": uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}|{system}|{value}").urn,
        "resource": resource,
        "request": {"method": "POST", "url": kind, "ifNoneExist": f"{parameter}={quote(f'{system}|{value}', safe=':|')}"},
    }


def _device(model: ModelVersion, device_id: str) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "meta": {"security": [AIAST]},
        "identifier": [{"system": MODEL_ID, "value": device_id}],
        "status": "active",
        "deviceName": [{"name": f"clinappliance {model.name}", "type": "model-name"}],
        "type": {"coding": [ARTIFICIAL_INTELLIGENCE]},
        "version": [
            {"type": {"text": "version"}, "value": model.version},
            {"type": {"text": "SHA-256 of the manifest"}, "value": model.sha256},
        ],
    }


def resource(note: Note, finding: Finding, device_url: str) -> dict[str, Any]:
    """What a finding goes out as: a proposed Task for a label, an Observation for an answer."""
    common = {
        "meta": {"security": [AIAST]},
        "extension": _extensions(finding),
        "identifier": [{"system": FINDING_ID, "value": finding.finding_id}],
        "encounter": _logical("Encounter", note.encounter),
        "note": [{"text": UNSURE}] if finding.unsure else None,
    }
    own = _observation(note, finding, device_url) if finding.question else _task(note, finding, device_url)
    return {name: value for name, value in (own | common).items() if value is not None}


def _task(note: Note, finding: Finding, device_url: str) -> dict[str, Any]:
    code = re.sub(r"[^a-z0-9]+", "-", finding.label.lower()).strip("-")
    return {
        "resourceType": "Task",
        "status": "requested",
        # A proposal is for a clinician to take up; an order would ask for it to be done.
        "intent": "proposal",
        "code": {"coding": [{"system": FOLLOW_UP, "code": code, "display": finding.label}], "text": finding.label},
        "description": finding.quote.translate(WITHOUT_CONTROLS),
        "focus": document(note),
        "for": _logical("Patient", note.patient),
        "authoredOn": _instant(finding.at),
        "requester": {"reference": device_url},
    }


def _observation(note: Note, finding: Finding, device_url: str) -> dict[str, Any]:
    source = document(note)
    value = (
        {"valueString": finding.quote.translate(WITHOUT_CONTROLS)}
        if finding.quote
        else {"dataAbsentReason": {"coding": [UNKNOWN], "text": NOT_ANSWERED}}
    )
    return {
        "resourceType": "Observation",
        # A person has to confirm it before it is final.
        "status": "preliminary",
        "category": [{"coding": [IMAGING]}] if note.kind is NoteKind.RADIOLOGY_REPORT else None,
        "code": {"text": finding.question.translate(WITHOUT_CONTROLS)},
        "subject": _logical("Patient", note.patient),
        # R4's derivedFrom takes neither DiagnosticReport nor Composition.
        "derivedFrom" if source["type"] == "DocumentReference" else "focus": [source],
        "effectiveDateTime": _instant(note.written_at) if note.written_at else None,
        "issued": _instant(finding.at),
        "device": {"reference": device_url},
        **value,
    }


def _extensions(finding: Finding) -> list[dict[str, Any]]:
    """How sure the model is, as a number and where it is unsure as a rating, and where in the text it has what it says from."""
    confidence: list[dict[str, Any]] = [{"url": CONFIDENCE, "valueDecimal": round(float(finding.score), 4)}]
    offsets = [{"url": name, "valueUnsignedInt": int(at)} for name, at in (("start", finding.start), ("end", finding.end))]
    if finding.unsure:
        confidence.append({"url": CONFIDENCE, "valueCodeableConcept": {"coding": [LOW_CERTAINTY], "text": UNSURE}})
    return [*confidence, *([{"url": SOURCE_SPAN, "extension": offsets}] if finding.quote else [])]


def _provenance(note: Note, targets: list[str], device_url: str, run: str, recorded: str) -> dict[str, Any]:
    source = document(note)
    if note.source:
        source["display"] = f"as received in the message with SHA-256 {note.source.sha256}"
    return {
        "resourceType": "Provenance",
        # R4's Provenance has no identifier: the tag is what a repeated transaction finds it by.
        "meta": {"security": [AIAST], "tag": [{"system": RUN, "code": run}]},
        "target": [{"reference": url} for url in targets],
        "recorded": recorded,
        "reason": [{"coding": [AIAST]}],
        "agent": [
            {
                "type": {"coding": [ASSEMBLER]},
                "role": [{"coding": [ARTIFICIAL_INTELLIGENCE]}],
                "who": {"reference": device_url},
            }
        ],
        "entity": [{"role": "source", "what": source}],
    }


def document(note: Note) -> dict[str, Any]:
    """A logical reference to the document that a note is."""
    kind = "DiagnosticReport" if note.kind is NoteKind.RADIOLOGY_REPORT else "DocumentReference"
    if note.document:
        kind = type_of(note.document.value) or kind
    return _logical(kind, note.document) or {"type": kind, "identifier": {"system": NOTE_ID, "value": note.note_id}}


def _logical(kind: str, identifier: Identifier | None) -> dict[str, Any] | None:
    if identifier is None:
        return None
    named: dict[str, Any] = {"value": identifier.value.translate(WITHOUT_CONTROLS)}
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", identifier.system):
        named["system"] = identifier.system
    elif identifier.system:
        # A name that only the sender knows is not a URI, which Identifier.system must be.
        named["assigner"] = {"display": identifier.system}
    return {"type": kind, "identifier": named}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
