"""Bundle -> artifact: compiled for this host's engine, and held against the bundle's own answers before anyone sees it.

`compile_bundle` takes the best engine, compiles into a folder beside the target, opens what it compiled, asks it the
bundle's probe inputs, compares, and only then renames the folder to its name.
"""

import logging
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from pretrain.bundle import PROBE, ModelBundle
from serving import artifact, parity
from serving.artifact import Artifact
from serving.engine import EngineError, EngineModule, working
from serving.parity import Parity, ParityError

logger = logging.getLogger(__name__)


def compile_bundle(bundle: ModelBundle, folder: Path, preference: str = "auto") -> Artifact:
    """Compile `bundle` into `folder`, which appears whole and checked, or not at all.

    Args:
        bundle: with its ONNX graph, probe inputs and probe outputs.
        folder: must not exist; its parents are made.
        preference: as for `serving.engine.working`; with "auto" the next engine takes over where one refuses the model or answers
            differently.
    Raises:
        EngineError: no engine works here, or each refuses the model, or the disk does.
        ParityError: the compiled model answers differently, with every engine.
    """
    name = bundle.manifest.identity
    if folder.exists():
        raise EngineError(f"{name}: {folder} exists already; remove it or compile into another folder")
    refusals: list[EngineError] = []
    for module in working(preference):
        try:
            return _compile(bundle, folder, module)
        except OSError as error:
            raise EngineError(f"{name}: cannot write {folder}: {error.strerror}; free space or mend its rights") from error
        except EngineError as error:
            logger.warning("%s", error)
            refusals.append(error)
    kind = ParityError if all(isinstance(error, ParityError) for error in refusals) else EngineError
    raise kind("; ".join(map(str, refusals)))


def _compile(bundle: ModelBundle, folder: Path, module: EngineModule) -> Artifact:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o755)
        module.compile(bundle.onnx, partial)
        shutil.copyfile(bundle.folder / PROBE, partial / artifact.GOLDEN)
        found = asdict(_check(bundle, module, partial))
        identity = bundle.manifest.identity
        artifact.describe(partial, engine=module.NAME, precision=module.PRECISION, bundle=identity, parity=found)
        os.rename(partial, folder)
        artifact.sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return artifact.load(folder)


def _check(bundle: ModelBundle, module: EngineModule, folder: Path) -> Parity:
    engine = module.open(folder)
    try:
        what = f"{bundle.manifest.identity} compiled by {module.NAME} in {module.PRECISION}"
        return parity.check(engine, bundle.probe(), module.PRECISION, what)
    finally:
        engine.close()
