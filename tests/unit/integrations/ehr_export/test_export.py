import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from integrations.ehr_export import ExportError, read_notes
from integrations.ehr_export.columns import WITHOUT_TEXT
from integrations.ehr_export.delimited import UNCLOSED
from integrations.ehr_export.export import ENDINGS
from integrations.ehr_export.opening import MIXED, UTF_16, WINDOWS_1252
from integrations.records import Identifier, Note, NoteKind

CORPUS = Path(__file__).parents[5] / "shared/data/corpus"


def read(path: Path) -> tuple[list[Note], dict[str, int], dict[str, int]]:
    drops: Counter[str] = Counter()
    remarks: Counter[str] = Counter()
    return list(read_notes(path, drops, remarks)), dict(drops), dict(remarks)


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def test_a_folder_is_read_with_its_sub_folders_in_the_order_of_names(tmp_path):
    write(tmp_path / "b.jsonl", '{"note_id": "j1", "text": "two"}\n\n{"id": 7, "text": "three"}\n')
    write(tmp_path / "a.txt", "one")
    write(tmp_path / "c/d.csv", "note_id,text\nc1,four\n")
    write(tmp_path / "c/e.TXT", "five")
    notes, drops, _ = read(tmp_path)
    assert [(n.note_id, n.text) for n in notes] == [
        ("a.txt", "one"), ("j1", "two"), ("7", "three"), ("c1", "four"), ("c/e.TXT", "five"),
    ]  # fmt: skip
    assert drops == {}


def test_a_text_keeps_every_character_of_its_file(tmp_path):
    text = "  Line one\r\n\tline two\n\n\x0cpage two  "
    ((note,), _, _) = read(write(tmp_path / "n.txt", text))
    assert note.text == text


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"note_id": "n", "kind": "discharge_summary"}, NoteKind.DISCHARGE_SUMMARY),
        ({"note_id": "n", "CATEGORY": "Discharge summary"}, NoteKind.DISCHARGE_SUMMARY),
        ({"note_id": "n", "note_type": "Radiology"}, NoteKind.RADIOLOGY_REPORT),
        ({"note_id": "n", "kind": "progress"}, NoteKind.OTHER),
        ({"note_id": "n"}, NoteKind.OTHER),
    ],
)
def test_the_kind_of_a_note_is_taken_from_its_column(tmp_path, record, expected):
    ((note,), _, _) = read(write(tmp_path / "n.jsonl", json.dumps(record | {"Note Text": "x"})))
    assert (note.kind, note.text, note.note_id) == (expected, "x", "n")


def test_a_mimic_like_table_is_read_as_it_is(tmp_path):
    table = (
        "ROW_ID,SUBJECT_ID,HADM_ID,CHARTTIME,CATEGORY,TEXT\n"
        '174,22532,167853,2151-08-04 10:00:00,Discharge summary,"Admission Date:  [**2151-7-16**]\nService: ""ADDU""\n"\n'
    )
    ((note,), drops, _) = read(write(tmp_path / "NOTEEVENTS.csv", table))
    assert (note.note_id, note.patient, note.encounter) == ("174", Identifier("22532"), Identifier("167853"))
    assert note.text == 'Admission Date:  [**2151-7-16**]\nService: "ADDU"\n'
    assert (note.kind, note.written_at) == (NoteKind.DISCHARGE_SUMMARY, datetime(2151, 8, 4, 10, tzinfo=UTC))
    assert drops == {}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_may_be_separated_in_the_usual_ways(tmp_path, delimiter):
    content = f"\ufeffid{delimiter}text\r\n1{delimiter}one\r\n\r\n2{delimiter}two\r\n"
    notes, _, _ = read(write(tmp_path / "n.csv", content))
    assert [(n.note_id, n.text) for n in notes] == [("1", "one"), ("2", "two")]


def test_a_note_without_an_id_is_named_by_its_place(tmp_path):
    write(tmp_path / "a.jsonl", '{"text": "x"}\n{"note_id": null, "text": "y"}')
    write(tmp_path / "b.csv", "text\nz\n")
    assert [n.note_id for n in read(tmp_path)[0]] == ["a.jsonl:1", "a.jsonl:2", "b.csv:2"]


def test_an_id_that_holds_the_patients_number_is_replaced_by_a_hash(tmp_path):
    ((note,), _, _) = read(write(tmp_path / "n.jsonl", '{"note_id": "10000032-DS-21", "subject_id": 10000032, "text": "x"}'))
    assert len(note.note_id) == 16
    assert "10000032" not in f"{note!r}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-01T08:30:00-05:00", datetime(2026, 11, 1, 8, 30, tzinfo=timezone(timedelta(hours=-5)))),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("yesterday", None),
        (12, None),
    ],
)
def test_a_time_that_is_none_is_left_out(tmp_path, value, expected):
    ((note,), _, _) = read(write(tmp_path / "n.jsonl", json.dumps({"charttime": value, "text": "x"})))
    assert note.written_at == expected


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("n.jsonl", '{"text": "x"', "a line that is not JSON"),
        ("n.jsonl", "[" * 100_000, "a line that is not JSON"),
        ("n.jsonl", '{"text": ' + "1" * 5000 + "}", "a line that is not JSON"),
        ("n.jsonl", '["text"]', "a line that is not a JSON object"),
        ("n.jsonl", '{"note": null}', "no text"),
        ("n.jsonl", '{"body": "x"}', "no text"),
        ("n.jsonl", '{"text": ["x"]}', "text that is not a string"),
        ("n.jsonl", '{"text": " \\n"}', "empty text"),
        ("n.jsonl", '{"text": "half \\ud83d"}', "text with characters that do not exist"),
        ("n.txt", "", "empty text"),
        ("n.csv", "id,text\n1,one,more\n", "a .csv row with more or fewer fields than columns"),
        ("n.csv", "id,words\n1,one\n", WITHOUT_TEXT),
        ("n.csv", 'id,text,"more', UNCLOSED),
        ("n.csv", "", "a file that holds nothing"),
        ("n.tsv", "\n \n", "a file that holds nothing"),
        ("n.csv", "id,text\n", "a file that holds nothing"),
        ("n.jsonl", "\n\n", "a file that holds nothing"),
        ("n.jsonl.gz", gzip.compress(b""), "a file that holds nothing"),
        ("n.csv", "id,text\n1,\n", "empty text"),
        ("n.csv", "row_id,iserror,text\n1,1,one\n", "a note marked as an error (ISERROR)"),
        ("n.jsonl", '{"text": "{\\\\rtf1 \\\\par}"}', "empty text"),
        ("n.jsonl.gz", b"no gzip", "a compressed file that is damaged"),
        ("n.jsonl.zst", b"no zstd", "a compressed file that is damaged"),
        ("n.parquet", b"no parquet", "a Parquet file that is damaged or encrypted"),
        ("n.hl7", "no HL7", "what stands in an .hl7 file before its first message (MSH)"),
        ("n.pdf", "%PDF", f"a file that is not {ENDINGS}"),
        ("n.gz", gzip.compress(b"what is it?"), f"a file that is not {ENDINGS}"),
        ("n.parquet.gz", b"", f"a file that is not {ENDINGS}"),
    ],
)
def test_what_cannot_be_read_is_counted_under_its_reason_and_the_rest_goes_on(tmp_path, name, content, reason):
    write(tmp_path / name, content)
    write(tmp_path / "z.txt", "the rest")
    notes, drops, _ = read(tmp_path)
    assert ([n.text for n in notes], drops) == (["the rest"], {reason: 1})


def test_text_that_is_not_utf_8_is_kept_and_counted(tmp_path):
    write(tmp_path / "a.txt", "Température 38,5 °C – “repos”", "cp1252")
    write(tmp_path / "b.txt", b"caf\xe9 \x81")
    write(tmp_path / "c.jsonl", '{"text": "été"}\n'.encode("latin-1") + '{"text": "été"}\n'.encode())
    write(tmp_path / "d.csv", "id,text\n1,été\n", "latin-1")
    write(tmp_path / "e.csv", "id,text\n1,été\n", "utf-16")
    write(tmp_path / "f.csv", "id,text\n1,été\n", "utf-16-le")
    write(tmp_path / "f.txt", "été", "utf-16-be")
    write(tmp_path / "g.txt", b"\xfe\xff" + "été".encode("utf-16-be"))
    notes, drops, remarks = read(tmp_path)
    texts = ["Température 38,5 °C – “repos”", "café \x81", "été", "été", "été", "été", "été", "été", "été"]
    assert [n.text for n in notes] == texts
    assert drops == {}
    assert remarks == {WINDOWS_1252: 3, MIXED: 1, UTF_16: 4}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("n.txt", "a .txt file larger than 64 MB"),
        ("n.jsonl", "larger than 64 MB without a line end"),
        ("n.csv", "larger than 64 MB without a line end"),
    ],
)
def test_300_mb_in_one_line_is_left_out_without_being_loaded(tmp_path, name, reason):
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b"id,text\n" if name.endswith("csv") else b"")
        file.seek(300 * 1024 * 1024, os.SEEK_CUR)  # A hole: zeros that take no room on the disk.
        file.write(b"\n" + {"n.txt": b"", "n.jsonl": b'{"id": 2, "text": "next"}', "n.csv": b"2,next"}[name])
    code = (
        "import resource, sys; from collections import Counter; from pathlib import Path\n"
        "from integrations.ehr_export import read_notes\n"
        "resource.setrlimit(resource.RLIMIT_AS, (250 << 20, 250 << 20))\n"
        "drops = Counter(); print([n.note_id for n in read_notes(Path(sys.argv[1]), drops)], dict(drops))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == f"{[] if name == 'n.txt' else ['2']} {{{reason!r}: 1}}\n", done.stderr[-500:]


@pytest.mark.parametrize("n_after", [0, 3, 500])
def test_a_quote_that_is_never_closed_ends_its_file_and_not_the_run(tmp_path, monkeypatch, n_after):
    monkeypatch.setattr("integrations.ehr_export.opening.MAX_BYTES", 1000)
    monkeypatch.setattr("integrations.ehr_export.opening.BLOCK_BYTES", 100)
    write(tmp_path / "a.csv", 'id,text\n1,one\n2,"two\n' + "3,three\n" * n_after)
    write(tmp_path / "b.csv", f"id,text\n4,{'x' * 900}\n")
    notes, drops, _ = read(tmp_path)
    assert [n.note_id for n in notes] == ["1", "4"]
    assert drops == {UNCLOSED: 1 + n_after}


def test_a_note_longer_than_128_kb_is_a_note(tmp_path):
    ((note,), _, _) = read(write(tmp_path / "n.csv", f"id,text\n1,{'word ' * 40_000}\n"))
    assert len(note.text) == 200_000


@pytest.mark.parametrize("pack", [gzip.compress, lambda b: pa.compress(b, "zstd", asbytes=True)])
def test_a_compressed_file_may_be_several_put_together(tmp_path, pack):
    ending = ".gz" if pack is gzip.compress else ".zst"
    parts = [b'{"text": "one"}\n{"te', b'xt": "two"}\n', b'{"text": "three"}']
    notes, drops, _ = read(write(tmp_path / f"n.jsonl{ending}", b"".join(map(pack, parts))))
    assert ([n.text for n in notes], drops) == (["one", "two", "three"], {})


def test_a_text_cut_short_is_left_out(tmp_path):
    write(tmp_path / "n.txt.gz", gzip.compress(b"Take 10 mg of it, but never more than 100 a day.")[:-12])
    write(tmp_path / "z.txt", "the rest")
    notes, drops, _ = read(tmp_path)
    assert ([n.text for n in notes], drops) == (["the rest"], {"a compressed file that ends too early": 1})


def test_links_are_followed_once_and_never_in_a_circle(tmp_path):
    write(tmp_path / "export/a.txt", "one")
    write(tmp_path / "elsewhere/b.txt", "two")
    (tmp_path / "export/self").symlink_to(tmp_path / "export")
    (tmp_path / "export/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "export/same.txt").symlink_to("a.txt")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "export")
    (tmp_path / "export/gone.txt").symlink_to("nowhere")
    (tmp_path / "export/loop.txt").symlink_to("loop.txt")
    notes, drops, _ = read(tmp_path / "export")
    assert sorted(n.text for n in notes) == ["one", "two"]
    assert drops == {"a file that cannot be read": 2}


def test_a_link_to_a_file_without_an_ending_is_read_by_its_own(tmp_path):
    write(tmp_path / "objects/5d41402a", "one")
    (tmp_path / "a.txt").symlink_to("objects/5d41402a")
    (tmp_path / "b.txt").symlink_to("objects/5d41402a")
    assert [n.note_id for n in read(tmp_path)[0]] == ["a.txt"]


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    write(tmp_path / "b.txt", "one")
    assert read(tmp_path)[1] == {"not a regular file": 1}


@pytest.mark.parametrize(
    ("make", "trouble"),
    [
        (lambda p: None, "there is no such file or folder"),
        (lambda p: p.mkdir(), "there is none at all"),
        (lambda p: write(p / "sub/report.pdf", "x"), "there is 1 of another kind"),
        (lambda p: write(p, "x"), "there is 1 of another kind"),
    ],
)
def test_nothing_to_read_is_told_in_one_line_before_anything_is_read(tmp_path, make, trouble):
    make(tmp_path / "export")
    with pytest.raises(ExportError, match=f"export: .*{trouble}") as caught:
        read_notes(tmp_path / "export", Counter())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "n.txt"])
def test_an_export_without_rights_is_told_in_one_line(tmp_path, name):
    path = write(tmp_path / "export/n.txt", "x").parent / name
    code = (
        "import os, sys; from collections import Counter; from pathlib import Path\n"
        "from integrations.ehr_export import ExportError, read_notes\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"  # root may read everything; nobody may not
        "try: read_notes(Path(sys.argv[1]), Counter())\n"
        "except ExportError as error: print(error)"
    )
    path.chmod(0)
    try:
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    finally:
        path.chmod(0o700)
    assert done.stdout == f"{path}: cannot be read (Permission denied); check its rights\n", done.stderr[-500:]


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus in {CORPUS}")
def test_the_open_corpus_is_read_without_a_loss():
    notes, drops, remarks = read(CORPUS)
    n_lines = sum(len(path.read_bytes().splitlines()) for path in CORPUS.glob("*.jsonl"))
    assert (len(notes), drops, remarks) == (n_lines, {}, {})
    kinds = Counter(n.kind for n in notes)
    assert (kinds[NoteKind.DISCHARGE_SUMMARY], kinds[NoteKind.RADIOLOGY_REPORT]) == (74, 233)
