"""The host: what runs there, and on how much of what."""

import os
import platform
import sys
from pathlib import Path
from shutil import disk_usage

from appliance.config import AppConfig
from appliance.doctor.check import Check

GIB = 2**30


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """The interpreter."""
    found = ".".join(map(str, version))
    if version < (3, 11):
        return Check("python", "fail", found, "install Python 3.11 or newer and run install.sh again")
    return Check("python", "ok", found)


def disk(folder: Path, least_bytes: int = 1 * GIB, wanted_bytes: int = 10 * GIB) -> Check:
    """Free space where `folder` is, or will be."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = disk_usage(there).free
    return _amount("disk", free, f"free at {there}", least_bytes, wanted_bytes, "free some, or move the home with --home")


def memory(least_bytes: int = 2 * GIB, wanted_bytes: int = 8 * GIB) -> Check:
    """Main memory of the host."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return _amount("memory", total, "in all", least_bytes, wanted_bytes, "train smaller models (--size mini), or add some")


def cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Check:
    """Cores, and what the engines make use of."""
    flags = set(cpuinfo.read_text(encoding="ascii", errors="replace").split()) if cpuinfo.exists() else set()
    useful = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    found = f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, {' '.join(useful) or 'no vector extension that helps'}"
    if not useful:
        return Check("cpu", "warn", found, "it works, slowly; a CPU with AVX2 reads several times faster")
    return Check("cpu", "ok", found)


def triton(config: AppConfig) -> Check:
    """Triton's environment, without starting it."""
    from serving import environment

    if config.worker.engine != "triton":
        return Check("triton", "ok", f'not used: [worker] engine = "{config.worker.engine}"')
    try:
        found = environment.find(config.triton.environment)
    except environment.ServerError as error:
        return Check("triton", "fail", str(error), "run install.sh again, or correct [triton] environment")
    return Check("triton", "ok", str(found.root))


def _amount(name: str, found: int, what: str, least: int, wanted: int, advice: str) -> Check:
    text = f"{found / GIB:.1f} GiB {what}"
    if found < least:
        return Check(name, "fail", f"{text}, at least {least / GIB:.0f} are needed", advice)
    if found < wanted:
        return Check(name, "warn", f"{text}, {wanted / GIB:.0f} are better", advice)
    return Check(name, "ok", text)
