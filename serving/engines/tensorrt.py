"""TensorRT on NVIDIA GPUs: bfloat16 from Ampere (8.0) on, float16 on Turing (7.5). One plan per kind of GPU.

One code for NVIDIA's two libraries: `tensorrt`, which compiles for the GPU of the host it runs on, and TensorRT for RTX, which
compiles ahead of time for any of its kinds of GPU with no GPU there. Both compute in the types that stand in the graph, so
`serving.precision` puts them there first.

What guards the answers: plans have run without an error and given zeros (float32 products on Turing, torch-tensorrt #4643; no
product of a T5 is float32 here) or overflown (T5 in float16). The answers to the bundle's probe are compared when it is compiled
and each time it is opened (`serving.parity`); a plan that answers otherwise is refused, and with `auto` the next engine takes
over.
"""

import functools
import importlib
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving import cuda, plan, precision
from serving.cuda import Capability, CudaError, Gpu
from serving.engine import INPUTS, OUTPUT, Engine, EngineError, checked
from serving.plan import Maker

logger = logging.getLogger(__name__)

NAME = "tensorrt"
INT8 = False
PRECISION: str
"""Of this host's GPU; without one, of most."""

MAX_WINDOWS, MAX_TOKENS = 64, 512
"""The largest input of a plan, for which memory is held. No bundle has longer windows; of more windows, which only texts of a
few words each give, `run` asks in turns."""
_SHAPES = ((1, 1), (8, 128), (MAX_WINDOWS, MAX_TOKENS))
"""Smallest, usual and largest (windows, tokens); the usual one is the predictor's batch of 1024 tokens."""

_FIRST_CAPABILITY, _FIRST_BF16 = (7, 5), (8, 0)
_LIBRARIES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""Python packages, the best first; the third is the second without its empty wrapper."""


def why_not() -> str | None:
    """Why TensorRT cannot work on this host; None when it can. The first thing that is missing is named."""
    try:
        _library_for(cuda.capability())
    except EngineError as error:
        return str(error)
    return None


def compile(onnx: Path, folder: Path) -> None:  # noqa: A001 - the protocol's word
    """Write the plan for this host's GPU.

    Raises:
        EngineError: there is no GPU or library here, or TensorRT refuses the model.
    """
    _require()
    compile_for(cuda.capability(), onnx, folder)


def compile_for(capability: Capability, onnx: Path, folder: Path) -> None:
    """Write the plan for one kind of GPU, which with TensorRT for RTX need not be here.

    Raises:
        EngineError: there is no library here, it does not compile for that kind, or it refuses the model.
    """
    plan.write(folder, build(onnx, capability), _maker(capability), precision_of(capability))


def open(folder: Path) -> Engine:  # noqa: A001 - the protocol's word
    """Load the plan that `compile` wrote.

    Raises:
        EngineError: the plan is damaged or not for this host, or TensorRT or the GPU's memory refuses it.
    """
    _require()
    return _Execution(plan.read(folder, _maker(cuda.capability())))


def build(onnx: Path, capability: Capability) -> bytes:
    """The plan of the ONNX model for one kind of GPU, of any number of windows and tokens up to `MAX_WINDOWS` and `MAX_TOKENS`.

    Raises:
        EngineError: as `compile_for`.
    """
    import onnx as models

    trt = _library_for(capability)
    log = _log()
    log.errors.clear()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(precision.lowered(models.load(onnx), precision_of(capability)).SerializeToString()):
        raise EngineError(f"tensorrt cannot read the model: {log.said()}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name in INPUTS:
        profile.set_shape(name, *_SHAPES)
    config.add_optimization_profile(profile)
    if targets := _targets(trt):
        config.num_compute_capabilities = 1
        config.set_compute_capability(targets[capability], 0)
        built = builder.build_serialized_network(network, config)
    else:
        built = _build_with_timings(builder, network, config, _maker(capability))
    if built is None:
        raise EngineError(f"tensorrt cannot compile the model for compute capability {plan.dotted(capability)}: {log.said()}")
    return bytes(built)


def precision_of(capability: Capability) -> str:
    """What a kind of GPU is compiled for: bfloat16 where it multiplies that, else float16."""
    return "bf16" if capability >= _FIRST_BF16 else "fp16"


class _Execution:
    """A plan on the GPU, with memory for the largest input."""

    def __init__(self, content: bytes) -> None:
        log = _log()
        log.errors.clear()
        # Any, because NVIDIA's packages have no types, and None once closed.
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._gpu = Gpu()
        self._lock = Lock()
        try:
            self._runtime = _library().Runtime(log)
            self._engine = self._runtime.deserialize_cuda_engine(content)
            self._context = _context(self._engine) if self._engine else None
            if self._context is None:
                raise EngineError(f"tensorrt cannot open the plan: {log.said()}; compile the bundle again on this host")
            self._addresses = {name: self._allocate(name) for name in (*INPUTS, OUTPUT)}
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        tensors = checked(inputs)
        windows, tokens = tensors[INPUTS[0]].shape
        if tokens > MAX_TOKENS:
            raise EngineError(f"tensorrt: windows of {tokens} tokens, and plans take {MAX_TOKENS} at most; choose another engine")
        turns = [slice(start, start + MAX_WINDOWS) for start in range(0, windows, MAX_WINDOWS)]
        asked = [{name: np.ascontiguousarray(array[turn]) for name, array in tensors.items()} for turn in turns]
        # One context, one place for inputs and outputs: two callers at a time would get each other's answers.
        with self._lock:
            self._gpu.enter()
            answers = [self._answer(windows_of_turn) for windows_of_turn in asked]
        return {OUTPUT: np.concatenate(answers)}

    def close(self) -> None:
        self._context = self._engine = self._runtime = None
        self._gpu.close()

    def _answer(self, tensors: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        for name, array in tensors.items():
            self._gpu.upload(array, self._addresses[name])
            self._context.set_input_shape(name, array.shape)
        shape = tuple(self._context.get_tensor_shape(OUTPUT))
        if not self._context.execute_async_v3(self._gpu.stream):
            raise EngineError(f"tensorrt cannot run the model: {_log().said()}")
        return self._gpu.download(self._addresses[OUTPUT], shape)

    def _allocate(self, name: str) -> int:
        channels = self._engine.get_tensor_shape(name)[2] if name == OUTPUT else 1
        item = np.dtype(np.float32 if name == OUTPUT else np.int64).itemsize
        address = self._gpu.allocate(MAX_WINDOWS * MAX_TOKENS * channels * item)
        self._context.set_tensor_address(name, address)
        return address


def __getattr__(name: str) -> str:
    # Asked for when it is needed, because looking at the GPU starts the driver in this process.
    if name != "PRECISION":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return precision_of(cuda.capability())
    except CudaError:
        return "bf16"


def _require() -> None:
    if reason := why_not():
        raise EngineError(f"tensorrt: {reason}")


def _library_for(capability: Capability) -> Any:
    """NVIDIA's library, if it compiles for that kind of GPU."""
    if capability < _FIRST_CAPABILITY:
        found, needed = plan.dotted(capability), plan.dotted(_FIRST_CAPABILITY)
        raise EngineError(f"the GPU has compute capability {found}; TensorRT needs {needed}")
    trt = _library()
    targets = _targets(trt)
    if targets and capability not in targets:
        raise EngineError(
            f"TensorRT for RTX compiles for compute capability {', '.join(map(plan.dotted, sorted(targets)))} and not for "
            f"{plan.dotted(capability)} (H100 and H200 have 9.0); install the extra [tensorrt] from NVIDIA's index"
        )
    if not targets and capability != cuda.capability():
        raise EngineError(
            f"TensorRT compiles for the GPU that is there, which has compute capability {plan.dotted(cuda.capability())} and not "
            f"{plan.dotted(capability)}; compile on the host that serves"
        )
    return trt


def _library() -> Any:
    reasons = []
    for name in _LIBRARIES:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:
            reasons.append(str(error))
    raise EngineError(
        f"the tensorrt package does not import ({reasons[0]}); "
        "install the extra [tensorrt] from NVIDIA's index, or [tensorrt-rtx]"
    )


def _targets(trt: Any) -> dict[Capability, Any]:
    """The kinds of GPU that TensorRT for RTX compiles for ahead of time; none for TensorRT itself."""
    kinds = getattr(trt, "ComputeCapability", None)
    members = kinds.__members__.items() if kinds else ()
    return {divmod(int(name[2:]), 10): kind for name, kind in members if name.startswith("SM")}


def _context(engine: Any) -> Any:
    """What runs the engine, with the same kernels from the first answer to the last.

    TensorRT for RTX would compile others beside them for each shape it meets, and change over while it serves: the same note
    would be answered differently the second time, by kernels that have never answered the probe.
    """
    strategies = getattr(_library(), "DynamicShapesKernelSpecializationStrategy", None)
    if strategies is None:
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = strategies.NONE
    return engine.create_execution_context(runtime_config=config)


def _build_with_timings(builder: Any, network: Any, config: Any, maker: Maker) -> Any:
    """Build with the timings of kernels that earlier builds of this user took, and keep this one's; RTX takes none.

    They are kept beside no artifact, because it is the next model that gains by them.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clinappliance"
    file = caches / f"{maker.library}-{maker.version}-{plan.dotted(maker.capability)}.timings"
    cache = config.create_timing_cache(file.read_bytes() if file.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    built = builder.build_serialized_network(network, config)
    # Where they cannot be kept, the next build takes longer, and that is all.
    with suppress(OSError):
        caches.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_bytes(config.get_timing_cache().serialize())
        partial.replace(file)
    return built


def _maker(capability: Capability) -> Maker:
    trt = _library()
    return Maker(capability, trt.__name__.removesuffix("_bindings"), trt.__version__)


@functools.cache
def _log() -> Any:
    """Where the library says what went wrong. One for the process, as it wants it."""
    trt = _library()

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(message)
            else:
                logger.debug("%s", message)

        def said(self) -> str:
            return " ".join("; ".join(self.errors).split())[:300] or "no reason given"

    return Log()
