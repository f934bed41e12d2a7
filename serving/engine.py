"""What an engine is, and which one runs here.

Every served model is one graph: `input_ids` and `attention_mask`, int64 of shape (windows B, tokens T), give
`token_logits`, float32 of shape (B, T, C). What the C channels mean is the task's business.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class EngineError(RuntimeError):
    """An engine could not compile, open or run a model; the message says which and what to do."""


class Engine(Protocol):
    """A model ready to run. Safe to call from one thread at a time."""

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
    """What each file in `serving/engines/` offers, beside `NAME` and `PRECISION`."""

    NAME: str
    PRECISION: str

    def why_not(self) -> str | None:
        """Why this engine cannot work on this host; None when it can."""
        ...

    def compile(self, onnx: Path, folder: Path) -> None:
        """Write the artifact of the ONNX model into `folder`."""
        ...

    def open(self, folder: Path) -> Engine:
        """Load an artifact that `compile` wrote."""
        ...
