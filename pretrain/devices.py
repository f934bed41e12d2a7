"""What this machine computes on, and how well."""

import ctypes
import logging
import os
import shutil
from contextlib import suppress
from functools import cache
from typing import Any

import torch

logger = logging.getLogger(__name__)

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_TRIM_NEVER = 2**31 - 1
# From mman.h.
_MADV_HUGEPAGE = 14
_LARGE_PAGE_BYTES = 2**21
_HEAP_BYTES = _TRIM_NEVER - _LARGE_PAGE_BYTES
"""As much as stays when it is freed."""


def best_device() -> torch.device:
    """The first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself; emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def use_all_cores() -> None:
    """Let torch use every core this process may run on, unless OMP_NUM_THREADS says otherwise; see `keep_freed_memory` too."""
    keep_freed_memory()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))


def compiled(model: Any, device: torch.device) -> Any:
    """The model, its blocks compiled in place when they first run, where that pays: on a GPU, with batches of one shape.

    Names of weights stay, so that checkpoints fit either way. On a CPU `pretrain.models.t5_on_cpu` is faster than transformers'
    blocks compiled (1.23 to 1.09 times those as they are), at once and without a compiler.

    Args:
        model: of transformers, which say what their blocks are.
        device: where the model is.
    """
    if device.type == "cuda":
        # Triton builds its launchers with one.
        if os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"):
            for module in model.modules():
                if type(module).__name__ in model._no_split_modules:
                    module.compile(dynamic=False)
        else:
            logger.warning("the model is not compiled, for this machine has no C compiler; gcc would make training faster")
    return model


@cache
def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step instead of giving it back to the kernel.

    By default every large tensor is mapped anew, and each of its pages is cleared again when it is first touched: a tenth to a
    fifth of a training step on a CPU. The process stays as large as it ever was. Only glibc can be asked; others are left alone.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_NEVER)
        _take_large_pages(libc)


def give_back_freed_memory() -> None:
    """Give what `keep_freed_memory` kept back to the kernel, when a training is over.

    In its course that would cost a twentieth of the speed for a twentieth of the memory: large pages are broken up for long.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _take_large_pages(libc: ctypes.CDLL) -> None:
    """Grow the heap at once without touching it, and ask the kernel for large pages there: fewer of them to clear and to find.

    Worth 2 % of a training step. Where the kernel has none to give, or address space is limited, nothing changes.
    """
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes, libc.madvise.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if block := libc.malloc(_HEAP_BYTES):
        begin = -(-block // _LARGE_PAGE_BYTES) * _LARGE_PAGE_BYTES
        libc.madvise(begin, block + _HEAP_BYTES - begin, _MADV_HUGEPAGE)
        libc.free(block)
