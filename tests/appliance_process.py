"""The real `clinappliance run` as a process of its own, on a home with a tiny model, and messages to send to it."""

import itertools
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import hl7.client
import httpx

from appliance.home import Home
from appliance.registry import Registry
from integrations.transports.mllp import frame
from tests import tiny_bundle

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-c", "from appliance.cli.app import main; main()"]


def make_home(root: Path) -> Home:
    """A home whose promoted model tags nearly every sentence with something."""
    home = Home(root)
    home.init()
    registry = Registry(home.models)
    registry.promote(registry.add("tiny", "clip", lambda folder, version: tiny_bundle.write(folder, "tiny", version)))
    return home


class Appliance:
    """`clinappliance run` on one home, on ports of its own; may be started again after it has gone."""

    def __init__(self, home: Home, environment: Path | None, fhir_url: str = "") -> None:
        """Write the settings; `environment` is Triton's, None reads in the appliance's own process."""
        self.home = home
        self.mllp_port, self.http_port, grpc_port, metrics_port = free_ports(4)
        home.config.write_text(
            f"[mllp]\nport = {self.mllp_port}\n[http]\nport = {self.http_port}\n"
            f"[triton]\ngrpc_port = {grpc_port}\nmetrics_port = {metrics_port}\nthreads = 1\n"
            + (f'environment = "{environment}"\n' if environment else '[worker]\nengine = "local"\n')
            + (f'[fhir]\nurl = "{fhir_url}"\n' if fhir_url else "")
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Spawn it; returns at once. What it says is appended to `run.log` in the home."""
        with (self.home.logs / "run.log").open("ab") as log:
            self.process = subprocess.Popen([*COMMAND, "--home", str(self.home.root), "run"], cwd=ROOT, stdout=log, stderr=log)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and give the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def not_ready(self) -> list[str]:
        """Its reasons, as /readyz tells them."""
        try:
            return self.readiness()["reasons"]
        except httpx.HTTPError:
            return ["no_answer"]

    def readiness(self) -> dict[str, list[str]]:
        """All that /readyz tells."""
        found: dict[str, list[str]] = httpx.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=5).json()
        return found

    def wait_ready(self, within_s: float = 60) -> None:
        """Until messages are taken and read."""
        eventually(lambda: not self.not_ready(), within_s, self.said)

    def wait_whole(self, within_s: float = 60) -> None:
        """Until messages are read, and by whom they should be."""
        self.wait_ready(within_s)
        eventually(lambda: not self.readiness()["degraded"], within_s, self.said)

    def said(self) -> str:
        """All that it has logged."""
        return (self.home.logs / "run.log").read_text()

    def ask(self, *words: str) -> list[dict[str, object]]:
        """Another command on the same home, with --json."""
        return [json.loads(line) for line in self.tell("--json", *words).splitlines()]

    def tell(self, *words: str) -> str:
        """What another command on the same home says to a person."""
        done = subprocess.run(
            [*COMMAND, "--home", str(self.home.root), *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


class _Client(hl7.client.MLLPClient):  # type: ignore[misc]
    """python-hl7's, which would leave its socket open where nobody listens, and wait for ever where nobody answers."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=30)
        self.encoding = "utf-8"


class Sender:
    """A hospital's sender: python-hl7's client, which repeats a message until a gateway acknowledges it."""

    def __init__(self, *ports: int) -> None:
        self._ports = itertools.cycle(ports)
        self._client: hl7.client.MLLPClient | None = None

    def send(self, body: bytes, within_s: float = 120) -> bytes:
        """Give the answer to `body`, however often it takes to get one."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            with suppress(OSError):
                if self._client is None:
                    self._client = _Client("127.0.0.1", next(self._ports))
                answer: bytes = self._client.send(frame(body))
                if answer:
                    return answer.strip(b"\x0b\x1c\r")
            self.close()
            time.sleep(0.02)
        raise AssertionError("no answer in time")

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
        self._client = None


def discharge_summary(control_id: str, text: str, code: str = "18842-5") -> bytes:
    """An MDM^T02 with one report."""
    segments = [
        rf"MSH|^~\&|EHR|WARD|||20260101120000+0000||MDM^T02^MDM_T02|{control_id}|P|2.5.1",
        "EVN|T02|20260101120000",
        "PID|1||123^^^HOSP^MR||TESTPATIENT^JANE",
        "PV1|1|I|||||||||||||||||V1^^^HOSP",
        f"TXA|1|{code}|TX|20260101||||||||D{control_id}^HOSP||||||AU",
        f"OBX|1|TX|{code}||{text}||||||F",
    ]
    return "\r".join([*segments, ""]).encode()


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def eventually(
    condition: Callable[[], object], within_s: float = 30, why: Callable[[], str] = lambda: "it did not come to pass"
) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)
