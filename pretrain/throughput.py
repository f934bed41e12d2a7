"""How fast a device can multiply at most: what the speed of a training is measured against."""

import re
import time
from dataclasses import dataclass
from functools import cache

import torch

from pretrain.devices import computes_bf16

DATASHEETS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "A40": 149.7e12,
    "A30": 165e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L4": 121e12,
}
"""Operations per second of dense bfloat16 products, by a part of the name that the driver gives; more special names first.
Source: NVIDIA's data sheets. Chips reach some 60 to 80 % of it."""
SIZES = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices that are multiplied: large enough for full speed, and at most 40 ms on a slow core."""
MEASURED_S = 0.3


@dataclass(frozen=True)
class Ceiling:
    """The denominator of MFU, and what it is."""

    flops_per_s: float
    name: str


@cache
def ceiling(device: torch.device) -> Ceiling:
    """The data sheet's figure of a GPU that is known by name; of others, the fastest product seen in under a second."""
    if device.type == "cuda":
        called = torch.cuda.get_device_name(device)
        if (flops_per_s := by_data_sheet(called)) is not None:
            return Ceiling(flops_per_s, f"{called}, dense bfloat16 by its data sheet")
    dtype = torch.bfloat16 if computes_bf16(device) else torch.float32
    return Ceiling(_measured(device, dtype), f"{device.type}, {str(dtype).removeprefix('torch.')} product measured here")


def by_data_sheet(name: str) -> float | None:
    """Operations per second of a GPU that calls itself `name`, such as "NVIDIA H100 80GB HBM3"; None for one not known."""
    words = name.replace("-", " ")
    return next((flops_per_s for part, flops_per_s in DATASHEETS.items() if re.search(rf"\b{part}\b", words)), None)


def _measured(device: torch.device, dtype: torch.dtype) -> float:
    size = SIZES[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best_s, end = float("inf"), time.perf_counter() + MEASURED_S
    while time.perf_counter() < end or best_s == float("inf"):
        begin = time.perf_counter()
        # One product's last number: on a GPU that is waited for.
        (a @ b)[-1, -1].item()
        best_s = min(best_s, time.perf_counter() - begin)
    return float(2 * size**3 / best_s)
