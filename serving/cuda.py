"""The little of the CUDA driver's API that running a plan takes: the GPU's kind, its memory, one stream. By ctypes.

The driver (libcuda.so.1) is on every host with a working GPU, so nothing needs to be installed for it. The first visible GPU is
used; `CUDA_VISIBLE_DEVICES` says which that is.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.engine import EngineError

Capability = tuple[int, int]
"""A kind of GPU: its compute capability, major and minor, as (8, 6)."""

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h


class CudaError(EngineError):
    """The driver refused a call; the message says which and why."""


def driver() -> Any:
    """The driver's library.

    Raises:
        CudaError: this host has none.
    """
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise CudaError("no NVIDIA driver (libcuda.so.1 is not on this host)") from None


def capability() -> Capability:
    """The kind of this host's first GPU.

    Raises:
        CudaError: there is none, or the driver does not start.
    """
    library, found = driver(), ctypes.c_int()
    if code := library.cuInit(0):
        raise CudaError(f"the NVIDIA driver does not start (cuInit gives {code}); nvidia-smi says more")
    library.cuDeviceGetCount(ctypes.byref(found))
    if found.value == 0:
        raise CudaError("the NVIDIA driver finds no GPU")
    values = []
    for attribute in (_MAJOR, _MINOR):
        library.cuDeviceGetAttribute(ctypes.byref(found), attribute, 0)
        values.append(found.value)
    return values[0], values[1]


class Gpu:
    """The first GPU with a stream of its own. Safe to call from one thread at a time; all methods raise `CudaError`.

    It works in the GPU's primary context, which the libraries of NVIDIA in this process work in too.
    """

    def __init__(self) -> None:
        self._driver = driver()
        self._allocated: list[int] = []
        self._call("cuInit", 0)
        context, stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self._context = context
        self.enter()
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self._stream = stream

    @property
    def stream(self) -> int:
        """The stream's handle, as NVIDIA's libraries take it."""
        return self._stream.value or 0

    def enter(self) -> None:
        """Make the calling thread work in the GPU's context; each thread starts without one."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size_bytes: int) -> int:
        """The address of new memory on the GPU, freed by `close`."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size_bytes))
        self._allocated.append(address.value)
        return address.value

    def upload(self, array: NDArray[Any], address: int) -> None:
        """Queue a copy to the GPU; the array must be contiguous."""
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), ctypes.c_void_p(array.ctypes.data), size, self._stream)

    def download(self, address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A float32 array from the GPU, once all that was queued is done."""
        array = np.empty(shape, np.float32)
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(address), size, self._stream)
        self._call("cuStreamSynchronize", self._stream)
        return array

    def close(self) -> None:
        """Free memory and stream."""
        self.enter()
        for address in self._allocated:
            self._call("cuMemFree_v2", ctypes.c_uint64(address))
        self._call("cuStreamDestroy_v2", self._stream)
        self._call("cuDevicePrimaryCtxRelease_v2", 0)

    def _call(self, function: str, *arguments: Any) -> None:
        if code := getattr(self._driver, function)(*arguments):
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(code, ctypes.byref(text))
            reason = (text.value or b"no reason").decode()
            raise CudaError(f"CUDA: {function} gives {code} ({reason}); nvidia-smi says what else uses the GPU")
