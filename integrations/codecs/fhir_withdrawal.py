"""FHIR R4 out: taking back what was proposed, without taking anything out of a clinician's hands.

What a withdrawal may do depends on what has become of each resource at the hospital's server, so that it cannot be one
transaction made beforehand. `order` says what is to be withdrawn and why; `transaction` makes of it, and of a resource as it
is now, what is sent: the resource with another status, if nobody has touched it, else a Task that asks for a look at it.
Source: FHIR 4.0.1 (Task, Observation, Provenance; http.html#concurrency).
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from integrations.codecs import CodecError, fhir
from integrations.records import Finding, Note, NoteStatus

REVIEW_ID = "urn:clinappliance:review"

_REASONS = {
    NoteStatus.CANCELLED: "The document that this came from was withdrawn by its sender",
    NoteStatus.ENTERED_IN_ERROR: "The document that this came from was entered in error",
}
_GONE = "The passage that this came from is no longer in the current version of its document"
_ANOTHER_ANSWER = "The current version of the document answers this question otherwise"

_UNTOUCHED = {"Task": "requested", "Observation": "preliminary"}
"""The status that we gave them. Any other one is somebody's doing: accepted, begun, done, refused, confirmed."""
_OVER = {"Task": {"cancelled", "entered-in-error", "rejected", "failed"}, "Observation": {"cancelled", "entered-in-error"}}
"""Nobody acts on them any more, so that there is nothing to take back."""


def order(note: Note, findings: Sequence[Finding]) -> dict[str, Any]:
    """What is to be withdrawn because of the version `note` of its document; the same whenever it is built."""
    is_error = note.status is NoteStatus.ENTERED_IN_ERROR
    document = fhir.document(note)
    if note.source:
        document["display"] = f"as received in the message with SHA-256 {note.source.sha256}"
    return {
        "withdraw": [
            {
                "type": "Observation" if finding.question else "Task",
                "identifier": finding.finding_id,
                "reason": _REASONS.get(note.status, _ANOTHER_ANSWER if finding.question else _GONE),
            }
            for finding in findings
        ],
        "status": "entered-in-error" if is_error else "cancelled",
        "note": note.note_id,
        "document": document,
    }


def transaction(order: Mapping[str, Any], number: int, resource: Mapping[str, Any], recorded: str) -> dict[str, Any] | None:
    """What is to be sent about the `number`-th of the order's resources, which is at the server as `resource`.

    Args:
        recorded: now, as a FHIR instant.
    Returns:
        A transaction that fails where the resource is changed meanwhile; None where there is nothing to do.
    Raises:
        CodecError: the resource has no id, version or status, without which a clinician's work could be overwritten.
    """
    what = order["withdraw"][number]
    kind, status = what["type"], resource.get("status")
    version = resource.get("meta", {}).get("versionId")
    if resource.get("resourceType") != kind or not resource.get("id") or not version or not status:
        raise CodecError(f"the FHIR server's {kind} has no id, version or status; it is left as it is")
    if status in _OVER[kind]:
        return None
    entry = _changed(order, what, resource, version) if status == _UNTOUCHED[kind] else _review(order, what, resource, recorded)
    target = f"{kind}/{resource['id']}" if "ifMatch" in entry["request"] else entry["fullUrl"]
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [entry, _provenance(order, what, target, "ifMatch" in entry["request"], recorded)],
    }
    fhir.check(bundle)
    return bundle


def _changed(order: Mapping[str, Any], what: Mapping[str, Any], resource: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The resource with its new status and the reason."""
    changed = {**resource, "status": order["status"]}
    if what["type"] == "Task":
        changed["statusReason"] = {"text": what["reason"]}
    else:
        changed["note"] = [*resource.get("note", ()), {"text": what["reason"]}]
    url = f"{what['type']}/{resource['id']}"
    return {"resource": changed, "request": {"method": "PUT", "url": url, "ifMatch": f'W/"{version}"'}}


def _review(order: Mapping[str, Any], what: Mapping[str, Any], resource: Mapping[str, Any], recorded: str) -> dict[str, Any]:
    """A Task that asks a person to look at what somebody has acted on already."""
    task = {
        "resourceType": "Task",
        "meta": {"security": [fhir.AIAST]},
        "identifier": [{"system": REVIEW_ID, "value": _named(order, what)}],
        "status": "requested",
        "intent": "proposal",
        "code": {"coding": [{"system": fhir.FOLLOW_UP, "code": "review", "display": "Review"}], "text": "Review"},
        "description": f"{what['reason']}. It is {resource['status']}; please see whether it still holds.",
        "focus": {"reference": f"{what['type']}/{resource['id']}"},
        "for": resource.get("for") or resource.get("subject"),
        "encounter": resource.get("encounter"),
        "authoredOn": recorded,
        "requester": {"display": "clinappliance"},
    }
    return fhir.entry({name: value for name, value in task.items() if value}, REVIEW_ID, _named(order, what))


def _provenance(order: Mapping[str, Any], what: Mapping[str, Any], target: str, is_update: bool, recorded: str) -> dict[str, Any]:
    run = _named(order, what)
    activity = {
        "system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation",
        "code": "UPDATE" if is_update else "CREATE",
    }
    provenance = {
        "resourceType": "Provenance",
        "meta": {"security": [fhir.AIAST], "tag": [{"system": fhir.RUN, "code": run}]},
        "target": [{"reference": target}],
        "recorded": recorded,
        "reason": [{"coding": [fhir.AIAST]}],
        "activity": {"coding": [activity]},
        "agent": [{"type": {"coding": [fhir.ASSEMBLER]}, "who": {"display": "clinappliance"}}],
        "entity": [{"role": "source", "what": order["document"]}],
    }
    return fhir.entry(provenance, fhir.RUN, run, "_tag")


def _named(order: Mapping[str, Any], what: Mapping[str, Any]) -> str:
    """Names the withdrawal of one finding by one version, so that doing it twice does it once."""
    return hashlib.sha256("\x1f".join(("withdrawn", order["note"], what["identifier"])).encode()).hexdigest()
