"""Synthetic notes as an EHR sends them: HL7 v2.5.1 MDM^T02 for discharge summaries, ORU^R01 for radiology reports.

Built with hl7apy, some eighty summaries or forty reports a second: enough for a demonstration and for tests; who needs
thousands keeps the bytes. MSH-11 is T (training): nobody is to take these for patients.
"""

from typing import Any

from appliance.demo.note_writer import SyntheticNote
from integrations.records import Identifier, NoteKind

_SENDER, _RECEIVER = ("SYNTHETIC_EHR", "SYNTHETIC_HOSPITAL"), ("CLINAPPLIANCE", "CLINAPPLIANCE")
_DISCHARGE_SUMMARY, _IMAGING_STUDY = "18842-5^Discharge summary^LN", "18748-4^Diagnostic imaging study^LN"
# The escape character first: it stands in the other sequences.
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"}


def message(note: SyntheticNote) -> bytes:
    """The note in the message that its kind travels in, segments ended by CR, no MLLP frame around it.

    The same note always gives the same bytes; MSH-10 is the note's id.

    Raises:
        ValueError: no message is known for this kind of note.
    """
    if note.note.kind is NoteKind.DISCHARGE_SUMMARY:
        return discharge_summary_message(note)
    if note.note.kind is NoteKind.RADIOLOGY_REPORT:
        return radiology_report_message(note)
    raise ValueError(f"{note.note.note_id}: no message carries a note of kind {note.note.kind.value}")


def discharge_summary_message(note: SyntheticNote) -> bytes:
    """An MDM^T02 with the text in one OBX of type FT, its line breaks as `\\.br\\`."""
    mdm = _start("MDM", "T02", note)
    mdm.evn.evn_2 = _time(note)
    _patient(mdm, note)
    _visit(mdm, note)
    txa = mdm.add_segment("TXA")
    txa.txa_1 = "1"
    txa.txa_2 = "DS"
    txa.txa_3 = "FT"
    txa.txa_4 = _time(note)
    txa.txa_6 = _time(note)
    txa.txa_9 = _clinician(note.author)
    txa.txa_12 = _document(note)
    txa.txa_17 = "AU"
    txa.txa_19 = "AV"
    _text_line(mdm.add_segment("OBX"), 1, "FT", _DISCHARGE_SUMMARY, note.note.text)
    return _bytes(mdm)


def radiology_report_message(note: SyntheticNote) -> bytes:
    """An ORU^R01 with one OBX of type TX for each line of the report, empty lines included."""
    oru = _start("ORU", "R01", note)
    result = oru.add_group("ORU_R01_PATIENT_RESULT")
    patient = result.add_group("ORU_R01_PATIENT")
    _patient(patient, note)
    _visit(patient.add_group("ORU_R01_VISIT"), note)
    order = result.add_group("ORU_R01_ORDER_OBSERVATION")
    order.obr.obr_1 = "1"
    order.obr.obr_3 = _document(note)
    local_code = "".join(letter for letter in note.title.upper() if letter.isalpha())
    order.obr.obr_4 = f"{_IMAGING_STUDY}^{local_code}^{_escape(note.title)}^L"
    order.obr.obr_7 = _time(note)
    order.obr.obr_22 = _time(note)
    order.obr.obr_24 = "RAD"
    order.obr.obr_25 = "F"
    for number, line in enumerate(note.note.text.split("\n"), 1):
        _text_line(order.add_group("ORU_R01_OBSERVATION").add_segment("OBX"), number, "TX", _IMAGING_STUDY, line)
    return _bytes(oru)


def _start(code: str, event: str, note: SyntheticNote) -> Any:
    from hl7apy.core import Message

    built = Message(f"{code}_{event}", version="2.5.1")
    msh = built.msh
    msh.msh_3, msh.msh_4 = _SENDER
    msh.msh_5, msh.msh_6 = _RECEIVER
    # hl7apy puts the time of building there, and the same note would never give the same bytes.
    msh.msh_7 = _time(note)
    msh.msh_9 = f"{code}^{event}^{code}_{event}"
    msh.msh_10 = note.note.note_id
    msh.msh_11 = "T"
    msh.msh_18 = "UNICODE UTF-8"
    return built


def _patient(parent: Any, note: SyntheticNote) -> None:
    person = note.patient
    pid = parent.pid
    pid.pid_1 = "1"
    pid.pid_3 = f"{_number(note.note.patient)}^MR"
    pid.pid_5 = f"{_escape(person.family)}^{_escape(person.given)}"
    pid.pid_7 = f"{person.born:%Y%m%d}"
    pid.pid_8 = person.sex
    street, town, rest = person.address.split(", ")
    pid.pid_11 = f"{_escape(street)}^^{_escape(town)}^{rest.replace(' ', '^')}"
    pid.pid_13 = f"^^^^^^^^^^^{_escape(person.phone)}"


def _visit(parent: Any, note: SyntheticNote) -> None:
    pv1 = parent.pv1
    pv1.pv1_1 = "1"
    pv1.pv1_2 = "I"
    pv1.pv1_19 = f"{_number(note.note.encounter)}^VN"


def _text_line(obx: Any, number: int, kind: str, code: str, text: str) -> None:
    obx.obx_1 = str(number)
    obx.obx_2 = kind
    obx.obx_3 = code
    obx.obx_5 = _escape(text)
    obx.obx_11 = "F"


def _number(identifier: Identifier | None) -> str:
    """CX as far as its assigning authority."""
    return f"{_escape(identifier.value)}^^^{_escape(identifier.system)}" if identifier else ""


def _document(note: SyntheticNote) -> str:
    """EI."""
    document = note.note.document
    return f"{_escape(document.value)}^{_escape(document.system)}" if document else ""


def _clinician(name: str) -> str:
    """XCN without a number."""
    given, family = name.split(" ")
    return f"^{_escape(family)}^{_escape(given)}"


def _time(note: SyntheticNote) -> str:
    return f"{note.written_at:%Y%m%d%H%M%S%z}"


def _escape(text: str) -> str:
    """Delimiters as escape sequences (HL7 v2.5.1, 2.7), before hl7apy sees them: it would read ^ and & as structure."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def _bytes(built: Any) -> bytes:
    # Line feeds pass through hl7apy as they are, but it would escape the backslashes of a `\.br\`.
    er7: str = built.to_er7()
    return er7.replace("\n", "\\.br\\").encode() + b"\r"
