"""Whether a document is FHIR R4: structure and types by fhir.resources, then the codes and rules that it does not check.

fhir.resources knows R4B, which has DocumentReference, DiagnosticReport, Composition and Bundle as R4 has them. It accepts
any code where R4 requires one of a few, and knows no invariants; those that decide how a document is read are here.
Source: FHIR 4.0.1, required bindings and constraints (their keys are in the messages).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from integrations.codecs import CodecError

_DOCUMENT_RELATIONS = frozenset({"replaces", "transforms", "signs", "appends"})
_CODES: Mapping[tuple[str, str], frozenset[str]] = {
    ("DocumentReference", "status"): frozenset({"current", "superseded", "entered-in-error"}),
    ("DocumentReference", "docStatus"): frozenset({"preliminary", "final", "amended", "entered-in-error"}),
    ("DiagnosticReport", "status"): frozenset({
        "registered", "partial", "preliminary", "final", "amended", "corrected", "appended", "cancelled", "entered-in-error",
        "unknown",
    }),
    ("Composition", "status"): frozenset({"preliminary", "final", "amended", "entered-in-error"}),
    ("Composition", "confidentiality"): frozenset("ULMNRV"),
    ("relatesTo", "code"): _DOCUMENT_RELATIONS,
    ("attester", "mode"): frozenset({"personal", "professional", "legal", "official"}),
    ("section", "mode"): frozenset({"working", "snapshot", "changes"}),
    ("text", "status"): frozenset({"generated", "extensions", "additional", "empty"}),
    ("identifier", "use"): frozenset({"usual", "official", "temp", "secondary", "old"}),
    ("masterIdentifier", "use"): frozenset({"usual", "official", "temp", "secondary", "old"}),
}  # fmt: skip
"""Required bindings of R4, by resource or element."""
_R5_ONLY: Mapping[str, frozenset[str]] = {
    "DocumentReference": frozenset({
        "version", "attester", "modality", "bodySite", "bodyStructure", "basedOn", "event", "facilityType", "practiceSetting",
        "period",
    }),
    "DiagnosticReport": frozenset({"supportingInfo", "note", "composition", "procedure", "relatesTo", "recomendation"}),
    "Composition": frozenset({"url", "version", "useContext", "name", "note", "participant"}),
}  # fmt: skip
"""Elements that R5 has, or R6 is to have, and R4 has not."""
_DEEPEST = 64
"""Of elements within each other; a real document has a dozen."""


def check(resource: Mapping[str, Any]) -> None:
    """Refuse a DocumentReference, DiagnosticReport or Composition that is not valid R4.

    Raises:
        CodecError: names the element or the rule, never a value, nor a name that R4 does not have.
    """
    kind = resource["resourceType"]
    elements = list(walk(resource))
    if shape := _r5_shape(resource):
        raise CodecError(
            f"{kind} has the shape of FHIR R5 ({shape}); R4 (4.0.1) is read here: ask its server for fhirVersion=4.0"
        )
    # What people read of these two are their attachments; servers leave the generated narrative half empty.
    _check_model(resource if kind == "Composition" else {k: v for k, v in resource.items() if k != "text"})
    for name, element in elements:
        _check_codes(name, element)
        _check_rules(name, element)
    _check_contained(resource, elements)


def check_document_bundle(bundle: Mapping[str, Any]) -> None:
    """Refuse a Bundle of type document that breaks the rules of one; what is in it is not checked.

    Raises:
        CodecError: names the rule.
    """
    entries = bundle["entry"]
    if entries[0]["resource"]["resourceType"] != "Composition":
        raise CodecError("a document Bundle must begin with its Composition (bdl-11)")
    identifier = bundle.get("identifier")
    if not isinstance(identifier, dict) or not (identifier.get("system") and identifier.get("value")):
        raise CodecError("a document Bundle must have an identifier with system and value (bdl-9)")
    if not bundle.get("timestamp"):
        raise CodecError("a document Bundle must have a timestamp (bdl-10)")
    named = [(e["fullUrl"], str(e["resource"].get("meta", {}).get("versionId"))) for e in entries if "fullUrl" in e]
    if len(set(named)) < len(named):
        raise CodecError("a Bundle must not hold two entries of the same fullUrl (bdl-7)")


def walk(resource: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every element of a resource with the name it stands under, the resource itself first.

    Raises:
        CodecError: elements lie too deep within each other, or are null.
    """
    waiting: list[tuple[str, Any, int]] = [(str(resource.get("resourceType")), resource, 0)]
    while waiting:
        name, element, depth = waiting.pop()
        if depth > _DEEPEST:
            raise CodecError(f"its elements lie more than {_DEEPEST} deep within each other")
        if isinstance(element, list):
            # Beside a string, null says that only its extension is there.
            if None in element and not name.startswith("_") and not any(isinstance(inner, str) for inner in element):
                raise CodecError("a list of its elements holds null")
            waiting += [(name, inner, depth + 1) for inner in element]
        elif isinstance(element, dict):
            yield name, element
            waiting += [(key, inner, depth + 1) for key, inner in element.items() if isinstance(inner, dict | list)]


def _r5_shape(resource: Mapping[str, Any]) -> str:
    kind = resource["resourceType"]
    found = sorted(_R5_ONLY[kind] & resource.keys())
    if kind == "DocumentReference" and isinstance(resource.get("context"), list):
        found.append("context as a list")
    contents = resource.get("content")
    if isinstance(contents, list) and any(isinstance(c, dict) and "profile" in c for c in contents):
        found.append("content.profile")
    relations = resource.get("relatesTo")
    if isinstance(relations, list) and any(isinstance(r, dict) and isinstance(r.get("code"), dict) for r in relations):
        found.append("relatesTo.code as a concept")
    return ", ".join(found)


def _check_model(resource: Mapping[str, Any]) -> None:
    from fhir.resources.R4B.composition import Composition  # 0.2 s
    from fhir.resources.R4B.diagnosticreport import DiagnosticReport
    from fhir.resources.R4B.documentreference import DocumentReference
    from pydantic import ValidationError

    model = {"Composition": Composition, "DiagnosticReport": DiagnosticReport, "DocumentReference": DocumentReference}
    try:
        model[resource["resourceType"]].model_validate(resource)
    except ValidationError as error:
        faults = sorted({_fault(e["loc"], e["type"]) for e in error.errors(include_input=False, include_url=False)})
        raise CodecError(f"{resource['resourceType']} is no valid R4: {', '.join(faults)[:400]}") from None
    except Exception as error:
        # fhir_core trips over what is built in ways that it does not expect, as a contained resource of no known type.
        raise CodecError(f"{resource['resourceType']} is no valid R4 ({type(error).__name__} in its check)") from None


def _fault(location: tuple[int | str, ...], kind: str) -> str:
    # The name of an element that R4 does not have is the sender's own, and may say anything.
    path = location[:-1] if kind == "extra_forbidden" else location
    shown = ".".join(str(part) for part in path) or "the resource"
    return f"{shown} (an element that R4 does not have)" if kind == "extra_forbidden" else f"{shown} ({kind.split('.')[-1]})"


def _check_codes(name: str, element: Mapping[str, Any]) -> None:
    for (of, key), codes in _CODES.items():
        if of in (name, element.get("resourceType")) and isinstance(element.get(key), str) and element[key] not in codes:
            raise CodecError(f"{of}.{key} holds a code that R4 does not have")


def _check_rules(name: str, element: Mapping[str, Any]) -> None:
    if name in ("attachment", "presentedForm") and "data" in element and not element.get("contentType"):
        raise CodecError("an attachment with data must have a contentType (att-1)")
    if name == "section":
        if not element.keys() & {"text", "entry", "section"}:
            raise CodecError("a section must have text, entries or sections (cmp-1)")
        if "emptyReason" in element and element.get("entry"):
            raise CodecError("a section with entries must have no emptyReason (cmp-2)")
    is_observation = element.get("resourceType") == "Observation"
    if is_observation and "dataAbsentReason" in element and any(key.startswith("value") for key in element):
        raise CodecError("an Observation with a value must have no dataAbsentReason (obs-6)")


def _check_contained(resource: Mapping[str, Any], elements: list[tuple[str, dict[str, Any]]]) -> None:
    contained = resource.get("contained", [])
    if any("contained" in inner for inner in contained):
        raise CodecError("a contained resource must not contain others (dom-2)")
    if any({"versionId", "lastUpdated"} & inner.get("meta", {}).keys() for inner in contained):
        raise CodecError("a contained resource must have no version of its own (dom-4)")
    names = {f"#{inner.get('id')}" for inner in contained}
    for _, element in elements:
        target = element.get("reference")
        if isinstance(target, str) and target.startswith("#") and len(target) > 1 and target not in names:
            raise CodecError("it refers to a contained resource that it does not have (ref-1)")
