"""Token shards: what was written is what is read, or an error says so."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain import shards

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


@pytest.mark.parametrize("name", ["tokens.u16", "offsets.i64"])
def test_a_changed_byte_is_refused(tmp_path, name):
    shards.write(tmp_path / "train", DOCUMENTS, 65_536)
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
