"""The machine: cores and number formats."""

import logging
import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain.devices import best_device, compiled, computes_bf16, give_back_freed_memory, keep_freed_memory, use_all_cores
from pretrain.models.families import new_t5


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_all_cores_are_used_unless_told_otherwise(threads, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_all_cores()
    assert torch.get_num_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    use_all_cores()
    assert torch.get_num_threads() == len(os.sched_getaffinity(0))


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no /proc/cpuinfo to compare with")
def test_bf16_is_used_where_the_cpu_has_it():
    flags = Path("/proc/cpuinfo").read_text().split()
    assert computes_bf16(torch.device("cpu")) == ("avx512_bf16" in flags or "amx_bf16" in flags)


def test_a_machine_without_gpu_trains_on_its_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device() == torch.device("cpu")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep memory")
def test_memory_is_not_cleared_for_every_step_anew():
    keep_freed_memory()
    np.ones(8_000_000)  # 64 MB, taken and freed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(8_000_000)
    pages = 64_000_000 // resource.getpagesize()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < pages / 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep memory")
def test_what_was_kept_can_be_given_back():
    keep_freed_memory()
    kept = [np.ones(1_000) for _ in range(20_000)]  # 160 MB
    hole, kept = kept[:-1], kept[-1:]
    before = resident_mb()
    del hole
    give_back_freed_memory()
    assert len(kept) == 1
    assert resident_mb() < before - 100


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
LARGE_PAGES = """
from pathlib import Path
import numpy as np
from pretrain.devices import keep_freed_memory
keep_freed_memory()
kept = np.ones(8_000_000)
print(next(line.split()[1] for line in Path("/proc/self/smaps_rollup").open() if line.startswith("AnonHugePages")))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap can be grown at once")
@pytest.mark.skipif(not ENABLED.exists() or "[never]" in ENABLED.read_text(), reason="this kernel gives no large pages")
def test_tensors_lie_in_large_pages():
    done = subprocess.run([sys.executable, "-c", LARGE_PAGES], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 32_000  # kB, of 64 MB; the kernel may be short of some


# torch warns of itself when its compiler is imported.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("device", "compiler", "expected"), [("cuda", "/bin/gcc", 4), ("cuda", None, 0), ("cpu", "/bin/gcc", 0)])
def test_blocks_are_compiled_for_a_gpu_where_there_is_a_compiler(device, compiler, expected, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "which", lambda name: compiler)
    monkeypatch.delenv("CC", raising=False)
    model = new_t5("mini", 256, seed=0)
    names = list(model.state_dict())
    with caplog.at_level(logging.WARNING):
        assert compiled(model, torch.device(device)) is model
    assert sum(module._compiled_call_impl is not None for module in model.modules()) == expected
    assert list(model.state_dict()) == names
    assert ("no C compiler" in caplog.text) == (device == "cuda" and compiler is None)
