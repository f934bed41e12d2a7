"""Every sample message: read, without a text, parked, or refused with its NAK; and each of its OBX accounted for.

python -m tests.unit.integrations.codecs.test_samples    prints the table of docs/results.md
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hl7
import pytest

from integrations.codecs import CodecError, hl7v2
from integrations.codecs.batch import split
from integrations.codecs.hl7v2 import NoText
from integrations.codecs.observations import carries_text
from integrations.records import Note
from integrations.transports.mllp import Framer

SAMPLES = Path(__file__).parents[5] / "shared/samples/hl7"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no sample messages in {SAMPLES}")

EXPECTED = {
    "lfh_docref_a.hl7": [("CR", "refused", "part of a longer message (DSC, ADD or MSH-14)")],
    "lfh_docref_b.hl7": [("CR", "refused", "part of a longer message (DSC, ADD or MSH-14)")],
    "lfh_mdm_t06_rad.hl7": [("AA", "read", "radiology_report preliminary")],
    "ms_ADT-A01-01.hl7": [("AA", "no text", "ADT^A01 carries no report")],
    "ms_LAB-ORU-1.hl7": [("AA", "no text", "no text that counts in its OBX (NM)")],
    "ms_MDM-T01-01.hl7": [("AA", "no text", "MDM^T01 carries no report")],
    "ms_MDM-T02-01.hl7": [("AA", "no text", "its OBX-5 are empty; OBX 1 (HD) is no text")],
    "ms_MDM-T02-03.hl7": [("CA", "read", "discharge_summary preliminary")],
    "ms_MDM-T06-01.hl7": [("AA", "no text", "its OBX-5 are empty; OBX 1 (HD) is no text")],
    "ms_ORU-R01-RMGEAD.hl7": [("AA", "no text", "no text that counts in its OBX (SN)")],
    "v2tofhir_MDM_T02.hl7": [("AA", "parked", "its OBX 4 (ED) is no whole base64")],
    "w_batch_ok.hl7": [("CA", "read", "radiology_report final")] * 2,
    "w_crlf.hl7": [("CA", "read", "radiology_report final")],
    "w_garbage.hl7": [("AR", "refused", "does not begin with MSH")],
    "w_latin1.hl7": [("CA", "read", "discharge_summary final")],
    "w_lf_only.hl7": [("CA", "read", "radiology_report final")],
    "w_mdm_ft.hl7": [("CA", "read", "discharge_summary final")],
    "w_mdm_t08_edit.hl7": [("CA", "read", "discharge_summary corrected")],
    "w_mdm_t11_cancel.hl7": [("CA", "withdrawn", "discharge_summary cancelled")],
    "w_mllp_pipelined.bin": [("CA", "read", "radiology_report final")] * 4,
    "w_no_msh10.hl7": [("CR", "refused", "MSH-10 is empty")],
    "w_pdf_ed.hl7": [("CA", "read", "discharge_summary final")],
    "w_rtf_ed.hl7": [("CA", "read", "discharge_summary final")],
    "w_story1_preliminary.hl7": [("CA", "read", "radiology_report preliminary")],
    "w_story2_final.hl7": [("CA", "read", "radiology_report final")],
    "w_story3_corrected.hl7": [("CA", "read", "radiology_report corrected")],
    "w_truncated_mid_obx.hl7": [("CR", "refused", "cut off")],
    "w_unescaped.hl7": [("CA", "read", "radiology_report final")],
    "w_utf8_no_msh18.hl7": [("CA", "read", "discharge_summary final")],
}
EXCERPTS = {
    "w_latin1.hl7": "Le patient doit être revu en cardiologie dans 3 semaines.",
    "w_utf8_no_msh18.hl7": "José Núñez\nFollow-up with Dr. Müller in 2 weeks — bring the ECG.",
    "w_mdm_ft.hl7": "Please see Dr. Alvarez in pulmonary clinic in 2 weeks.\n",
    "w_pdf_ed.hl7": "Please see Dr. Alvarez in pulmonary clinic in 2 weeks.\n",
    "w_rtf_ed.hl7": "Please see Dr. Alvarez in pulmonary clinic in 2 weeks.\n",
    "w_crlf.hl7": "Heart size is normal.\nIMPRESSION:",
    "w_lf_only.hl7": "Heart size is normal.\nIMPRESSION:",
    "w_unescaped.hl7": "mm \n unchanged\nIMPRESSION: follow up & repeat CT | MRI ^ 3 months \\ end A \\Zodd\\ lone \\ backslash",
    "ms_MDM-T02-03.hl7": "\nStopsign\n",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one message."""

    answer: str
    ending: str
    detail: str
    n_obx: int
    n_read: int
    unread: str
    note: Note | None = None


def outcomes(name: str) -> list[Outcome]:
    body = (SAMPLES / name).read_bytes()
    bodies = list(Framer(1 << 20).feed(body)) if name.endswith(".bin") else [body]
    return [outcome(part) for one in bodies for part in split(one)]


def outcome(body: bytes) -> Outcome:
    """As the receiver answers, and the worker ends it."""
    n_obx = body.replace(b"\n", b"\r").count(b"\rOBX|")
    try:
        message = hl7v2.read(body)
        hl7v2.check(message)
    except CodecError as error:
        answer = hl7v2.acknowledged(hl7v2.ack(body, "AR", str(error), error.condition))[0]
        return Outcome(answer, "refused", str(error), n_obx, 0, "all: the message is refused")
    answer = hl7v2.acknowledged(hl7v2.ack(message, "AA"))[0]
    try:
        found = hl7v2.note(message)
    except CodecError as error:
        return Outcome(answer, "parked", str(error), n_obx, 0, "all: the message is parked")
    if isinstance(found, NoText):
        return Outcome(answer, "no text", found.reason, n_obx, 0, "all: as the reason says")
    ending = "withdrawn" if found.status.is_withdrawn else "read"
    n_read = sum(carries_text(message, obx) for obx in message.all("OBX"))
    return Outcome(answer, ending, f"{found.kind} {found.status}", n_obx, n_read, found.unread, found)


@needs_samples
@pytest.mark.parametrize("name", EXPECTED)
def test_every_sample_message_ends_as_it_must(name):
    found = outcomes(name)
    assert [(o.answer, o.ending) for o in found] == [(answer, ending) for answer, ending, _ in EXPECTED[name]]
    for one, (_, _, detail) in zip(found, EXPECTED[name], strict=True):
        assert one.detail.startswith(detail)
        if one.note:
            assert EXCERPTS.get(name, "") in one.note.text
            assert one.note.patient
            assert one.note.patient.value not in one.note.note_id


@needs_samples
@pytest.mark.parametrize("name", EXPECTED)
def test_every_obx_of_a_sample_is_read_or_named(name):
    for one in outcomes(name):
        assert one.n_read == one.n_obx or one.unread


@needs_samples
def test_no_sample_message_is_forgotten():
    assert {p.name for p in SAMPLES.iterdir()} == set(EXPECTED)


def segments(body: bytes) -> Sequence[str]:
    """As python-hl7 sees them, once the line ends are what it needs."""
    text = body.removeprefix(b"\xef\xbb\xbf").decode("cp1252", "replace").replace("\r\n", "\r").replace("\n", "\r")
    return [str(s[0]) for s in hl7.parse("\r".join(line for line in text.split("\r") if line))]


@needs_samples
@pytest.mark.parametrize("name", [n for n, (first, *_) in EXPECTED.items() if first[1] != "refused" and n.endswith(".hl7")])
def test_another_parser_finds_as_many_obx(name):
    for body in split((SAMPLES / name).read_bytes()):
        assert [s.name for s in hl7v2.read(body).segments].count("OBX") == list(segments(body)).count("OBX")


def main() -> None:
    print("| file | answer | ends | what | OBX | read | not read |\n|---|---|---|---|---|---|---|")
    for name in sorted(EXPECTED):
        for o in outcomes(name):
            print(f"| {name} | {o.answer} | {o.ending} | {o.detail} | {o.n_obx} | {o.n_read} | {o.unread} |")


if __name__ == "__main__":
    main()
