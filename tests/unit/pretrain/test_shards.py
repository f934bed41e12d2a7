"""Token shards: what was written is what is read, or an error says so."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain import shards
from pretrain.corpus import NotDeidentified
from pretrain.tokenizer import train
from tests.unit.pretrain.corpus.notes import STAMP, at_most, note

DOCUMENTS = [np.array([3, 4, 5], np.int32), np.array([], np.int32), np.array([65_535], np.int32)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.lists(st.integers(0, 65_535), max_size=20), max_size=10))
def test_documents_are_read_as_they_were_written(tmp_path, documents):
    shard = shards.write(tmp_path / "train", (np.array(ids, np.int32) for ids in documents), 65_536)
    assert [shard.document(i).tolist() for i in range(len(shard))] == [ids for ids in documents if ids]
    assert len(shard.tokens) == sum(map(len, documents))


def test_a_shard_knows_what_it_was_made_of(tmp_path):
    written = shards.write(tmp_path / "train", DOCUMENTS, 65_536, source="notes of May")
    read = shards.load(tmp_path / "train")
    assert (read.source, read.vocab_size, read.sha256) == ("notes of May", 65_536, written.sha256)


def test_writing_again_replaces_the_shard(tmp_path):
    shards.write(tmp_path / "train", DOCUMENTS, 65_536)
    assert len(shards.write(tmp_path / "train", DOCUMENTS[:1], 65_536)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_ids_of_another_vocabulary_are_refused(tmp_path):
    with pytest.raises(shards.ShardError, match="document 1 has ids outside"):
        shards.write(tmp_path / "train", DOCUMENTS, 6)
    assert not (tmp_path / "train").exists()
    with pytest.raises(shards.ShardError, match="65536"):
        shards.write(tmp_path / "train", DOCUMENTS, 70_000)


@pytest.mark.parametrize("name", ["tokens.u16", "offsets.i64", "kinds.u8"])
def test_a_changed_byte_is_refused(tmp_path, name):
    shards.write(tmp_path / "train", DOCUMENTS, 65_536, kinds=["a", "b", "c"])
    data = bytearray((tmp_path / "train" / name).read_bytes())
    data[0] ^= 1
    (tmp_path / "train" / name).write_bytes(data)
    with pytest.raises(shards.ShardError, match=f"train/{name} is not what was written"):
        shards.load(tmp_path / "train")


def test_a_missing_or_foreign_shard_is_refused(tmp_path):
    with pytest.raises(shards.ShardError, match="holds no shard"):
        shards.load(tmp_path / "nothing")
    shards.write(tmp_path / "train", DOCUMENTS, 65_536)
    manifest = tmp_path / "train" / "shard.json"
    for content in ("", "[]", "{}", json.dumps({**json.loads(manifest.read_text()), "format": "other"})):
        manifest.write_text(content)
        with pytest.raises(shards.ShardError, match=r"start again|write it again"):
            shards.load(tmp_path / "train")


def test_the_kind_of_each_document_is_kept(tmp_path):
    shard = shards.write(tmp_path / "train", DOCUMENTS, 65_536, kinds=["other", "other", "radiology_report"])
    assert {kind: documents.tolist() for kind, documents in shard.by_kind().items()} == {"other": [0], "radiology_report": [1]}
    unknown = shards.write(tmp_path / "train", DOCUMENTS, 65_536)
    assert {kind: documents.tolist() for kind, documents in unknown.by_kind().items()} == {"": [0, 1]}


NOTES = [note(seed, kind=kind) for seed, kind in enumerate(["other", "discharge_summary", "other"])]
TOKENIZER = train([note.text for note in NOTES], 512)


def test_documents_become_the_ids_that_the_tokenizer_gives_them(tmp_path):
    shard = shards.tokenize(tmp_path / "train", NOTES, TOKENIZER, STAMP, "May")
    assert len(shard) == 3
    for i, document in enumerate(NOTES):
        assert np.array_equal(shard.document(i), TOKENIZER.encode(document.text).ids)
        assert shard.kinds[shard.kind_of[i]] == document.kind


def test_documents_without_the_stamp_never_become_tokens(tmp_path):
    shards.tokenize(tmp_path / "dev", NOTES, TOKENIZER, STAMP, "May")
    for found, asked in (("", STAMP), ("masker 0", STAMP), ("", ""), (STAMP, "")):
        with pytest.raises(NotDeidentified):
            shards.tokenize(tmp_path / "train", [NOTES[0], replace(NOTES[1], deidentified_by=found)], TOKENIZER, asked, "May")
    assert [path.name for path in tmp_path.iterdir()] == ["dev"]


def test_the_same_source_is_not_tokenized_again_and_another_is(tmp_path):
    def refused():
        raise AssertionError("read again")
        yield

    first = shards.tokenize(tmp_path / "train", NOTES, TOKENIZER, STAMP, "May")
    assert shards.tokenize(tmp_path / "train", refused(), TOKENIZER, STAMP, "May").sha256 == first.sha256
    for tokenizer, source in ((TOKENIZER, "June"), (train([NOTES[0].text], 300), "May")):
        with pytest.raises(AssertionError, match="read again"):
            shards.tokenize(tmp_path / "train", refused(), tokenizer, STAMP, source)


def test_a_disk_that_fills_in_mid_shard_is_a_clear_error_and_nothing_half_written_is_taken_for_whole(tmp_path):
    old = shards.write(tmp_path / "train", DOCUMENTS[:1], 65_536)
    with at_most(1_000_000), pytest.raises(shards.ShardError, match=r"train cannot be written.*free disk space"):
        shards.write(tmp_path / "train", itertools.repeat(np.arange(60_000)), 65_536)
    assert shards.load(tmp_path / "train").sha256 == old.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
