"""Runs inside Triton's Python backend: an artifact behind Triton's tensors.

Each published version's `model.py` is one line that imports `TritonPythonModel` from here. It runs in Triton's own
environment (NumPy 1.26 and the engines, nothing else of this package's dependencies).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from serving import artifact
from serving.engine import EngineError


class TritonPythonModel:
    """One version of a model, by the names that Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the artifact beside `model.py`, its hashes checked first.

        Raises:
            TritonModelException: it cannot be served; Triton keeps serving the other versions.
        """
        if int(np.__version__.split(".")[0]) >= 2:
            # It would read inputs wrong and answer with empty outputs, without an error.
            raise triton.TritonModelException(f"Triton's environment has numpy {np.__version__}; install numpy 1.26.4 there")
        try:
            self._engine = artifact.load(Path(args["model_repository"]) / args["model_version"]).open()
        except EngineError as error:
            raise triton.TritonModelException(str(error)) from None

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request; one that fails carries its error and leaves the others alone."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Free what the model holds."""
        self._engine.close()

    def _answer(self, request: Any) -> Any:
        try:
            outputs = self._engine.run({tensor.name(): tensor.as_numpy() for tensor in request.inputs()})
        except EngineError as error:
            return triton.InferenceResponse(output_tensors=[], error=triton.TritonError(str(error)))
        return triton.InferenceResponse([triton.Tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()])
