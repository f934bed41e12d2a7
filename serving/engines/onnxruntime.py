"""ONNX Runtime in float32: runs on every CPU, and is the reference the faster engines are held against."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.engine import Engine, checked, failed, threads

NAME = "onnxruntime"
PRECISION = "fp32"
INT8 = False

_MODEL = "model.onnx"


def why_not() -> str | None:
    """Why ONNX Runtime cannot work on this host; None when it can."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        return f"the onnxruntime package does not import ({error}); run install.sh again"
    return None


def compile(onnx: Path, folder: Path) -> None:  # noqa: A001 - the protocol's word
    """Copy the ONNX model into `folder`: ONNX Runtime optimises it each time it is opened."""
    shutil.copyfile(onnx, folder / _MODEL)


def open(folder: Path) -> Engine:  # noqa: A001 - the protocol's word
    """Load the model that `compile` copied.

    Raises:
        EngineError: ONNX Runtime refuses the file in `folder`.
    """
    return _Session(folder)


class _Session:
    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        # Spinning threads burn the cores of whoever else works on this host and gain nothing at note size.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 4  # what goes wrong is raised; its log would only say it twice
        try:
            self._session = onnxruntime.InferenceSession(folder / _MODEL, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise failed("onnxruntime cannot open the model", error) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        tensors = checked(inputs)
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, tensors), strict=True))
        except Exception as error:
            raise failed("onnxruntime cannot run the model", error) from error

    def close(self) -> None:
        del self._session
