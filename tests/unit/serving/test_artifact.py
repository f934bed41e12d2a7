"""An artifact is believed only once its files are what was compiled."""

import json

import pytest

from serving import artifact
from serving.artifact import ArtifactError
from serving.engine import EngineError

FIELDS = {"engine": "onnxruntime", "precision": "fp32", "bundle": "tiny@1", "parity": {"max_error": 0.0, "sign_agreement": 1.0}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"a model")
    artifact.describe(tmp_path, **FIELDS)
    return tmp_path


def test_an_artifact_reads_back_as_it_was_described(folder):
    loaded = artifact.load(folder)
    assert (loaded.engine, loaded.precision, loaded.bundle, loaded.parity) == tuple(FIELDS.values())
    assert set(loaded.sha256) == {"model.onnx"}


def test_a_changed_file_is_refused_by_name(folder):
    (folder / "model.onnx").write_bytes(b"a model!")
    with pytest.raises(ArtifactError, match=r"tiny@1: model\.onnx differs"):
        artifact.load(folder)


def test_a_missing_file_is_refused(folder):
    (folder / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact.load(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "color": "red"}'])
def test_a_damaged_manifest_is_refused(folder, content):
    (folder / "artifact.json").write_text(content)
    with pytest.raises(ArtifactError, match="damaged"):
        artifact.load(folder)


def test_a_manifest_without_the_line_with_its_hash_is_one_of_an_earlier_release(folder):
    *body, seal = (folder / "artifact.json").read_text().splitlines(keepends=True)
    assert len(seal) == 65
    (folder / "artifact.json").write_text("".join(body))
    assert artifact.load(folder).bundle == "tiny@1"


def test_the_format_of_another_release_is_refused(folder):
    *body, _ = (folder / "artifact.json").read_text().splitlines()
    (folder / "artifact.json").write_text(json.dumps(json.loads("".join(body)) | {"format": 2}) + "\n")
    with pytest.raises(ArtifactError, match="another release"):
        artifact.load(folder)


def test_what_python_caches_beside_the_files_does_not_matter(folder):
    (folder / "__pycache__").mkdir()
    assert artifact.load(folder).bundle == "tiny@1"


def test_an_engine_this_release_does_not_know_is_named(folder):
    artifact.describe(folder, **FIELDS | {"engine": "abacus"})
    with pytest.raises(EngineError, match="abacus"):
        artifact.load(folder).open()
