"""HL7 v2 messages: what they tell us (`note`) and what we answer (`ack`).

`read` says whether a message can be taken at all; `note` turns MDM and ORU^R01 into the one report that they carry, or
says why there is none. Source: HL7 v2.5.1, chapters 2 (acknowledgement), 7 (ORU) and 9 (MDM).
"""

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from types import MappingProxyType
from typing import Literal

from integrations.codecs import CodecError
from integrations.codecs.er7 import Header, Message, Segment, header, read, separators
from integrations.records import Identifier, Note, NoteKind, Source

__all__ = ["ROUTES", "Code", "CodecError", "Message", "NoText", "ack", "acknowledged", "envelope", "note", "read"]

Code = Literal["AA", "AE", "AR"]
"""Taken; not taken, send again; not taken, sending again is of no use."""

ROUTES: Mapping[str, NoteKind] = MappingProxyType(
    dict.fromkeys(("18842-5", "28655-9", "11490-0", "DS"), NoteKind.DISCHARGE_SUMMARY)
    # LP29684-5 is the LOINC part "Radiology"; DS and DI stand in TXA-2 (table 0270), RAD in OBR-24 (0074).
    | dict.fromkeys(("18748-4", "LP29684-5", "DI", "RAD"), NoteKind.RADIOLOGY_REPORT)
)
"""Kind by code, of TXA-2, OBX-3, OBR-4 and OBR-24; the first of a message's codes that is here decides."""

_WITH_CONTENT = frozenset({"T02", "T04", "T06", "T08", "T10"})
_NARRATIVE = ("TX", "FT", "ST")
_RETRACTED = frozenset({"D", "W", "X"})
"""OBX-11: deleted, wrong (another patient's, say), never obtained."""
_LOINC = re.compile(r"(?:LP)?\d{3,7}-\d")
_DTM = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(?:(\d\d)(?:\.\d{1,4})?)?)?([+-]\d{4})?")


@dataclass(frozen=True)
class NoText:
    """Nothing to read in a message that is in order; `reason` quotes nothing of it but its type."""

    reason: str


@dataclass(frozen=True)
class _Report:
    """What one report of a message stands on."""

    texts: tuple[Segment, ...]
    codes: tuple[str, ...] = field(repr=False)
    """What it is, the field that says so best first."""
    document_type: str
    document: str = field(repr=False)
    """EI as sent."""
    times: tuple[str, ...]


def note(message: Message, routes: Mapping[str, NoteKind] = ROUTES, zone: tzinfo | None = None) -> Note | NoText:
    """The report that a message carries.

    The text is that of OBX segments of type TX, FT and ST, joined by line feeds; attachments beside it (ED, RP) are
    not read. `written_at` takes its zone from the time itself, else from MSH-7, else from `zone`, and is None without.

    Args:
        message: as `read` gives it.
        routes: kind by code; replaces the default.
        zone: the hospital's own zone, for senders that name none.
    Raises:
        CodecError: there is text, but whose it is or which report it belongs to could only be guessed.
    """
    kind, event = message.event
    if (kind, event) == ("ORU", "R01"):
        found = _result(message, routes)
    elif kind == "MDM" and event in _WITH_CONTENT:
        found = _document(message)
    else:
        return NoText(f"{_shown(kind)}^{_shown(event)} carries no report")
    if isinstance(found, NoText):
        return found
    text = "\n".join(message.text(obx, 5) for obx in found.texts)
    if not text.strip() or set(text.split()) == {'""'}:
        return NoText("its OBX-5 are empty")
    return _note(message, found, text, routes, zone)


def _document(message: Message) -> _Report | NoText:
    """The document of an MDM; an order beside it (OBR) only helps to tell what kind it is."""
    txa, order, segments = message.first("TXA"), message.first("OBR"), message.all("OBX")
    if message.value(txa, 19) in {"CA", "OB", "UN"}:
        return NoText("TXA-19 says that the document is cancelled, obsolete or unavailable")
    texts = tuple(s for s in segments if _is_narrative(message, s))
    if not texts:
        return NoText(_without_text(message, segments))
    own = [*_codes(message, txa, 2), *(c for s in texts for c in _codes(message, s, 3))]
    codes = [*own, *_codes(message, order, 4), message.value(order, 24)]
    return _Report(texts, tuple(codes), _type(own, own), txa.raw(12) or order.raw(3), (txa.raw(6), txa.raw(4)))


def _result(message: Message, routes: Mapping[str, NoteKind]) -> _Report | NoText:
    """The one report among the results of an ORU."""
    groups: list[tuple[Segment, list[Segment]]] = [(Segment(("OBR",), ""), [])]
    for segment in message.segments:
        if segment.name == "OBR":
            groups.append((segment, []))
        elif segment.name == "OBX":
            groups[-1][1].append(segment)
    reports = []
    for order, segments in groups:
        texts = tuple(s for s in segments if _is_narrative(message, s))
        own, ordered = [c for s in texts for c in _codes(message, s, 3)], _codes(message, order, 4)
        codes = (*own, *ordered, message.value(order, 24))
        # One word in an ST is a value; it is a report only where its codes say so.
        if texts and message.value(order, 25) != "X" and (_route(codes, routes) or any(s.raw(2) != "ST" for s in texts)):
            kind = _type([*own, *ordered], [*ordered, *own])
            reports.append(_Report(texts, codes, kind, order.raw(3), (order.raw(22), order.raw(7))))
    # Comments to laboratory values come in many OBR; only reports that will be read must be told apart.
    routed = [r for r in reports if _route(r.codes, routes) not in (None, NoteKind.OTHER)]
    if len({tuple(s.raw(5) for s in r.texts) for r in routed}) > 1:
        raise CodecError("holds several reports (OBR) with text; send one report in a message")
    if not reports:
        return NoText(_without_text(message, message.all("OBX")))
    return (routed or reports)[0]


def _is_narrative(message: Message, obx: Segment) -> bool:
    return obx.raw(2) in _NARRATIVE and message.value(obx, 11) not in _RETRACTED


def _without_text(message: Message, segments: Iterable[Segment]) -> str:
    types = sorted({_shown(message.value(s, 2)) for s in segments})
    return f"no text that counts in its OBX ({', '.join(types)})" if types else "it has no OBX"


def _codes(message: Message, segment: Segment, number: int) -> list[str]:
    """Identifier and alternate identifier of a coded field; LOINC first, because local codes clash."""
    codes = [message.value(segment, number, component) for component in (1, 4)]
    return sorted(filter(None, codes), key=lambda code: not _LOINC.fullmatch(code))


def _type(codes: Iterable[str], local: list[str]) -> str:
    return next(filter(_LOINC.fullmatch, codes), local[0] if local else "")


def _route(codes: Iterable[str], routes: Mapping[str, NoteKind]) -> NoteKind | None:
    return next((routes[code] for code in codes if code in routes), None)


def _note(message: Message, report: _Report, text: str, routes: Mapping[str, NoteKind], zone: tzinfo | None) -> Note:
    patients = {_identifier(message, pid.raw(3)) for pid in message.all("PID")}
    if len(patients) > 1:
        raise CodecError("holds several patients (PID); send one patient in a message")
    patient = patients.pop() if patients else None
    if patient is None:
        raise CodecError("PID-3 names no patient", "101")
    sha256 = hashlib.sha256(message.body).hexdigest()
    named = "\x1f".join((message.sender, message.control_id, sha256))
    return Note(
        note_id=hashlib.sha256(named.encode()).hexdigest()[:16],
        kind=_route(report.codes, routes) or NoteKind.OTHER,
        text=text,
        patient=patient,
        encounter=_identifier(message, message.first("PV1").raw(19)),
        document=_entity(message, report.document),
        document_type=report.document_type,
        codes=tuple(filter(None, report.codes)),
        written_at=_time(message, (*report.times, message.first("MSH").raw(7)), zone),
        source=Source(message.sender, message.control_id, sha256, message.event[0]),
    )


def _identifier(message: Message, raw: str) -> Identifier | None:
    """CX, the first repetition: value and assigning authority (an HD in its fourth component)."""
    value, authority = (message.unescape(message.part(raw, component)).strip() for component in (1, 4))
    return Identifier(value, _system(authority.split(message.separators.subcomponent))) if value.strip('"') else None


def _entity(message: Message, raw: str) -> Identifier | None:
    """EI: value, then namespace, universal id and its type, which some senders write as one HD."""
    value, *authority = (message.unescape(message.part(raw, component)).strip() for component in (1, 2, 3, 4))
    if message.separators.subcomponent in authority[0]:
        authority = authority[0].split(message.separators.subcomponent)
    return Identifier(value, _system(authority)) if value.strip('"') else None


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


def _shown(code: str) -> str:
    return code if re.fullmatch(r"[A-Z][A-Z0-9]{1,2}", code) else "?"


def envelope(body: bytes) -> tuple[str, str]:
    """Sender (`MSH-3|MSH-4`) and control id of anything received; empty strings where it tells none."""
    msh = header(body)
    return (f"{msh.text(3)}|{msh.text(4)}", msh.text(10)) if msh else ("", "")


def ack(message: Message | bytes, code: Code, error: str = "", condition: str = "207", at: datetime | None = None) -> bytes:
    """The answer to one message, or to whatever arrived in its place.

    In enhanced mode (MSH-15 or MSH-16 filled) the answer is an accept acknowledgement (CA, CE, CR) where MSH-15 asks
    for one in this case, else an application acknowledgement where MSH-16 does, else empty: the sender wants none.

    Args:
        message: as read, or its bytes where it could not be.
        code: original mode's code.
        error: for AE and AR, one line that quotes nothing of the message.
        condition: code of table 0357 for ERR-3.
        at: when it is answered; now.
    """
    msh = _answerable(message.body if isinstance(message, Message) else message)
    accept, application = msh.text(15), msh.text(16)
    shown: str = code
    if accept or application:
        if _is_wanted(accept, code):
            shown = "C" + code[1]
        elif not _is_wanted(application, code):
            return b""
    # Echoed as bytes: they are in the sender's character set, which may be what could not be read.
    fields = {n: bytes(b for b in msh.raw(n) if b >= 0x20) for n in (2, 3, 4, 5, 6, 9, 10, 11, 12, 18)}
    component = fields[2][:1]
    event = fields[9].split(component)[1:2]
    kind = component.join((b"ACK", *event, *(b"ACK" for _ in event)))
    now = (at or datetime.now(UTC)).strftime("%Y%m%d%H%M%S%z").encode()
    head = [b"MSH", fields[2], fields[5], fields[6], fields[3], fields[4], now, b"", kind, uuid.uuid4().hex[:20].encode()]
    head += [fields[11] or b"P", fields[12] or b"2.5.1", *[b""] * 5, fields[18]]
    segments = [head, [b"MSA", shown.encode(), fields[10]]]
    if code != "AA":
        # What the sender declared as separators must not appear in our words.
        words = bytes(b if b not in msh.separator + fields[2] else 0x20 for b in error.encode("ascii", "replace"))
        segments[1].append(words)
        segments.append([b"ERR", b"", b"", component.join((condition.encode(), b"", b"HL70357")), b"E", *[b""] * 3, words])
    return b"".join(msh.separator.join(s).rstrip(msh.separator) + b"\r" for s in segments)


def acknowledged(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2 of an answer; empty strings where it has none."""
    msh = header(answer)
    for line in answer.replace(b"\n", b"\r").split(b"\r") if msh else ():
        if msh and line.startswith(b"MSA" + msh.separator):
            _, code, control_id, *_ = [*line.split(msh.separator), b""]
            return code.decode("ascii", "replace").strip(), control_id.decode("ascii", "replace").strip()
    return "", ""


def _is_wanted(condition: str, code: Code) -> bool:
    return condition == "AL" or condition == ("SU" if code == "AA" else "ER")


def _answerable(body: bytes) -> Header:
    msh = header(body)
    try:
        if msh and separators(msh):
            return msh
    except CodecError:
        pass
    return Header(b"|", (b"MSH", rb"^~\&"))
