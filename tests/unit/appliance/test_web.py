"""The appliance over HTTP, and what Prometheus is told."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from starlette.testclient import TestClient

from appliance import metrics
from appliance.storage import Storage
from appliance.web.app import create


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage(tmp_path / "appliance.db")
    yield opened
    opened.close()


def ask(path: str, reasons: list[str], registry: CollectorRegistry = REGISTRY) -> httpx.Response:
    with TestClient(create(lambda: reasons, registry=registry)) as client:
        return client.get(path)


def test_a_process_that_answers_is_alive() -> None:
    assert ask("/livez", ["engine_starting"]).json() == {"alive": True}


def test_readiness_says_why_not_in_words_for_a_machine() -> None:
    answer = ask("/readyz", ["engine_starting", "disk_low"])
    assert (answer.status_code, answer.json()) == (
        503,
        {"ready": False, "reasons": ["engine_starting", "disk_low"], "degraded": []},
    )
    answer = ask("/readyz", [])
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": [], "degraded": []})


def test_no_page_explains_the_interface_to_strangers() -> None:
    assert [ask(path, []).status_code for path in ("/docs", "/openapi.json", "/redoc")] == [404, 404, 404]


def test_the_queues_are_counted_when_prometheus_asks(storage: Storage, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics.watch(storage, tmp_path, lambda: ["engine_starting"], registry)
    storage.inbox.put("ward-7", "1", b"one")
    storage.inbox.put("ward-7", "2", b"two", "no MSH")
    text = ask("/metrics", [], registry).text
    assert 'clinappliance_queue_depth{stage="inbox",state="waiting"} 1.0' in text
    assert 'clinappliance_queue_depth{stage="inbox",state="parked"} 1.0' in text
    assert "clinappliance_ready 0.0" in text
    assert re.search(r'oldest_message_age_seconds\{stage="inbox"\} 0\.\d', text)


def test_a_lost_database_takes_its_own_series_with_it_and_no_other(storage: Storage, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics.watch(storage, tmp_path, lambda: ["database_not_writable"], registry)
    with storage.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE outbox")
    text = ask("/metrics", [], registry).text
    assert "clinappliance_queue_depth" not in text
    assert "clinappliance_ready 0.0" in text


def test_every_metric_is_ours_by_name_has_help_and_no_label_that_names_anybody(storage: Storage, tmp_path: Path) -> None:
    metrics.KEPT.labels("kept").inc()
    families = [f for f in REGISTRY.collect() if f.name.startswith("clinappliance_")]
    assert len(families) >= 8
    labels = {name for f in families for sample in f.samples for name in sample.labels}
    assert labels <= {"outcome", "label", "task", "model", "engine", "stage", "state", "destination", "protocol", "le"}
    assert [f.name for f in families if not f.documentation] == []
