"""Bundle -> artifact: compiled for this host's engine, and held against the bundle's own answers before anyone sees it.

`compile_bundle` takes the best engine, compiles into a folder beside the target, opens what it compiled, asks it the
bundle's probe inputs and the hospital's own notes, compares, and only then renames the folder to its name. Where the
hardware is made for 8-bit integers, it tries the same in these.
"""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pretrain.bundle import PROBE, ModelBundle
from pretrain.tasks import clip
from pretrain.tokenizer import Tokenizer
from serving import artifact, parity, quantization
from serving.artifact import Artifact
from serving.engine import INPUTS, Engine, EngineError, EngineModule, failed, load, working
from serving.parity import ParityError
from serving.predictor import Tagger

logger = logging.getLogger(__name__)

MIN_EQUAL_DECISIONS = {"fp32": 0.995, "bf16": 0.995, "fp16": 0.995, "int8": 0.99}
"""Sentences of the hospital's own notes that must get the very labels that float32 gives them, as a share."""
MIN_SENTENCES_FOR_INT8 = 500
"""Of notes that did not set the scales; with fewer a share of one in a hundred is chance."""
CALIBRATING_SHARE = 4
"""One in so many notes sets the scales."""
FASTER = 0.95
"""Of the time of the other precision at most this, for 8 bits to be worth their rounding."""
_REFERENCE = "onnxruntime"

Decisions = list[frozenset[str]]
"""The labels of each sentence of a note."""

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
        notes: of the hospital; a tagger must decide on them as it does in float32. Only with some hundred sentences of them it is
            tried in 8-bit integers.
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


@dataclass(frozen=True)
class _Compiled:
    """An engine's files, checked, but not yet where they belong."""

    folder: Path
    precision: str
    parity: dict[str, float]
    tokens_per_batch: int
    seconds: float
    """That the timed notes took with these batches; 0 where none were."""


def _compile(bundle: ModelBundle, folder: Path, module: EngineModule, notes: Sequence[str]) -> Artifact:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        decided = _decisions_in_float32(bundle, Path(scratch) / "reference", notes)
        best = _compiled(bundle, Path(scratch) / "float", module, module.PRECISION, bundle.onnx, notes, decided)
        if module.INT8:
            best = _in_int8(bundle, Path(scratch), module, notes, decided, best)
        artifact.describe(
            best.folder,
            engine=module.NAME,
            precision=best.precision,
            bundle=bundle.manifest.identity,
            parity=best.parity,
            tokens_per_batch=best.tokens_per_batch,
        )
        os.rename(best.folder, folder)
        artifact.sync(folder.parent)
    return artifact.load(folder)


def _compiled(
    bundle: ModelBundle,
    folder: Path,
    module: EngineModule,
    precision: str,
    onnx: Path,
    notes: Sequence[str],
    decided: Sequence[Decisions],
) -> _Compiled:
    """The model at `onnx` compiled into `folder`; it has answered the probe, and decided on the notes as float32 did."""
    folder.mkdir(mode=0o755)
    module.compile(onnx, folder)
    shutil.copyfile(bundle.folder / PROBE, folder / artifact.GOLDEN)
    engine = module.open(folder)
    try:
        what = f"{bundle.manifest.identity} compiled by {module.NAME} in {precision}"
        found = asdict(parity.check(engine, bundle.probe(), precision, what))
        found |= _held_against(decided, _decisions(bundle, engine, notes), precision, what)
        return _Compiled(folder, precision, found, *_fastest_batch(bundle, engine, notes))
    finally:
        engine.close()


def _in_int8(
    bundle: ModelBundle,
    scratch: Path,
    module: EngineModule,
    notes: Sequence[str],
    decided: Sequence[Decisions],
    in_float: _Compiled,
) -> _Compiled:
    """The same in 8-bit integers if that is faster and decides alike on notes that did not set its scales; else as it is."""
    calibrating = len(notes) // CALIBRATING_SHARE
    judging, decided = notes[calibrating:], decided[calibrating:]
    if not calibrating or sum(map(len, decided)) < MIN_SENTENCES_FOR_INT8:
        return in_float
    tokenizer = Tokenizer.load(bundle.tokenizer)
    encoded = (clip.encode(text, tokenizer, bundle.manifest.window_tokens) for text in notes[:calibrating])
    try:
        quantized = scratch / "int8.onnx"
        quantization.quantize(
            bundle.onnx, quantized, (dict(zip(INPUTS, clip.pad(note.windows), strict=True)) for note in encoded)
        )
        in_int8 = _compiled(bundle, scratch / "int8", module, "int8", quantized, judging, decided)
    except EngineError as error:
        logger.info("%s; it stays in %s", error, in_float.precision)
        return in_float
    return in_int8 if in_int8.seconds < FASTER * in_float.seconds else in_float


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


def _decisions_in_float32(bundle: ModelBundle, folder: Path, notes: Sequence[str]) -> list[Decisions]:
    if bundle.manifest.task != "clip" or not notes:
        return []
    folder.mkdir()
    load(_REFERENCE).compile(bundle.onnx, folder)
    engine = load(_REFERENCE).open(folder)
    try:
        return _decisions(bundle, engine, notes)
    finally:
        engine.close()


def _decisions(bundle: ModelBundle, engine: Engine, notes: Sequence[str]) -> list[Decisions]:
    """Of every note the labels of each sentence."""
    if bundle.manifest.task != "clip":
        return []
    decided = []
    for text, said in zip(notes, Tagger(bundle, engine).tag(notes), strict=True):
        by_span: dict[tuple[int, int], set[str]] = {}
        for span in said.spans:
            by_span.setdefault((span.start, span.end), set()).add(span.label)
        decided.append([frozenset(by_span.get((s.start, s.end), ())) for s in clip.sentences_of(text)])
    return decided


def _held_against(expected: Sequence[Decisions], found: Sequence[Decisions], precision: str, what: str) -> dict[str, float]:
    """How many sentences there are, and the share of them that get the labels that float32 gives them."""
    pairs = [pair for theirs, ours in zip(expected, found, strict=True) for pair in zip(theirs, ours, strict=True)]
    agreement = sum(theirs == ours for theirs, ours in pairs) / len(pairs) if pairs else 1.0
    if agreement < (needed := MIN_EQUAL_DECISIONS[precision]):
        raise ParityError(
            f"{what}: decides otherwise than {_REFERENCE} in {1 - agreement:.2%} of {len(pairs):,} sentences of your own notes "
            f"(allowed {1 - needed:.1%}); choose another engine"
        )
    return {"sentences": len(pairs), "equal_decisions": agreement}


def _fastest_batch(bundle: ModelBundle, engine: Engine, notes: Sequence[str]) -> tuple[int, float]:
    """The smallest of `BATCHES` that is as good as the fastest on some of the notes, in tokens, and the seconds that these took.

    Measured by turns.
    """
    if bundle.manifest.task != "clip" or not notes:
        return artifact.TOKENS_PER_BATCH, 0.0
    # The last ones: the same in whatever precision, though the first may have set the scales.
    characters = np.cumsum([len(note) for note in reversed(notes)])
    some = notes[-max(1, int(np.searchsorted(characters, TIMED_CHARACTERS))) :]
    taggers = {size: Tagger(bundle, engine, size) for size in BATCHES}
    seconds: dict[int, list[float]] = {size: [] for size in BATCHES}
    for _ in range(1 + TIMED_ROUNDS):
        for size, tagger in taggers.items():
            began = time.perf_counter()
            tagger.tag(some)
            seconds[size].append(time.perf_counter() - began)
    best = {size: min(took[1:]) for size, took in seconds.items()}  # the first round settles the engine's shapes
    chosen = min(size for size, took in best.items() if took <= AS_GOOD * min(best.values()))
    return chosen, best[chosen]
