from dataclasses import replace

import hl7
import pytest
from hl7apy.parser import parse_message
from hl7apy.validation import Validator

from appliance.demo.messages import discharge_summary_message, message, radiology_report_message
from appliance.demo.note_writer import write_notes
from integrations.codecs import hl7v2
from integrations.records import NoteKind

NOTES = list(write_notes(24, 21))
SUMMARY = next(n for n in NOTES if n.note.kind is NoteKind.DISCHARGE_SUMMARY)
REPORT = next(n for n in NOTES if n.note.kind is NoteKind.RADIOLOGY_REPORT)
HOSTILE = "a | b ^ c & d ~ e \\ f\n\n  \\F\\ \\.br\\ \\E\\ |||\n\\\\ \\X0D\\ <ü é → 5 µg>\n~~ end\\"


def text_of(parsed):
    """OBX-5 of every OBX, by python-hl7, which writes CR for `\\.br\\`."""
    return "\n".join(parsed.unescape(str(obx[5])).replace("\r", "\n") for obx in parsed["OBX"])


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.note.note_id)
def test_python_hl7_reads_the_text_back(note):
    assert text_of(hl7.parse(message(note), encoding="utf-8")) == note.note.text


@pytest.mark.parametrize("note", [SUMMARY, REPORT], ids=["MDM", "ORU"])
def test_delimiters_line_breaks_and_escapes_in_a_text_survive(note):
    sent = message(replace(note, note=replace(note.note, text=HOSTILE)))
    assert text_of(hl7.parse(sent, encoding="utf-8")) == HOSTILE
    assert hl7v2.note(hl7v2.read(sent)).text == HOSTILE


@pytest.mark.parametrize("note", NOTES[:8], ids=lambda note: note.note.note_id)
def test_the_appliance_reads_the_note_that_was_sent(note):
    got = hl7v2.note(hl7v2.read(message(note)))
    assert replace(got, note_id="", source=None, codes=()) == replace(note.note, note_id="")
    assert got.source.control_id == note.note.note_id


def test_a_discharge_summary_travels_in_an_mdm():
    parsed = hl7.parse(discharge_summary_message(SUMMARY), encoding="utf-8")
    assert [str(segment[0]) for segment in parsed] == ["MSH", "EVN", "PID", "PV1", "TXA", "OBX"]
    assert str(parsed.segment("MSH")[9]) == "MDM^T02^MDM_T02"
    assert str(parsed["MSH.F10"]) == SUMMARY.note.note_id
    assert (str(parsed["MSH.F11"]), str(parsed["MSH.F12"]), str(parsed["MSH.F18"])) == ("T", "2.5.1", "UNICODE UTF-8")
    assert str(parsed["TXA.F2"]) == "DS"
    assert (str(parsed["OBX.F2"]), str(parsed["OBX.F3.R1.C1"])) == ("FT", "18842-5")
    assert str(parsed["PID.F5.R1.C1"]) == SUMMARY.patient.family
    assert str(parsed["PID.F3.R1.C1"]) == SUMMARY.patient.record_number


def test_a_radiology_report_travels_in_an_oru_line_by_line():
    parsed = hl7.parse(radiology_report_message(REPORT), encoding="utf-8")
    lines = REPORT.note.text.split("\n")
    assert [str(segment[0]) for segment in parsed] == ["MSH", "PID", "PV1", "OBR", *["OBX"] * len(lines)]
    assert str(parsed.segment("MSH")[9]) == "ORU^R01^ORU_R01"
    assert {str(obx[2]) for obx in parsed["OBX"]} == {"TX"}
    assert [str(obx[1]) for obx in parsed["OBX"]] == [str(n) for n in range(1, len(lines) + 1)]


@pytest.mark.parametrize("note", [SUMMARY, REPORT], ids=["MDM", "ORU"])
def test_hl7apy_finds_the_structure_of_its_version_in_it(note):
    assert Validator.validate(parse_message(message(note).decode(), find_groups=True))


def test_the_same_note_gives_the_same_bytes():
    assert message(SUMMARY) == message(SUMMARY)
    assert message(REPORT) == message(next(n for n in write_notes(24, 21) if n.note.note_id == REPORT.note.note_id))


def test_another_kind_of_note_is_refused_without_a_word_of_it():
    other = replace(SUMMARY, note=replace(SUMMARY.note, kind=NoteKind.OTHER))
    with pytest.raises(ValueError, match="no message carries a note of kind other") as raised:
        message(other)
    assert SUMMARY.patient.family not in str(raised.value)
