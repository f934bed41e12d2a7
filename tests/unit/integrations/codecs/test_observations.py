"""The text of a report, OBX by OBX: every one is read, or named with the reason."""

import base64
import random

import pytest

from integrations.codecs import CodecError, hl7v2
from integrations.records import Note
from tests.pdf_file import pdf
from tests.unit.integrations.codecs.test_attachments import cpu_s

HEAD = (
    r"MSH|^~\&|EHR|GENHOSP|AIAPP|GENHOSP|20261101083000-0500||MDM^T02^MDM_T02|M-1|P|2.5.1",
    "PID|1||MRN88^^^GENHOSP",
    "TXA|1|DS|TX|20261101||||||||DOC1^EHR|||||AU||AV",
)
TEXT = ["DISCHARGE SUMMARY", "See cardiology in 2 weeks."]


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


PDF, SCAN = coded(pdf([TEXT])), coded(pdf([[]], image=b"scan"))
LONGER = coded(pdf([["GENERAL HOSPITAL", *TEXT, "Recheck INR."]]))
NARRATIVE = "OBX|1|TX|1||DISCHARGE SUMMARY||||||F", "OBX|2|TX|1||See cardiology in 2 weeks.||||||F"


def read(*observations: str) -> Note:
    note = hl7v2.note(hl7v2.read("\r".join([*HEAD, *observations, ""]).encode()))
    assert isinstance(note, Note)
    return note


def ed(data: str, kind: str = "application^pdf^Base64", place: int = 3, status: str = "F") -> str:
    return f"OBX|{place}|ED|1||^{kind}^{data}||||||{status}"


@pytest.mark.parametrize(
    "observation",
    [
        ed(PDF),
        ed(PDF, "Application^PDF^Base64"),
        ed(PDF, "AP^^base64"),
        ed(PDF, "^^"),
        ed(PDF, "application/pdf^Base64"),
        ed(pdf([TEXT]).hex(), "AP^hex"),
        f"OBX|1|ED|1||application^pdf^Base64^{PDF}||||||F",
        ed("\\.br\\".join(PDF[i : i + 76] for i in range(0, len(PDF), 76))),
        ed("\r\n".join(PDF[i : i + 76] for i in range(0, len(PDF), 76))),
        ed(pdf([TEXT]).hex(), "AP^PDF^Hex"),
        f"OBX|1|ED|1||{PDF}||||||F",
        ed(coded(b"{\\rtf1 DISCHARGE SUMMARY\\par See cardiology in 2 weeks.}"), "text^rtf^Base64"),
        ed(coded(b"<b>DISCHARGE SUMMARY</b><br>See cardiology in 2 weeks."), "text^html^Base64"),
        ed("\n".join(TEXT).encode().hex(), "TEXT^^Hex"),
        ed(r"DISCHARGE SUMMARY\.br\See cardiology in 2 weeks.", "TX^^A"),
    ],
)
def test_a_file_is_read_however_it_is_written_into_the_message(observation):
    note = read(observation)
    assert [line for line in note.text.split("\n") if line] == TEXT
    assert note.unread == ""


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        (ed(SCAN), r"OBX 1 \(ED\) is a PDF that has no text on page 1 of 1"),
        (ed(PDF[:-100]), r"OBX 1 \(ED\) is a PDF that is cut off|no whole base64"),
        (ed("<Base64 encoded>"), "no whole base64"),
        (ed(PDF, "application^pdf^uuencode"), "encoding that is not known"),
        (ed(coded(b"PK\x03\x04"), "application^msword^Base64"), "Office"),
        (ed(coded(b"\xff\xd8\xff\xe0"), "image^jpeg^Base64"), r"OBX 1 \(ED\) is an image"),
        (ed(coded(b"II*\0"), "SD^TIFF^Base64"), r"OBX 1 \(ED\) is an image"),
        ("OBX|1|RP|1||https://pacs/1^PACS^application^pdf||||||F", r"OBX 1 \(RP\) is a pointer"),
        (ed("XYZ", "AP^PDF^Hex"), "hexadecimal"),
        (ed(PDF, "application^pdf"), "another component than the fifth"),
        (ed(PDF, "pdf"), "another component than the fifth"),
    ],
)
def test_a_file_without_text_is_refused_with_its_reason(observation, reason):
    with pytest.raises(CodecError, match=reason):
        read(observation)
    hl7v2.check(hl7v2.read("\r".join([*HEAD, observation, ""]).encode()))


@pytest.mark.parametrize("broken", [ed(SCAN), ed("<Base64 encoded>"), ed(coded(b"II*\0"), "SD^TIFF^Base64")])
def test_text_beside_a_document_that_cannot_be_read_may_be_half_a_report(broken):
    with pytest.raises(CodecError, match="OBX 3"):
        read(*NARRATIVE, broken)


def test_a_report_sent_as_text_and_as_its_printed_page_is_read_once():
    assert read(*NARRATIVE, ed(PDF)).text == read(ed(PDF), *NARRATIVE).text == "\n".join(TEXT)
    assert [line for line in read(ed(PDF), ed(PDF)).text.split("\n") if line] == TEXT


def test_a_printed_page_that_says_more_stands_for_the_text():
    assert read(*NARRATIVE, ed(LONGER)).text.strip().split("\n") == ["GENERAL HOSPITAL", *TEXT, "Recheck INR."]


def test_a_text_that_says_more_stands_for_the_printed_page():
    assert read(*NARRATIVE, "OBX|3|TX|1||Recheck INR.||||||F", ed(PDF)).text.split("\n") == [*TEXT, "Recheck INR."]


def test_texts_that_differ_are_both_read_in_their_order():
    note = read("OBX|1|TX|1||Addendum below.||||||F", ed(PDF), "OBX|3|FT|1||See cardiology in 3 weeks.||||||F")
    assert [line for line in note.text.split("\n") if line] == ["Addendum below.", *TEXT, "See cardiology in 3 weeks."]


def test_pictures_pointers_and_values_beside_the_text_are_named():
    note = read(
        *NARRATIVE,
        ed(coded(b"\x89PNG"), "image^png^Base64"),
        "OBX|4|RP|1||https://pacs/1||||||F",
        *[f"OBX|{n}|NM|1||{n}|mm|||||F" for n in range(5, 15)],
        "OBX|15|TX|1||Of another patient.||||||W",
    )
    assert note.text == "\n".join(TEXT)
    assert note.unread == (
        "OBX 3 (ED) is an image (PNG); OBX 4 (RP) is a pointer (RP) to a document that is not in the message; "
        "OBX 5, 6, 7, 8, 9 and 5 more (NM) is no text; OBX 15 (TX) is retracted by its sender"
    )


def test_what_belongs_to_another_order_is_named():
    head = HEAD[0].replace("MDM^T02^MDM_T02", "ORU^R01")
    orders = ["OBR|1||F1|1^CBC||||||||||||||||||||LAB|F", "OBX|1|TX|1||haemolysed||||||F"]
    orders += ["OBR|2||F2|2^CT||||||||||||||||||||RAD|F", "OBX|1|TX|1||8 mm nodule.||||||F"]
    note = hl7v2.note(hl7v2.read("\r".join([head, HEAD[1], *orders, ""]).encode()))
    assert isinstance(note, Note)
    assert (note.text, note.unread) == ("8 mm nodule.", "OBX 1 (TX) is of another order")


def test_a_message_holds_no_more_files_than_can_be_read_in_time():
    with pytest.raises(CodecError, match="more than 20"):
        read(*[ed(coded(b"line %d" % n), "TEXT^^Base64") for n in range(21)])


@pytest.mark.parametrize("end", ["", "\\.br\\", "\r\n"])
def test_a_message_with_a_pdf_of_five_megabytes_is_read_within_two_seconds(end):
    data = coded(pdf([TEXT] * 20, image=random.Random(1).randbytes(5_000_000)))
    body = ed(end.join(data[i : i + 76] for i in range(0, len(data), 76)) if end else data)
    began = cpu_s()
    assert read(body).text.count("See cardiology") == 20
    assert cpu_s() - began < 2
