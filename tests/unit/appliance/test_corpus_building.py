"""From an export to the corpus: the same whatever the workers, nothing made twice, a patient under one key."""

import csv
import json
import os
from collections import Counter

import pytest

from appliance import corpus_building
from appliance.corpus_building import build, group_of, patient_key
from appliance.parallel import WorkError
from integrations.ehr_export import ExportConfig, open_export
from pretrain.deid import DeidError, deidentifier
from tests.unit.pretrain.corpus.notes import text

KEY = b"of this home"


@pytest.fixture
def export(tmp_path):
    """Two formats, five patients of two notes each, one note saved again, one too short."""
    folder = tmp_path / "export"
    folder.mkdir()
    notes = [{"note_id": n, "patient_id": f"{n % 5}", "charttime": f"2024-05-{n + 1:02}", "text": text(n)} for n in range(10)]
    notes.append({"note_id": 10, "patient_id": "0", "charttime": "2024-06-01", "text": text(0) + " addendum"})
    (folder / "may.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes[:6]))
    with (folder / "june.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, notes[0])
        rows.writeheader()
        rows.writerows([*notes[6:], {**notes[0], "note_id": 11, "text": "Stable."}])
    (folder / "readme.pdf").write_text("")
    return folder


def built(export, folder, **options):
    drops = Counter()
    return build(open_export(export, drops), folder, KEY, drops=drops, **options)


def test_every_note_is_kept_or_dropped_under_a_reason(export, tmp_path):
    corpus = built(export, tmp_path / "corpus", workers=1)
    assert sorted(int(d.document_id) for d in [*corpus.train, *corpus.dev]) == list(range(1, 11))
    others = Counter(corpus.drops)
    assert (others.pop("too short"), others.pop("the same note saved again (same patient)")) == (1, 1)
    assert [(n, "is not" in reason) for reason, n in others.items()] == [(1, True)]


def test_two_workers_make_what_one_makes(export, tmp_path):
    one, two = (built(export, tmp_path / str(workers), workers=workers) for workers in (1, 2))
    assert [part.sha256 for part in one.parts] == [part.sha256 for part in two.parts]
    assert (list(one.train), list(one.dev), one.drops) == (list(two.train), list(two.dev), two.drops)


def test_documents_carry_no_patient_and_the_stamp(export, tmp_path):
    corpus = built(export, tmp_path / "corpus", workers=1)
    groups = {d.group for d in [*corpus.train, *corpus.dev]}
    assert groups == {group_of(KEY, str(n)) for n in range(5)}
    assert {d.deidentified_by for d in corpus.train} == {deidentifier().stamp}


def test_only_a_file_that_changed_is_read_again(export, tmp_path, monkeypatch):
    built(export, tmp_path / "corpus", workers=1)
    (export / "may.jsonl").write_text((export / "may.jsonl").read_text() + json.dumps({"text": text(99)}) + "\n")
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "corpus" / "parts").iterdir()}
    corpus = built(export, tmp_path / "corpus", workers=1)
    again = {path.name for path in (tmp_path / "corpus" / "parts").iterdir() if path.stat().st_mtime_ns != written[path.name]}
    assert len(again) == 2  # Parquet and JSON of one part
    assert len(corpus.train) + len(corpus.dev) == 11


def test_other_columns_or_another_key_are_another_corpus(export, tmp_path):
    first = built(export, tmp_path / "corpus", workers=1)
    groups = {d.group for d in first.train}
    drops = Counter()
    mapped = open_export(export, drops, ExportConfig(columns={"patient": "note_id"}))
    assert [part.sha256 for part in build(mapped, tmp_path / "corpus", KEY, workers=1).parts] != [p.sha256 for p in first.parts]
    other = build(open_export(export, drops), tmp_path / "corpus", b"other", workers=1)
    assert not {d.group for d in other.train} & groups


def test_a_part_of_a_file_that_is_gone_goes_too(export, tmp_path):
    built(export, tmp_path / "corpus", workers=1)
    (export / "june.csv").unlink()
    corpus = built(export, tmp_path / "corpus", workers=1)
    assert len(list((tmp_path / "corpus" / "parts").iterdir())) == 2
    assert len(corpus.train) + len(corpus.dev) == 6


def test_patients_and_texts_that_are_kept_out_are_counted(export, tmp_path):
    corpus = built(export, tmp_path / "corpus", workers=1, groups=[group_of(KEY, "00003.0")], evaluated=[text(1).upper()])
    assert corpus.drops["of a patient with labels or on the list to exclude"] == 2
    assert corpus.drops["evaluated on"] == 1


def test_where_de_identification_fails_nothing_is_read(export, tmp_path, monkeypatch):
    def broken():
        raise DeidError("its word lists are missing; install again")

    corpus_building._deidentifier.cache_clear()
    monkeypatch.setattr(corpus_building, "deidentifier", broken)
    with pytest.raises(DeidError, match="word lists"):
        built(export, tmp_path / "corpus", workers=1)
    assert not (tmp_path / "corpus").exists()


def test_where_de_identification_crashes_on_a_note_the_error_names_the_file_and_quotes_nothing(export, tmp_path, monkeypatch):
    class Crashing(type(deidentifier())):
        def __call__(self, document):
            raise ValueError(document.text)

    crashing = deidentifier()
    crashing.__class__ = Crashing
    monkeypatch.setattr(corpus_building, "_deidentifier", lambda: crashing)
    with pytest.raises(WorkError, match=r"^(may\.jsonl|june\.csv): ValueError$"):
        built(export, tmp_path / "corpus", workers=1)
    assert list((tmp_path / "corpus" / "parts").iterdir()) == []


def test_a_worker_with_another_de_identifier_is_refused(export, tmp_path, monkeypatch):
    stale = deidentifier()
    stale.stamp = "clinappliance-deid-0"
    stamps = iter([deidentifier(), stale, stale])
    monkeypatch.setattr(corpus_building, "_deidentifier", lambda: next(stamps))
    with pytest.raises(WorkError, match=r"NotDeidentified \(a document carries the stamp clinappliance-deid-0"):
        built(export, tmp_path / "corpus", workers=1)


@pytest.mark.parametrize("spelled", ["123", " 123\n", "00123", "123.0", "0123.00", "１２３", "123."])
def test_a_patient_is_one_group_however_the_number_is_spelled(spelled):
    assert group_of(KEY, spelled) == group_of(KEY, "123")


@pytest.mark.parametrize("other", ["1230", "12.3", "123.5", "a123", "", "0"])
def test_other_patients_are_other_groups(other):
    assert group_of(KEY, other) != group_of(KEY, "123") != group_of(b"other", "123")


def test_the_number_nought_and_letters_have_a_key_too():
    assert [patient_key(value) for value in ("0", "000", "0.0", "MRN-7a", "mrn-7A ")] == ["0", "0", "0", "mrn-7a", "mrn-7a"]


def test_nothing_readable_is_a_corpus_of_nothing(tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "a.txt").write_text("")
    corpus = built(tmp_path / "export", tmp_path / "corpus", workers=os.cpu_count() or 1)
    assert len(corpus.train) == 0
    assert sum(corpus.drops.values()) == 1
