"""OpenVINO on the CPU: 8-bit integers where the graph has them, else bfloat16 where the hardware multiplies it, else float32."""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from serving.engine import Engine, checked, cpu_has_bf16, cpu_has_int8, failed, threads

NAME = "openvino"
PRECISION = "bf16" if cpu_has_bf16() else "fp32"
INT8 = cpu_has_int8()

_MODEL = "model.xml"


def why_not() -> str | None:
    """Why OpenVINO cannot work on this host; None when it can."""
    try:
        _openvino()
    except ImportError as error:
        return f"the openvino package does not import ({error}); run install.sh again"
    return None


def compile(onnx: Path, folder: Path) -> None:  # noqa: A001 - the protocol's word
    """Convert the ONNX model into OpenVINO's own files, weights as they are: the precision is chosen when it is opened.

    Raises:
        EngineError: OpenVINO cannot read the model.
    """
    openvino = _openvino()
    try:
        # Without this flag the weights are rounded to float16, which is neither what was trained nor what is computed.
        openvino.save_model(_core().read_model(onnx), folder / _MODEL, compress_to_fp16=False)
    except Exception as error:
        raise failed("openvino cannot convert the model", error) from error


def open(folder: Path) -> Engine:  # noqa: A001 - the protocol's word
    """Load the model that `compile` wrote.

    Raises:
        EngineError: OpenVINO refuses the files in `folder`.
    """
    return _Request(folder)


class _Request:
    def __init__(self, folder: Path) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if PRECISION == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned threads of two processes land on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._lock = Lock()
            self._request = _core().compile_model(folder / _MODEL, "CPU", settings).create_infer_request()
        except Exception as error:
            raise failed("openvino cannot open the model", error) from error

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        tensors = checked(inputs)
        # A request takes its inputs before it sees that it is busy, and gives its outputs by reference: two callers at a time
        # would get each other's answers.
        with self._lock:
            try:
                results = self._request.infer(tensors)
            except Exception as error:
                raise failed("openvino cannot run the model", error) from error
            return {output.get_any_name(): np.array(value, dtype=np.float32) for output, value in results.items()}

    def close(self) -> None:
        del self._request


@cache
def _core() -> Any:
    """One for the process, for as long as it lives.

    Each one gives its thread an alternate stack for signals, and puts back the one before it when it goes. Where two went in
    another order than the reverse one, that stack was freed memory, and the next Ctrl-C or SIGTERM ended in a segmentation fault.
    """
    return _openvino().Core()


def _openvino() -> ModuleType:
    """The openvino package, kept from reporting its use.

    `import openvino` alone sends an event to an analytics service on the internet, from a process it forks, and writes a
    client id into the home of the user, unless the package openvino-telemetry is absent: then it falls back to a stub.
    None in `sys.modules` is how Python is told that a module is absent (the import system's reference, 5.3.1).
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = cast(ModuleType, None)
    import openvino

    return cast(ModuleType, openvino)
