import gzip
import pickle
import subprocess
import sys
from collections import Counter

import pytest

from integrations.ehr_export import ExportConfig, open_export
from integrations.ehr_export.walking import format_of


@pytest.fixture
def export(tmp_path):
    for name, content in {
        "a/1.txt": b"one", "a/2.txt.gz": gzip.compress(b"two"), "a/x.pdf": b"", "a/3.txt": b"three",
        "b.csv": b"text\nfour\n", "c.tsv.zst": b"", "d.jsonl": b'{"text": "five"}', "e.txt": b"six",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NOTEEVENTS.csv.gz", "delimited"), ("n.TSV", "delimited"), ("n.ndjson.ZST", "json_lines"), ("n.hl7", "hl7_archive"),
        ("n.parquet", "parquet"), ("n.parquet.gz", ""), ("n.gz", ""), ("n", ""), (".txt", ""), ("n.csv.bz2", ""),
    ],
)  # fmt: skip
def test_a_file_is_what_its_ending_says(name, expected):
    assert format_of(name) == expected


def test_small_neighbours_of_a_format_are_one_piece_of_work(export):
    drops = Counter()
    files = open_export(export, drops).files
    assert [(f.names, f.format) for f in files] == [
        (["b.csv", "c.tsv.zst"], "delimited"), (["d.jsonl"], "json_lines"),
        (["e.txt", "a/1.txt", "a/2.txt.gz", "a/3.txt"], "text"),
    ]  # fmt: skip
    assert [f.name for f in files] == ["b.csv", "d.jsonl", "e.txt"]
    assert files[2].size == sum((export / name).stat().st_size for name in files[2].names)
    assert drops.total() == 1


def test_a_piece_of_work_has_its_limits(export, monkeypatch):
    monkeypatch.setattr("integrations.ehr_export.walking.MOST_FILES", 2)
    assert [len(f.names) for f in open_export(export, Counter()).files] == [2, 1, 2, 2]
    monkeypatch.setattr("integrations.ehr_export.walking.MOST_BYTES", 1)
    assert [len(f.names) for f in open_export(export, Counter()).files] == [1] * 7


def test_the_bytes_told_on_the_way_are_those_on_the_disk(export):
    opened = open_export(export, Counter())
    for file in opened.files:
        told = []
        assert list(opened.notes(file, Counter(), Counter(), told.append))
        assert sum(told) == file.size


def test_an_export_can_be_sent_to_another_process(export):
    opened = open_export(export, Counter(), ExportConfig(columns={"text": "BODY"}))
    sent = pickle.loads(pickle.dumps(opened))
    assert sent == opened
    assert [n.text for f in sent.files for n in sent.notes(f, Counter(), Counter())] == [
        "four",
        "five",
        "six",
        "one",
        "two",
        "three",
    ]


def test_reading_a_file_twice_gives_the_same(export):
    opened = open_export(export, Counter())
    first, again = ([n for f in opened.files for n in opened.notes(f, Counter(), Counter())] for _ in range(2))
    assert first == again


def test_memory_stays_flat_however_many_notes_there_are(tmp_path):
    for n_lines in (2_000, 200_000):
        with gzip.open(tmp_path / f"{n_lines}.jsonl.gz", "wt", compresslevel=1) as file:
            file.writelines(f'{{"id": {n}, "mrn": {n}, "text": "{"" if n % 2 else "x"}"}}\n' for n in range(n_lines))
    code = (
        "import resource, sys; from collections import Counter; from pathlib import Path\n"
        "from integrations.ehr_export import read_notes\n"
        "drops = Counter(); n_notes = sum(1 for _ in read_notes(Path(sys.argv[1]), drops))\n"
        "print(n_notes, drops.total(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    found = []
    for n_lines in (2_000, 200_000):
        command = [sys.executable, "-c", code, str(tmp_path / f"{n_lines}.jsonl.gz")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        n_notes, n_drops, peak_kb = map(int, done.stdout.split())
        assert n_notes == n_drops == n_lines // 2
        found.append(peak_kb)
    # 10 MB measured, of blocks; 200,000 notes held would take 100 MB.
    assert found[1] - found[0] < 30_000
