"""What an engine is, and which one runs here.

Every served model is one graph: `input_ids` and `attention_mask`, int64 of shape (windows B, tokens T), give
`token_logits`, float32 of shape (B, T, C). What the C channels mean is the task's business.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

ENGINES = ("tensorrt", "openvino", "onnxruntime")
"""The engines that compile a model, one file each in `serving/engines/`, best first."""

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "token_logits"


class EngineError(RuntimeError):
    """An engine could not compile, open or run a model; the message says which and what to do."""


class Engine(Protocol):
    """A model ready to run. Safe to call from several threads; those of one engine may wait for each other."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Outputs by name for inputs by name.

        Raises:
            EngineError: the model did not answer.
        """
        ...

    def close(self) -> None:
        """Free what the model holds."""
        ...


class EngineModule(Protocol):
    """What the file of each engine in `ENGINES` offers; `PRECISION` is the one this host's hardware is best at."""

    NAME: str
    PRECISION: str
    INT8: bool
    """Whether this host's hardware multiplies 8-bit integers faster with it than numbers of that precision."""

    def why_not(self) -> str | None:
        """Why this engine cannot work on this host; None when it can."""
        ...

    def compile(self, onnx: Path, folder: Path) -> None:
        """Write the artifact of the ONNX model into `folder`."""
        ...

    def open(self, folder: Path) -> Engine:
        """Load an artifact that `compile` wrote."""
        ...


def working(preference: str = "auto") -> list[EngineModule]:
    """The engines that work on this host, the best first; at least one.

    Args:
        preference: a name from `ENGINES`, or "auto": TensorRT where it works, OpenVINO where the CPU computes in
            bfloat16 or 8-bit integers, else ONNX Runtime. OpenVINO takes half the time so of either in float32, where they are
            alike.
            "cpu" is the same without TensorRT.
    Raises:
        EngineError: the engine asked for does not work here, or none does; the message says why of each.
    """
    order: tuple[str, ...]
    if preference in ("auto", "cpu"):
        on_cpu = ("openvino", "onnxruntime") if cpu_has_bf16() or cpu_has_int8() else ("onnxruntime", "openvino")
        order = on_cpu if preference == "cpu" else ("tensorrt", *on_cpu)
    elif preference in ENGINES:
        order = (preference,)
    else:
        raise EngineError(f"no engine is called {preference!r}; choose auto, {', '.join(ENGINES)}")
    modules = {name: load(name) for name in order}
    reasons = {name: module.why_not() for name, module in modules.items()}
    found = [module for name, module in modules.items() if reasons[name] is None]
    if not found:
        raise EngineError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
    return found


def load(name: str) -> EngineModule:
    """The module of one engine in `ENGINES`, whether it works here or not.

    Raises:
        EngineError: there is no such engine.
    """
    if name not in ENGINES:
        raise EngineError(f"no engine is called {name!r}; this release knows {', '.join(ENGINES)}")
    return cast(EngineModule, importlib.import_module(f"serving.engines.{name}"))


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    return _cpu_has({"avx512_bf16", "amx_bf16"}, cpuinfo)


def cpu_has_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies and adds four 8-bit integers at once (VNNI), or tiles of them (AMX)."""
    return _cpu_has({"avx512_vnni", "avx_vnni", "amx_int8"}, cpuinfo)


def _cpu_has(any_of: set[str], cpuinfo: Path) -> bool:
    try:
        return not any_of.isdisjoint(cpuinfo.read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return False


def threads() -> int:
    """How many threads an engine computes with: `OMP_NUM_THREADS` where it is set, else the CPUs this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else len(os.sched_getaffinity(0))


def checked(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inputs, if they are what the graph is made for; engines answer some that are not, with numbers that mean nothing.

    Raises:
        EngineError: an input is missing, unknown, or of another type or shape.
    """
    found = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in inputs.items())
    shapes = {array.shape for array in inputs.values()}
    if (
        set(inputs) != set(INPUTS)
        or len(shapes) != 1
        or any(a.dtype != np.int64 or a.ndim != 2 or not a.size for a in inputs.values())
    ):
        raise EngineError(f"inputs are {found}; the model takes {' and '.join(INPUTS)}, int64 of one shape (windows, tokens)")
    return dict(inputs)


def failed(what: str, error: Exception) -> EngineError:
    """The `EngineError` for what an engine's own library raised: its kind and first line, which name tensors and shapes only."""
    first_line = (str(error).strip().splitlines() or [""])[0]
    return EngineError(f"{what}: {type(error).__name__}: {first_line[:300]}")
