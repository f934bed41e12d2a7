"""A real Prometheus and a real Alertmanager carry an alert from its cause to whoever is to be woken."""

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from appliance import metrics
from appliance.storage import Storage
from appliance.web.app import create
from tests.appliance_process import eventually, free_ports
from tests.peers.prometheus import running_alertmanager, running_prometheus

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(storage: Storage, home: Path, reasons: Callable[[], list[str]]) -> Iterator[int]:
    """The appliance's own `/metrics`."""
    registry, (port,) = CollectorRegistry(), free_ports(1)
    metrics.watch(storage, home, reasons, {}, registry)
    server = uvicorn.Server(uvicorn.Config(create(reasons, registry=registry), port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def receiving() -> Iterator[tuple[int, list[tuple[str, dict[str, Any]]]]]:
    """Whoever Alertmanager tells: the port, and what has come, each with its path."""
    come: list[tuple[str, dict[str, Any]]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            come.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_address[1], come
        finally:
            server.shutdown()


def without_waiting(path: Path, folder: Path) -> Path:
    """A copy of the rules whose alerts do not wait to see whether their cause goes away."""
    copy = folder / path.name
    copy.write_text(re.sub(r"^( +for:) \w+$", r"\1 0s", path.read_text(), flags=re.MULTILINE))
    return copy


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage(tmp_path / "appliance.db")
    yield opened
    opened.close()


def test_who_is_to_be_woken_hears_of_it_and_hears_when_it_is_over(storage: Storage, tmp_path: Path) -> None:
    why_not: list[str] = []
    with receiving() as (receiver_port, come), serving(storage, tmp_path, lambda: why_not) as target_port:
        config = (ROOT / "ops/alertmanager/alertmanager.yml").read_text().replace(":9094", f":{receiver_port}")
        shortened = re.sub(r"group_(wait|interval): \w+", r"group_\1: 1s", config)
        (tmp_path / "alertmanager.yml").write_text(shortened)
        with running_alertmanager(tmp_path, tmp_path / "alertmanager.yml") as alertmanager:
            rules = [str(without_waiting(path, tmp_path)) for path in (ROOT / "ops/prometheus/rules").glob("*.yml")]
            to = f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager.removeprefix('http://')}']}}]}}]}}\n"
            with running_prometheus(tmp_path, target_port, f"rule_files: {json.dumps(rules)}\n{to}"):

                def heard(status: str) -> list[tuple[str, str, str]]:
                    return [
                        (path, alert["labels"]["alertname"], alert["annotations"]["summary"])
                        for path, told in list(come)
                        for alert in told["alerts"]
                        if alert["status"] == status and alert["labels"]["alertname"] == "ClinapplianceNotReady"
                    ]

                why_not.append("database_not_writable")
                eventually(lambda: bool(heard("firing")), 60, lambda: (tmp_path / "prometheus.log").read_text())
                assert set(heard("firing")) == {("/now", "ClinapplianceNotReady", "The appliance is not ready")}
                why_not.clear()
                eventually(lambda: bool(heard("resolved")), 60, lambda: (tmp_path / "prometheus-alertmanager.log").read_text())
    assert "database_not_writable" not in json.dumps(come)


def test_promtool_finds_nothing_to_say_against_our_metrics(storage: Storage, tmp_path: Path) -> None:
    import appliance.service  # noqa: F401 - and with it all that counts something

    storage.inbox.put("ward-7", "1", b"one")
    collector = metrics.ApplianceCollector(storage, tmp_path, lambda: [], {"[mllp] certificate": tmp_path / "gone.pem"})
    ours = [family for family in REGISTRY.collect() if family.name.startswith("clinappliance_")]
    shown = CollectorRegistry()
    for families in (ours, list(collector.collect())):
        shown.register(Shown(families))
    checked = subprocess.run(["promtool", "check", "metrics"], input=generate_latest(shown), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    assert b"clinappliance_queue_oldest_message_age_seconds" in generate_latest(shown)


class Shown(Collector):
    """Families as they are."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
