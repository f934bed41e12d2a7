"""A bit that has flipped in a model, wherever it lies, is found before anything is parsed."""

import os
import random
import shutil
from pathlib import Path

import pytest

from pretrain import bundle
from serving import artifact, engine
from serving.compilation import compile_bundle
from tests import tiny_bundle

FLIPS = int(os.environ.get("CLINAPPLIANCE_FLIPS", "1000"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    made = tiny_bundle.write(folder / "bundle" / "tiny")
    for name in ("onnxruntime", "openvino"):
        compile_bundle(made, folder / name, name)
    return folder


@pytest.mark.parametrize("what", ["bundle/tiny", "onnxruntime", "openvino"])
def test_a_flipped_bit_anywhere_is_refused_before_parsing(
    what: str, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(written / what, folder)
    read, refused = (bundle.load, bundle.BundleError) if what.startswith("bundle") else (artifact.load, artifact.ArtifactError)
    assert read(folder)

    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("it was parsed")

    for name in engine.ENGINES:
        monkeypatch.setattr(engine.load(name), "open", parsed)
    monkeypatch.setattr("pretrain.tokenizer.Tokenizer.load", parsed)
    monkeypatch.setattr("numpy.load", parsed)
    chance, files = random.Random(what), sorted(folder.iterdir())
    for number in range(FLIPS):
        # What describes the others is small, so each file gets its share.
        path = files[number % len(files)]
        body = path.read_bytes()
        at = chance.randrange(len(body))
        path.write_bytes(body[:at] + bytes([body[at] ^ 1 << chance.randrange(8)]) + body[at + 1 :])
        with monkeypatch.context() as describing:
            if path.name in (artifact.MANIFEST, bundle.MANIFEST, bundle.SEAL):
                describing.setattr("json.loads", parsed)
                describing.setattr(bundle.Manifest, "model_validate_json", parsed)
            with pytest.raises(refused):
                read(folder)
        path.write_bytes(body)
