"""Versions in Triton's model repository are whole or absent, and the one before stays."""

import errno
import os
from importlib.util import cache_from_source

import pytest

from serving import artifact as artifacts
from serving.artifact import ArtifactError
from serving.compilation import compile_bundle
from serving.engine import EngineError
from serving.repository import publish, version_of, versions
from tests import tiny_bundle


@pytest.fixture
def artifact(tmp_path):
    return compile_bundle(tiny_bundle.write(tmp_path / "bundle" / "tiny"), tmp_path / "artifact", "onnxruntime")


def test_what_is_published_is_what_triton_expects(artifact, tmp_path):
    assert publish(tmp_path / "repository", "clip", artifact) == 1
    version = tmp_path / "repository" / "clip" / "1"
    assert (version / "model.py").read_text() == "from serving.triton_backend import TritonPythonModel\n"
    assert artifacts.load(version).bundle == "tiny@1"
    config = (tmp_path / "repository" / "clip" / "config.pbtxt").read_text()
    for line in ('name: "clip"', 'backend: "python"', "max_batch_size: 0", "kind: KIND_CPU count: 1", "num_versions: 2"):
        assert line in config


def test_versions_count_up_and_the_previous_one_is_kept(artifact, tmp_path):
    assert [publish(tmp_path / "repository", "clip", artifact) for _ in range(4)] == [1, 2, 3, 4]
    assert versions(tmp_path / "repository", "clip") == [3, 4]


def test_models_are_versioned_apart(artifact, tmp_path):
    publish(tmp_path / "repository", "clip", artifact)
    assert publish(tmp_path / "repository", "radqa", artifact) == 1


def test_the_version_of_a_bundle_is_found_again(artifact, tmp_path):
    second = compile_bundle(tiny_bundle.write(tmp_path / "bundle" / "2", version=2), tmp_path / "artifact-2", "onnxruntime")
    repository = tmp_path / "repository"
    assert version_of(repository, "clip", "tiny@1") is None
    publish(repository, "clip", artifact)
    publish(repository, "clip", second)
    assert [version_of(repository, "clip", bundle) for bundle in ("tiny@1", "tiny@2", "tiny@3")] == [1, 2, None]


def test_a_damaged_version_counts_as_absent_and_the_one_before_it_stands(artifact, tmp_path):
    repository = tmp_path / "repository"
    for _ in range(2):
        publish(repository, "clip", artifact)
    (repository / "clip" / "2" / "model.onnx").write_bytes(b"something else")
    assert version_of(repository, "clip", "tiny@1") == 1
    (repository / "clip" / "1" / "artifact.json").write_text("{")
    assert version_of(repository, "clip", "tiny@1") is None


@pytest.mark.parametrize("published_before", [0, 1])
def test_a_full_disk_publishes_nothing_and_leaves_nothing(published_before, artifact, tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    for _ in range(published_before):
        publish(repository, "clip", artifact)
    before = sorted(tmp_path.rglob("*"))

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EngineError, match=r"cannot publish tiny@1 .*No space left on device; free space"):
            publish(repository, "clip", artifact)
    assert [path for path in sorted(tmp_path.rglob("*")) if path != repository] == [path for path in before if path != repository]
    assert publish(repository, "clip", artifact) == published_before + 1


def test_an_artifact_that_changed_since_it_was_compiled_is_not_published(artifact, tmp_path):
    (artifact.folder / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ArtifactError, match="differs"):
        publish(tmp_path / "repository", "clip", artifact)
    assert versions(tmp_path / "repository", "clip") == []


@pytest.mark.parametrize("name", ["", "../clip", "clip/1", ".clip", 'clip"'])
def test_a_name_that_would_lead_elsewhere_is_refused(name, artifact, tmp_path):
    with pytest.raises(EngineError, match="cannot name a model"):
        publish(tmp_path / "repository", name, artifact)


def test_python_has_nothing_left_to_write_into_a_version(artifact, tmp_path):
    # A file that appears later would make Triton load the version a second time.
    publish(tmp_path / "repository", "clip", artifact)
    version = tmp_path / "repository" / "clip" / "1"
    assert os.path.exists(cache_from_source(str(version / "model.py")))
