"""One record of an export -> a `Note`, or the reason why it gives none."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from integrations.codecs.hl7v2 import ROUTES
from integrations.ehr_export.columns import Layout, canonical, first_filled
from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.markup import html_to_text, is_html, is_rtf, rtf_to_text
from integrations.records import Identifier, Note, NoteKind

_ABSENT = frozenset({"null", "\\n", "nan", "nat", "<na>"})
"""How databases and data frames write that there is nothing."""
_LONGEST_ABSENT = max(map(len, _ABSENT))


def note_of(values: Sequence[Any], layout: Layout, place: str, ledger: Ledger) -> Note | None:
    """The note in a row or object; None, and counted, where there is none."""
    if layout.error and _word(first_filled(values, layout.error)).lower() in {"1", "true"}:
        ledger.drop("a note marked as an error (ISERROR)")
        return None
    return make_note(
        first_filled(values, layout.text),
        place,
        ledger,
        note_id=_word(first_filled(values, layout.note_id)),
        patient=_word(first_filled(values, layout.patient)),
        encounter=_word(first_filled(values, layout.encounter)),
        document_type=_word(first_filled(values, layout.kind)),
        time=_word(first_filled(values, layout.time)),
    )


def make_note(
    text: Any,
    place: str,
    ledger: Ledger,
    *,
    note_id: str = "",
    patient: str = "",
    encounter: str = "",
    document_type: str = "",
    kind: NoteKind | None = None,
    time: str = "",
) -> Note | None:
    """A note of what a record says; None, and counted, where its text is none.

    Args:
        text: of any type; RTF and whole HTML pages become plain text.
        place: names the note where it has no id: file and line.
        note_id: replaced by a hash where it holds the patient's number.
        kind: by `document_type` where None.
        time: ISO 8601; without a zone taken as UTC, which is good to order notes by, no more.
    """
    reason = _why_not(text)
    if reason is None and text.startswith(("{\\rtf", "<")):
        text = _plain(text, ledger)
        reason = _why_not(text)
    if reason:
        ledger.drop(reason)
        return None
    note_id = note_id or place
    if len(patient) >= 4 and patient in note_id:
        note_id = hashlib.sha256(note_id.encode(errors="replace")).hexdigest()[:16]
    return Note(
        note_id=note_id,
        kind=kind or kind_of(document_type),
        text=text,
        patient=Identifier(patient) if patient else None,
        encounter=Identifier(encounter) if encounter else None,
        document_type=document_type,
        written_at=_time(time) if time else None,
    )


@lru_cache(maxsize=4096)
def kind_of(name: str) -> NoteKind:
    """The kind that a category or a code means: MIMIC's, LOINC's and HL7's, or what a name says in English."""
    if name.strip().upper() in ROUTES:
        return ROUTES[name.strip().upper()]
    name = canonical(name)
    if "discharge" in name and "summar" in name:
        return NoteKind.DISCHARGE_SUMMARY
    # MIMIC-IV-Note writes RR, and AR for an addendum to one.
    is_radiology = name.startswith(("radiolog", "imaging")) or name in {"rr", "ar"}
    return NoteKind.RADIOLOGY_REPORT if is_radiology else NoteKind.OTHER


def _plain(text: str, ledger: Ledger) -> str:
    if is_rtf(text):
        ledger.remark("RTF, turned into plain text")
        return rtf_to_text(text)
    if is_html(text):
        ledger.remark("HTML, turned into plain text")
        return html_to_text(text)
    return text


def _why_not(text: Any) -> str | None:
    if text is None:
        return "no text"
    if not isinstance(text, str):
        return "text that is not a string"
    if not text or text.isspace():
        return "empty text"
    if "\0" in text:
        return "text with NUL bytes, as a binary file has"
    # JSON can spell half a surrogate pair, which no file and no tokenizer takes.
    return None if text.isascii() or _is_unicode(text) else "text with characters that do not exist"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _word(value: Any) -> str:
    """An identifier, a name or a time as text; empty where it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    word = str(value).strip() if isinstance(value, str | int | float) else ""
    # A data frame with gaps writes the number 7 as 7.0, and the same patient would be two.
    if word[-2:] == ".0" and word[:-2].isdecimal():
        return word[:-2]
    return "" if len(word) <= _LONGEST_ABSENT and word.lower() in _ABSENT else word


def _time(value: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
