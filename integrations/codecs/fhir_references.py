"""References to what a FHIR server itself has: by where it is there, so that its users can follow them.

`fhir_documents` names patient, stay and document of a fetched document by their reference (`Patient/ID`) in their server's
base. What is delivered to that very server says so as a literal reference; to any other one it stays a name, which is all
that is known there. Source: FHIR 4.0.1, References (literal, logical).
"""

import re
from typing import Any

_RELATIVE = re.compile(r"[A-Z][A-Za-z]{2,40}/[A-Za-z0-9.-]{1,64}")


def at_server(element: Any, base: str) -> Any:
    """`element` with a literal reference wherever it has the logical one of a resource of the server at `base`."""
    if isinstance(element, list):
        return [at_server(inner, base) for inner in element]
    if not isinstance(element, dict):
        return element
    named = element.get("identifier")
    if isinstance(named, dict) and named.get("system") == base.rstrip("/") and _RELATIVE.fullmatch(str(named.get("value"))):
        others = {name: value for name, value in element.items() if name not in ("identifier", "type")}
        return {"reference": named["value"], **others}
    return {name: at_server(value, base) for name, value in element.items()}


def type_of(value: str) -> str:
    """The type of a resource that a value names by its reference; empty where it names none so."""
    return value.split("/")[0] if _RELATIVE.fullmatch(value) else ""
