"""A report that a FHIR server has as DocumentReference and as DiagnosticReport, read by the real worker."""

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance import messages
from appliance.intake import Keeper
from appliance.reading import Reading, findings
from appliance.routing import RoutingConfig, routes
from appliance.storage import Storage
from appliance.versions import Change
from appliance.worker import Worker
from integrations.mailbox import Format, State
from integrations.records import ModelVersion, Note
from integrations.transports.arriving import Arrival
from pretrain.tasks.base import TaggedSpan

BASE = "https://ehr.example/fhir"
TEXT = "Please see cardiology."


class RuleReader:
    """Finds an appointment wherever a note says "see", and counts what it has read."""

    model = ModelVersion("rule", "1", "0" * 64)
    n_read = 0

    def read(self, note: Note) -> Reading:
        self.n_read += 1
        spans = [TaggedSpan(m.start(), m.end(), "Appointment", 0.9) for m in re.finditer(r"see \w+", note.text)]
        return Reading(findings(note, spans, str(self.model), datetime(2026, 1, 1, tzinfo=UTC)), self.model)


def resource(kind: str, name: str, **more: Any) -> Arrival:
    attachment = {"contentType": "text/plain", "data": base64.b64encode(TEXT.encode()).decode()}
    loinc = {"coding": [{"system": "http://loinc.org", "code": "18842-5"}]}
    of_kind: dict[str, Any] = {
        "status": "current",
        "type": loinc,
        "content": [{"attachment": attachment}],
        "date": "2026-11-01T08:30:00Z",
    }
    if kind == "DiagnosticReport":
        of_kind = {"status": "final", "code": loinc, "presentedForm": [attachment], "issued": "2026-11-01T08:31:00Z"}
    whole = {"resourceType": kind, "id": name, "subject": {"reference": "Patient/p1"}} | of_kind | more
    return Arrival(BASE, f"{kind}/{name}", json.dumps(whole).encode(), Format.FHIR)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage(tmp_path / "appliance.db")
    yield opened
    opened.close()


def read_all(storage: Storage, *arrivals: Arrival) -> RuleReader:
    reader, config = RuleReader(), RoutingConfig()

    def owed(note: Note, change: Change, model: ModelVersion | None) -> list[tuple[str, bytes]]:
        return [("fhir", note.note_id.encode())] if change.added or change.withdrawn else []

    worker = Worker(storage, lambda: {"clip": reader}, routes(config), config.tasks, 60, owed)
    for arrival in arrivals:
        Keeper(storage)(arrival)
        assert worker.step()
    return reader


def test_it_is_read_and_delivered_once(storage: Storage) -> None:
    reader = read_all(storage, resource("DocumentReference", "d1"), resource("DiagnosticReport", "r1"))
    first, second = messages.show(storage, 1), messages.show(storage, 2)
    assert (reader.n_read, len(first.findings), len(first.deliveries), len(second.deliveries)) == (1, 1, 1, 0)
    assert {first.message.state, second.message.state} == {State.DONE}


def test_two_documents_of_one_kind_that_say_the_same_are_two(storage: Storage) -> None:
    assert read_all(storage, resource("DocumentReference", "d1"), resource("DocumentReference", "d2")).n_read == 2
