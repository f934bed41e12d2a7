"""HL7 v2 messages: what they tell us (`note`) and what we answer (`ack`).

`read` says whether a message can be taken at all; `note` turns MDM and ORU^R01 into the one report that they carry, or
says why there is none. Source: HL7 v2.5.1, chapters 2, 7 (ORU) and 9 (MDM).
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone, tzinfo

from integrations.codecs import CodecError, observations, reports
from integrations.codecs.acknowledgement import Code, ack, acknowledged, envelope
from integrations.codecs.er7 import Message, read
from integrations.codecs.reports import ROUTES, NoText, Report
from integrations.records import Identifier, Note, NoteKind, Source

__all__ = ["ROUTES", "Code", "CodecError", "Message", "NoText", "ack", "acknowledged", "check", "envelope", "note", "read"]

_DTM = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(?:(\d\d)(?:\.\d{1,4})?)?)?([+-]\d{4})?")


def note(message: Message, routes: Mapping[str, NoteKind] = ROUTES, zone: tzinfo | None = None) -> Note | NoText:
    """The report that a message carries.

    Its text is what `observations.text` finds in its OBX; `unread` names the OBX that no text was taken from. A document that
    its sender withdraws is a Note too, without text. `written_at` takes its zone from the time itself, else from MSH-7, else
    from `zone`, and is None without.

    Args:
        message: as `read` gives it.
        routes: kind by code; replaces the default.
        zone: the hospital's own zone, for senders that name none.
    Raises:
        CodecError: whose it is, which report it belongs to or what all of its text is could only be guessed.
    """
    found = reports.find(message, routes)
    if isinstance(found, NoText):
        return found
    patient = _patient(message)
    if found.status.is_withdrawn:
        return _note(message, found, patient, "", "", zone)
    text, left_out = observations.text(message, found.observations)
    unread = observations.not_read(message, found.observations, left_out)
    if not text.strip():
        return NoText("its OBX-5 are empty" + (f"; {unread}" if unread else ""))
    return _note(message, found, patient, text, unread, zone)


def check(message: Message, routes: Mapping[str, NoteKind] = ROUTES) -> None:
    """Raise what `note` would, without reading attachments, which takes time that a sender should not wait.

    Raises:
        CodecError: whose the report is, or which one it is, could only be guessed.
    """
    if not isinstance(reports.find(message, routes), NoText):
        _patient(message)


def _patient(message: Message) -> Identifier:
    patients = {_record_number(message, pid.raw(3)) for pid in message.all("PID")}
    if len(patients) > 1:
        raise CodecError("holds several patients (PID); send one patient in a message")
    patient = patients.pop() if patients else None
    if patient is None:
        raise CodecError("PID-3 names no patient", "101")
    return patient


def _record_number(message: Message, raw: str) -> Identifier | None:
    """PID-3: the first repetition that its type (CX.5, table 0203) calls a medical record number, else the first with a value."""
    named = [r for r in raw.split(message.separators.repetition) if _identifier(message, r)]
    records = [r for r in named if message.unescape(message.part(r, 5)).strip() == "MR"]
    return _identifier(message, (records or named or [""])[0])


def _note(message: Message, report: Report, patient: Identifier, text: str, unread: str, zone: tzinfo | None) -> Note:
    sha256 = hashlib.sha256(message.body).hexdigest()
    named = "\x1f".join((message.sender, message.control_id, sha256))
    document, other = _entity(message, report.document), _entity(message, report.other)
    if document and report.is_placers:
        # A number of whoever ordered the report must not meet one of whoever made it.
        document = Identifier(document.value, f"placer|{document.system or message.sender}")
    return Note(
        note_id=hashlib.sha256(named.encode()).hexdigest()[:16],
        kind=report.kind,
        text=text,
        patient=patient,
        encounter=_identifier(message, message.first("PV1").raw(19)),
        document=document,
        document_type=report.document_type,
        codes=tuple(filter(None, report.codes)),
        written_at=_time(message, (*report.times, message.first("MSH").raw(7)), zone),
        source=Source(message.sender, message.control_id, sha256, message.event[0]),
        status=report.status,
        replaces=other if report.is_replacement and other != document else None,
        appends=other if report.is_addendum and other != document else None,
        indication=report.indication,
        unread=unread,
    )


def _identifier(message: Message, raw: str) -> Identifier | None:
    """CX, the first repetition: value and assigning authority (an HD in its fourth component)."""
    value, authority = (message.unescape(message.part(raw, component)).strip() for component in (1, 4))
    return Identifier(value, _system(authority.split(message.separators.subcomponent))) if value.strip('"') else None


def _entity(message: Message, raw: str) -> Identifier | None:
    """EI: value, then namespace, universal id and its type, which some senders write as one HD; or the universal id alone."""
    value, *authority = (message.unescape(message.part(raw, component)).strip() for component in (1, 2, 3, 4))
    if not value.strip('"'):
        return Identifier(authority[1]) if authority[1].strip('"') else None
    if message.separators.subcomponent in authority[0]:
        authority = authority[0].split(message.separators.subcomponent)
    return Identifier(value, _system(authority))


def _system(authority: list[str]) -> str:
    """A URI where the authority has a universal id, else its name at the sender."""
    namespace, universal, kind = (*authority, "", "", "")[:3]
    if kind == "ISO" and re.fullmatch(r"[0-2](\.\d+)+", universal):
        return f"urn:oid:{universal}"
    return universal if kind == "URI" and universal else namespace


def _time(message: Message, candidates: Iterable[str], zone: tzinfo | None) -> datetime | None:
    """The first of these times that is one; a day without an hour counts from midnight."""
    default = _offset(message.part(message.first("MSH").raw(7), 1)) or zone
    for raw in candidates:
        raw = message.part(raw, 1).strip()
        found = _DTM.fullmatch(raw)
        at = _offset(raw) or default
        if found and at:
            try:
                year, month, day, hour, minute, second = (int(n or 0) for n in found.groups()[:6])
                return datetime(year, month, day, hour, minute, second, tzinfo=at)
            except ValueError:
                continue
    return None


def _offset(raw: str) -> tzinfo | None:
    found = re.search(r"([+-])(\d\d)([0-5]\d)$", raw.strip())
    if not found or int(found[2]) > 14:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    return timezone(timedelta(minutes=minutes if found[1] == "+" else -minutes))
