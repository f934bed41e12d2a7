"""What Prometheus is told. Few labels, and none that could name a patient, a message or a file."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from shutil import disk_usage

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from appliance import audit
from appliance.home import Home
from appliance.messages import STAGES, counts
from appliance.storage import Storage, StorageError
from integrations.mailbox import State

KEPT = Counter(
    "clinappliance_messages_kept_total",
    "Messages that arrived, by what the inbox did with them: kept, repeated, unreadable, or refused (not kept).",
    ["outcome"],
)
LAST_RECEIVED = Gauge("clinappliance_last_message_timestamp_seconds", "When the last message came, seconds since 1970.")
ENDED = Counter(
    "clinappliance_messages_ended_total",
    "Messages by how the worker ended them: read, no_task, no_text or parked.",
    ["outcome"],
)
FINDINGS = Counter("clinappliance_findings_total", "Findings by label; of questions: answered or not_answered.", ["label"])
INFERENCE_SECONDS = Histogram(
    "clinappliance_inference_duration_seconds",
    "From a note's text to its findings.",
    ["task"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ENGINE_FAILURES = Counter("clinappliance_engine_failures_total", "Notes put back because the model did not answer.")
FALLBACK = Gauge("clinappliance_engine_fallback", "1 while this process computes answers because Triton cannot be believed.")
FALLBACKS = Counter("clinappliance_engine_fallbacks_total", "How often this process took over from Triton.")
DELIVERIES = Counter(
    "clinappliance_deliveries_total",
    "Deliveries by their last try: delivered, retried or refused.",
    ["destination", "outcome"],
)
CIRCUIT_OPEN = Gauge(
    "clinappliance_delivery_circuit_open",
    "1 while a destination has failed again and again, so that its deliveries wait and one at a time is tried.",
    ["destination"],
)
MODEL = Gauge("clinappliance_model_info", "The model that reads for a task; always 1.", ["task", "model", "engine"])

CANDIDATE_SENTENCES = Counter(
    "clinappliance_candidate_sentences_total",
    "Sentences, or questions, that promoted model and candidate have both read: same labels or answers, or different ones.",
    ["outcome"],
)
CANDIDATE_SECONDS = Histogram(
    "clinappliance_candidate_inference_duration_seconds",
    "From a note's text to the candidate's findings.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
CANDIDATE_SKIPPED = Counter("clinappliance_candidate_skipped_total", "Notes not compared, because too many waited for it.")
CANDIDATE_FAILURES = Counter("clinappliance_candidate_failures_total", "Notes that a candidate, or its comparison, failed on.")

OPEN = (State.WAITING, State.CLAIMED, State.PARKED)


class ApplianceCollector(Collector):
    """What is looked up when Prometheus asks: the queues, readiness, the disk, the clock and certificates."""

    def __init__(self, storage: Storage, home: Path, reasons: Callable[[], list[str]], certificates: Mapping[str, Path]) -> None:
        self._storage, self._home, self._reasons, self._certificates = storage, home, reasons, certificates
        self._audit = audit.Watch(Home(home))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One scrape."""
        ready = GaugeMetricFamily("clinappliance_ready", "1 when messages are taken and read, as /readyz says.")
        ready.add_metric([], 0.0 if self._reasons() else 1.0)
        yield ready
        free = GaugeMetricFamily("clinappliance_disk_free_bytes", "Free space where the appliance's home lies.")
        free.add_metric([], disk_usage(self._home).free)
        yield free
        # Prometheus holds it against its own clock.
        clock = GaugeMetricFamily("clinappliance_clock_seconds", "The time on this host, seconds since 1970.")
        clock.add_metric([], time.time())
        yield clock
        yield self._ends()
        proved = GaugeMetricFamily(
            "clinappliance_backup_last_verified_timestamp_seconds",
            "When a backup was last restored and compared, seconds since 1970; 0 where none was.",
        )
        proved.add_metric([], _proved_at(self._home))
        yield proved
        # Prometheus keeps them outside of the box: an audit that was put back to an older state has fewer lines than it had.
        lines, is_sound = self._audit.look()
        height = GaugeMetricFamily(
            "clinappliance_audit_lines", "Lines of the audit that are as they were written, from the first on."
        )
        height.add_metric([], lines)
        yield height
        sound = GaugeMetricFamily("clinappliance_audit_sound", "1 when every line of the audit is as it was written.")
        sound.add_metric([], float(is_sound))
        yield sound
        yield from self._queues()

    def _ends(self) -> GaugeMetricFamily:
        """Of each certificate; 0 for one that cannot be read: it will not be used again either."""
        ends = GaugeMetricFamily(
            "clinappliance_certificate_expiry_timestamp_seconds",
            "When the certificate of a setting ends, seconds since 1970; 0 where it cannot be read.",
            labels=["setting"],
        )
        for setting, path in self._certificates.items():
            ends.add_metric([setting], end_of(path))
        return ends

    def _queues(self) -> Iterator[GaugeMetricFamily]:
        depth = GaugeMetricFamily(
            "clinappliance_queue_depth", "Open messages and deliveries by state.", labels=["stage", "state"]
        )
        age = GaugeMetricFamily(
            "clinappliance_queue_oldest_message_age_seconds", "Age of the oldest that waits or is claimed.", labels=["stage"]
        )
        try:
            for stage in STAGES:
                found = counts(self._storage, stage, OPEN)
                for state, n in found.by_state.items():
                    depth.add_metric([stage, state], n)
                age.add_metric([stage], found.oldest_age_s)
        except StorageError:
            # An absent series is what an alert on a lost database looks for; the other metrics still stand.
            return
        yield depth
        yield age


def _proved_at(home: Path) -> float:
    try:
        return float(json.loads(Home(home).proved_backup.read_bytes())["verified_at_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def end_of(path: Path) -> float:
    """When a certificate, or whichever of its chain ends first, ends; 0 where it cannot be read."""
    from cryptography import x509

    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return 0.0
    return min(certificate.not_valid_after_utc.timestamp() for certificate in chain)


def watch(
    storage: Storage,
    home: Path,
    reasons: Callable[[], list[str]],
    certificates: Mapping[str, Path],
    registry: CollectorRegistry = REGISTRY,
) -> None:
    """Let `registry` look at this appliance whenever it is asked.

    Args:
        storage: its queues.
        home: on its disk.
        reasons: why it is not ready.
        certificates: of the settings that name one.
        registry: where Prometheus asks.
    """
    registry.register(ApplianceCollector(storage, home, reasons, certificates))
