import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from pydantic import ValidationError

from pretrain import bundle
from pretrain.bundle import BundleError, Manifest

FIELDS = {
    "name": "q",
    "task": "clip",
    "version": 3,
    "size": "mini",
    "labels": ("Lab", "Other"),
    "cutoffs": (0.5, 0.25),
    "window_tokens": 512,
    "metrics": {"micro_f1": 0.5},
    "flops": {"pretraining_6pt": 1e12},
    "corpus_fingerprint": "abc",
    "taught_by": "labels of 24 notes",
    "created_at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    "package_version": "0.1.0",
}
MANIFEST = Manifest(**FIELDS)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture
def files():
    contents = {name: f"{name} ".encode() * 20 for name in bundle.REQUIRED}
    return {**contents, bundle.PROBE: npz(input_ids=np.arange(6).reshape(2, 3))}


@pytest.fixture
def written(tmp_path, files):
    return bundle.write(tmp_path / "q-clip-3", MANIFEST, files).folder


def test_a_written_bundle_loads_with_everything_that_was_put_in(tmp_path, files):
    source = tmp_path / "curve.png"
    source.write_bytes(b"png")
    bundle.write(tmp_path / "deep" / "er" / "q-clip-3", MANIFEST, {**files, bundle.LOSS_CURVE: source})
    loaded = bundle.load(tmp_path / "deep" / "er" / "q-clip-3")
    assert loaded.manifest.model_copy(update={"files": {}}) == MANIFEST
    assert loaded.manifest.files.keys() == files.keys() | {bundle.LOSS_CURVE}
    assert loaded.onnx.read_bytes() == files[bundle.ONNX]
    assert (loaded.folder / bundle.LOSS_CURVE).read_bytes() == b"png"
    assert loaded.cutoffs.tolist() == [0.5, 0.25]
    assert loaded.probe()["input_ids"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert loaded.manifest.identity == "q@3"


def test_a_bundle_that_says_nothing_of_calibration_takes_its_logits_as_they_are(written):
    judge = bundle.load(written).judge
    assert (judge.cutoffs.tolist(), judge.model, judge.rules, judge.biases.tolist()) == ([0.5, 0.25], 1.0, 0.0, [0.0, 0.0])


def test_a_bundle_keeps_what_its_logits_are_worth(tmp_path, files):
    calibrated = MANIFEST.model_copy(update={"logit_scale": 0.5, "rules": 0.9, "biases": (-1.0, 2.0)})
    judge = bundle.write(tmp_path / "q", calibrated, files).judge
    assert (judge.model, judge.rules, judge.biases.tolist()) == (0.5, 0.9, [-1.0, 2.0])


def test_the_seal_is_one_that_sha256sum_checks(written):
    digest, name = (written / bundle.SEAL).read_text().split()
    assert digest == hashlib.sha256((written / name).read_bytes()).hexdigest()


def every_file():
    return sorted([*bundle.REQUIRED, bundle.MANIFEST, bundle.SEAL])


@pytest.mark.parametrize("name", every_file())
def test_a_flipped_bit_anywhere_in_a_file_is_found(written, name):
    whole = (written / name).read_bytes()
    for position in {0, len(whole) // 2, len(whole) - 1}:
        (written / name).write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(BundleError, match=r"hash .*; copy the bundle again"):
            bundle.load(written)


@pytest.mark.parametrize("name", every_file())
def test_a_truncated_file_is_found(written, name):
    os.truncate(written / name, 10)
    with pytest.raises(BundleError, match="copy the bundle again"):
        bundle.load(written)


@pytest.mark.parametrize("name", every_file())
def test_a_missing_file_is_named(written, name):
    (written / name).unlink()
    with pytest.raises(BundleError, match=f"q-clip-3: {name} is missing"):
        bundle.load(written)


def test_a_size_that_differs_is_told_in_bytes(written):
    os.truncate(written / bundle.ONNX, 10)
    with pytest.raises(BundleError, match=r"/q-clip-3: model\.onnx has 10 bytes, the manifest says 220; copy the bundle again$"):
        bundle.load(written)


def test_a_file_that_is_not_in_the_manifest_is_refused(written):
    (written / "extra.py").write_text("")
    with pytest.raises(BundleError, match=r"extra\.py is not in the manifest"):
        bundle.load(written)


def test_a_link_or_a_folder_inside_is_refused(written):
    (written / "inner").mkdir()
    with pytest.raises(BundleError, match="inner is not a plain file"):
        bundle.load(written)
    (written / "inner").rmdir()
    shutil.move(written / bundle.ONNX, written.parent / "elsewhere")
    (written / bundle.ONNX).symlink_to(written.parent / "elsewhere")
    with pytest.raises(BundleError, match=r"model\.onnx is not a plain file"):
        bundle.load(written)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"none: cannot be read: No such file"):
        bundle.load(tmp_path / "none")


def reseal(folder, change):
    record = json.loads((folder / bundle.MANIFEST).read_text())
    change(record)
    body = json.dumps(record).encode()
    (folder / bundle.MANIFEST).write_bytes(body)
    (folder / bundle.SEAL).write_text(f"{hashlib.sha256(body).hexdigest()}  {bundle.MANIFEST}\n")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda m: m.update(format=2), "cannot be understood at format"),
        (lambda m: m.update(colour="red"), "cannot be understood at colour"),
        (lambda m: m.pop("cutoffs"), "cannot be understood at cutoffs"),
        (lambda m: m.update(cutoffs=[0.5]), "2 labels and 1 cut-offs"),
        (lambda m: m.update(biases=[0.5]), "2 labels and 1 biases"),
        (lambda m: m["files"].pop(bundle.ONNX), r"does not list model\.onnx"),
        (lambda m: m["files"].update({"../x": m["files"][bundle.ONNX]}), r"\.\./x is missing"),
    ],
)
def test_a_manifest_of_another_make_is_refused_though_its_seal_is_right(written, change, found):
    reseal(written, change)
    with pytest.raises(BundleError, match=found):
        bundle.load(written)


def test_a_probe_that_would_run_code_is_not_unpickled(tmp_path, files):
    evil = npz(input_ids=np.array([{"a": 1}], dtype=object))
    loaded = bundle.write(tmp_path / "b", MANIFEST, {**files, bundle.PROBE: evil})
    with pytest.raises(ValueError, match="allow_pickle"):
        loaded.probe()


def test_a_bundle_is_never_overwritten(written, files):
    with pytest.raises(BundleError, match="exists already"):
        bundle.write(written, MANIFEST, files)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, files):
    for wrong in ({**files, bundle.ONNX: tmp_path / "not-there"}, {**files, "..": b""}, {bundle.ONNX: b""}):
        with pytest.raises(BundleError):
            bundle.write(tmp_path / "b", MANIFEST, wrong)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_rights_is_told(tmp_path, files):
    tmp_path.chmod(0o500)
    with pytest.raises(BundleError, match="Permission denied"):
        bundle.write(tmp_path / "b", MANIFEST, files)


@pytest.mark.parametrize("change", [{"name": "../q"}, {"version": 0}, {"created_at": datetime(2026, 1, 2)}, {"window_tokens": 1}])
def test_a_manifest_that_could_not_be_trusted_is_not_made(change):
    with pytest.raises(ValidationError):
        Manifest(**{**FIELDS, **change})


def test_opening_a_bundle_needs_no_torch():
    code = "import sys, pretrain.bundle, pretrain.tasks.clip; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
