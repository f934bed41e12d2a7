"""A compiled model as files: an engine's own, beside `artifact.json` that says what they are.

Read wherever a model is opened, Triton's own environment included, so this module needs nothing but NumPy.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving import parity
from serving.engine import Engine, EngineError
from serving.engine import load as load_engine

MANIFEST = "artifact.json"
GOLDEN = "golden.npz"
"""The bundle's probe: inputs, and the outputs that the model must give for them each time it is opened."""
FORMAT = 1
_SEAL_BYTES = 65
TOKENS_PER_BATCH = 1024
"""Where nothing was measured: larger batches make a CPU no faster, only the padding longer."""


class ArtifactError(EngineError):
    """The files of an artifact are not those that were compiled; the message says which."""


@dataclass(frozen=True)
class Artifact:
    """A compiled model, its files checked."""

    folder: Path
    engine: str
    precision: str
    bundle: str
    """The bundle it was compiled from, NAME@VERSION."""
    sha256: Mapping[str, str]
    """Hex digest of each of the engine's files, by name."""
    parity: Mapping[str, float]
    """How far its answers lie from the bundle's own: see `serving.compilation.Parity`."""
    tokens_per_batch: int = TOKENS_PER_BATCH
    """The batch, padding included, with which it was fastest on this host."""

    def open(self) -> Engine:
        """The model, ready to run; it has answered the bundle's probe as the bundle does.

        Raises:
            EngineError: its engine does not work on this host, or refuses the files.
            ParityError: its answers are not the bundle's, as after a change of driver, GPU or library.
        """
        module = load_engine(self.engine)
        if reason := module.why_not():
            raise EngineError(f"{self.bundle} is compiled for {self.engine}: {reason}")
        engine = module.open(self.folder)
        try:
            # An earlier release kept no probe.
            if GOLDEN in self.sha256:
                with np.load(self.folder / GOLDEN, allow_pickle=False) as probe:
                    # In the precision of today: OpenVINO's is that of the CPU it runs on, but where 8 bits stand in the graph.
                    precision = "int8" if self.precision == "int8" else module.PRECISION
                    parity.check(engine, dict(probe), precision, f"{self.bundle} opened by {self.engine}")
        except BaseException:
            engine.close()
            raise
        return engine


def load(folder: Path) -> Artifact:
    """Read the artifact in `folder`, after every file's hash has been checked.

    Files that the manifest does not list are left alone: an engine or Python may cache beside them.

    Raises:
        ArtifactError: the manifest cannot be read, or a file is absent or differs.
    """
    try:
        fields = json.loads(_unsealed(folder))
        if fields.pop("format") != FORMAT:
            raise ArtifactError(f"{folder}: {MANIFEST} is of another release; compile the bundle again")
        artifact = Artifact(folder, **fields)
        found = {name: sha256(folder / name) for name in artifact.sha256}
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be read ({error.strerror}); compile the bundle again") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{folder}: {MANIFEST} is damaged; compile the bundle again") from error
    for name, digest in artifact.sha256.items():
        if found[name] != digest:
            raise ArtifactError(f"{artifact.bundle}: {name} differs from what was compiled; compile the bundle again")
    return artifact


def describe(folder: Path, **fields: Any) -> None:
    """Write the manifest of the files in `folder`, and see all of them onto the disk."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    manifest = {"format": FORMAT, **fields, "sha256": {path.name: sha256(path) for path in files}}
    body = json.dumps(manifest, indent=2).encode() + b"\n"
    (folder / MANIFEST).write_bytes(body + _seal(body))
    for path in (*files, folder / MANIFEST, folder):
        sync(path)


def _unsealed(folder: Path) -> bytes:
    """The manifest, once its last line has been found to be its own hash."""
    content = (folder / MANIFEST).read_bytes()
    body, seal = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
    if seal == _seal(body):
        return body
    # An earlier release wrote no such line.
    if content.endswith(b"}\n"):
        return content
    raise ArtifactError(f"{folder}: {MANIFEST} is damaged; compile the bundle again")


def _seal(body: bytes) -> bytes:
    return f"{hashlib.sha256(body).hexdigest()}\n".encode()


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """See a file, or the entries of a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
