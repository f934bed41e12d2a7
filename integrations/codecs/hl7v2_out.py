"""HL7 v2 out: a note's findings as ORU^R01 or MDM^T02, for systems that do not take FHIR.

What we say is built with hl7apy; what the sender said of patient, visit and order is given back as it was sent, only in our
separators. A message depends on nothing but what it tells, its MSH-10 included, so that one sent again is recognised.
Source: HL7 v2.5.1, chapters 2, 7 (OBR, OBX) and 9 (TXA); tables 0085 (OBX-11), 0271 (TXA-17).
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from integrations.codecs import CodecError
from integrations.codecs.er7 import WITHOUT_CONTROLS, Message, Segment
from integrations.codecs.fhir import UNSURE
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteStatus

APPLICATION = "CLINAPPLIANCE"
"""MSH-3, and the namespace of what we name."""
CODES = "99CLINAPP"
"""The coding system of our own codes (table 0396: 99 and a name)."""
NOT_ANSWERED = "The report does not answer this question."
VERSION = "2.5.1"

_SEPARATORS = "|^~\\&"
_ESCAPED = {ord(c): f"\\{name}\\" for c, name in zip(_SEPARATORS, "FSRET", strict=True)}
_LOINC = re.compile(r"(?:LP)?\d{3,7}-\d")


@dataclass(frozen=True)
class Parties:
    """MSH-4 to MSH-6: between whom a message goes, beside `APPLICATION`."""

    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""


def results(
    note: Note,
    findings: Sequence[Finding],
    model: ModelVersion | None,
    source: Message | None = None,
    parties: Parties = Parties(),
    withdrawn: Sequence[Finding] = (),
) -> bytes:
    """ORU^R01: each finding as one preliminary OBX under the source's own order.

    OBX-3 is the follow-up label or the question, OBX-4 the finding, OBX-5 the sentence as it stands in the note (its lines as
    repetitions), OBX-9 the score, OBX-17 says that an AI found it and OBX-18 which. Of what the model is unsure, an NTE says so.

    Args:
        note: what was read.
        findings: what was found in it; at least one, or one that is withdrawn.
        model: who read the note; None where it was only withdrawn.
        source: the message that the note came in, where it was HL7 v2.
        parties: between whom it goes.
        withdrawn: findings told before that hold no longer; their OBX say "deleted" (D).
    Raises:
        CodecError: the note names no patient.
    """
    at = _at(findings, withdrawn)
    order = _segment("OBR", {1: "1", 7: _time(note.written_at) or at, 22: at, 25: "P"}, _order(note, source))
    segments = [_patient(note, source), *_visit(source), order, *_observations(note, findings, withdrawn)]
    return _message("ORU^R01^ORU_R01", at, parties, segments)


def document(
    note: Note,
    findings: Sequence[Finding],
    model: ModelVersion | None,
    source: Message | None = None,
    parties: Parties = Parties(),
    withdrawn: Sequence[Finding] = (),
) -> bytes:
    """MDM^T02: a document that nobody has authenticated, whose parent is the source's; its OBX are those of `results`.

    Args, Raises: as `results`.
    """
    at = _at(findings, withdrawn)
    parent = source.first("TXA").raw(12) if source else ""
    echoed = {13: _ours(parent, source) if source and parent else _entity(note.document) or f"{note.note_id}^{APPLICATION}"}
    # DO is documented, which is less than authenticated; type AI, so that no appliance reads its own words as a report.
    own = {
        1: "1",
        2: "AI",
        3: "TX",
        4: at,
        6: at,
        12: f"{note.note_id}.{model.sha256[:8] if model else 'withdrawn'}^{APPLICATION}",
        17: "DO",
        19: "AV",
    }
    visit = _visit(source) or ["PV1|1|U"]
    segments = [f"EVN|T02|{at}", _patient(note, source), *visit, _segment("TXA", own, echoed)]
    return _message("MDM^T02^MDM_T02", at, parties, [*segments, *_observations(note, findings, withdrawn)])


def escape(text: str) -> str:
    """`text` as a value may have it: the separators as escapes, without control characters."""
    return text.translate(WITHOUT_CONTROLS).translate(_ESCAPED)


def _at(findings: Sequence[Finding], withdrawn: Sequence[Finding]) -> str:
    if not (findings or withdrawn):
        raise CodecError("there is no finding to tell")
    return _time(max(f.at for f in (*findings, *withdrawn)))


def _message(event: str, at: str, parties: Parties, segments: Iterable[str]) -> bytes:
    told = [*segments]
    addressed = {
        3: APPLICATION,
        4: escape(parties.sending_facility),
        5: escape(parties.receiving_application),
        6: escape(parties.receiving_facility),
    }
    content = "\x1f".join([event, *addressed.values(), *told])
    control_id = hashlib.sha256(content.encode()).hexdigest()[:20]
    rest = {7: at, 9: event, 10: control_id, 11: "P", 12: VERSION, 18: "UNICODE UTF-8"}
    return "".join(s + "\r" for s in [_segment("MSH", addressed | rest, {1: _SEPARATORS[1:]}), *told]).encode()


def _observations(note: Note, findings: Sequence[Finding], withdrawn: Sequence[Finding]) -> list[str]:
    status = "C" if note.status is NoteStatus.CORRECTED else "P"
    told = [(f, status) for f in findings] + [(f, "D") for f in withdrawn]
    segments = []
    for number, (finding, state) in enumerate(told, 1):
        segments.append(_observation(number, finding, state))
        segments += [f"NTE|1||{escape(UNSURE)}"] if finding.unsure else []
    return segments


def _observation(number: int, finding: Finding, status: str) -> str:
    words = finding.quote if finding.quote.strip() else NOT_ANSWERED
    name = finding.question or finding.label
    code = "answer" if finding.question else re.sub(r"[^a-z0-9]+", "-", finding.label.lower()).strip("-")
    own = {
        1: str(number),
        2: "TX",
        3: f"{code}^{escape(' '.join(name.split()))}^{CODES}",
        4: finding.finding_id[:20],
        9: f"{finding.score:.3f}",
        11: status,
        14: _time(finding.at),
        17: f"AI^Artificial intelligence^{CODES}",
        18: f"{escape(finding.model)}^{APPLICATION}",
    }
    # A TX that repeats is a text of several lines (2.A.79), where \.br\ belongs to FT and hl7apy would escape it.
    lines = words.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _segment("OBX", own, {5: "~".join(map(escape, lines))})


def _segment(name: str, fields: dict[int, str], echoed: dict[int, str] | None = None) -> str:
    """A segment of ours, and in it what is written already, which hl7apy would escape once more."""
    from hl7apy.consts import VALIDATION_LEVEL  # 0.1 s
    from hl7apy.core import Segment as Built

    built: Any = Built(name, version=VERSION, validation_level=VALIDATION_LEVEL.TOLERANT)
    for number, value in fields.items():
        if value:
            setattr(built, f"{name}_{number}", value)
    parts = built.to_er7().split("|")
    for number, raw in (echoed or {}).items():
        parts += [""] * (number + 1 - len(parts))
        parts[number] = raw
    return "|".join(parts).rstrip("|")


def _ours(raw: str, source: Message) -> str:
    """What the sender wrote with its separators, with ours."""
    theirs = source.separators
    plain = {ord(c): e for c, e in zip(_SEPARATORS, _ESCAPED.values(), strict=True)}
    separators = (theirs.component, theirs.repetition, theirs.escape, theirs.subcomponent)
    return raw.translate(WITHOUT_CONTROLS).translate(
        plain | {ord(t): o for t, o in zip(separators, _SEPARATORS[1:], strict=True)}
    )


def _echo(segment: Segment, source: Message) -> str:
    return "|".join([segment.name, *(_ours(part, source) for part in segment.parts[1:])]).rstrip("|")


def _patient(note: Note, source: Message | None) -> str:
    if source and source.all("PID"):
        return _echo(source.first("PID"), source)
    if note.patient is None:
        raise CodecError(f"note {note.note_id}: names no patient, whom a message must name")
    value, authority = escape(note.patient.value), _authority(note.patient.system, "&")
    return f"PID|1||{value}^^^{authority}".rstrip("^")


def _visit(source: Message | None) -> list[str]:
    return [_echo(source.first("PV1"), source)] if source and source.all("PV1") else []


def _order(note: Note, source: Message | None) -> dict[int, str]:
    """OBR-2 to OBR-4: those of the order whose report the note is, else what names the note."""
    orders = source.all("OBR") if source else []
    number = note.document.value if note.document else ""
    of_note = [o for o in orders if source and number and source.value(o, 3) == number]
    order = next(iter(of_note or orders[: len(orders) == 1]), None)
    if source and order and order.raw(4):
        return {n: _ours(order.raw(n), source) for n in (2, 3, 4)}
    system = "LN" if _LOINC.fullmatch(note.document_type) else "L"
    kind = f"{escape(note.document_type)}^^{system}" if note.document_type else f"{note.kind}^^{CODES}"
    return {3: _entity(note.document) or f"{note.note_id}^{APPLICATION}", 4: kind}


def _entity(identifier: Identifier | None) -> str:
    return f"{escape(identifier.value)}^{_authority(identifier.system, '^')}".rstrip("^") if identifier else ""


def _authority(system: str, separator: str) -> str:
    """Namespace, universal id and its type, as HD and EI have them."""
    if system.startswith("urn:oid:"):
        return separator.join(("", system.removeprefix("urn:oid:"), "ISO"))
    is_uri = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", system)
    return separator.join(("", escape(system), "URI")) if is_uri else escape(system)


def _time(at: datetime | None) -> str:
    return at.strftime("%Y%m%d%H%M%S%z") if at else ""
