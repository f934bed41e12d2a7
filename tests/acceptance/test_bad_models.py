"""A model that cannot be served as it is, and a host that cannot serve it, are refused in one line before anything is loaded."""

import hashlib
import json
from pathlib import Path

import pytest

from appliance.home import Home
from appliance.registry import Registry
from pretrain import bundle
from tests import tiny_bundle
from tests.acceptance.test_bad_input import clinappliance, on_a_disk_of, refused
from tests.appliance_process import make_home

COMMANDS = (("compile", "tiny@1"), ("models", "promote", "tiny@1"), ("models", "try", "tiny@1"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """With a model that is not promoted: nothing has been compiled."""
    home = make_home(tmp_path / "home")
    (home.models / "promoted.json").unlink()
    return home


@pytest.fixture
def model(home: Home) -> Path:
    return home.models / "tiny" / "clip" / "1"


def nothing_was_compiled(home: Home) -> bool:
    return not list(home.repository.iterdir()) and not list(home.root.glob("artifacts/tiny/clip/*/*"))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words))
@pytest.mark.parametrize("file", [bundle.WEIGHTS, bundle.ONNX, bundle.TOKENIZER, bundle.PROBE])
def test_a_changed_byte_in_any_file_of_a_model(words: tuple[str, ...], file: str, home: Home, model: Path) -> None:
    content = bytearray((model / file).read_bytes())
    content[len(content) // 2] ^= 1
    (model / file).write_bytes(content)
    refused(clinappliance(home.root, *words), f"tiny/clip/1: {file}", "hash", "copy the bundle again")
    assert nothing_was_compiled(home)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words))
def test_a_manifest_from_a_newer_version(words: tuple[str, ...], home: Home, model: Path) -> None:
    manifest = json.loads((model / bundle.MANIFEST).read_bytes()) | {"format": 2}
    body = json.dumps(manifest).encode()
    (model / bundle.MANIFEST).write_bytes(body)
    (model / bundle.SEAL).write_text(f"{hashlib.sha256(body).hexdigest()}  {bundle.MANIFEST}\n")
    refused(clinappliance(home.root, *words), "cannot be understood at format", "use the version that wrote it")
    assert nothing_was_compiled(home)


@pytest.mark.parametrize("engine", ["auto", "openvino", "onnxruntime"])
def test_a_graph_with_an_operator_that_nobody_knows(engine: str, home: Home) -> None:
    registry = Registry(home.models)
    registry.add("odd", "clip", lambda at, version: tiny_bundle.write(at, "odd", version, operator="Zebra"))
    ended = clinappliance(home.root, "compile", "odd", "--engine", engine)
    assert ended.code == 1
    assert "odd@1: the ONNX graph has the operator ai.onnx:Zebra, which release 20 of ONNX does not have; export" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not list(home.root.glob("artifacts/odd/clip/*/*"))


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_triton_of_another_release(command: str, tmp_path: Path, triton_environment: Path) -> None:
    home = make_home(tmp_path / "home")
    environment = tmp_path / "triton"
    (real,) = triton_environment.glob("lib/python*/site-packages")
    packages = environment / real.relative_to(triton_environment)
    packages.mkdir(parents=True)
    for entry in (*triton_environment.iterdir(), *real.iterdir()):
        if entry.name not in ("lib", "lib64") and not entry.name.startswith("nvidia_pytriton-"):
            ((packages if entry.parent == real else environment) / entry.name).symlink_to(entry)
    (packages / "nvidia_pytriton-0.5.0.dist-info").mkdir()
    (packages / "nvidia_pytriton-0.5.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nvidia-pytriton\nVersion: 0.5.0\n"
    )
    home.config.write_text(f'[triton]\nenvironment = "{environment}"\n')
    ended = clinappliance(home.root, command)
    refused(ended, f"{environment} has nvidia-pytriton 0.5.0, and this release starts 0.7.0", "run install.sh again")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_no_space_for_what_is_compiled(engine: str, tmp_path: Path, home: Home, model: Path) -> None:
    home.database.unlink(missing_ok=True)  # or opening it would be what there is no space for
    used = sum(path.stat().st_blocks for path in home.root.rglob("*")) * 512
    prefix = on_a_disk_of(f"{used // 1024 + 8}k", tmp_path / "disk", home)
    ended = clinappliance(tmp_path / "disk" / "home", "compile", "tiny@1", "--engine", engine, prefix=prefix)
    refused(ended, "tiny@1", "No space left on device", "free space")
