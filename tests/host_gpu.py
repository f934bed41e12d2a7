"""A GPU made of this process's own memory: the CUDA driver and TensorRT's runtime as far as `serving` asks them.

Its addresses are the host's, its plans are ONNX models, and ONNX Runtime computes them: what a test sees go in and come out went
through the same calls, sizes and addresses as on a GPU.
"""

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime


class HostDriver:
    """The functions of libcuda.so.1 that are called; they give 0, or 2 where more than `room_bytes` of memory is wanted."""

    def __init__(self, capability: tuple[int, int] = (8, 6), room_bytes: int = 2**30) -> None:
        self._capability, self._room = capability, room_bytes
        self.allocated: dict[int, Any] = {}
        self.streams = self.contexts = 0

    def cuInit(self, flags: int) -> int:
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        value._obj.value = self._capability[attribute - 75]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: int) -> int:
        context._obj.value, self.contexts = 1, self.contexts + 1
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: int) -> int:
        self.contexts -= 1
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0

    def cuStreamCreate(self, stream: Any, flags: int) -> int:
        stream._obj.value, self.streams = 2, self.streams + 1
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:
        return 0

    def cuStreamDestroy_v2(self, stream: Any) -> int:
        self.streams -= 1
        return 0

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        if sum(map(len, self.allocated.values())) + size.value > self._room:
            return 2
        memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(memory)
        self.allocated[address._obj.value] = memory
        return 0

    def cuMemFree_v2(self, address: Any) -> int:
        del self.allocated[address.value]
        return 0

    def cuMemcpyHtoDAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:
        assert size.value <= len(self.allocated[target.value])
        ctypes.memmove(target.value, source.value, size.value)
        return 0

    def cuMemcpyDtoHAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:
        assert size.value <= len(self.allocated[source.value])
        ctypes.memmove(target.value, source.value, size.value)
        return 0

    def cuGetErrorString(self, code: int, text: Any) -> int:
        text._obj.value = b"out of memory"
        return 0


class HostContext:
    """An execution context; `gives_zeros` makes it answer as float32 products on Turing have."""

    gives_zeros = False

    def __init__(self, plan: bytes) -> None:
        self._session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (*self._shapes["input_ids"], self._session.get_outputs()[0].shape[2])

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 2
        inputs = {name: self._read(name, shape) for name, shape in self._shapes.items()}
        [answer] = self._session.run(["token_logits"], inputs)
        answer = np.zeros_like(answer) if self.gives_zeros else answer
        ctypes.memmove(self._addresses["token_logits"], answer.ctypes.data, answer.nbytes)
        return True

    def _read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        size_bytes = 8 * int(np.prod(shape))
        return np.frombuffer(ctypes.string_at(self._addresses[name], size_bytes), np.int64).reshape(shape)


class HostEngine:
    """What a runtime makes of a plan."""

    def __init__(self, plan: bytes) -> None:
        self._context = HostContext(plan)
        self._channels = self._context._session.get_outputs()[0].shape[2]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, -1, self._channels) if name == "token_logits" else (-1, -1)

    def create_runtime_config(self) -> Any:
        return SimpleNamespace(dynamic_shapes_kernel_specialization_strategy="LAZY")

    def create_execution_context(self, runtime_config: Any) -> HostContext:
        assert runtime_config.dynamic_shapes_kernel_specialization_strategy == "NONE"
        return self._context


class HostLog:
    """Base of the log that the library is given."""

    INTERNAL_ERROR, ERROR, WARNING = range(3)


class HostRuntime:
    """Gives None for a plan that it cannot read, and says why in its log, as TensorRT does."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def deserialize_cuda_engine(self, plan: bytes) -> HostEngine | None:
        try:
            return HostEngine(plan)
        except Exception:
            self._log.log(HostLog.ERROR, "the plan is not one")
            return None


def library() -> Any:
    """The Python package."""
    return SimpleNamespace(
        __name__="tensorrt_rtx_bindings",
        __version__="1.7.1.116",
        ILogger=HostLog,
        Runtime=HostRuntime,
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(NONE="NONE"),
    )


def build(onnx: Path, capability: tuple[int, int]) -> bytes:
    """In place of `serving.engines.tensorrt.build`."""
    return onnx.read_bytes()
