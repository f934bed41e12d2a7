"""TensorRT on NVIDIA GPUs: what a host lacks for it. This release compiles no plans yet, and `why_not` says so too."""

import ctypes
from pathlib import Path

from serving.engine import Engine, EngineError

NAME = "tensorrt"
PRECISION = "bf16"

_MIN_CAPABILITY = (8, 0)
"""The first GPUs (Ampere) that multiply bfloat16. T5 overflows in float16, and on older GPUs TensorRT refuses bfloat16."""
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h


def why_not() -> str | None:
    """Why TensorRT cannot work on this host; None when it can. The first thing that is missing is named."""
    return _gpu_why_not() or _package_why_not() or "this release compiles no TensorRT plans; choose openvino or onnxruntime"


def compile(onnx: Path, folder: Path) -> None:  # noqa: A001 - the protocol's word
    """Raise what `why_not` says.

    Raises:
        EngineError: always.
    """
    raise EngineError(f"tensorrt: {why_not()}")


def open(folder: Path) -> Engine:  # noqa: A001 - the protocol's word
    """Raise what `why_not` says.

    Raises:
        EngineError: always.
    """
    raise EngineError(f"tensorrt: {why_not()}")


def _gpu_why_not() -> str | None:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1 is not on this host)"
    if code := cuda.cuInit(0):
        return f"the NVIDIA driver does not start (cuInit gives {code}); nvidia-smi says more"
    value = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(value))
    if value.value == 0:
        return "the NVIDIA driver finds no GPU"
    capability: list[int] = []
    for attribute in (_MAJOR, _MINOR):
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0)
        capability.append(value.value)
    if tuple(capability) < _MIN_CAPABILITY:
        found, needed = (".".join(map(str, version)) for version in (capability, _MIN_CAPABILITY))
        return f"the GPU has compute capability {found}; bfloat16 needs {needed}"
    return None


def _package_why_not() -> str | None:
    try:
        import tensorrt  # noqa: F401
    except (ImportError, OSError) as error:
        return f"the tensorrt package does not import ({error}); install the extra [tensorrt] from NVIDIA's index"
    return None
