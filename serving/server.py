"""The appliance's own Triton: started, watched and stopped as one process group that never outlives the appliance.

Triton authenticates nobody, and the release in nvidia-pytriton is older than several fixes (CVE-2025-23310 and -23311 in its
HTTP front end, CVE-2025-23319 and following through shared memory, model control with a model in the request). So it listens
on loopback only, without the HTTP front end; models come from the repository, polled, and model control is off; the shared
memory, trace and log calls need a header nobody knows.
"""

import hashlib
import ipaddress
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from serving import environment
from serving.engine import EngineError
from serving.engines import triton
from serving.environment import Environment, ServerError

logger = logging.getLogger(__name__)

EXIT_TIMEOUT_S = 10
POLL_S = 2
MAX_LOG_BYTES = 10_000_000
MAX_PAUSE_S = 60.0
STEADY_S = 60.0
"""A server that ran for so long has recovered: the pause before its next restart begins anew at a second."""

# A process between the appliance and Triton, whose standard input is a pipe from the appliance. The pipe ends when the appliance
# does, by SIGKILL too; then, or when Triton ends, the keeper kills their process group, itself included. Triton's stubs need
# this: they outlive a killed Triton. PR_SET_PDEATHSIG alone would kill Triton as soon as the THREAD that started it ended.
_KEEPER = """\
import ctypes, os, select, signal, sys
keeper = os.getpid()
triton = os.fork()
if triton == 0:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the keeper, which has one thread
    if os.getppid() == keeper:
        os.execv(sys.argv[1], sys.argv[1:])
    os._exit(1)
signal.signal(signal.SIGTERM, lambda *_: os.kill(triton, signal.SIGTERM))
ended = os.pidfd_open(triton)
if ended in select.select([0, ended], [], [])[0]:
    print("tritonserver ended with status", os.waitstatus_to_exitcode(os.waitpid(triton, 0)[1]), file=sys.stderr, flush=True)
os.killpg(0, signal.SIGKILL)
"""


class TritonConfig(BaseModel):
    """How Triton is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: Path = Field(default_factory=lambda: Path(sys.prefix) / "triton")
    """Triton's own Python environment."""
    host: str = "127.0.0.1"
    """A loopback address; Triton has no authentication."""
    grpc_port: int = Field(default=8001, ge=1, le=65535)
    """Where models are asked."""
    metrics_port: int = Field(default=8002, ge=1, le=65535)
    """Where Prometheus reads Triton's own metrics."""
    start_timeout_s: float = Field(default=60.0, gt=0)
    """How long it may take until it is ready, seconds; also how long it may stay silent before it is restarted."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of a model; all the CPUs this process may use where unset."""

    @field_validator("host")
    @classmethod
    def _is_loopback(cls, host: str) -> str:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError("Triton has no authentication, so it listens on a loopback address only, such as 127.0.0.1")
        return host

    @property
    def url(self) -> str:
        """The gRPC endpoint as host:port."""
        return f"{self.host}:{self.grpc_port}"


def why_not(config: TritonConfig) -> str | None:
    """Why Triton cannot be started on this host as configured; None when it can. Nothing is started to find out."""
    try:
        environment.find(config.environment)
    except ServerError as error:
        return str(error)
    for setting in ("grpc_port", "metrics_port"):
        port = getattr(config, setting)
        with socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((config.host, port))
            except OSError as error:
                return f"port {port} on {config.host} cannot be used ({error.strerror}); free it or change [triton] {setting}"
    return None


class TritonServer:
    """One Triton over one model repository. `start`, `watch` and `stop` are called from one thread at a time."""

    def __init__(self, config: TritonConfig, repository: Path, log_path: Path) -> None:
        """Nothing is started yet.

        Args:
            config: how to run it.
            repository: as `serving.repository` writes it; beside it lies a folder of links for Triton's backend.
            log_path: where Triton's own output is appended.
        """
        self._config, self._repository, self._log_path = config, repository, log_path
        self._process: subprocess.Popen[bytes] | None = None
        self._is_wanted = False
        self._started_at = self._answered_at = 0.0
        self._restart_at: float | None = None
        self._failures = 0
        # Regions of shared memory that a killed server leaves behind are found by their name again.
        self._shm_prefix = "clinappliance-" + hashlib.sha256(str(repository.resolve()).encode()).hexdigest()[:12]

    @property
    def pid(self) -> int | None:
        """The process that Triton and its stubs descend from, while it runs."""
        return self._process.pid if self._process and self._is_running() else None

    def start(self) -> None:
        """Start Triton and wait until it is ready: every model in the repository has been loaded, or has failed to load.

        Raises:
            ServerError: it cannot be started, died, or was not ready in time; it does not run then.
        """
        if self._is_running():
            raise ServerError("Triton runs already")
        self._is_wanted = True
        self._launch()
        deadline = time.monotonic() + self._config.start_timeout_s
        while not self.is_ready():
            if not self._is_running():
                self.stop()
                raise ServerError(f"Triton ended while it started; {self._log_path} says why")
            if time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"Triton was not ready after {self._config.start_timeout_s:g} s; {self._log_path} says why")
            time.sleep(0.05)
        logger.info("Triton is ready", extra={"port": self._config.grpc_port})

    def want(self) -> None:
        """Have `watch` start Triton at its next look, where it does not run; nothing is waited for."""
        if not self._is_wanted:
            self._is_wanted, self._restart_at = True, time.monotonic()

    def is_ready(self, model: str | None = None, version: int | None = None, timeout_s: float = 2.0) -> bool:
        """Whether Triton answers, or whether it serves a model, or one version of it."""
        return self._is_running() and triton.is_ready(self._config.url, model, version, timeout_s)

    def why_unready(self) -> dict[str, str]:
        """What keeps models from being served, by "NAME version N"; empty where nothing failed.

        Raises:
            ServerError: Triton does not answer.
        """
        try:
            return triton.why_unready(self._config.url)
        except EngineError as error:
            raise ServerError(str(error)) from error

    def watch(self) -> None:
        """Start Triton where it is wanted, and again where it died or fell silent, after a pause of 1, 2, 4 ... 60 s.

        To be called every second.
        """
        if not self._is_wanted:
            return
        self._rotate_log()
        now = time.monotonic()
        if self._restart_at is None and not self._is_running():
            self._failures += 1
            pause_s = min(MAX_PAUSE_S, 2.0 ** (self._failures - 1))
            self._restart_at = now + pause_s
            logger.error("Triton ended; its log says why", extra={"restart_in_s": pause_s})
        elif self._restart_at is None:
            self._watch_running(now)
        elif now >= self._restart_at:
            try:
                self._launch()
            except ServerError as error:
                logger.error("Triton cannot be started: %s", error)

    def stop(self) -> None:
        """End Triton and everything it started; waits until all of it is gone. Does nothing where it does not run."""
        self._is_wanted = False
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_TIMEOUT_S + 5)
        self._kill_group()
        self._process, self._restart_at, self._failures = None, None, 0

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _watch_running(self, now: float) -> None:
        if self.is_ready():
            self._answered_at = now
            if now - self._started_at > STEADY_S:
                self._failures = 0
        elif now - max(self._answered_at, self._started_at) > self._config.start_timeout_s:
            logger.error("Triton does not answer and is killed", extra={"silent_s": self._config.start_timeout_s})
            self._kill_group()

    def _launch(self) -> None:
        self._restart_at = None
        if self._process is not None:
            self._kill_group()  # a stub may outlive its server by a moment and hold its ports
        if reason := why_not(self._config):
            raise ServerError(reason)
        found = environment.find(self._config.environment)
        try:
            self._repository.mkdir(parents=True, exist_ok=True)
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            backends = found.link_backend(self._repository.with_name(self._repository.name + "-backends"))
            variables = found.variables()
            if self._config.threads:
                variables["OMP_NUM_THREADS"] = str(self._config.threads)
            for region in Path("/dev/shm").glob(f"{self._shm_prefix}*"):  # noqa: S108 - where POSIX shared memory lies
                region.unlink(missing_ok=True)
            self._process = self._spawn(self._arguments(found, backends), variables)
        except OSError as error:
            raise ServerError(f"Triton cannot be started: {error.filename or ''} {error.strerror}; mend its rights") from error
        self._started_at = time.monotonic()

    def _spawn(self, arguments: list[str], variables: dict[str, str]) -> "subprocess.Popen[bytes]":
        """Start Triton and its keeper as a session of their own, so that Ctrl-C at a terminal reaches the appliance only."""
        command = [sys.executable, "-I", "-S", "-c", _KEEPER, *arguments]
        with self._log_path.open("ab") as log:
            return subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)

    def _arguments(self, found: Environment, backends: Path) -> list[str]:
        config, host = self._config, self._config.host
        return [
            str(found.tritonserver),
            f"--model-repository={self._repository}",
            f"--backend-directory={backends}",
            f"--cache-directory={found.caches}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            # Otherwise the stub is started twice, only to be asked for a configuration that is there.
            "--disable-auto-complete-config",
            "--model-control-mode=poll",
            f"--repository-poll-secs={POLL_S}",
            # One damaged model does not keep the others from being served; `why_unready` names it.
            "--exit-on-error=false",
            "--strict-readiness=false",
            "--allow-http=false",
            f"--http-address={host}",
            f"--grpc-address={host}",
            f"--grpc-port={config.grpc_port}",
            f"--grpc-restricted-protocol=shared-memory,trace,logging:{secrets.token_hex(16)}={secrets.token_hex(16)}",
            f"--metrics-address={host}",
            f"--metrics-port={config.metrics_port}",
            "--allow-gpu-metrics=false",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
            "--log-format=ISO8601",
        ]

    def _rotate_log(self) -> None:
        """Keep Triton's output and one file before it; it is appended to, so it can be emptied while Triton runs."""
        with suppress(FileNotFoundError):
            if self._log_path.stat().st_size > MAX_LOG_BYTES:
                with suppress(OSError):  # on a full disk the old file is worth less than the space
                    shutil.copyfile(self._log_path, self._log_path.with_name(self._log_path.name + ".1"))
                os.truncate(self._log_path, 0)

    def _kill_group(self) -> None:
        """Kill what is left of Triton's process group and wait until it is gone."""
        assert self._process is not None
        if self._process.stdin:
            self._process.stdin.close()
        deadline = time.monotonic() + EXIT_TIMEOUT_S
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.poll()
                time.sleep(0.02)
