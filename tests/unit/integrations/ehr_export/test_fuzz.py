"""Whatever bytes an export holds, reading it raises nothing, and every record is a note or a counted drop."""

import csv
import gzip
import io
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from integrations.ehr_export import open_export
from integrations.ehr_export.walking import FORMATS

NAMES = [
    *(f"n{ending}{packed}" for ending in FORMATS if ending not in {".parquet", ".rtf"} for packed in ("", ".gz", ".zst")),
    "n.parquet",
    "n.rtf",
]
HEADS = {
    ".csv": b"id,text\n1,",
    ".tsv": b"id\ttext\n1\t",
    ".jsonl": b'{"text": "',
    ".ndjson": b'{"resourceType": "DocumentReference", "content": [',
    ".hl7": b"MSH|^~\\&|",
    ".parquet": b"PAR1",
    ".txt": b"<html><p>",
    ".rtf": b"{\\rtf1 ",
}
fuzz = settings(max_examples=30, deadline=None, derandomize=True)


def outcome(name: str, content: bytes) -> tuple[list[str], Counter[str]]:
    """Texts and drops; the bytes told on the way add up to the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        drops: Counter[str] = Counter()
        told: list[int] = []
        export = open_export(path, drops)
        texts = [note.text for file in export.files for note in export.notes(file, drops, Counter(), told.append)]
        assert sum(told) == sum(file.size for file in export.files) == len(content)
        return texts, drops


def packed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content)
    return pa.compress(content, "zstd", asbytes=True) if name.endswith(".zst") else content


@pytest.mark.parametrize("name", NAMES)
@fuzz
@given(content=st.binary(max_size=300), with_head=st.booleans(), is_packed=st.booleans())
@example(content=b"", with_head=False, is_packed=True)
@example(content=b'"', with_head=True, is_packed=True)
@example(content=b"\xff\xfe\x00", with_head=False, is_packed=True)
def test_any_bytes_give_notes_or_counted_drops(name: str, content: bytes, with_head: bool, is_packed: bool) -> None:
    content = HEADS[Path(name.removesuffix(".gz").removesuffix(".zst")).suffix] * with_head + content
    texts, drops = outcome(name, packed(name, content) if is_packed else content)
    assert len(texts) + drops.total() >= 1


values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda v: st.lists(v, max_size=3))
records = st.dictionaries(st.sampled_from(["text", "id", "patient_id", "Category", "charttime", "iserror", "x"]), values)


@fuzz
@given(st.lists(records.map(json.dumps) | st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))))
def test_every_json_line_is_a_note_or_a_drop(lines: list[str]) -> None:
    texts, drops = outcome("n.jsonl", "\n".join(lines).encode())
    n_records = sum(not line.isspace() for line in lines if line.removeprefix("\ufeff"))
    assert len(texts) + drops.total() == max(1, n_records)


@fuzz
@given(st.lists(st.tuples(st.text(), st.text(), st.text())), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(",;\t|"))
def test_every_csv_row_is_a_note_or_a_drop(rows: list[tuple[str, ...]], line_end: str, delimiter: str) -> None:
    table = io.StringIO(newline="")
    # Python's csv quotes only those line ends that it writes itself.
    quoting = csv.QUOTE_ALL if {"\r", "\n"} & set("".join(map("".join, rows))) else csv.QUOTE_MINIMAL
    writer = csv.writer(table, lineterminator=line_end, delimiter=delimiter, quoting=quoting)
    writer.writerows([("id", "text", "note_type"), *rows])
    texts, drops = outcome("n.csv", table.getvalue().encode())
    assert len(texts) + drops.total() == max(1, len(rows))
    assert [t for t in texts if not t.startswith(("<", "{"))] == [
        t for _, t, _ in rows if t.strip() and "\0" not in t and not t.startswith(("<", "{"))
    ]


columns = st.sampled_from([pa.string(), pa.large_string(), pa.binary(), pa.int64(), pa.float64(), pa.timestamp("ns", "UTC")])


@fuzz
@given(st.lists(st.none() | st.integers(-(2**50), 2**50), max_size=20), st.tuples(columns, columns, columns))
def test_every_parquet_row_is_a_note_or_a_drop(numbers: list[int | None], types: tuple[pa.DataType, ...]) -> None:
    arrays = [pa.array(numbers, pa.int64()).cast(kind, safe=False) if kind != pa.binary() else
              pa.array([None if n is None else str(n).encode() for n in numbers], kind) for kind in types]  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(zip(("text", "person_id", "note_datetime"), arrays, strict=True))), buffer)
    texts, drops = outcome("n.parquet", buffer.getvalue())
    assert len(texts) + drops.total() == max(1, len(numbers))


def objects(*keys: str, **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects that hold anything under these keys, and what is known under those; or anything else."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(keys, values) | known) | values


resources = st.fixed_dictionaries(
    {"resourceType": st.sampled_from(["DocumentReference", "DiagnosticReport", "Composition", "Patient"]) | values},
    optional=dict.fromkeys(["id", "status", "conclusion", "text", "date"], values)
    | {
        "subject": objects("reference", "identifier"),
        "type": objects(coding=st.lists(objects("code", "display"), max_size=2)),
        "content": st.lists(objects(attachment=objects("data", "contentType", "url")), max_size=2) | values,
        "presentedForm": st.lists(objects("data", "contentType", "url"), max_size=2) | values,
        "section": st.lists(objects("title", "section", text=objects("div")), max_size=2) | values,
    },
)


@fuzz
@given(st.lists(resources, max_size=5))
def test_every_fhir_resource_is_a_note_or_a_drop(found: list[dict[str, Any]]) -> None:
    texts, drops = outcome("n.ndjson", "\n".join(map(json.dumps, found)).encode())
    assert len(texts) + drops.total() == max(1, len(found))


MESSAGE = b"MSH|^~\\&|A|B|C|D|2026||MDM^T02|%d|P|2.5.1\rPID|1||7^^^H\rTXA|1|DS\rOBX|1|TX|18842-5^^LN||note %d||||||F\r"


@fuzz
@given(
    st.integers(1, 5),
    st.sampled_from([(b"", b""), (b"", b"\r\n"), (b"\x0b", b"\x1c\r"), (b"FHS|x\rBHS|x\r", b"BTS|1\rFTS|1\r")]),
    st.binary(max_size=20).filter(lambda b: b"MSH" not in b),
)
def test_every_hl7_message_is_a_note_or_a_drop(n_messages: int, around: tuple[bytes, bytes], noise: bytes) -> None:
    messages = [around[0] + MESSAGE % (n, n) + around[1] for n in range(n_messages)]
    assert outcome("n.hl7", b"".join(messages)) == ([f"note {n}" for n in range(n_messages)], Counter())
    texts, drops = outcome("n.hl7", noise.join(messages))
    assert len(texts) + drops.total() >= n_messages


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@fuzz
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_compressed_file_cut_short_keeps_the_lines_before_and_says_so(ending: str, share: float) -> None:
    lines = [json.dumps({"text": f"note {n} {n * 7919 % 10007}"}) for n in range(500)]
    whole = packed(ending, "\n".join(lines).encode())
    texts, drops = outcome("n.jsonl" + ending, whole[: int(len(whole) * share)])
    assert texts == [json.loads(line)["text"] for line in lines[: len(texts)]]
    assert drops.total() == 1
