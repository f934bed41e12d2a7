"""A finetuned model as a folder of files: written whole or not at all, and never believed before every byte is checked.

`manifest.json` holds what the model is and the SHA-256 of every other file; `manifest.sha256`, in the format of `sha256sum`,
holds the manifest's own. `write` makes the folder, `load` checks it and gives a `ModelBundle`.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from pretrain.judging import Judge

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
ONNX = "model.onnx"
TOKENIZER = "tokenizer.json"
PROBE = "probe.npz"
CARD = "model_card.md"
LOSS_CURVE = "loss_curve.png"
PAGE = "report.html"
"""In a base: the page about its pretraining."""

MANIFEST = "manifest.json"
SEAL = "manifest.sha256"
BASE = "base"
"""The task of a pretrained model before any task: weights and tokenizer, nothing to serve."""
REQUIRED = frozenset({WEIGHTS, CONFIG, ONNX, TOKENIZER, PROBE, CARD})
REQUIRED_OF_BASE = frozenset({WEIGHTS, CONFIG, TOKENIZER})


class BundleError(RuntimeError):
    """A bundle is not what its manifest says, or cannot be written; the message says what was found and what to do."""


class FileRecord(BaseModel):
    """What a file of the bundle must be, byte for byte."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size_bytes: int


class Manifest(BaseModel):
    """What a bundle says about itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    """Of the bundle's layout."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """The model's name, as in `train --name`."""
    task: str
    version: int = Field(ge=1)
    """Counts up within name and task."""
    size: str
    """Which family of models: mini, small, base or large."""
    labels: tuple[str, ...]
    """What the channels of `token_logits` mean."""
    cutoffs: tuple[float, ...]
    """A sentence is tagged where its score is at least the label's cut-off."""
    logit_scale: float = 1.0
    """What the logits are multiplied by before they become scores."""
    rules: float = 0.0
    """What the evidence of the follow-up rules is multiplied by before it is added; 0 where they are not asked."""
    biases: tuple[float, ...] = ()
    """Added after that, one per label; none where the scores were not calibrated."""
    sure_from: float | None = None
    """What scores less is shown as unsure; None where too little was shown to know, so that nothing is sure."""
    no_answer_cutoff: float = 0.0
    """Of a reader (RadQA): an answer is given where its score exceeds this."""
    cuts_by_kind: bool = False
    """Of a reader: whether the kind of the question trims its answer."""
    window_tokens: int = Field(ge=2)
    """The longest window the model was taught with, `</s>` included."""
    metrics: dict[str, Any]
    """As the task's `score` gives them, on notes the model has not seen; empty where none were left to measure on."""
    flops: dict[str, float]
    """Floating-point operations spent, by phase and counting rule."""
    corpus_fingerprint: str
    """Hash of the documents it was pretrained on; empty without pretraining."""
    taught_by: str
    """Whose labels, and on how many notes."""
    leak_gate: dict[str, Any] = {}
    """Whether the model, or its base, gives away what it read, as `pretrain.leakage` found; empty where nobody looked."""
    created_at: AwareDatetime
    """UTC."""
    package_version: str
    files: dict[str, FileRecord] = {}
    """Every other file of the folder by its name; filled in by `write`."""

    @property
    def identity(self) -> str:
        """As findings and errors name it: `q@3`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class ModelBundle:
    """A bundle that was checked when it was loaded."""

    folder: Path
    manifest: Manifest

    @property
    def weights(self) -> Path:
        """Weights of the torch module, safetensors."""
        return self.folder / WEIGHTS

    @property
    def onnx(self) -> Path:
        """The served graph: `input_ids`, `attention_mask` -> `token_logits`."""
        return self.folder / ONNX

    @property
    def tokenizer(self) -> Path:
        """For `Tokenizer.load`."""
        return self.folder / TOKENIZER

    @property
    def card(self) -> Path:
        """The model card, Markdown."""
        return self.folder / CARD

    @property
    def cutoffs(self) -> NDArray[np.float32]:
        """(L,)."""
        return np.array(self.manifest.cutoffs, np.float32)

    @property
    def judge(self) -> Judge:
        """A tagger's last step."""
        m = self.manifest
        biases = np.array(m.biases, np.float32) if m.biases else np.zeros(len(m.labels), np.float32)
        return Judge(self.cutoffs, m.logit_scale, m.rules, biases, m.sure_from)

    def probe(self) -> dict[str, NDArray[Any]]:
        """Inputs and float32 outputs by name, as the torch module gave them: what every engine must answer alike."""
        with np.load(self.folder / PROBE, allow_pickle=False) as arrays:
            return dict(arrays)


def write(folder: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> ModelBundle:
    """Write a bundle durably: afterwards `folder` is there and whole, or not there at all.

    Args:
        folder: must not exist; its parents are made.
        manifest: `files` is filled in here.
        files: contents, or where to copy them from, by name; `REQUIRED` at least, `REQUIRED_OF_BASE` for a base.
    Raises:
        BundleError: the folder exists, a file is missing, or the disk refuses.
    """
    if missing := _required(manifest) - files.keys():
        raise BundleError(f"{manifest.identity}: cannot write a bundle without {', '.join(sorted(missing))}")
    if folder.exists():
        raise BundleError(f"{manifest.identity}: {folder} exists already; a bundle is never overwritten, take the next version")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            partial.chmod(0o755)
            records = {name: _put(partial / name, content) for name, content in sorted(files.items())}
            sealed = manifest.model_copy(update={"files": records})
            body = (sealed.model_dump_json(indent=2) + "\n").encode()
            _put(partial / MANIFEST, body)
            _put(partial / SEAL, _seal(body))
            _sync(partial)
            os.rename(partial, folder)
            _sync(folder.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise BundleError(
            f"{manifest.identity}: cannot write {folder}: {error.strerror}; free space or mend its rights"
        ) from None
    return load(folder)


def load(folder: Path) -> ModelBundle:
    """Open a bundle, after `verify`.

    Raises:
        BundleError: as `verify`.
    """
    return ModelBundle(folder, verify(folder))


def verify(folder: Path) -> Manifest:
    """Check every byte of a bundle: first the manifest's own hash, then that of every file it names, and that there is no other.

    Raises:
        BundleError: a file is missing, is not in the manifest, has another size or hash, or cannot be read.
    """
    bundle = "/".join(folder.parts[-3:])  # in a registry: q/clip/1
    try:
        found = {path.name: path for path in folder.iterdir()}
        for path in found.values():
            if path.is_symlink() or not path.is_file():
                raise BundleError(f"{bundle}: {path.name} is not a plain file; copy the bundle again")
        for name in (MANIFEST, SEAL):
            if name not in found:
                raise BundleError(f"{bundle}: {name} is missing; copy the bundle again")
        manifest = _manifest(bundle, found.pop(MANIFEST).read_bytes(), found.pop(SEAL).read_bytes())
        if extra := found.keys() - manifest.files.keys():
            raise BundleError(f"{bundle}: {min(extra)} is not in the manifest; remove it or copy the bundle again")
        for name, record in manifest.files.items():
            if name not in found:
                raise BundleError(f"{bundle}: {name} is missing; copy the bundle again")
            _check(bundle, found[name], record)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be read: {error.strerror}; check the path and its rights") from None
    return manifest


def _manifest(bundle: str, body: bytes, seal: bytes) -> Manifest:
    if seal != _seal(body):
        raise BundleError(f"{bundle}: {MANIFEST} does not have the hash in {SEAL}; copy the bundle again")
    try:
        manifest = Manifest.model_validate_json(body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BundleError(f"{bundle}: {MANIFEST} cannot be understood at {where}; use the version that wrote it") from None
    if len(manifest.labels) != len(manifest.cutoffs):
        raise BundleError(
            f"{bundle}: {MANIFEST} has {len(manifest.labels)} labels and {len(manifest.cutoffs)} cut-offs; write it again"
        )
    if manifest.biases and len(manifest.biases) != len(manifest.labels):
        raise BundleError(
            f"{bundle}: {MANIFEST} has {len(manifest.labels)} labels and {len(manifest.biases)} biases; write it again"
        )
    if missing := _required(manifest) - manifest.files.keys():
        raise BundleError(f"{bundle}: {MANIFEST} does not list {min(missing)}; write the bundle again")
    return manifest


def _check(bundle: str, path: Path, record: FileRecord) -> None:
    size_bytes = path.stat().st_size
    if size_bytes != record.size_bytes:
        raise BundleError(
            f"{bundle}: {path.name} has {size_bytes} bytes, the manifest says {record.size_bytes}; copy the bundle again"
        )
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
            raise BundleError(f"{bundle}: {path.name} does not have the hash in the manifest; copy the bundle again")


def _required(manifest: Manifest) -> frozenset[str]:
    return REQUIRED_OF_BASE if manifest.task == BASE else REQUIRED


def _put(path: Path, content: bytes | Path) -> FileRecord:
    """Write one file and see it onto the disk."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.name):
        raise BundleError(f"{path.name!r} is no name for a file of a bundle; use letters, digits, dot, dash and underscore")
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)
    _sync(path)
    with path.open("rb") as file:
        return FileRecord(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=path.stat().st_size)


def _seal(body: bytes) -> bytes:
    return f"{hashlib.sha256(body).hexdigest()}  {MANIFEST}\n".encode()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
