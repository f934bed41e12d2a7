"""FHIR resources of a Bulk Data export -> notes: DocumentReference, DiagnosticReport and Composition.

Source: FHIR 4.0.1 and 5.0.0, where several attachments of one resource are the same document in other formats; FHIR Bulk
Data Access 2.0; US Core, Clinical Notes.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from integrations.codecs.hl7v2 import ROUTES
from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.markup import html_to_text, is_html, is_rtf, rtf_to_text
from integrations.ehr_export.notes import kind_of, make_note
from integrations.ehr_export.opening import windows_1252
from integrations.records import Note, NoteKind

_PLAIN, _HTML, _RTF = "text/plain", "text/html", "text/rtf"
_FORMATS = {
    _PLAIN: _PLAIN, "": "", _HTML: _HTML, "application/xhtml+xml": _HTML, "application/xhtml": _HTML,
    _RTF: _RTF, "application/rtf": _RTF,
}  # fmt: skip
"""What can be read, the best first; empty where the attachment does not say what it is."""
_NAMED = frozenset({"application/pdf", "application/xml", "text/xml", "application/msword", "image/jpeg", "image/tiff"})
"""Of what cannot be read, what is called by its name."""
_VOID = frozenset({"entered-in-error", "cancelled"})
_CHARSET = re.compile(r"charset *= *\"?(utf-?8|utf-?16(?:le|be)?|us-ascii|iso-8859-\d{1,2}|windows-\d{3,4})\b", re.IGNORECASE)


class _NoTextError(Exception):
    """A resource gives no note; the message is the reason."""


def note(resource: dict[str, Any], place: str, ledger: Ledger) -> Note | None:
    """The note that a resource carries inline; None, and counted, where it carries none."""
    kind = str(resource["resourceType"])
    try:
        if kind not in _TEXTS:
            shown = kind if re.fullmatch(r"[A-Z][A-Za-z]{2,40}", kind) else "of another kind"
            raise _NoTextError(f"a FHIR resource that is no note: {shown}")
        if str(resource.get("status")) in _VOID:
            raise _NoTextError(f"a {kind} entered in error or cancelled")
        text = _TEXTS[kind](resource, kind, ledger)
    except _NoTextError as error:
        ledger.drop(str(error))
        return None
    note_kind, document_type = _kind(resource)
    name = resource.get("id")
    return make_note(
        text,
        place,
        ledger,
        note_id=f"{kind}/{name}" if isinstance(name, str) and name else "",
        patient=_referenced(resource.get("subject")),
        encounter=_referenced(resource.get("encounter")) or _referenced(_at(resource, "context", "encounter", 0)),
        document_type=document_type,
        kind=note_kind,
        time=next((t for t in map(resource.get, ("date", "issued", "effectiveDateTime")) if isinstance(t, str)), ""),
    )


def _document(resource: dict[str, Any], kind: str, ledger: Ledger) -> str:
    return _attached([_at(content, "attachment") for content in _list(resource.get("content"))], kind, ledger)


def _report(resource: dict[str, Any], kind: str, ledger: Ledger) -> str:
    forms, conclusion = _list(resource.get("presentedForm")), resource.get("conclusion")
    if not forms and isinstance(conclusion, str) and conclusion.strip():
        ledger.remark("a DiagnosticReport of which only the conclusion is there")
        return conclusion
    return _attached(forms, kind, ledger)


def _composition(resource: dict[str, Any], kind: str, ledger: Ledger) -> str:
    """Titles and narratives of its sections, in order; its own narrative where it has no section with one."""
    parts = list(_sections(resource))
    if not any(narrative for _, narrative in parts):
        parts = [("", _narrative(resource))]
    if not any(narrative for _, narrative in parts):
        raise _NoTextError(f"a {kind} without narrative")
    return "\n\n".join(part for part in ("\n".join(filter(None, pair)) for pair in parts) if part)


def _sections(resource: dict[str, Any]) -> Iterator[tuple[str, str]]:
    waiting = _list(resource.get("section"))[::-1]
    while waiting:
        section = waiting.pop()
        if isinstance(section, dict):
            title = section.get("title")
            yield title.strip() if isinstance(title, str) else "", _narrative(section)
            waiting += _list(section.get("section"))[::-1]


def _narrative(element: dict[str, Any]) -> str:
    div = _at(element, "text", "div")
    return html_to_text(div) if isinstance(div, str) else ""


_TEXTS = {"DocumentReference": _document, "DiagnosticReport": _report, "Composition": _composition}


def _attached(attachments: list[Any], kind: str, ledger: Ledger) -> str:
    """The text of the attachment that reads best."""
    found = [a for a in attachments if isinstance(a, dict)]
    inline = {_content_type(a): a for a in reversed(found) if isinstance(a.get("data"), str) and a["data"]}
    for content_type in _FORMATS:
        if content_type in inline:
            return _text(inline[content_type], content_type, kind, ledger)
    if inline:
        shown = next((t for t in inline if t in _NAMED), "of another type")
        raise _NoTextError(f"a {kind} whose attachment cannot be read: {shown}")
    if any(a.get("url") for a in found):
        raise _NoTextError(f"a {kind} whose attachment is only a link")
    raise _NoTextError(f"a {kind} without an attachment")


def _content_type(attachment: dict[str, Any]) -> str:
    declared = attachment.get("contentType")
    return declared.split(";")[0].strip().lower() if isinstance(declared, str) else ""


def _text(attachment: dict[str, Any], content_type: str, kind: str, ledger: Ledger) -> str:
    try:
        content = base64.b64decode(attachment["data"])
    except (binascii.Error, ValueError):
        raise _NoTextError(f"a {kind} whose attachment is not base64") from None
    if content.startswith(b"%PDF"):
        raise _NoTextError(f"a {kind} whose attachment cannot be read: application/pdf")
    text = _decoded(content, str(attachment.get("contentType")), ledger)
    # What it is called is often wrong; what it begins with is not.
    as_what = _RTF if is_rtf(text) else _HTML if is_html(text) else _FORMATS.get(content_type)
    if as_what == _RTF:
        return rtf_to_text(text)
    return html_to_text(text) if as_what == _HTML else text


def _decoded(content: bytes, content_type: str, ledger: Ledger) -> str:
    declared = _CHARSET.search(content_type)
    for codec in (declared[1] if declared else "utf-8-sig", "utf-8-sig"):
        try:
            return content.decode(codec)
        except (UnicodeDecodeError, LookupError):
            pass
    ledger.remark("an attachment in another character set than it says, read as Windows-1252")
    return windows_1252(content)


def _kind(resource: dict[str, Any]) -> tuple[NoteKind, str]:
    """What kind of note it is, and its code: the LOINC code of its type where there is one."""
    concepts = [resource.get("type"), resource.get("code"), *_list(resource.get("category"))]
    codings = [c for concept in concepts for c in _list(_at(concept, "coding")) if isinstance(c, dict)]
    codes = [c["code"] for c in codings if isinstance(c.get("code"), str)]
    names = [n for n in (*(_at(c, "text") for c in concepts), *(c.get("display") for c in codings)) if isinstance(n, str)]
    by_code = next((ROUTES[code] for code in codes if code in ROUTES), None)
    by_name = next((k for k in map(kind_of, names) if k is not NoteKind.OTHER), NoteKind.OTHER)
    return by_code or by_name, next(iter(codes), next(iter(names), ""))


def _referenced(reference: Any) -> str:
    """The id that a reference names, wherever the server is: `p1` of `https://ehr.example/fhir/Patient/p1/_history/2`."""
    target = _at(reference, "reference")
    if isinstance(target, str) and target:
        return target.split("/_history/")[0].rsplit("/", 1)[-1]
    value = _at(reference, "identifier", "value")
    return value.strip() if isinstance(value, str) else ""


def _at(element: Any, *path: str | int) -> Any:
    """What stands at `path`; None where the resource is built otherwise."""
    for step in path:
        if isinstance(step, int):
            element = element[step] if isinstance(element, list) and step < len(element) else None
        else:
            element = element.get(step) if isinstance(element, dict) else None
    return element


def _list(element: Any) -> list[Any]:
    return element if isinstance(element, list) else []
