"""`doctor`: what this host and this home have, what is wrong with it, and what to do about it. Changes nothing."""

import os
import platform
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Literal

from appliance import lock
from appliance.config import AppConfig, ConfigError, load
from appliance.database import DatabaseConfig
from appliance.home import Home, HomeError
from appliance.registry import Registry
from appliance.routing import TASKS
from appliance.trouble import explain
from integrations.transports import TransportError, access
from integrations.transports.mllp import MllpConfig

GIB = 2**30
ASK_S = 5.0
MOST_CLOCK_SKEW_S = 2.0


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    outcome: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


def examine(home: Home) -> Iterator[Check]:
    """Every check, as soon as it is made. What needs a home, or its settings, is left out where there is none."""
    yield python()
    yield disk(home.root)
    yield memory()
    yield cpu()
    yield home_folder(home)
    if not home.config.is_file():
        return
    config = None
    try:
        config = load(home)
        yield Check("settings", "ok", str(home.config))
    except ConfigError as error:
        yield Check("settings", "fail", str(error), f"correct {home.config}")
    yield from database(home, config.database if config else DatabaseConfig())
    yield from models(home, config.routing.tasks.values() if config else TASKS.values())
    if config is not None:
        yield triton(config)
        yield from ports(home, config)
        yield encryption(config.mllp)
        yield fhir(config)
        yield from hl7_out(config)


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


def home_folder(home: Home) -> Check:
    """There, ours, and closed to others."""
    try:
        home.require()
    except HomeError as error:
        return Check("home", "fail", str(error), f"clinappliance --home {home.root} init")
    mode = home.root.stat().st_mode & 0o777
    if not os.access(home.root, os.W_OK | os.X_OK):
        return Check("home", "fail", f"{home.root} cannot be written", "run as the user who owns it")
    if mode & 0o077:
        return Check("home", "fail", f"{home.root} is open to others (mode {mode:o})", f"chmod 700 {home.root}")
    return Check("home", "ok", f"{home.root}, mode {mode:o}")


def database(home: Home, config: DatabaseConfig) -> Iterator[Check]:
    """Opened, and checked by its own means; a server's clock, too, beside ours."""
    from appliance.storage import Storage, StorageError

    try:
        storage = Storage(config.place(home.database), busy_s=5)
        try:
            fault, about = storage.database.damage(), storage.database.about()
            ahead_s = time.time() - storage.database.clock()
        finally:
            storage.close()
    except StorageError as error:
        yield Check("database", "fail", str(error), "see what the line says")
        return
    if fault:
        yield Check("database", "fail", f"{storage.database.backend.name}: {fault.what}", fault.advice)
    else:
        yield Check("database", "ok", about)
    if config.url is not None:
        yield clock(ahead_s)


def clock(ahead_s: float) -> Check:
    """This host's clock beside the database's. Leases go by the latter alone; logs and the times of notes do not."""
    told = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the database's"
    if abs(ahead_s) > MOST_CLOCK_SKEW_S:
        return Check("clock", "warn", told, "let both hosts follow one time server (chrony, systemd-timesyncd)")
    return Check("clock", "ok", told)


def models(home: Home, tasks: Iterable[str]) -> Iterator[Check]:
    """The promoted model of each of `tasks`, every file compared with its manifest."""
    registry = Registry(home.models)
    for task in sorted(set(tasks)):
        name = f"model {task}"
        try:
            entry = registry.promoted(task)
            if entry is None:
                advice = (
                    f"clinappliance train, or clinappliance models promote NAME --task {task}; or take it out of [routing] tasks"
                )
                yield Check(name, "warn", "none is promoted", advice)
                continue
            n_files = len(registry.get(entry.reference, task).manifest.files)
            yield Check(name, "ok", f"{entry.reference}, {n_files} files as in the manifest")
        except Exception as error:
            yield Check(name, "fail", explain(error), "copy the model again, or promote another one")


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


def ports(home: Home, config: AppConfig) -> Iterator[Check]:
    """The addresses that `run` listens on: free, or held by the appliance itself."""
    wanted = [("[mllp] port", config.mllp.host, config.mllp.port), ("[http] port", config.http.host, config.http.port)]
    if config.worker.engine == "triton":
        wanted.append(("[triton] grpc_port", config.triton.host, config.triton.grpc_port))
        wanted.append(("[triton] metrics_port", config.triton.host, config.triton.metrics_port))
    if pid := lock.holder(home.lock):
        yield Check("ports", "ok", f"in use by the appliance itself, process {pid}")
        return
    for setting, host, port in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            yield Check(f"port {port}", "fail", f"{error.strerror} on {host}", f"stop what uses it, or change {setting}")
        else:
            yield Check(f"port {port}", "ok", f"free on {host} for {setting}")


def encryption(config: MllpConfig) -> Check:
    """How messages come to the appliance, and whether its certificate can be used."""
    if config.certificate is None:
        if config.is_exposed:
            advice = "set [mllp] certificate and key, or keep to loopback or a closed network"
            return Check("mllp", "warn", f"messages come unencrypted to {config.host}", advice)
        return Check("mllp", "ok", f"unencrypted, on {config.host} only")
    try:
        access.server_context(config.certificate, config.key, config.client_ca)
    except TransportError as error:
        return Check("mllp", "fail", str(error), "see what the line says")
    return Check("mllp", "ok", "encrypted" + (", senders show a certificate" if config.client_ca else ""))


def fhir(config: AppConfig) -> Check:
    """The FHIR server, asked for its CapabilityStatement, and how findings will go there."""
    if config.fhir.url is None:
        where = f"findings go to {', '.join(config.hl7_out)}" if config.hl7_out else "findings stay here"
        return Check("fhir", "ok", f"no server is set; {where}")
    from integrations.transports import Retry
    from integrations.transports.fhir_capability import Form, ask, choose

    # A password may stand in the address; it is used, and not shown.
    base = config.fhir.url
    shown = f"{base.scheme}://{base.host}:{base.port}{base.path or ''}".rstrip("/")
    advice = "see that the server runs and [fhir] url is its base address"
    try:
        found = ask(config.fhir, ASK_S)
    except Retry as error:
        return Check("fhir", "fail", f"{shown}/metadata: {error}", advice)
    form, why = choose(config.fhir.output, found)
    told = f"findings go there as {'transactions' if form is Form.TRANSACTION else 'summaries (DocumentReference)'}: {why}"
    if found is None:
        return Check("fhir", "warn", f"{shown}/metadata answers, with no CapabilityStatement; {told}", advice)
    if form is Form.TRANSACTION and "may refuse" in why:
        return Check("fhir", "warn", f"{shown} answers; {told}", "ask the server's people for one of them, or set [hl7_out]")
    return Check("fhir", "ok", f"{shown} answers; {told}")


def hl7_out(config: AppConfig) -> Iterator[Check]:
    """The systems that are told by HL7 v2: whether each takes a connection."""
    from integrations.transports import TransportError
    from integrations.transports.mllp_client import MllpClient

    for name, system in config.hl7_out.items():
        where = f"{system.host}:{system.port}"
        try:
            with MllpClient(system.host, system.port, ASK_S, system.context()) as client:
                client.connect()
        except TransportError as error:
            yield Check(f"hl7_out {name}", "fail", str(error), f"see that it listens, and what [hl7_out.{name}] says of TLS")
        else:
            yield Check(f"hl7_out {name}", "ok", f"{where} takes connections; it is told by {system.message}")


def _amount(name: str, found: int, what: str, least: int, wanted: int, advice: str) -> Check:
    text = f"{found / GIB:.1f} GiB {what}"
    if found < least:
        return Check(name, "fail", f"{text}, at least {least / GIB:.0f} are needed", advice)
    if found < wanted:
        return Check(name, "warn", f"{text}, {wanted / GIB:.0f} are better", advice)
    return Check(name, "ok", text)
