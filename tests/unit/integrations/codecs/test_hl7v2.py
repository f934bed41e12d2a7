from datetime import UTC, datetime, timedelta, timezone

import pytest

from integrations.codecs import CodecError, hl7v2
from integrations.codecs.hl7v2 import NoText
from integrations.records import Identifier, Note, NoteKind, NoteStatus

AT = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)

MDM = (
    r"MSH|^~\&|EHR|GENHOSP|AIAPP|GENHOSP|20261101083000-0500||MDM^T02^MDM_T02|M-1|P|2.5.1",
    "EVN|T02|20261101083000",
    "PID|1||MRN88^^^GENHOSP&2.16.840.1.113883.3.999&ISO^MR~OTHER^^^X||DOE^JANE",
    "PV1|1|I|||||||||||||||||V100234^^^GENHOSP^VN",
    "TXA|1|DS^Discharge Summary^L^18842-5^Discharge summary^LN|TX|20261101080000||20261101081500||||||DOC100^EHR|||||AU||AV",
    r"OBX|1|FT|18842-5^Discharge summary^LN|1|DISCHARGE SUMMARY\.br\See cardiology in 2 weeks.||||||F",
    "OBX|2|TX|18842-5^Discharge summary^LN|1|Recheck INR~on Friday.||||||F",
)
ORU = (
    r"MSH|^~\&|RIS|GENHOSP|AIAPP|GENHOSP|20261101083000||ORU^R01^ORU_R01|M-2|P|2.5.1",
    "PID|1||MRN77^^^GENHOSP^MR",
    "OBR|1|PL1^EHR|FL1^RIS|71260^CT CHEST^C4|||20261101070000|||||||||||||||20261101082500||RAD|F",
    "OBX|1|TX|GDT^Report^L|1|FINDINGS: 8 mm nodule.||||||F",
)


def read(lines, **changes: str) -> Note | NoText:
    text = "\r".join([*lines, ""])
    for old, new in changes.items():
        assert MARKS[old] in text
        text = text.replace(MARKS[old], new)
    return hl7v2.note(hl7v2.read(text.encode()))


MARKS = {
    "event": "MDM^T02^MDM_T02",
    "kind": "DS^Discharge Summary^L^18842-5^Discharge summary^LN",
    "obx3": "18842-5^Discharge summary^LN",
    "availability": "AU||AV",
    "patient": "MRN88^^^GENHOSP&2.16.840.1.113883.3.999&ISO^MR~OTHER^^^X",
    "status": "||||||F",
    "type": "|TX|GDT",
    "code": "GDT^Report^L",
    "section": "||RAD|F",
    "findings": "FINDINGS: 8 mm nodule.",
    "zone": "20261101083000-0500",
    "written": "20261101081500",
    "parent": "DOC100^EHR||",
    "filler": "PL1^EHR|FL1^RIS|71",
}


def test_a_discharge_summary_is_read_from_an_mdm():
    note = read(MDM)
    assert isinstance(note, Note)
    assert note.kind is NoteKind.DISCHARGE_SUMMARY
    assert note.text == "DISCHARGE SUMMARY\nSee cardiology in 2 weeks.\nRecheck INR\non Friday."
    assert note.patient == Identifier("MRN88", "urn:oid:2.16.840.1.113883.3.999")
    assert note.encounter == Identifier("V100234", "GENHOSP")
    assert note.document == Identifier("DOC100", "EHR")
    assert note.document_type == "18842-5"
    assert note.written_at == datetime(2026, 11, 1, 8, 15, tzinfo=timezone(timedelta(hours=-5)))
    assert note.source
    assert (note.source.sender, note.source.control_id, len(note.source.sha256)) == ("EHR|GENHOSP", "M-1", 64)


def test_a_radiology_report_is_read_from_an_oru_by_its_section():
    note = read(ORU)
    assert isinstance(note, Note)
    assert (note.kind, note.text, note.document_type) == (NoteKind.RADIOLOGY_REPORT, "FINDINGS: 8 mm nodule.", "71260")
    assert (note.document, note.patient) == (Identifier("FL1", "RIS"), Identifier("MRN77", "GENHOSP"))


def test_a_note_id_names_the_message_and_nobody():
    note = read(MDM)
    assert isinstance(note, Note)
    assert len(note.note_id) == 16
    assert note.note_id == read(MDM).note_id != read(MDM, written="20261101081501").note_id
    assert "MRN88" not in f"{note!r}"


@pytest.mark.parametrize(
    ("kind", "obx3", "expected", "document_type"),
    [
        ("DS^Discharge^L", "X1^^L", NoteKind.DISCHARGE_SUMMARY, "DS"),
        ("X1^Summary^L^28655-9^^LN", "X1^^L", NoteKind.DISCHARGE_SUMMARY, "28655-9"),
        ("X1^Summary^L", "11490-0^^LN", NoteKind.DISCHARGE_SUMMARY, "11490-0"),
        ("DI", "X1", NoteKind.RADIOLOGY_REPORT, "DI"),
        ("PN^Progress note", "11506-3^^LN", NoteKind.OTHER, "11506-3"),
        ("", "", NoteKind.OTHER, ""),
    ],
)
def test_the_kind_of_a_document_is_what_its_codes_say(kind, obx3, expected, document_type):
    note = read(MDM, kind=kind, obx3=obx3)
    assert isinstance(note, Note)
    assert (note.kind, note.document_type) == (expected, document_type)


@pytest.mark.parametrize(
    "numbers",
    [
        "1^^^US^SS~88^^^HOSP^MR",
        "88^^^HOSP^MR~1^^^US^SS",
        "~88^^^HOSP^MR",
        "88^^^HOSP~1^^^US^SS",
        '""~88^^^HOSP',
        "~^^^X^MR~88^^^HOSP^PI",
    ],
)
def test_a_patient_is_named_by_the_medical_record_number_wherever_it_stands(numbers):
    note = read(MDM, patient=numbers)
    assert isinstance(note, Note)
    assert note.patient == Identifier("88", "HOSP")


def test_a_hospital_brings_its_own_codes():
    message = hl7v2.read("\r".join(MDM).replace("DS^Discharge Summary^L^18842-5^Discharge summary^LN", "ENTL").encode())
    note = hl7v2.note(message, {"ENTL": NoteKind.DISCHARGE_SUMMARY, "18842-5": NoteKind.OTHER})
    assert isinstance(note, Note)
    assert note.kind is NoteKind.DISCHARGE_SUMMARY


@pytest.mark.parametrize(
    ("lines", "changes", "reason"),
    [
        (MDM, {"event": "MDM^T01"}, "MDM^T01"),
        (MDM, {"event": "ADT^A01"}, "ADT^A01"),
        (MDM, {"event": "Jane^Doe"}, "?^?"),
        (MDM, {"event": ""}, "?^?"),
        (MDM[:-2], {}, "no OBX"),
        (
            [*MDM[:-2], "OBX|1|HD|1||1.2.3||||||O", "OBX|2|ED|1||^application^pdf^Base64^||||||F"],
            {},
            "empty; OBX 1 (HD) is no text",
        ),
        ([*MDM[:-2], 'OBX|1|TX|1||""||||||F', "OBX|2|TX|1|| ||||||F"], {}, "empty"),
        (ORU, {"type": "|NM|GDT"}, "(NM)"),
        (ORU, {"section": "||LAB|F", "type": "|ST|GDT"}, "(ST)"),
        (ORU, {"section": "||LAB|X", "type": "|NM|GDT"}, "no text that counts"),
        (ORU, {"section": "||RAD|S"}, "OBR-25 says that there is no report yet"),
        (ORU, {"section": "||LAB|I", "type": "|NM|GDT"}, "no text that counts in its OBX (NM)"),
        (ORU[:2], {}, "no OBX"),
    ],
)
def test_a_message_without_text_for_us_says_why(lines, changes, reason):
    found = read(lines, **changes)
    assert isinstance(found, NoText)
    assert reason in found.reason
    assert "Jane" not in found.reason


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([*ORU[:1], *ORU[2:]], "no patient"),
        ([ORU[0], "PID|1||", *ORU[2:]], "no patient"),
        ([*ORU[:2], "PID|2||MRN78^^^GENHOSP^MR", *ORU[2:]], "several patients"),
        ([*ORU, *ORU[2:3], "OBX|1|TX|IMP||Another report.||||||F"], "several reports"),
    ],
)
def test_text_whose_owner_could_only_be_guessed_is_refused(lines, reason):
    with pytest.raises(CodecError, match=reason):
        read(lines)


def test_a_report_repeated_for_each_order_is_one_report():
    assert read([*ORU, *ORU[2:]]).text == read(ORU).text


def test_comments_to_laboratory_values_do_not_hide_the_report_nor_become_one():
    comments = ["OBR|2||L1|CBC^^L|||||||||||||||||||||LAB|F", "OBX|1|TX|C1||haemolysed||||||F"]
    assert read([*ORU, *comments]).text == "FINDINGS: 8 mm nodule."
    assert read([*ORU[:2], *comments, comments[0], "OBX|1|TX|C2||lipaemic||||||F"]).kind is NoteKind.OTHER


@pytest.mark.parametrize(
    ("zone", "written", "hospital", "expected"),
    [
        (
            "20261101083000",
            "20261101081500+0215",
            None,
            datetime(2026, 11, 1, 8, 15, tzinfo=timezone(timedelta(hours=2, minutes=15))),
        ),
        ("20261101083000-0500", "202611010815", UTC, datetime(2026, 11, 1, 8, 15, tzinfo=timezone(timedelta(hours=-5)))),
        ("20261101083000", "20261101081507.1234", UTC, datetime(2026, 11, 1, 8, 15, 7, tzinfo=UTC)),
        ("20261101083000", "20261101", UTC, datetime(2026, 11, 1, tzinfo=UTC)),
        ("20261101083000", "20261101081500", None, None),
        ("20261101083000Z", "20269901081500+0000", None, None),
        ("20261101083000+9900", "yesterday", None, None),
    ],
)
def test_a_time_has_a_zone_or_is_not_told(zone, written, hospital, expected):
    text = "\r".join(MDM).replace(MARKS["zone"], zone).replace(MARKS["written"], written)
    text = text.replace("|TX|20261101080000|", "|TX||")
    note = hl7v2.note(hl7v2.read(text.encode()), zone=hospital)
    assert isinstance(note, Note)
    assert note.written_at == expected


@pytest.mark.parametrize(
    ("completion", "availability", "status"),
    [
        ("AU", "AV", NoteStatus.FINAL), ("LA", "", NoteStatus.FINAL), ("", "AV", NoteStatus.FINAL),
        ("PA", "AV", NoteStatus.PRELIMINARY), ("DI", "", NoteStatus.PRELIMINARY), ("IP", "", NoteStatus.PRELIMINARY),
        ("CA", "", NoteStatus.CANCELLED), ("AU", "CA", NoteStatus.CANCELLED), ("AU", "OB", NoteStatus.CANCELLED),
        ("PA", "UN", NoteStatus.CANCELLED),
    ],
)  # fmt: skip
def test_the_status_of_a_document_is_what_txa_says(completion, availability, status):
    note = read(MDM, availability=f"{completion}||{availability}")
    assert isinstance(note, Note)
    assert (note.status, bool(note.text)) == (status, not status.is_withdrawn)


@pytest.mark.parametrize(
    ("section", "observation", "status"),
    [
        ("F", "F", NoteStatus.FINAL), ("P", "P", NoteStatus.PRELIMINARY), ("R", "R", NoteStatus.PRELIMINARY),
        ("C", "C", NoteStatus.CORRECTED), ("C", "F", NoteStatus.CORRECTED), ("F", "C", NoteStatus.CORRECTED),
        ("P", "C", NoteStatus.PRELIMINARY), ("", "P", NoteStatus.PRELIMINARY), ("A", "P", NoteStatus.PRELIMINARY),
        ("", "F", NoteStatus.FINAL), ("Z", "", NoteStatus.FINAL), ("X", "F", NoteStatus.CANCELLED),
        ("X", "X", NoteStatus.CANCELLED),
        ("F", "W", NoteStatus.ENTERED_IN_ERROR), ("C", "D", NoteStatus.ENTERED_IN_ERROR), ("F", "X", NoteStatus.CANCELLED),
    ],
)  # fmt: skip
def test_the_status_of_a_result_is_what_obr_and_obx_say(section, observation, status):
    lines = [*ORU[:2], ORU[2].removesuffix("F") + section, ORU[3].removesuffix("F") + observation]
    note = read(lines)
    assert isinstance(note, Note)
    assert (note.status, note.document, bool(note.text)) == (status, Identifier("FL1", "RIS"), not status.is_withdrawn)


def test_a_cancelled_order_needs_no_observation():
    note = read([*ORU[:2], ORU[2].removesuffix("F") + "X"])
    assert isinstance(note, Note)
    assert (note.kind, note.status, note.text) == (NoteKind.RADIOLOGY_REPORT, NoteStatus.CANCELLED, "")


@pytest.mark.parametrize(
    ("event", "parent", "status", "replaces", "appends"),
    [
        ("T02", "DOC1^EHR", NoteStatus.FINAL, None, None),
        ("T04", "", NoteStatus.FINAL, None, None),
        ("T06", "DOC1^EHR", NoteStatus.FINAL, None, Identifier("DOC1", "EHR")),
        ("T06", "", NoteStatus.FINAL, None, None),
        ("T06", "DOC100^EHR", NoteStatus.FINAL, None, None),
        ("T08", "", NoteStatus.CORRECTED, None, None),
        ("T10", "DOC1^EHR", NoteStatus.FINAL, Identifier("DOC1", "EHR"), None),
        ("T11", "", NoteStatus.CANCELLED, None, None),
    ],
)
def test_an_mdm_says_what_its_document_has_to_do_with_another(event, parent, status, replaces, appends):
    note = read(MDM, event=f"MDM^{event}", parent=f"DOC100^EHR|{parent}|")
    assert isinstance(note, Note)
    assert (note.document, note.status) == (Identifier("DOC100", "EHR"), status)
    assert (note.replaces, note.appends) == (replaces, appends)


@pytest.mark.parametrize("event", ["T01", "T03", "T05", "T07", "T09"])
def test_a_notification_has_no_text_unless_it_takes_the_document_back(event):
    assert read(MDM[:-2], event=f"MDM^{event}") == NoText(f"MDM^{event} carries no report")
    taken_back = read(MDM[:-2], event=f"MDM^{event}", availability="AU||CA")
    assert isinstance(taken_back, NoText if event == "T01" else Note)


@pytest.mark.parametrize(
    ("lines", "changes", "where"),
    [(MDM, {"event": "MDM^T11", "parent": "|"}, "TXA-12"), (ORU, {"section": "||RAD|X", "filler": "||71"}, "OBR-3")],
)
def test_a_withdrawal_must_name_what_is_withdrawn(lines, changes, where):
    with pytest.raises(CodecError, match=f"{where} does not name") as caught:
        read(lines, **changes)
    assert caught.value.condition == "101"


@pytest.mark.parametrize(
    ("number", "document"),
    [("^^12345", Identifier("12345")), ('""^^12345', Identifier("12345")), ("12345^EHR", Identifier("12345", "EHR"))],
)
@pytest.mark.parametrize("event", ["T02", "T11"])
def test_a_document_may_be_named_by_its_universal_id_alone(number, document, event):
    note = read(MDM, event=f"MDM^{event}", parent=f"{number}||")
    assert isinstance(note, Note)
    assert note.document == document


def test_a_withdrawal_of_a_namespace_alone_is_refused():
    with pytest.raises(CodecError, match="TXA-12 does not name"):
        read(MDM, event="MDM^T11", parent="^EHR||")


@pytest.mark.parametrize(
    ("common", "numbers", "document"),
    [
        ("ORC|RE|PL9|FL9^RIS", "PL1^EHR|FL1^RIS|71", Identifier("FL1", "RIS")),
        ("ORC|RE|PL9|FL9^RIS", "PL1^EHR||71", Identifier("FL9", "RIS")),
        ("ORC|RE|PL9", "PL1^EHR|^RIS|71", Identifier("PL1", "placer|EHR")),
        ("ORC|RE|PL9", "||71", Identifier("PL9", "placer|RIS|GENHOSP")),
        ("NTE|1", "||71", None),
    ],
)
def test_a_report_is_named_by_its_filler_else_by_its_placer_in_a_namespace_apart(common, numbers, document):
    note = read([*ORU[:2], common, *ORU[2:]], filler=numbers)
    assert isinstance(note, Note)
    assert note.document == document


def test_two_orders_that_are_cancelled_in_one_message_are_not_taken_for_one():
    cancelled = ORU[2].removesuffix("F") + "X"
    with pytest.raises(CodecError, match="several reports"):
        read([*ORU[:2], cancelled, cancelled.replace("FL1", "FL2")])


@pytest.mark.parametrize(
    ("reason", "information", "indication"),
    [
        ("R05^Cough, fever?^I10", "smoker", "Cough, fever?"),
        ("R05^^I10~^Rule out PE", "smoker", "Rule out PE"),
        ("rule out PE~fever", "smoker", "rule out PE; fever"),
        ("R05^^I10", "", ""),
        ("", r"smoker \T\ cough~fever", "smoker & cough\nfever"),
    ],
)
def test_the_indication_is_what_the_order_says_in_words(reason, information, indication):
    order = f"OBR|1||FL1|71260^CT|||20261101||||||{information}|||||||||20261101||RAD|F||||||{reason}"
    note = read([*ORU[:2], order, ORU[3]])
    assert isinstance(note, Note)
    assert note.indication == indication


def answer(code: hl7v2.Code = "AA", error: str = "", modes: str = "", body: bytes | None = None) -> list[str]:
    body = body if body is not None else (MDM[0] + f"|||{modes}\rPID|1\r").encode()
    return hl7v2.ack(body, code, error, at=AT).decode("latin-1").split("\r")


def test_an_answer_goes_back_to_the_sender_and_names_its_message():
    msh, msa, end = answer()
    assert msh.startswith(r"MSH|^~\&|AIAPP|GENHOSP|EHR|GENHOSP|20261101083000+0000||ACK^T02^ACK|")
    assert msh.endswith("|P|2.5.1")
    assert (msa, end) == ("MSA|AA|M-1", "")
    assert hl7v2.acknowledged("\r".join([msh, msa, end]).encode()) == ("AA", "M-1")


def test_no_two_answers_have_one_control_id():
    assert len({answer()[0].split("|")[9] for _ in range(50)}) == 50


def test_a_refusal_says_why():
    _, msa, err, _ = answer("AE", "cut off: its last OBX ends | before ^ its end")
    assert msa == "MSA|AE|M-1|cut off: its last OBX ends   before   its end"
    assert err == "ERR|||207^^HL70357|E||||cut off: its last OBX ends   before   its end"


@pytest.mark.parametrize(
    ("modes", "code", "expected"),
    [
        ("AL|NE", "AA", "CA"), ("AL|NE", "AE", "CE"), ("AL|NE", "AR", "CR"), ("AL|AL", "AA", "CA"), ("AL|", "AA", "CA"),
        ("ER|NE", "AA", ""), ("ER|NE", "AR", "CR"), ("SU|NE", "AA", "CA"), ("SU|NE", "AE", ""),
        ("NE|AL", "AA", "AA"), ("NE|ER", "AA", ""), ("NE|ER", "AE", "AE"), ("|AL", "AA", "AA"), ("NE|NE", "AR", ""),
        ("|", "AA", "AA"),
    ],
)  # fmt: skip
def test_the_mode_of_answering_is_what_the_sender_asks_for(modes, code, expected):
    lines = answer(code, "not stored", modes)
    assert (lines[1].split("|")[1] if lines != [""] else "") == expected


@pytest.mark.parametrize(
    "body", [b"", b"GET / HTTP/1.1\r\n", b"MSH", b"MSHxyz", b"MSH|", b"\x00" * 50, b"FHS|^~\\&|A\r", b"MSHAAAAA\rMSA"]
)
def test_garbage_is_answered_too(body):
    msh, msa, err, _ = answer("AR", "no HL7", body=body)
    assert msh.startswith(r"MSH|^~\&|||||")
    assert (msa, err.split("|")[0]) == ("MSA|AR||no HL7", "ERR")


def test_an_answer_echoes_bytes_in_the_senders_character_set_and_no_control_characters():
    body = b"MSH|^~\\&|EHR|K\xf6ln|AI|H|||ORU^R01|M\x0b\x1c1|P|2.4||||||8859/1\r"
    raw = hl7v2.ack(body, "AA")
    assert b"|K\xf6ln|" in raw
    assert b"|8859/1\r" in raw
    assert raw.endswith(b"MSA|AA|M1\r")
    assert hl7v2.envelope(body) == ("EHR|K�ln", "M\x0b\x1c1")


@pytest.mark.parametrize("code", ["AA", "AE"])
def test_an_answer_is_legal_hl7(code):
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.parser import parse_message

    raw = hl7v2.ack("\r".join(MDM).encode(), code, "cut off", "101" if code == "AE" else "207").decode()
    assert parse_message(raw, validation_level=VALIDATION_LEVEL.STRICT, find_groups=False).validate()


@pytest.mark.parametrize("body", [b"", b"MSH|^~\\&|A\r", b"MSA|AA|1\r", b"MSH|^~\\&|A\rMSA\r"])
def test_an_answer_that_names_nothing_names_nothing(body):
    assert hl7v2.acknowledged(body) == ("", "")
