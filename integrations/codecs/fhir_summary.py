"""FHIR R4 out for servers that take no transactions or Tasks: a note's findings as text, in one DocumentReference.

It says what the transactions of `integrations.codecs.fhir` say, and is made of them.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from integrations.codecs import fhir
from integrations.records import Finding, Note, NoteStatus

DOCUMENT = "urn:clinappliance:document"
_OVER = frozenset({"cancelled", "entered-in-error", "rejected"})
NO_ANSWER = "The report does not answer this question."


def summary(bundles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One DocumentReference, preliminary and labelled as made by an AI, for all Bundles about one note.

    Its type is a code of ours, not one that a report has: who reads the server's documents must not take it for one.

    Args:
        bundles: as `fhir.transactions` gives them; at least one.
    Raises:
        CodecError: it is not valid R4.
    """
    resources = [entry["resource"] for bundle in bundles for entry in bundle["entry"] if "resource" in entry]
    told = [r for r in resources if r["resourceType"] in ("Task", "Observation")]
    device = next(r for r in resources if r["resourceType"] == "Device")
    text = "\n".join(_lines(device, told)) + "\n"
    first, name = told[0], hashlib.sha256("\x1f".join(sorted(_identifier(r) for r in told)).encode()).hexdigest()
    context = {
        "encounter": [first["encounter"]] if "encounter" in first else None,
        "related": [first["focus"]] if isinstance(first.get("focus"), dict) else first.get("focus"),
    }
    document = {
        "resourceType": "DocumentReference",
        "meta": {"security": [fhir.AIAST]},
        "contained": [{k: v for k, v in device.items() if k != "meta"} | {"id": "model"}],
        "identifier": [{"system": fhir.RUN, "value": name}],
        "status": "current",
        "docStatus": "preliminary",
        "type": {"coding": [{"system": DOCUMENT, "code": "ai-findings"}], "text": "What an AI found in a document"},
        "subject": first.get("for") or first.get("subject"),
        "date": max(str(r.get("authoredOn") or r.get("issued") or r.get("effectiveDateTime") or "") for r in told) or None,
        "author": [{"reference": "#model"}],
        "content": [
            {
                "attachment": {
                    "contentType": "text/plain; charset=utf-8",
                    "data": base64.b64encode(text.encode()).decode(),
                    "title": "Findings of an AI, not reviewed",
                }
            }
        ],
        "context": {k: v for k, v in context.items() if v} or None,
    }
    document = {k: v for k, v in document.items() if v is not None}
    request = {"method": "POST", "url": "DocumentReference"}
    fhir.check({"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": document, "request": request}]})
    return document


def withdrawn(note: Note, findings: Sequence[Finding]) -> dict[str, Any]:
    """What `summary` takes beside the transactions, to tell what was told before and holds no longer. At least one finding."""
    status = "entered-in-error" if note.status is NoteStatus.ENTERED_IN_ERROR else "cancelled"
    name = findings[0].model.partition("@")[0]
    device = {
        "resourceType": "Device",
        "deviceName": [{"name": f"clinappliance {name}", "type": "model-name"}],
        "type": {"coding": [fhir.ARTIFICIAL_INTELLIGENCE]},
    }
    told = [fhir.resource(note, finding, "#model") | {"status": status} for finding in findings]
    return {"entry": [{"resource": resource} for resource in (device, *told)]}


def _lines(device: dict[str, Any], told: Iterable[dict[str, Any]]) -> Iterable[str]:
    name = device.get("deviceName", [{}])[0].get("name", "a model")
    yield f"Found by an AI ({name}) and not reviewed by a clinician. Each line quotes the document."
    yield ""
    for resource in told:
        words = resource.get("description") or resource.get("valueString") or NO_ANSWER
        over = "NO LONGER HOLDS - " if resource.get("status") in _OVER else ""
        yield f"- {over}{resource['code'].get('text', '')}: {' '.join(words.splitlines())}"


def _identifier(resource: dict[str, Any]) -> str:
    return "|".join(str(resource["identifier"][0].get(k, "")) for k in ("system", "value")) + str(resource.get("status"))
