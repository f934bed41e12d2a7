"""The one report of an MDM or ORU^R01: which segments it stands on, what it is, and what its sender says of it.

Source: HL7 v2.5.1, chapters 7 (ORU, OBR, OBX) and 9 (MDM, TXA); tables 0085, 0123, 0271, 0273. HL7 v2-to-FHIR for what the
codes of OBR-25 and OBX-11 come to.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from integrations.codecs import CodecError
from integrations.codecs.er7 import Message, Segment
from integrations.codecs.hl7v2_out import APPLICATION, CODES
from integrations.codecs.observations import ATTACHED, NARRATIVE, RETRACTED, carries_text
from integrations.records import NoteKind, NoteStatus

ROUTES: Mapping[str, NoteKind] = MappingProxyType(
    dict.fromkeys(("18842-5", "28655-9", "11490-0", "DS"), NoteKind.DISCHARGE_SUMMARY)
    # LP29684-5 is the LOINC part "Radiology"; DS and DI stand in TXA-2 (table 0270), RAD in OBR-24 (0074).
    | dict.fromkeys(("18748-4", "LP29684-5", "DI", "RAD"), NoteKind.RADIOLOGY_REPORT)
)
"""Kind by code, of TXA-2, OBX-3, OBR-4 and OBR-24; the first of a message's codes that is here decides."""

_WITH_CONTENT = frozenset({"T02", "T04", "T06", "T08", "T10"})
_CHANGES = frozenset({"T03", "T05", "T07", "T09"})
_ADDENDUM, _EDIT, _REPLACEMENT, _CANCEL = "T06", "T08", "T10", "T11"
_NOT_YET = frozenset({"I", "O", "S"})
"""OBR-25: specimen received, order received, scheduled."""
_OF_DOCUMENT = {
    "AU": NoteStatus.FINAL,
    "LA": NoteStatus.FINAL,
    **dict.fromkeys(("DI", "DO", "IN", "IP", "PA"), NoteStatus.PRELIMINARY),
    # Not of table 0271, but there is one thing only that they can mean.
    "CA": NoteStatus.CANCELLED,
}
_OF_RESULT = {
    "F": NoteStatus.FINAL,
    "C": NoteStatus.CORRECTED,
    "P": NoteStatus.PRELIMINARY,
    "R": NoteStatus.PRELIMINARY,
    "X": NoteStatus.CANCELLED,
}
_OF_OBSERVATION = {"C": NoteStatus.CORRECTED, "A": NoteStatus.CORRECTED} | dict.fromkeys("PRS", NoteStatus.PRELIMINARY)
_LOINC = re.compile(r"(?:LP)?\d{3,7}-\d")


@dataclass(frozen=True)
class NoText:
    """Nothing to read in a message that is in order; `reason` quotes nothing of it but its type."""

    reason: str


@dataclass(frozen=True)
class Report:
    """What one report of a message stands on."""

    observations: tuple[Segment, ...]
    """OBX that may hold its text; none needed where it is withdrawn."""
    is_routed: bool
    """One of its codes says what it is."""
    kind: NoteKind
    codes: tuple[str, ...] = field(repr=False)
    """What it is, the field that says so best first."""
    document_type: str
    document: str = field(repr=False)
    """EI as sent."""
    is_placers: bool = field(default=False, kw_only=True)
    """`document` is a number of whoever ordered the report."""
    times: tuple[str, ...]
    status: NoteStatus
    indication: str = field(repr=False)
    other: str = field(default="", repr=False)
    """TXA-13, as sent: the document that this one belongs to."""
    is_addendum: bool = False
    is_replacement: bool = False


def find(message: Message, routes: Mapping[str, NoteKind]) -> Report | NoText:
    """The report that a message is about.

    Raises:
        CodecError: there are several, or one is withdrawn that nothing names.
    """
    kind, event = message.event
    if _is_ours(message):
        # An engine that sends round what it gets must not have findings found in findings.
        return NoText("it carries findings of an AI, which this appliance or another one has sent")
    if (kind, event) == ("ORU", "R01"):
        return _result(message, routes)
    if kind == "MDM" and event in _WITH_CONTENT | _CHANGES | {_CANCEL}:
        return _document(message, event, routes)
    return NoText(f"{_shown(kind)}^{_shown(event)} carries no report")


def _is_ours(message: Message) -> bool:
    methods = {message.value(obx, 17, 3) for obx in message.all("OBX")}
    return message.value(message.first("MSH"), 3) == APPLICATION or CODES in methods


def _document(message: Message, event: str, routes: Mapping[str, NoteKind]) -> Report | NoText:
    """The document of an MDM; an order beside it (OBR) only helps to tell what kind it is."""
    txa, order, segments = message.first("TXA"), message.first("OBR"), message.all("OBX")
    texts = tuple(s for s in segments if carries_text(message, s))
    status = _document_status(message, txa, event, segments)
    if not status.is_withdrawn and event not in _WITH_CONTENT:
        return NoText(f"MDM^{event} carries no report")
    if not status.is_withdrawn and not texts:
        return NoText(_without_text(message, segments))
    own = [*_codes(message, txa, 2), *_own_codes(message, texts)]
    codes = (*own, *_codes(message, order, 4), message.value(order, 24))
    route = _route(codes, routes)
    report = Report(
        observations=texts,
        is_routed=route is not None,
        kind=route or NoteKind.OTHER,
        codes=codes,
        document_type=_type(own, own),
        document=txa.raw(12) if _names(message, txa.raw(12)) else order.raw(3),
        times=(txa.raw(6), txa.raw(4)),
        status=status,
        indication=_indication(message, order),
        other=txa.raw(13),
        is_addendum=event == _ADDENDUM,
        is_replacement=event == _REPLACEMENT,
    )
    return _named(message, report, "TXA-12")


def _document_status(message: Message, txa: Segment, event: str, segments: list[Segment]) -> NoteStatus:
    completion, availability = message.value(txa, 17), message.value(txa, 19)
    if event == _CANCEL or availability in {"CA", "OB", "UN"}:
        return NoteStatus.CANCELLED
    status = _of_observations(message, segments, _OF_DOCUMENT.get(completion))
    return NoteStatus.CORRECTED if event == _EDIT and status is NoteStatus.FINAL else status


def _result(message: Message, routes: Mapping[str, NoteKind]) -> Report | NoText:
    """The one report among the results of an ORU."""
    found = [r for order, segments in _orders(message) if (r := _result_of(message, order, segments, routes))]
    # Comments to laboratory values come in many OBR; only reports that will be read must be told apart.
    routed = [r for r in found if r.is_routed and r.kind is not NoteKind.OTHER]
    if len({_said(r) for r in routed}) > 1:
        raise CodecError("holds several reports (OBR) with text; send one report in a message")
    if not found:
        return NoText(_no_result(message))
    return _named(message, (routed or found)[0], "OBR-3")


def _no_result(message: Message) -> str:
    segments = message.all("OBX")
    is_early = any(message.value(order, 25) in _NOT_YET for order in message.all("OBR"))
    if is_early and any(carries_text(message, s) for s in segments):
        return "OBR-25 says that there is no report yet"
    return _without_text(message, segments)


def _orders(message: Message) -> list[tuple[Segment, list[Segment]]]:
    """Each OBR with its OBX; what comes before the first OBR has an empty one."""
    groups: list[tuple[Segment, list[Segment]]] = [(Segment(("OBR",), ""), [])]
    for segment in message.segments:
        if segment.name == "OBR":
            groups.append((segment, []))
        elif segment.name == "OBX":
            groups[-1][1].append(segment)
    return groups


def _result_of(message: Message, order: Segment, segments: list[Segment], routes: Mapping[str, NoteKind]) -> Report | None:
    """The report that one order has; None where its results are none."""
    texts = tuple(s for s in segments if carries_text(message, s))
    document, is_placers = _number(message, order)
    own, ordered = _own_codes(message, filter(_may_be_text, segments)), _codes(message, order, 4)
    codes = (*own, *ordered, message.value(order, 24))
    route = _route(codes, routes)
    status = _of_observations(message, segments, _OF_RESULT.get(message.value(order, 25)))
    # One word in an ST is a value; it is a report only where its codes say so.
    is_report = route is not None or any(s.raw(2) != "ST" for s in texts)
    if status.is_withdrawn:
        is_report = route is not None or (bool(document) and any(map(_may_be_text, segments)))
    if message.value(order, 25) in _NOT_YET or not is_report or not (texts or status.is_withdrawn):
        return None
    return Report(
        observations=texts,
        is_routed=route is not None,
        kind=route or NoteKind.OTHER,
        codes=codes,
        document_type=_type([*own, *ordered], [*ordered, *own]),
        document=document,
        is_placers=is_placers,
        times=(order.raw(22), order.raw(7)),
        status=status,
        indication=_indication(message, order),
    )


def _of_observations(message: Message, segments: list[Segment], declared: NoteStatus | None) -> NoteStatus:
    """What OBX-11 adds to what OBR-25 or TXA-17 says (None: nothing that is known)."""
    codes = {message.value(s, 11) for s in segments if _may_be_text(s)}
    if codes and codes <= {"D", "W"}:
        return NoteStatus.ENTERED_IN_ERROR
    if codes and codes <= RETRACTED:
        return NoteStatus.CANCELLED
    said = {_OF_OBSERVATION.get(code, NoteStatus.FINAL) for code in codes - RETRACTED}
    if declared in (None, NoteStatus.FINAL) and NoteStatus.CORRECTED in said:
        return NoteStatus.CORRECTED
    # One preliminary part makes a preliminary whole, where nothing else is said of it.
    return declared or (NoteStatus.PRELIMINARY if NoteStatus.PRELIMINARY in said else NoteStatus.FINAL)


def _said(report: Report) -> tuple[object, ...]:
    """What tells two reports of a message apart: one that stands for two orders is sent with both."""
    if report.status.is_withdrawn:
        return (report.status, report.document)
    return tuple(s.raw(5) for s in report.observations)


def _named(message: Message, report: Report, where: str) -> Report:
    if report.status.is_withdrawn and not _names(message, report.document):
        raise CodecError(f"withdraws a document that {where} does not name", "101")
    return report


def _names(message: Message, raw: str) -> bool:
    """An EI with a value, or with a universal id in its place."""
    return any(message.unescape(message.part(raw, component)).strip(' "') for component in (1, 3))


def _number(message: Message, order: Segment) -> tuple[str, bool]:
    """What names the report of an order, as sent, and whether it is its placer's: OBR-3, ORC-3, else OBR-2, ORC-2."""
    common = Segment(("ORC",), "")
    for segment in message.segments:
        if segment is order:
            break
        if segment.name in ("ORC", "OBR"):
            common = segment if segment.name == "ORC" else Segment(("ORC",), "")
    for number in (3, 2):
        for segment in (order, common):
            if _names(message, segment.raw(number)):
                return segment.raw(number), number == 2
    return "", False


def _indication(message: Message, order: Segment) -> str:
    """Why it was ordered, in words: OBR-31, a coded element of which only codes may be there, else OBR-13."""
    reasons = []
    for raw in order.raw(31).split(message.separators.repetition):
        code, name, system, _, other = (message.unescape(message.part(raw, n)).strip() for n in range(1, 6))
        reasons.append(name or other or (code if not system else ""))
    return "; ".join(filter(None, reasons)) or message.text(order, 13).strip()


def _may_be_text(obx: Segment) -> bool:
    return obx.raw(2) in NARRATIVE + ATTACHED


def _without_text(message: Message, segments: Iterable[Segment]) -> str:
    types = sorted({_shown(message.value(s, 2)) for s in segments})
    return f"no text that counts in its OBX ({', '.join(types)})" if types else "it has no OBX"


def _codes(message: Message, segment: Segment, number: int) -> list[str]:
    """Identifier and alternate identifier of a coded field; LOINC first, because local codes clash."""
    codes = [message.value(segment, number, component) for component in (1, 4)]
    return sorted(filter(None, codes), key=lambda code: not _LOINC.fullmatch(code))


def _own_codes(message: Message, observations: Iterable[Segment]) -> list[str]:
    """OBX-3 of observations, each once: most of a report's have the same."""
    first: dict[str, Segment] = {}
    for obx in observations:
        first.setdefault(obx.raw(3), obx)
    return [code for obx in first.values() for code in _codes(message, obx, 3)]


def _type(codes: Iterable[str], local: list[str]) -> str:
    return next(filter(_LOINC.fullmatch, codes), local[0] if local else "")


def _route(codes: Iterable[str], routes: Mapping[str, NoteKind]) -> NoteKind | None:
    return next((routes[code] for code in codes if code in routes), None)


def _shown(code: str) -> str:
    return code if re.fullmatch(r"[A-Z][A-Z0-9]{1,2}", code) else "?"
