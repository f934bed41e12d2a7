"""A real Prometheus and a real Alertmanager for tests: Debian's, each started on a port of its own."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.appliance_process import eventually, free_ports


@contextlib.contextmanager
def running_prometheus(folder: Path, target_port: int, more: str = "") -> Iterator[str]:
    """Scrapes 127.0.0.1:`target_port` every half second; gives its base URL and stops it at the end. `more` is configuration."""
    (port,) = free_ports(1)
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 500ms, evaluation_interval: 500ms}\n"
        f"scrape_configs: [{{job_name: clinappliance, static_configs: [{{targets: ['127.0.0.1:{target_port}']}}]}}]\n{more}"
    )
    arguments = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with _running("prometheus", port, arguments, folder) as url:
        yield url


@contextlib.contextmanager
def running_alertmanager(folder: Path, config: Path) -> Iterator[str]:
    """Sends what it is told to the receivers of `config`; gives its base URL and stops it at the end."""
    (port,) = free_ports(1)
    arguments = [f"--config.file={config}", f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address="]
    with _running("prometheus-alertmanager", port, arguments, folder) as url:
        yield url


@contextlib.contextmanager
def _running(name: str, port: int, arguments: list[str], folder: Path) -> Iterator[str]:
    program = shutil.which(name)
    if program is None:
        reason = f"{name} is not installed: apt-get install {name}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    url, log_file = f"http://127.0.0.1:{port}", folder / f"{name}.log"
    command = [program, *arguments, f"--web.listen-address=127.0.0.1:{port}"]
    with log_file.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            eventually(lambda: _answers(url), 30, log_file.read_text)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def ask(url: str, query: str) -> float:
    """The value of an instant query that gives one series; NaN where it gives none."""
    found = httpx.get(f"{url}/api/v1/query", params={"query": query}, timeout=10).raise_for_status().json()["data"]["result"]
    return float(found[0]["value"][1]) if len(found) == 1 else float("nan")


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/-/ready", timeout=2).status_code == 200
    return False
