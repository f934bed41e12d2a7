"""What training takes from the socket: measured where the machine counts it, estimated and said so where it does not."""

import json
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pretrain.corpus.parts import write_durably

RAPL = Path("/sys/class/powercap")
"""Linux shows the energy counters of Intel's and AMD's processors here; many kernels let only root read them."""
WATTS_PER_CORE = 8.0
"""Assumed where nothing counts: servers of 2020 to 2025 draw 5 to 12 W for a busy core, its share of memory included."""
_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Energy:
    """What a piece of work took."""

    kwh: float
    source: str
    """How it is known: counters that were read, or the assumption behind the estimate."""
    devices: int
    device_name: str
    """Whose hours to count: GPUs where there are any, else CPU cores."""


class Meter:
    """Counts from its making on, on top of what an interrupted run had counted.

    GPUs are taken at the mean of what they draw at each `read`, so read now and then; processors by their own counters.

    Args:
        device: what is trained on.
        cores: at work, for the estimate.
        counters: where the machine shows what its processors took.
        kept: a file that holds the last reading, for the run that goes on from this one. What is done twice counts twice.
    """

    def __init__(self, device: torch.device, cores: int, counters: Path = RAPL, kept: Path | None = None) -> None:
        self._device, self._cores, self._kept = device, cores, kept
        self._earlier = _earlier(kept) if kept and kept.exists() else None
        self._counters = sorted(counters.glob("*-rapl:?/energy_uj")) if counters.is_dir() else []
        self._before_j = self._counted_j()
        self._begin = self._seen_at = time.monotonic()
        self._gpu_j = 0.0

    def read(self) -> Energy:
        """What has been taken so far, earlier runs included."""
        now = time.monotonic()
        sources = []
        if self._device.type == "cuda":
            self._gpu_j += _gpu_watts() * (now - self._seen_at)
            sources.append("what nvidia-smi says the GPUs draw")
        self._seen_at = now
        counted = self._counted_j()
        # A counter that was started again, or wrapped, counts less than before.
        if counted is not None and self._before_j is not None and counted > self._before_j:
            host_j = counted - self._before_j
            sources.append("the processors' energy counters")
        else:
            host_j = (now - self._begin) * self._cores * WATTS_PER_CORE
            sources.append(f"an estimate: {self._cores} cores at {WATTS_PER_CORE:.0f} W, for nothing here counts energy")
        used = (torch.cuda.device_count(), "GPU") if self._device.type == "cuda" else (self._cores, "CPU core")
        taken = (self._gpu_j + host_j) / _JOULES_PER_KWH
        if self._earlier:
            taken += self._earlier.kwh
            sources = list(dict.fromkeys([*self._earlier.source.split("; "), *sources]))
        energy = Energy(taken, "; ".join(sources), *used)
        if self._kept:
            # A full disk is for the next checkpoint to tell.
            with suppress(OSError):
                write_durably(self._kept, json.dumps(asdict(energy)).encode())
        return energy

    def _counted_j(self) -> float | None:
        try:
            return sum(int(path.read_text()) for path in self._counters) / 1e6 if self._counters else None
        except (OSError, ValueError):  # not ours to read
            return None


def _earlier(kept: Path) -> Energy:
    try:
        return Energy(**json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Energy(0.0, "what earlier runs took is not known", 0, "")


def _gpu_watts() -> float:
    """Of all GPUs together; the driver's own tool says it, without another package."""
    command = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        return sum(float(line) for line in said.split())
    except (OSError, subprocess.SubprocessError, ValueError):  # "[N/A]" on some boards
        return 0.0
