"""A model served by Triton, asked over gRPC with the same tensors as an engine in this process."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.engine import EngineError


def open_remote(url: str, model: str, version: int, timeout_s: float = 30.0) -> "RemoteEngine":
    """A connection to one version of a model that is ready to serve.

    Raises:
        EngineError: that version is not ready to serve.
    """
    remote = RemoteEngine(url, model, version, timeout_s)
    remote.check_ready()
    return remote


def is_ready(url: str, model: str | None = None, version: int | None = None, timeout_s: float = 2.0) -> bool:
    """Whether Triton answers, or whether it serves a model, or one version of it."""
    import tritonclient.grpc as grpc

    with _connect(url) as client:
        try:
            if model is None:
                return bool(client.is_server_ready(client_timeout=timeout_s))
            return bool(client.is_model_ready(model, "" if version is None else str(version), client_timeout=timeout_s))
        except grpc.InferenceServerException:
            return False


def why_unready(url: str, timeout_s: float = 2.0) -> dict[str, str]:
    """Triton's reasons for each model version that it does not serve, by "NAME version N".

    Versions that are being loaded (one that failed is tried again at every poll), or gave way to newer ones, are not among them.

    Raises:
        EngineError: Triton does not answer.
    """
    import tritonclient.grpc as grpc

    with _connect(url) as client:
        try:
            models = client.get_model_repository_index(client_timeout=timeout_s).models
        except grpc.InferenceServerException as error:
            raise EngineError(f"Triton at {url}: {_first_line(error.message())}") from error
    return {
        f"{model.name} version {model.version or '?'}": _first_line(model.reason)
        for model in models
        if model.state == "UNAVAILABLE" and model.reason != "unloaded"
    }


class RemoteEngine:
    """One version of a model in Triton. For one thread at a time; outlives restarts of Triton.

    The version is named, so that the tokenizer and the cut-offs at this end are those of the model at the other.
    """

    def __init__(self, url: str, model: str, version: int, timeout_s: float = 30.0) -> None:
        """Nothing is asked yet, and nobody need answer.

        Args:
            url: host:port of Triton's gRPC endpoint.
            model: its name in the repository.
            version: its number there.
            timeout_s: how long one `run` may take, unless it says otherwise.
        """
        import tritonclient.grpc as grpc

        self._grpc = grpc
        self._model, self._version, self._timeout_s = model, str(version), timeout_s
        self._what = f"Triton at {url}, model {model} version {version}"
        self._client = _connect(url)

    def check_ready(self) -> None:
        """Raise where the version is not ready to serve.

        Raises:
            EngineError: it is not, or Triton does not answer.
        """
        try:
            ready = self._client.is_model_ready(self._model, self._version, client_timeout=self._timeout_s)
        except self._grpc.InferenceServerException as error:
            raise EngineError(f"{self._what}: {_first_line(error.message())}") from error
        if not ready:
            raise EngineError(f"{self._what}: not ready; Triton's log says why")

    def run(self, inputs: Mapping[str, NDArray[Any]], timeout_s: float | None = None) -> dict[str, NDArray[np.float32]]:
        """As `Engine.run`, in at most `timeout_s`.

        Raises:
            EngineError: Triton did not answer, or not in time, or with nothing.
        """
        tensors = []
        for name, array in inputs.items():
            tensors.append(self._grpc.InferInput(name, list(array.shape), _DATATYPES[array.dtype.name]))
            tensors[-1].set_data_from_numpy(array)
        try:
            result = self._client.infer(
                self._model, tensors, model_version=self._version, client_timeout=timeout_s or self._timeout_s
            )
        except self._grpc.InferenceServerException as error:
            raise EngineError(f"{self._what}: {_first_line(error.message())}") from error
        return {output.name: self._array(result, output.name) for output in result.get_response().outputs}

    def _array(self, result: Any, name: str) -> NDArray[np.float32]:
        array = result.as_numpy(name)
        if array is None or array.size == 0:
            # What Triton's Python backend answers when its environment has NumPy 2, without a word in its log.
            raise EngineError(f"{self._what}: output {name} came back empty; Triton's environment needs numpy 1.26")
        return np.asarray(array, dtype=np.float32)

    def close(self) -> None:
        """Hang up."""
        self._client.close()


_DATATYPES = {"int64": "INT64", "int32": "INT32", "float32": "FP32"}


def _connect(url: str) -> Any:
    import tritonclient.grpc as grpc

    # gRPC would send even loopback through a proxy named in the environment, and after a restart of Triton would wait up to
    # two minutes before it tries to connect again. The message limits are the client's own, which giving any option drops.
    options = {
        "grpc.enable_http_proxy": 0,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.min_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 1000,
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": -1,
    }
    return grpc.InferenceServerClient(url, channel_args=list(options.items()))


def _first_line(message: str | None) -> str:
    return ((message or "").strip().splitlines() or ["no reason given"])[0].removeprefix("Internal: TritonModelException: ")[:300]
