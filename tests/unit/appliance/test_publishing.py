"""From the registry to an artifact and into Triton's model repository."""

import shutil
from pathlib import Path

import pytest

from appliance.home import Home
from appliance.publishing import artifact_of, own_notes, publish, published, tagger_of
from appliance.registry import Entry, Registry
from appliance.storage import Storage
from integrations.codecs import hl7v2
from pretrain.bundle import BundleError
from serving import artifact
from tests import tiny_bundle
from tests.appliance_process import discharge_summary


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.init()
    return home


def entry(home: Home) -> Entry:
    return Registry(home.models).add("q", "clip", lambda folder, version: tiny_bundle.write(folder, "q", version))


def test_a_model_is_compiled_once_and_tags(home: Home) -> None:
    first = entry(home)
    artifact = artifact_of(home, first, "onnxruntime")
    changed_at = (artifact.folder / "artifact.json").stat().st_mtime_ns
    assert artifact_of(home, first, "onnxruntime") == artifact
    assert (artifact.folder / "artifact.json").stat().st_mtime_ns == changed_at
    (tagged,) = tagger_of(home, first, "onnxruntime").tag(["Recheck the potassium on Friday."])
    assert tagged.n_sentences == 1


def test_a_model_trained_again_under_its_number_is_compiled_and_published_anew(home: Home) -> None:
    first = entry(home)
    old, folder = artifact_of(home, first, "onnxruntime"), publish(home, first, "onnxruntime")
    shutil.rmtree(first.folder)
    again = Registry(home.models).add("q", "clip", lambda folder, version: tiny_bundle.write(folder, "q", version, seed=1))
    assert again.reference == first.reference
    assert artifact_of(home, again, "onnxruntime").sha256 != old.sha256
    assert published(home, again) is None
    assert (folder.name, publish(home, again, "onnxruntime").name) == ("1", "2")
    assert published(home, again) == 2


def test_a_damaged_artifact_is_compiled_again(home: Home) -> None:
    first = entry(home)
    artifact = artifact_of(home, first, "onnxruntime")
    model = next(p for p in artifact.folder.iterdir() if p.suffix == ".onnx")
    whole = model.read_bytes()
    model.write_bytes(whole[:-1])
    artifact_of(home, first, "onnxruntime")
    assert model.read_bytes() == whole


def test_publishing_again_gives_the_same_version_and_another_model_the_next(home: Home) -> None:
    first, second = entry(home), entry(home)
    folders = [publish(home, e, "onnxruntime").name for e in (first, first, second, first)]
    assert folders == ["1", "1", "2", "1"]


def test_the_same_model_by_another_engine_is_another_version(home: Home) -> None:
    first = entry(home)
    folders = [publish(home, first, engine) for engine in ("onnxruntime", "openvino", "openvino", "onnxruntime")]
    assert [folder.name for folder in folders] == ["1", "2", "2", "3"]
    assert published(home, first) == 3
    assert [artifact.load(folder).engine for folder in folders[1:]] == ["openvino", "openvino", "onnxruntime"]


def test_a_damaged_version_in_tritons_repository_is_published_anew(home: Home) -> None:
    first = entry(home)
    (publish(home, first, "onnxruntime") / "model.onnx").write_bytes(b"something else")
    assert publish(home, first, "onnxruntime").name == "2"


def test_a_damaged_bundle_is_not_published_though_its_artifact_is_whole(home: Home) -> None:
    first = entry(home)
    artifact_of(home, first, "onnxruntime")
    with (first.folder / "model.onnx").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(BundleError):
        publish(home, first, "onnxruntime")
    assert not (home.repository / "clip").exists()


def test_a_model_compiled_before_any_note_came_is_checked_on_those_that_came_since(home: Home) -> None:
    first, storage = entry(home), Storage(home.database)
    assert artifact_of(home, first, "onnxruntime").parity["sentences"] == 0
    text = "Recheck the potassium on Friday. Call the clinic."
    storage.inbox.put("ward", "1", discharge_summary("1", text))
    message = storage.inbox.claim(60)
    assert message is not None
    note = hl7v2.note(hl7v2.read(message.body), hl7v2.ROUTES)
    storage.record(message.message_id, note, [], "q@1")
    storage.close()
    assert own_notes(home, "clip") == [text]
    assert own_notes(home, "radqa") == []
    publish(home, first, "onnxruntime")
    assert artifact_of(home, first, "onnxruntime").parity["sentences"] == 2
