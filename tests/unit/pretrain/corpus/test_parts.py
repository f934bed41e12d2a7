"""A part on disk: whole or not there, de-identified or not there, and not made twice."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pretrain.corpus import CorpusError, Document, NotDeidentified, Part, Source, parts, prepare
from tests.unit.pretrain.corpus.notes import SOURCE, STAMP, at_most, note, part, reading, text

NOTES = [note(1, kind="radiology_report", written_at="2024-05-01T10:00:00+02:00"), note(2, "Ünal")]


def stored(part: Part) -> list[Document]:
    return list(part.documents_where(np.ones(part.documents, bool)))


def test_documents_are_read_as_they_were_written(tmp_path):
    assert stored(part(tmp_path, NOTES)) == NOTES


def test_only_the_documents_that_are_wanted_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 2000)
    notes = [note(seed) for seed in range(20)]
    written = part(tmp_path, notes)
    wanted = np.isin(np.arange(20), [0, 7, 19])
    assert list(written.documents_where(wanted)) == [notes[0], notes[7], notes[19]]


@pytest.mark.parametrize("found", ["", "masker 0"])
def test_a_text_without_the_stamp_asked_for_never_reaches_the_disk(tmp_path, found):
    with pytest.raises(NotDeidentified, match="masker 1"):
        part(tmp_path, [NOTES[0], replace(NOTES[1], deidentified_by=found)])
    assert list((tmp_path / "parts").iterdir()) == []


def test_without_a_de_identifier_nothing_is_prepared(tmp_path):
    with pytest.raises(NotDeidentified, match="no de-identifier"):
        prepare(tmp_path, "may", SOURCE, "", reading([replace(NOTES[0], deidentified_by="")]))


def test_what_is_dropped_and_what_is_assumed_is_written_down(tmp_path):
    def documents(drops, remarks):
        drops["no text"] += 2
        remarks["read as Windows-1252"] += 1
        yield from [NOTES[0], replace(NOTES[1], text=" "), replace(NOTES[1], text="Stable."), NOTES[1]]

    prepare(tmp_path, "may", SOURCE, STAMP, documents)
    again = Part.load(tmp_path, "may")
    assert again.documents == 2
    assert again.characters == len(NOTES[0].text) + len(NOTES[1].text)
    assert again.drops == {"no text": 2, "empty": 1, "too short": 1}
    assert again.remarks == {"read as Windows-1252": 1}


def test_a_part_of_the_same_input_is_not_made_again(tmp_path):
    def refused(drops, remarks):
        raise AssertionError("read again")

    written = part(tmp_path, NOTES)
    assert prepare(tmp_path, "may", SOURCE, STAMP, refused) == written
    for source, stamp in ((Source(1, 101, "of May"), STAMP), (SOURCE, "masker 2")):
        with pytest.raises(AssertionError, match="read again"):
            prepare(tmp_path, "may", source, stamp, refused)


@pytest.mark.parametrize("ending", ["parquet", "json"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" + data[1:]])
def test_a_part_that_is_cut_short_or_altered_is_noticed_and_made_again(tmp_path, ending, damage):
    part(tmp_path, NOTES)
    file = tmp_path / "parts" / f"may.{ending}"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CorpusError, match="read the export again"):
        Part.load(tmp_path, "may")
    assert stored(part(tmp_path, NOTES)) == NOTES


def test_a_part_that_goes_while_it_is_used_is_a_clear_error(tmp_path):
    written = part(tmp_path, NOTES)
    written.path.unlink()
    with pytest.raises(CorpusError, match=r"may\.parquet is gone or altered"):
        stored(written)


def test_a_part_of_another_version_is_made_again(tmp_path):
    part(tmp_path, NOTES)
    manifest = tmp_path / "parts" / "may.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": "other signatures"}))
    with pytest.raises(CorpusError, match="another version"):
        Part.load(tmp_path, "may")


def test_an_input_without_a_usable_note_is_a_part_all_the_same(tmp_path):
    def nothing(drops, remarks):
        drops["empty text"] += 2_000_000
        return iter(())

    prepare(tmp_path, "may", SOURCE, STAMP, nothing)
    empty = Part.load(tmp_path, "may")
    assert (empty.documents, stored(empty), empty.drops) == (0, [], {"empty text": 2_000_000})


def test_a_full_disk_is_a_clear_error_and_leaves_no_part(tmp_path):
    with at_most(1000), pytest.raises(CorpusError, match=r"may\.parquet cannot be written.*free disk space"):
        part(tmp_path, NOTES)
    assert list((tmp_path / "parts").iterdir()) == []


def test_an_error_in_reading_leaves_no_part(tmp_path):
    def broken(drops, remarks):
        yield NOTES[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepare(tmp_path, "may", SOURCE, STAMP, broken)
    assert list((tmp_path / "parts").iterdir()) == []


@pytest.mark.parametrize("strange", ["\ud800", "a" * 300_000, "\u00e9\u4e2d\u0e01 " * 50, "\U0001f600"])
def test_strange_text_is_kept_as_it_is_or_dropped(tmp_path, strange):
    document = replace(NOTES[0], text=f"{text(3)} {strange}")
    written = part(tmp_path, [document, NOTES[1]])
    assert [d.text for d in stored(written)] in ([document.text, NOTES[1].text], [NOTES[1].text])
    assert written.documents + sum(Counter(written.drops).values()) == 2


def test_no_error_and_no_repr_quotes_a_text(tmp_path):
    with pytest.raises(NotDeidentified) as caught:
        part(tmp_path, [replace(NOTES[0], deidentified_by="")])
    assert NOTES[0].text[:10] not in str(caught.value)
    assert NOTES[0].text[:10] not in repr(part(tmp_path, NOTES))
