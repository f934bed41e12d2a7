"""Findings as HL7 v2, read back by our own reader and by python-hl7."""

from dataclasses import replace
from datetime import UTC, datetime

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message as Built
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.codecs import CodecError, er7, hl7v2, hl7v2_out
from integrations.codecs.hl7v2_out import Parties
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind, NoteStatus

MODEL = ModelVersion("clip-q", "1", "0f" * 32)
AT = datetime(2026, 1, 2, 12, 30, tzinfo=UTC)
ORU = rb"""MSH|^~\&|RIS|RAD|||20260101120000+0100||ORU^R01^ORU_R01|M1|P|2.3.1
PID|1||123^^^HOSP&1.2.3&ISO^MR~99^^^X||O'NEIL^J\T\B \X41\||19700101|F|||A^^B
PV1|1|I|W7^12||||||||||||||||V1
OBR|1|P0^EHR|F0^RIS|85025^Blood count^L|||20260101||||||||||||||||LAB|F
OBX|1|NM|718-7^Hb^LN||13|||||F
OBR|2|P1^EHR|F1^RIS|71020^Chest X\S\ray^L|||20260101||||||||||||||||RAD|F
OBX|1|TX|18748-4^Report^LN||Small nodule. Repeat CT in 3 months.||||||F
""".replace(b"\n", b"\r")
MDM = rb"""MSH#*~\&#EHR#WARD###20260101120000+0100##MDM*T02#M2#P#2.5.1
EVN#T02#20260101
PID#1##MRN88***HOSP##DOE|ROE*JANE
TXA#1#DS#TX#20260101########D1*EHR####^#AU
OBX#1#TX#18842-5##See cardiology in 2 weeks.######F
""".replace(b"\n", b"\r")


def read(body: bytes) -> tuple[er7.Message, Note]:
    source = er7.read(body)
    note = hl7v2.note(source)
    assert isinstance(note, Note)
    return source, note


def found(note: Note, *quotes: str, label: str = "Imaging", question: str = "") -> list[Finding]:
    return [
        Finding(f"{n:x}" * 64, note.note_id, 0, len(quote), quote, label, 0.83, str(MODEL), AT, question)
        for n, quote in enumerate(quotes, 1)
    ]


def note_of(text: str = "") -> Note:
    return Note("abc123", NoteKind.RADIOLOGY_REPORT, text, Identifier("MRN88", "urn:oid:1.2.3"))


def test_results_stand_under_the_sources_own_order_and_patient() -> None:
    source, note = read(ORU)
    told = er7.read(hl7v2_out.results(note, found(note, "Repeat CT in 3 months."), MODEL, source, Parties("HOSP", "RIS", "RAD")))
    lines = {s.name: "|".join(s.parts) for s in told.segments}
    assert lines["PID"] == r"PID|1||123^^^HOSP&1.2.3&ISO^MR~99^^^X||O'NEIL^J\T\B \X41\||19700101|F|||A^^B"
    assert lines["PV1"] == "PV1|1|I|W7^12||||||||||||||||V1"
    order, result = told.first("OBR"), told.first("OBX")
    assert [order.raw(n) for n in (2, 3, 4, 25)] == ["P1^EHR", "F1^RIS", r"71020^Chest X\S\ray^L", "P"]
    assert [result.raw(n) for n in (2, 3, 4, 5, 9, 11, 14)] == [
        "TX", "imaging^Imaging^99CLINAPP", "1" * 20, "Repeat CT in 3 months.", "0.830", "P", "20260102123000+0000",
    ]  # fmt: skip
    assert [told.value(result, 17), told.value(result, 18)] == ["AI", "clip-q@1"]
    assert [told.field("MSH", n) for n in (3, 4, 5, 6, 9)] == ["CLINAPPLIANCE", "HOSP", "RIS", "RAD", "ORU^R01^ORU_R01"]


def test_a_document_has_the_sources_as_its_parent_and_nobody_has_authenticated_it() -> None:
    source, note = read(MDM)
    told = er7.read(hl7v2_out.document(note, found(note, "See cardiology in 2 weeks."), MODEL, source))
    txa = told.first("TXA")
    assert [txa.raw(n) for n in (2, 13, 17)] == ["AI", "D1^EHR", "DO"]
    assert told.first("PID").raw(5) == r"DOE\F\ROE^JANE"
    assert [s.name for s in told.segments] == ["MSH", "EVN", "PID", "PV1", "TXA", "OBX"]


def test_an_appliance_does_not_read_its_own_document_as_a_report() -> None:
    source, note = read(MDM)
    back = hl7v2.note(er7.read(hl7v2_out.document(note, found(note, "See cardiology."), MODEL, source)))
    assert isinstance(back, hl7v2.NoText)


def test_results_that_an_engine_sends_round_are_not_read_as_a_report_of_the_order_they_echo() -> None:
    source, note = read(ORU)
    body = hl7v2_out.results(note, found(note, "Repeat CT in 3 months."), MODEL, source)
    for received in (body, body.replace(b"CLINAPPLIANCE", b"ENGINE", 1)):
        nothing = hl7v2.note(er7.read(received))
        assert isinstance(nothing, hl7v2.NoText)
        assert "findings of an AI" in nothing.reason


def test_what_the_model_is_unsure_of_says_so() -> None:
    note = note_of("Small nodule. No effusion.")
    sure, unsure = found(note, "Small nodule.", "No effusion.")
    told = er7.read(hl7v2_out.results(note, [sure, replace(unsure, unsure=True)], MODEL))
    assert [s.name for s in told.segments][-3:] == ["OBX", "OBX", "NTE"]
    assert told.text(told.first("NTE"), 3).startswith("The model is unsure")


def test_a_report_that_came_by_fhir_is_named_by_its_own_identifiers() -> None:
    note = replace(note_of(), document=Identifier("R|7", "https://ehr/reports"), document_type="18748-4")
    told = er7.read(hl7v2_out.results(note, found(note, "Small nodule."), MODEL))
    assert told.first("PID").raw(3) == "MRN88^^^&1.2.3&ISO"
    assert [told.first("OBR").raw(n) for n in (2, 3, 4)] == ["", r"R\F\7^^https://ehr/reports^URI", "18748-4^^LN"]
    with pytest.raises(CodecError, match="names no patient"):
        hl7v2_out.results(replace(note, patient=None), found(note, "x"), MODEL)


@pytest.mark.parametrize("build", [hl7v2_out.results, hl7v2_out.document])
@settings(deadline=None, max_examples=150)
@given(
    st.text(
        st.sampled_from("ab |^~\\&\n\tFSRTEHNX.br0é€\"'") | st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1
    )
)
def test_a_sentence_is_given_back_character_for_character(build, sentence: str) -> None:
    quote = f"x{sentence}x".translate(er7.WITHOUT_CONTROLS)
    body = build(note_of(), found(note_of(), quote), MODEL)
    told = er7.read(body)
    assert told.text(told.first("OBX"), 5) == quote
    parsed = hl7.parse(body.decode())
    lines = [str(repetition) for repetition in parsed["OBX"][0][5]]
    assert [parsed.unescape(line) for line in lines] == quote.split("\n")


def test_a_question_that_is_not_answered_says_so_and_one_that_is_quotes_the_report() -> None:
    note = note_of()
    asked = [*found(note, "", label="", question="Is there a\nnodule?"), *found(note, "4 mm nodule", label="", question="Size?")]
    told = er7.read(hl7v2_out.results(note, asked, MODEL))
    assert [(told.value(o, 3), told.value(o, 3, 2), told.text(o, 5)) for o in told.all("OBX")] == [
        ("answer", "Is there a nodule?", "The report does not answer this question."),
        ("answer", "Size?", "4 mm nodule"),
    ]


def test_what_holds_no_longer_is_told_as_deleted_and_a_corrected_report_gives_corrections() -> None:
    note = replace(note_of(), status=NoteStatus.CORRECTED)
    now, before = found(note, "one", "two")
    told = er7.read(hl7v2_out.results(note, [now], MODEL, withdrawn=[before]))
    assert [(o.raw(4)[:1], o.raw(11)) for o in told.all("OBX")] == [("1", "C"), ("2", "D")]


def test_a_message_is_named_by_what_it_tells() -> None:
    note = note_of()
    one, again, other = (hl7v2_out.results(note, found(note, q), MODEL) for q in ("one", "one", "two"))
    assert one == again
    ids = {er7.read(m).control_id for m in (one, other, hl7v2_out.document(note, found(note, "one"), MODEL))}
    assert len(ids) == 3
    assert {len(i) for i in ids} == {20}


@pytest.mark.parametrize("build", [hl7v2_out.results, hl7v2_out.document])
def test_hl7apy_finds_nothing_wrong_by_the_letter_of_the_standard(build, tmp_path) -> None:
    source, note = read(ORU.replace(rb" \X41\ ".strip(), b""))
    body = build(note, found(note, "Repeat CT | in ^ 3\nmonths."), MODEL, source)
    message: Built = parse_message(body.decode(), find_groups=True, validation_level=VALIDATION_LEVEL.STRICT)
    report = tmp_path / "report"
    assert message.validate(report_file=report)
    # Tables that a site fills itself (0396 takes any 99NAME, 0270 any type).
    left = [line for line in report.read_text().splitlines() if not line.startswith("Warning: Value")]
    assert left == []
