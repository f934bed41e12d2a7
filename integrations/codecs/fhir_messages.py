"""FHIR messages: JSON bytes -> the one document of a message with what its references stand for, and such bytes from Bundles.

A message is a DocumentReference, DiagnosticReport or Composition, a document Bundle, or a Bundle of type collection: the
resource, and the Binary of an attachment's url or a Patient, so that a message needs no server to be read.
Source: FHIR 4.0.1, Bundle and References.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.codecs import CodecError
from integrations.codecs.fhir_checks import check_document_bundle, walk
from integrations.codecs.hl7v2 import NoText

Resource = Mapping[str, Any]

DOCUMENTS = frozenset({"DocumentReference", "DiagnosticReport", "Composition"})
"""The resources that may carry a note."""
REFERENCE = re.compile(r"(?:(https?://[^\s?#]+)/)?([A-Z][A-Za-z]{2,40}/[A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?")
"""Base, `Type/id` of a reference to a resource by where it is; any version of it."""
_BUNDLES = frozenset({
    "document", "message", "transaction", "transaction-response", "batch", "batch-response", "history", "searchset", "collection",
})  # fmt: skip
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_SETS = frozenset({"collection", "searchset", "batch", "transaction"})


@dataclass(frozen=True)
class Document:
    """The document of a message and what came with it."""

    resource: Resource = field(repr=False)
    base: str
    """Of the server that its relative references are of."""
    others: Mapping[str, Resource] = field(repr=False)
    """By fullUrl."""

    def find(self, url: str) -> Resource | None:
        """What a url or reference stands for, where it came with the document."""
        if url.startswith("#"):
            return next((c for c in self.resource.get("contained", ()) if f"#{c.get('id')}" == url), None)
        found = self.others.get(url)
        return found if found is not None else self.others.get(f"{self.base}/{url}")


def parse(body: bytes) -> dict[str, Any]:
    """A FHIR resource from JSON that means one thing only.

    Raises:
        CodecError: it is not JSON, says something twice, or is no resource.
    """
    if body.lstrip()[:1] == b"<":
        raise CodecError("it is XML; ask its sender for JSON (Accept: application/fhir+json)")
    try:
        found = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise CodecError("it is not UTF-8, which FHIR's JSON always is") from None
    except RecursionError:
        raise CodecError("its elements lie too deep within each other") from None
    except ValueError as error:
        many = isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
        raise CodecError("it holds more than one JSON value" if many else "it is no JSON") from None
    if _HALF_PAIR.search(body) and not _is_unicode(found):
        raise CodecError("it holds characters that do not exist (half a surrogate pair)")
    if not isinstance(found, dict) or not isinstance(found.get("resourceType"), str):
        raise CodecError("it is JSON, but no FHIR resource (resourceType)")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CodecError("it says one element twice")
    # FHIR has no null but in lists; some servers write it for what is not there.
    return {name: value for name, value in pairs if value is not None}


def _is_unicode(found: Any) -> bool:
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _no_number(constant: str) -> None:
    raise CodecError("it holds a number that JSON does not have")


def split(body: bytes) -> list[bytes]:
    """The messages of a file or part that may hold several documents: each whole in itself, with what it refers to.

    A Bundle of type collection, searchset, batch or transaction gives one message per document; anything else is one.

    Raises:
        CodecError: it is no JSON resource.
    """
    found = parse(body)
    if found["resourceType"] != "Bundle" or str(found.get("type")) not in _SETS:
        return [body]
    entries = _entries(found)
    documents = [e for e in entries if e["resource"]["resourceType"] in DOCUMENTS]
    beside = {e["fullUrl"]: e for e in entries if "fullUrl" in e and e["resource"]["resourceType"] not in DOCUMENTS}
    return [_message(e, beside) for e in documents] if documents else [body]


def _message(entry: dict[str, Any], beside: Mapping[str, dict[str, Any]]) -> bytes:
    at = REFERENCE.fullmatch(entry.get("fullUrl", ""))
    base = f"{at[1]}/" if at and at[1] else ""
    targets = [e[key] for _, e in walk(entry["resource"]) for key in ("url", "reference") if isinstance(e.get(key), str)]
    named = {url: beside[url] for target in targets for url in (target, base + target) if url in beside}
    return encoded(collection(entry, list(named.values())) if named or base else entry["resource"])


def collection(document: Mapping[str, Any], beside: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A document (entry of a Bundle) and what came with it, as one message."""
    entries = [{key: e[key] for key in ("fullUrl", "resource") if key in e} for e in (document, *beside)]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def encoded(resource: Mapping[str, Any]) -> bytes:
    """The bytes of a resource, the same whatever order its elements came in: what is sent again is known again."""
    return json.dumps(resource, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def document_of(found: Mapping[str, Any], base: str) -> Document | NoText:
    """The document of a message, whatever it is wrapped in."""
    kind = found["resourceType"]
    if kind in DOCUMENTS:
        return Document(found, base, {})
    if kind != "Bundle":
        return NoText(f"{kind if re.fullmatch('[A-Z][A-Za-z]{2,40}', kind) else 'the resource'} is no document")
    entries = _entries(found)
    others = {e["fullUrl"]: e["resource"] for e in entries if "fullUrl" in e}
    if found.get("type") == "document":
        check_document_bundle(found)
        documents = entries[:1]
    elif found.get("type") == "collection":
        documents = [e for e in entries if e["resource"]["resourceType"] in DOCUMENTS]
    else:
        shown = found["type"] if str(found.get("type")) in _BUNDLES else "unknown"
        raise CodecError(f"a Bundle of type {shown} is no document; send a document Bundle, or its documents one by one")
    if len(documents) > 1:
        raise CodecError(f"a Bundle of {len(documents)} documents; send them one by one")
    if not documents:
        return NoText("a Bundle without a document")
    (entry,) = documents
    at = REFERENCE.fullmatch(entry.get("fullUrl", ""))
    return Document(entry["resource"], at[1] if at and at[1] else base, others)


def _entries(bundle: Resource) -> list[dict[str, Any]]:
    """The entries that have a resource.

    Raises:
        CodecError: they are not built as R4 has them.
    """
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or not entries:
        raise CodecError("a Bundle without entries")
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise CodecError("an entry of its Bundle has no resource")
        if not isinstance(entry.get("fullUrl", ""), str) or not isinstance(resource.get("meta", {}), dict):
            raise CodecError("an entry of its Bundle is no valid R4")
    return entries
