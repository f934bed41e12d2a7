"""Bundle -> artifact: compiled for this host's engine, and held against the bundle's own answers before anyone sees it.

`compile_bundle` takes the best engine, compiles into a folder beside the target, opens what it compiled, asks it the
bundle's probe inputs and the hospital's own notes, compares, and only then renames the folder to its name.
"""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pretrain.bundle import PROBE, ModelBundle
from pretrain.tasks import clip
from serving import artifact, parity
from serving.artifact import Artifact
from serving.engine import EngineError, EngineModule, failed, load, working
from serving.parity import Parity, ParityError
from serving.predictor import Tagger

logger = logging.getLogger(__name__)

MIN_EQUAL_DECISIONS = 0.995
"""Sentences of the hospital's own notes that must get the very labels that float32 gives them, as a share."""
_REFERENCE = "onnxruntime"

BATCHES = (512, 1024, 2048, 4096, 16384)
"""Tokens of a batch that are tried: what is best for a CPU, where larger ones only lengthen the padding, and for a GPU."""
TIMED_CHARACTERS, TIMED_ROUNDS, AS_GOOD = 20_000, 2, 1.03


def compile_bundle(bundle: ModelBundle, folder: Path, preference: str = "auto", notes: Sequence[str] = ()) -> Artifact:
    """Compile `bundle` into `folder`, which appears whole and checked, or not at all.

    Args:
        bundle: with its ONNX graph, probe inputs and probe outputs.
        folder: must not exist; its parents are made.
        preference: as for `serving.engine.working`; with "auto" the next engine takes over where one refuses the model or answers
            differently.
        notes: of the hospital; a tagger must decide on them as it does in float32.
    Raises:
        EngineError: no engine works here, or each refuses the model, or the disk does.
        ParityError: the compiled model answers differently, with every engine.
    """
    name = bundle.manifest.identity
    if folder.exists():
        raise EngineError(f"{name}: {folder} exists already; remove it or compile into another folder")
    _refuse_unknown_operators(bundle)
    refusals: list[EngineError] = []
    for module in working(preference):
        try:
            return _compile(bundle, folder, module, notes)
        except OSError as error:
            raise EngineError(f"{name}: cannot write {folder}: {error.strerror}; free space or mend its rights") from error
        except EngineError as error:
            logger.warning("%s", error)
            refusals.append(error)
    kind = ParityError if all(isinstance(error, ParityError) for error in refusals) else EngineError
    raise kind("; ".join(map(str, refusals)))


def _compile(bundle: ModelBundle, folder: Path, module: EngineModule, notes: Sequence[str]) -> Artifact:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o755)
        module.compile(bundle.onnx, partial)
        shutil.copyfile(bundle.folder / PROBE, partial / artifact.GOLDEN)
        found = asdict(_check(bundle, module, partial)) | _check_decisions(bundle, module, partial, notes)
        artifact.describe(
            partial,
            engine=module.NAME,
            precision=module.PRECISION,
            bundle=bundle.manifest.identity,
            parity=found,
            tokens_per_batch=_fastest_batch(bundle, module, partial, notes),
        )
        os.rename(partial, folder)
        artifact.sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return artifact.load(folder)


def _refuse_unknown_operators(bundle: ModelBundle) -> None:
    """Say what no engine could run, in one line, before any of them is loaded."""
    import onnx

    try:
        model = onnx.load(bundle.onnx, load_external_data=False)
    except Exception as error:
        raise failed(
            f"{bundle.manifest.identity}: the ONNX graph cannot be read; train or copy the bundle again", error
        ) from error
    releases = {opset.domain: opset.version for opset in model.opset_import}
    for node in model.graph.node:
        release = releases.get(node.domain, 0)
        if not onnx.defs.has(node.op_type, max_inclusive_version=release, domain=node.domain):
            raise EngineError(
                f"{bundle.manifest.identity}: the ONNX graph has the operator {node.domain or 'ai.onnx'}:{node.op_type}, which "
                f"release {release} of ONNX does not have; export the model with a newer opset, or without it"
            )


def _check(bundle: ModelBundle, module: EngineModule, folder: Path) -> Parity:
    engine = module.open(folder)
    try:
        what = f"{bundle.manifest.identity} compiled by {module.NAME} in {module.PRECISION}"
        return parity.check(engine, bundle.probe(), module.PRECISION, what)
    finally:
        engine.close()


def _check_decisions(bundle: ModelBundle, module: EngineModule, folder: Path, notes: Sequence[str]) -> dict[str, float]:
    """How many sentences of the notes there are, and the share of them that get the labels that float32 gives them."""
    if bundle.manifest.task != "clip" or not notes:
        return {"sentences": 0, "equal_decisions": 1.0}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as reference:
        load(_REFERENCE).compile(bundle.onnx, Path(reference))
        expected = _decisions(bundle, load(_REFERENCE), Path(reference), notes)
    found = _decisions(bundle, module, folder, notes)
    agreement = sum(a == b for a, b in zip(found, expected, strict=True)) / max(1, len(expected))
    if agreement < MIN_EQUAL_DECISIONS:
        raise ParityError(
            f"{bundle.manifest.identity} compiled by {module.NAME} in {module.PRECISION}: decides otherwise than {_REFERENCE} in "
            f"{1 - agreement:.2%} of {len(expected):,} sentences of your own notes (allowed {1 - MIN_EQUAL_DECISIONS:.1%}); "
            "choose another engine"
        )
    return {"sentences": len(expected), "equal_decisions": agreement}


def _decisions(bundle: ModelBundle, module: EngineModule, folder: Path, notes: Sequence[str]) -> list[frozenset[str]]:
    """The labels of every sentence of every note."""
    engine = module.open(folder)
    try:
        tagged = Tagger(bundle, engine).tag(notes)
    finally:
        engine.close()
    labels: list[frozenset[str]] = []
    for text, said in zip(notes, tagged, strict=True):
        by_span: dict[tuple[int, int], set[str]] = {}
        for span in said.spans:
            by_span.setdefault((span.start, span.end), set()).add(span.label)
        labels += [frozenset(by_span.get((s.start, s.end), ())) for s in clip.sentences_of(text)]
    return labels


def _fastest_batch(bundle: ModelBundle, module: EngineModule, folder: Path, notes: Sequence[str]) -> int:
    """The smallest of `BATCHES` that is as good as the fastest on some of the notes, in tokens; measured by turns."""
    if bundle.manifest.task != "clip" or not notes:
        return artifact.TOKENS_PER_BATCH
    some = notes[: max(1, int(np.searchsorted(np.cumsum([len(note) for note in notes]), TIMED_CHARACTERS)))]
    engine = module.open(folder)
    try:
        taggers = {size: Tagger(bundle, engine, size) for size in BATCHES}
        seconds: dict[int, list[float]] = {size: [] for size in BATCHES}
        for _ in range(1 + TIMED_ROUNDS):
            for size, tagger in taggers.items():
                began = time.perf_counter()
                tagger.tag(some)
                seconds[size].append(time.perf_counter() - began)
    finally:
        engine.close()
    best = {size: min(took[1:]) for size, took in seconds.items()}  # the first round settles the engine's shapes
    return min(size for size, took in best.items() if took <= AS_GOOD * min(best.values()))
