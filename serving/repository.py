"""Triton's model repository: where artifacts are published, each version whole or absent.

    REPOSITORY/NAME/config.pbtxt
    REPOSITORY/NAME/1/{model.py, artifact.json, the engine's files}
    REPOSITORY/NAME/2/...

A version is staged beside the repository, in a folder that Triton never scans, and renamed into it. Triton serves the newest
two, so whoever asks for a version by number goes on being answered while the next one is loaded, and can go back to it.
"""

import os
import py_compile
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from py_compile import PycInvalidationMode

from serving import artifact as artifacts
from serving.artifact import Artifact, ArtifactError
from serving.engine import EngineError

KEPT_VERSIONS = 2

# max_batch_size 0: the first dimension is the graph's own. A note arrives as one request already packed by length, and
# Triton's batcher, which needs equal lengths, would only wait.
_CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: 0
input [
  {{ name: "input_ids" data_type: TYPE_INT64 dims: [ -1, -1 ] }},
  {{ name: "attention_mask" data_type: TYPE_INT64 dims: [ -1, -1 ] }}
]
output [ {{ name: "token_logits" data_type: TYPE_FP32 dims: [ -1, -1, -1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
version_policy: {{ latest {{ num_versions: {kept} }} }}
"""
_MODEL_PY = "from serving.triton_backend import TritonPythonModel\n"


def publish(repository: Path, name: str, artifact: Artifact) -> int:
    """Put a copy of `artifact` into the repository as the next version of model `name`; gives that version's number.

    Older versions than the one before it are removed.

    Raises:
        EngineError: the name cannot name a model, or the disk refuses; nothing is published then.
        ArtifactError: the artifact's files have changed since they were compiled.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise EngineError(f"{name!r} cannot name a model in Triton; use letters, digits, dash and underscore")
    model = repository / name
    try:
        repository.mkdir(parents=True, exist_ok=True)
        before = versions(repository, name)
        version = max(before, default=0) + 1
        with tempfile.TemporaryDirectory(prefix=f".{repository.name}-", dir=repository.parent) as staging:
            if not model.exists():
                _publish_first(Path(staging) / name, model, version, artifact)
            else:
                _stage(Path(staging) / str(version), artifact)
                _replace_config(Path(staging), model)
                os.rename(Path(staging) / str(version), model / str(version))
                artifacts.sync(model)
        for old in before[: max(0, len(before) + 1 - KEPT_VERSIONS)]:
            shutil.rmtree(model / str(old))
    except OSError as error:
        raise EngineError(
            f"cannot publish {artifact.bundle} to {model}: {error.strerror}; free space or mend its rights"
        ) from error
    return version


def versions(repository: Path, name: str) -> list[int]:
    """The published versions of model `name`, oldest first; empty where there is none."""
    model = repository / name
    return sorted(int(path.name) for path in model.iterdir() if path.name.isdecimal()) if model.is_dir() else []


def version_of(repository: Path, name: str, bundle: str) -> int | None:
    """The newest version of model `name` that was compiled from `bundle` (NAME@VERSION), if it is still published and whole.

    Triton refuses a damaged version by its hashes, as here; publishing the bundle again takes its place.
    """
    for version in reversed(versions(repository, name)):
        with suppress(ArtifactError):
            if artifacts.load(repository / name / str(version)).bundle == bundle:
                return version
    return None


def _publish_first(staged: Path, model: Path, version: int, artifact: Artifact) -> None:
    staged.mkdir()
    _stage(staged / str(version), artifact)
    _replace_config(staged, staged)
    os.rename(staged, model)
    artifacts.sync(model.parent)


def _stage(folder: Path, artifact: Artifact) -> None:
    folder.mkdir()
    for file in (*artifact.sha256, artifacts.MANIFEST):
        shutil.copyfile(artifact.folder / file, folder / file)
    model_py = folder / "model.py"
    model_py.write_text(_MODEL_PY, encoding="ascii")
    # Compiled here, or Python does it when Triton loads the version: a new file, which Triton takes for a new model to load.
    py_compile.compile(str(model_py), dfile=model_py.name, doraise=True, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    for path in (*folder.rglob("*"), folder):
        artifacts.sync(path)
    artifacts.load(folder)


def _replace_config(staging: Path, model: Path) -> None:
    """Write the model's configuration if it differs: Triton reloads every version when it changes."""
    config = _CONFIG.format(name=model.name, kept=KEPT_VERSIONS)
    target = model / "config.pbtxt"
    if target.exists() and target.read_text(encoding="ascii") == config:
        return
    partial = staging / "config.pbtxt.partial"
    partial.write_text(config, encoding="ascii")
    artifacts.sync(partial)
    os.replace(partial, target)
