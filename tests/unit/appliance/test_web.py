"""The appliance over HTTP, and what Prometheus is told."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
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
    metrics.watch(storage, tmp_path, lambda: ["engine_starting"], {}, registry)
    storage.inbox.put("ward-7", "1", b"one")
    storage.inbox.put("ward-7", "2", b"two", "no MSH")
    text = ask("/metrics", [], registry).text
    assert 'clinappliance_queue_depth{stage="inbox",state="waiting"} 1.0' in text
    assert 'clinappliance_queue_depth{stage="inbox",state="parked"} 1.0' in text
    assert "clinappliance_ready 0.0" in text
    assert re.search(r'oldest_message_age_seconds\{stage="inbox"\} 0\.\d', text)


def test_a_lost_database_takes_its_own_series_with_it_and_no_other(storage: Storage, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics.watch(storage, tmp_path, lambda: ["database_not_writable"], {}, registry)
    with storage.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE outbox")
    text = ask("/metrics", [], registry).text
    assert "clinappliance_queue_depth" not in text
    assert "clinappliance_ready 0.0" in text


def certificate(path: Path, ends: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    signed = made.not_valid_before(ends - timedelta(days=365)).not_valid_after(ends).sign(key, hashes.SHA256())
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def test_prometheus_is_told_when_each_certificate_ends_and_what_time_it_is_here(storage: Storage, tmp_path: Path) -> None:
    certificate(tmp_path / "ours.pem", datetime(2027, 1, 1, tzinfo=UTC))
    (tmp_path / "damaged.pem").write_text("-----BEGIN CERTIFICATE-----")
    named = {
        "[mllp] certificate": "ours.pem",
        "[hl7_out.ris] certificate": "damaged.pem",
        "[hl7_out.pas] certificate": "gone.pem",
    }
    registry = CollectorRegistry()
    metrics.watch(storage, tmp_path, lambda: [], {setting: tmp_path / name for setting, name in named.items()}, registry)
    ends = {
        setting: registry.get_sample_value("clinappliance_certificate_expiry_timestamp_seconds", {"setting": setting})
        for setting in named
    }
    assert ends == {
        "[mllp] certificate": datetime(2027, 1, 1, tzinfo=UTC).timestamp(),
        "[hl7_out.ris] certificate": 0.0,
        "[hl7_out.pas] certificate": 0.0,
    }
    assert registry.get_sample_value("clinappliance_clock_seconds") == pytest.approx(time.time(), abs=60)


def test_every_metric_is_ours_by_name_has_help_and_no_label_that_names_anybody(storage: Storage, tmp_path: Path) -> None:
    metrics.KEPT.labels("kept").inc()
    families = [f for f in REGISTRY.collect() if f.name.startswith("clinappliance_")]
    assert len(families) >= 8
    labels = {name for f in families for sample in f.samples for name in sample.labels}
    assert labels <= {"outcome", "label", "task", "model", "engine", "stage", "state", "destination", "protocol", "le"}
    assert [f.name for f in families if not f.documentation] == []
