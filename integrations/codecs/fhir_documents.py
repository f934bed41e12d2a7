"""FHIR R4 in: a DocumentReference, DiagnosticReport or Composition -> the one note that it carries, or why there is none.

Source: FHIR 4.0.1; US Core 9.0.0, Clinical Notes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from integrations.codecs import CodecError
from integrations.codecs.fhir_checks import check
from integrations.codecs.fhir_messages import REFERENCE, Document, Resource, document_of, parse
from integrations.codecs.fhir_texts import attached, clean, narrated
from integrations.codecs.hl7v2 import ROUTES, NoText
from integrations.records import Identifier, Note, NoteKind, NoteStatus, Source

LOINC = "http://loinc.org"
_MADE_BY_AI = "AIAST"

_STATUS: Mapping[str, NoteStatus] = {
    "registered": NoteStatus.PRELIMINARY,
    "partial": NoteStatus.PRELIMINARY,
    "preliminary": NoteStatus.PRELIMINARY,
    "current": NoteStatus.FINAL,
    "final": NoteStatus.FINAL,
    "amended": NoteStatus.CORRECTED,
    "corrected": NoteStatus.CORRECTED,
    "appended": NoteStatus.CORRECTED,
    "superseded": NoteStatus.CANCELLED,
    "cancelled": NoteStatus.CANCELLED,
    "entered-in-error": NoteStatus.ENTERED_IN_ERROR,
}
_REPORT_RELATIONS = {
    "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces": "replaces",
    "http://hl7.org/fhir/StructureDefinition/diagnosticReport-addendumOf": "appends",
}


def note(body: bytes, sender: str, control_id: str, routes: Mapping[str, NoteKind] = ROUTES) -> Note | NoText:
    """The note that a FHIR message carries.

    A document is named by its reference at its server (`DocumentReference/ID` in the server's base), which all its
    versions share and other documents refer to; a masterIdentifier is one version's. So are patient and stay, unless the
    reference gives their identifier. Several attachments are one text in several formats: the plainest is read.

    Args:
        body: JSON.
        sender: base address of the server it came from; without one, who sent it.
        control_id: names this version of the resource at its sender.
        routes: kind by code.
    Raises:
        CodecError: it is not valid R4, or it could only be read by guessing.
    """
    found = document_of(parse(body), sender.rstrip("/"))
    if isinstance(found, NoText):
        return found
    resource = found.resource
    check(resource)
    if any(label.get("code") == _MADE_BY_AI for label in resource.get("meta", {}).get("security", ())):
        # Our own summaries come back by the way they went; they must not be read as the hospital's.
        return NoText("it is labelled as made by an AI (AIAST)")
    status, text = _status(resource), _text(found)
    if isinstance(text, NoText):
        if not status.is_withdrawn:
            return text
        text = ""
    patient = _patient(found)
    replaces, appends = _relations(found)
    codes = _codes(resource)
    sha256 = hashlib.sha256(body).hexdigest()
    return Note(
        note_id=hashlib.sha256("\x1f".join((sender, control_id, sha256)).encode()).hexdigest()[:16],
        kind=next((routes[code] for code in codes if code in routes), NoteKind.OTHER),
        text=text,
        patient=patient,
        encounter=_named(found, resource.get("encounter") or next(iter(resource.get("context", {}).get("encounter", [])), None)),
        document=_own_name(found),
        document_type=_document_type(resource),
        codes=tuple(codes),
        written_at=_written_at(resource),
        source=Source(sender, control_id, sha256, resource["resourceType"]),
        status=status,
        replaces=replaces,
        appends=appends,
        indication=_indication(found),
    )


def _status(resource: Resource) -> NoteStatus:
    # R4 lets an extension stand in for a status.
    status = str(resource.get("status"))
    # A reference is current while its document is still a draft.
    word = str(resource.get("docStatus", status)) if status == "current" else status
    if word not in _STATUS:
        raise CodecError(f"{resource['resourceType']}.status is unknown to its own server; send it again with its status")
    return _STATUS[word]


def _text(document: Document) -> str | NoText:
    resource = document.resource
    try:
        match resource["resourceType"]:
            case "Composition":
                return narrated(resource)
            case "DocumentReference":
                return attached([content["attachment"] for content in resource["content"]], document.find)
        forms, conclusion = resource.get("presentedForm", []), clean(resource.get("conclusion", ""))
        if forms:
            return attached(forms, document.find)
        return conclusion if conclusion.strip() else NoText("it has no text (presentedForm, conclusion)")
    except CodecError as error:
        # Nobody is to read what is withdrawn: that must not fail for its format.
        if _status(resource).is_withdrawn:
            return NoText(str(error))
        raise


def _patient(document: Document) -> Identifier:
    subject = document.resource.get("subject", {})
    target = subject.get("reference", "")
    kind = subject.get("type") or (match[2].split("/")[0] if (match := REFERENCE.fullmatch(target)) else "Patient")
    patient = _named(document, subject) if kind == "Patient" else None
    if patient is None:
        raise CodecError(f"{document.resource['resourceType']}.subject names no patient", "101")
    return patient


def _named(document: Document, reference: Resource | None) -> Identifier | None:
    """The name of what a reference is to: its identifier, else where it is, else the identifier of what came with the message."""
    if not reference:
        return None
    if identifier := _identifier(reference.get("identifier")):
        return identifier
    target = reference.get("reference", "")
    if at := REFERENCE.fullmatch(target):
        return Identifier(at[2], at[1] or document.base)
    found = document.find(target) if target else None
    return _business_name(found) if found else None


def _business_name(resource: Resource) -> Identifier | None:
    """An identifier of it: the version's own, the medical record number, or the first."""
    identifiers = resource.get("identifier", [])
    ordered = sorted(
        _dicts(identifiers if isinstance(identifiers, list) else [identifiers]), key=lambda i: not _is_record_number(i)
    )
    named = [resource.get("masterIdentifier"), *ordered]
    return next(filter(None, map(_identifier, named)), None)


def _is_record_number(identifier: Resource) -> bool:
    kind = identifier.get("type")
    return isinstance(kind, dict) and any(coding.get("code") == "MR" for coding in _dicts(kind.get("coding")))


def _identifier(element: Any) -> Identifier | None:
    value, system = (element.get(key) for key in ("value", "system")) if isinstance(element, dict) else (None, None)
    if not isinstance(value, str) or not value.strip():
        return None
    return Identifier(value.strip(), system if isinstance(system, str) else "")


def _own_name(document: Document) -> Identifier | None:
    resource = document.resource
    kind, name = resource["resourceType"], resource.get("id")
    # A Composition's identifier is the same for all its versions (R4); a document Bundle may give it a new id each time.
    if kind == "Composition" and (identifier := _identifier(resource.get("identifier"))):
        return identifier
    return Identifier(f"{kind}/{name}", document.base) if name else _business_name(resource)


def _relations(document: Document) -> tuple[Identifier | None, Identifier | None]:
    """The document that this one replaces, and the one that it appends."""
    resource = document.resource
    named: list[tuple[str, Identifier | None]] = []
    for relation in resource.get("relatesTo", ()):
        identifier = _identifier(relation.get("targetIdentifier"))
        named.append(
            (relation.get("code", ""), identifier or _named(document, relation.get("target") or relation.get("targetReference")))
        )
    extended = ((_REPORT_RELATIONS.get(e.get("url")), e.get("valueReference")) for e in resource.get("extension", ()))
    named.extend((code, _named(document, target)) for code, target in extended if code)
    own = _own_name(document)
    replaced, appended = ({i for code, i in named if code == of and i and i != own} for of in ("replaces", "appends"))
    if len(replaced) > 1 or len(appended) > 1:
        raise CodecError("it replaces or appends several documents; which one stands in its place could only be guessed")
    return next(iter(replaced), None), next(iter(appended), None)


def _concepts(resource: Resource) -> Iterator[Sequence[Resource]]:
    """Codings of what it is (type, code), then of its categories."""
    concepts = [resource.get("type"), resource.get("code"), *resource.get("category", ())]
    yield from (concept.get("coding", ()) for concept in concepts if concept)


def _codes(resource: Resource) -> list[str]:
    """What it is, the code that says so best first; LOINC first, because local codes clash."""
    ordered = (sorted(codings, key=lambda c: c.get("system") != LOINC) for codings in _concepts(resource))
    return [coding["code"] for codings in ordered for coding in codings if coding.get("code")]


def _document_type(resource: Resource) -> str:
    own = [c for concept in (resource.get("type"), resource.get("code")) if concept for c in concept.get("coding", ())]
    codes = [c["code"] for c in sorted(own, key=lambda c: c.get("system") != LOINC) if c.get("code")]
    return next(iter(codes), "")


def _written_at(resource: Resource) -> datetime | None:
    """The first of its times that is an instant; a day alone lies in no zone."""
    for value in map(resource.get, ("date", "issued", "effectiveDateTime")):
        try:
            at = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            continue
        if at and at.tzinfo:
            return at
    return None


def _indication(document: Document) -> str:
    """Why it was ordered, where the order came with it."""
    resource = document.resource
    referred = (*resource.get("basedOn", ()), *resource.get("context", {}).get("related", ()))
    orders = [found for r in referred if (found := document.find(r.get("reference", "")))]
    reasons = [reason for order in orders if order.get("resourceType") == "ServiceRequest" for reason in _reasons(order)]
    return clean("; ".join(dict.fromkeys(reasons)))


def _reasons(order: Resource) -> Iterator[str]:
    # An order that came beside the document has not been checked, and need not be: without reasons the document reads as well.
    for reason in _dicts(order.get("reasonCode")):
        words = (reason.get("text"), *(coding.get("display") for coding in _dicts(reason.get("coding"))))
        yield from [word for word in words if isinstance(word, str) and word.strip()][:1]


def _dicts(elements: Any) -> list[Resource]:
    return [element for element in elements if isinstance(element, dict)] if isinstance(elements, list) else []
