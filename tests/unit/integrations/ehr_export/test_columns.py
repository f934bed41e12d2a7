import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from integrations.ehr_export import ExportConfig
from integrations.ehr_export.columns import IN_LINES
from integrations.ehr_export.notes import kind_of
from integrations.records import Identifier, NoteKind

WHEN = "2151-08-04 10:00:00"


@pytest.mark.parametrize(
    ("header", "row", "kind"),
    [
        # MIMIC-III NOTEEVENTS.csv; discharge summaries have a date only.
        (
            "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,STORETIME,CATEGORY,DESCRIPTION,CGID,ISERROR,TEXT",
            f"n,p,e,2151-08-04,2151-08-04 09:00:00,{WHEN},Discharge summary,Report,,,x",
            NoteKind.DISCHARGE_SUMMARY,
        ),
        (
            "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,STORETIME,CATEGORY,DESCRIPTION,CGID,ISERROR,TEXT",
            "n,p,e,2151-08-04 10:00:00,,,Radiology,CHEST,,,x",
            NoteKind.RADIOLOGY_REPORT,
        ),
        # MIMIC-IV-Note
        (
            "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text",
            f"n,p,e,DS,21,2151-08-03 00:00:00,{WHEN},x",
            NoteKind.DISCHARGE_SUMMARY,
        ),
        (
            "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text",
            f"n,p,e,RR,14,2151-08-03 00:00:00,{WHEN},x",
            NoteKind.RADIOLOGY_REPORT,
        ),
        # Epic Clarity
        (
            "NOTE_ID,PAT_ID,PAT_ENC_CSN_ID,IP_NOTE_TYPE,NOTE_FILE_DTTM,NOTE_TEXT",
            f"n,p,e,Discharge Summaries,{WHEN},x",
            NoteKind.DISCHARGE_SUMMARY,
        ),
        # Cerner Millennium
        (
            "EVENT_ID,PERSON_ID,ENCNTR_ID,EVENT_CD_DISPLAY,UPDT_DT_TM,BLOB_CONTENTS",
            f"n,p,e,Radiology Report,{WHEN},x",
            NoteKind.RADIOLOGY_REPORT,
        ),
        # OMOP
        (
            "note_id,person_id,note_date,note_datetime,note_type_concept_id,note_class_concept_id,note_title,note_text,visit_occurrence_id",
            f"n,p,2151-08-04,{WHEN},32817,706391,Discharge summary,x,e",
            NoteKind.DISCHARGE_SUMMARY,
        ),
    ],
)
def test_the_columns_of_common_extracts_are_known(read_one, header, row, kind):
    (note,), drops, remarks = read_one("n.csv", f"{header}\n{row}\n")
    assert (note.note_id, note.patient, note.encounter, note.text) == ("n", Identifier("p"), Identifier("e"), "x")
    assert (note.kind, note.written_at) == (kind, datetime(2151, 8, 4, 10, tzinfo=UTC))
    assert (drops, remarks) == ({}, {})


def test_a_mapped_column_counts_before_the_usual_ones(read_one):
    config = ExportConfig(columns={"text": "Befund Text", "patient": "KIS_NR"})
    content = "mrn;kis_nr;text;BEFUND-TEXT\n1;p;short;the report\n2;;short;\n"
    notes, _, remarks = read_one("n.csv", content, config)
    assert remarks == {}
    assert [(n.text, n.patient) for n in notes] == [("the report", Identifier("p")), ("short", Identifier("2"))]


def test_a_mapped_column_that_is_not_there_is_remarked(read_one):
    (note,), _, remarks = read_one("n.csv", "id,text\n1,x\n", ExportConfig(columns={"text": "BDOY"}))
    assert note.text == "x"
    ((remark, count),) = remarks.items()
    assert "for text" in remark
    assert count == 1


def test_notes_cut_into_lines_are_remarked_with_what_to_do(read_one):
    notes, _, remarks = read_one("HNO_NOTE_TEXT.csv", "NOTE_ID,LINE,NOTE_TEXT\n1,1,one\n1,2,two\n")
    assert (len(notes), remarks) == (2, {IN_LINES: 1})


def test_a_mapping_of_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="body"):
        ExportConfig.model_validate({"columns": {"body": "TEXT"}})


def test_a_table_without_a_column_of_text_says_how_to_name_it(read_one):
    _, drops, _ = read_one("n.csv", "id,befund\n1,x\n2,y\n")
    ((reason, count),) = drops.items()
    assert "[export] columns = { text = " in reason
    assert count == 1


@pytest.mark.parametrize("value", ["22532", "22532.0", 22532, 22532.0, " 22532 "])
def test_a_patient_is_the_same_however_a_data_frame_wrote_the_number(read_one, value):
    (note,), _, _ = read_one("n.jsonl", json.dumps({"subject_id": value, "text": "x"}))
    assert note.patient == Identifier("22532")


@pytest.mark.parametrize("value", [None, "", "NULL", "\\N", "NaN", [1], {}])
def test_what_says_that_nothing_is_there_is_no_patient(read_one, value):
    (note,), _, _ = read_one("n.jsonl", json.dumps({"patient_id": value, "text": "x"}))
    assert note.patient is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [("18842-5", "discharge_summary"), ("LP29684-5", "radiology_report"), ("ar", "radiology_report"), ("progress", "other")],
)
def test_a_kind_may_be_a_code(code, kind):
    assert kind_of(code) == kind
