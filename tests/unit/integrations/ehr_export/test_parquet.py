import io
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from integrations.ehr_export.columns import WITHOUT_TEXT
from integrations.ehr_export.opening import WINDOWS_1252
from integrations.records import Identifier


def parquet(columns, **options):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def test_rows_are_notes_with_their_columns(read_one):
    columns = {
        "note_text": ["one", None, "three"],
        "person_id": [7, 8, 9],
        "unread": [[1], [2], [3]],
        "note_title": ["a", "b", "c"],
    }
    notes, drops, _ = read_one("n.parquet", parquet(columns))
    assert [(n.note_id, n.text, n.patient, n.document_type) for n in notes] == [
        ("n.parquet:1", "one", Identifier("7"), "a"), ("n.parquet:3", "three", Identifier("9"), "c"),
    ]  # fmt: skip
    assert drops == {"no text": 1}


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (pa.array([datetime(2026, 11, 1, 8, 30)], pa.timestamp("ns")), "2026-11-01T08:30:00+00:00"),
        (
            pa.array([datetime(2026, 11, 1, 8, 30, tzinfo=UTC)], pa.timestamp("us", "America/New_York")),
            "2026-11-01T08:30:00+00:00",
        ),
        (pa.array([date(2026, 11, 1)]), "2026-11-01T00:00:00+00:00"),
        (pa.array(["2026-11-01 08:30"]), "2026-11-01T08:30:00+00:00"),
    ],
)
def test_a_time_may_be_of_any_type(read_one, time, expected):
    ((note,), _, _) = read_one("n.parquet", parquet({"text": ["x"], "charttime": time}))
    assert note.written_at.isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        pa.array(["x", "y"], pa.large_string()),
        pa.array([b"x", b"y"]),
        pa.array(["x", "y"]).dictionary_encode(),
    ],
)
def test_a_text_may_be_of_any_type_that_holds_text(read_one, text):
    notes, _, _ = read_one("n.parquet", parquet({"text": text}))
    assert [n.text for n in notes] == ["x", "y"]


def test_latin_1_in_a_column_of_strings_is_read_and_remarked(read_one):
    content = pa.array([b"x", b"\xe9t\xe9"])
    text = pa.Array.from_buffers(pa.string(), 2, content.buffers())
    notes, drops, remarks = read_one("n.parquet", parquet({"text": text}))
    assert ([n.text for n in notes], drops, remarks) == (["x", "été"], {}, {WINDOWS_1252: 1})


def test_a_table_without_a_column_of_text_is_one_drop(read_one):
    assert read_one("n.parquet", parquet({"id": [1], "befund": ["x"]})) == ([], {WITHOUT_TEXT: 1}, {})


def test_of_a_damaged_file_the_row_groups_that_are_whole_are_read(read_one):
    content = bytearray(parquet({"text": [f"note {n} " * 20 for n in range(600)]}, row_group_size=100, use_dictionary=False))
    middle = len(content) // 2
    content[middle : middle + 200] = b"\xff" * 200
    notes, drops, _ = read_one("n.parquet", bytes(content))
    assert len(notes) == 500
    assert drops == {"a row of a Parquet file where it is damaged": 100}
    assert [n.note_id for n in notes][-1] == "n.parquet:600"


def test_a_file_cut_short_is_counted(read_one):
    content = parquet({"text": ["x"]})
    assert read_one("n.parquet", content[:-10]) == ([], {"a Parquet file that is damaged or encrypted": 1}, {})
