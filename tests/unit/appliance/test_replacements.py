"""A document that takes another one's place, from its message to what is owed: nothing twice, nothing back, nobody else's."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from appliance import messages
from appliance.database import OUTBOX
from appliance.destinations import FhirDestination, owed_to
from appliance.reading import Reading, findings
from appliance.routing import RoutingConfig, routes
from appliance.storage import Storage
from appliance.worker import Worker
from integrations.mailbox import Format
from integrations.records import ModelVersion, Note
from integrations.transports.fhir_rest import FhirConfig
from pretrain.tasks.base import TaggedSpan

MODEL = ModelVersion("rule", "1", "0" * 64)


class RuleReader:
    """ "See X." is an appointment."""

    def read(self, note: Note) -> Reading:
        spans = [TaggedSpan(m.start(), m.end(), "Appointment", 0.9) for m in re.finditer(r"See [^.]+\.", note.text)]
        return Reading(findings(note, spans, str(MODEL), datetime(2026, 1, 1, tzinfo=UTC)), MODEL)


class Site:
    """An appliance's database and worker, and what came of the messages."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        reader, owed = RuleReader(), owed_to([FhirDestination(FhirConfig.model_validate({"url": "http://127.0.0.1:9/fhir"}))])
        self.worker = Worker(storage, lambda: {"clip": reader}, routes(RoutingConfig()), RoutingConfig().tasks, 60, owed)

    def hl7(self, text: str, document: str, event: str = "T02", parent: str = "", patient: str = "123") -> None:
        control_id = str(len(self.states()) + 1)
        segments = [
            rf"MSH|^~\&|EHR|WARD|||20260101120000+0000||MDM^{event}^MDM_T02|{control_id}|P|2.5.1",
            f"PID|1||{patient}^^^HOSP^MR||DOE^JANE",
            f"TXA|1|18842-5|TX|20260101||||||||{document}^HOSP|{parent and parent + '^HOSP'}||||AU||",
            f"OBX|1|TX|18842-5||{text}||||||F",
        ]
        self.storage.inbox.put("EHR|WARD", control_id, "\r".join([*segments, ""]).encode())
        self.work()

    def fhir(
        self, text: str, document: str, status: str = "final", replaces: str = "", patient: str = "9", whole: str = "current"
    ) -> None:
        version = str(len(self.states()) + 1)
        resource = {
            "resourceType": "DocumentReference", "id": document, "meta": {"versionId": version}, "status": whole,
            "docStatus": status, "type": {"coding": [{"system": "http://loinc.org", "code": "18842-5"}]},
            "subject": {"reference": f"Patient/{patient}"}, "date": "2026-01-01T10:00:00Z",
            "content": [{"attachment": {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}}],
        }  # fmt: skip
        if replaces:
            resource["relatesTo"] = [{"code": "replaces", "target": {"reference": f"DocumentReference/{replaces}"}}]
        body = json.dumps(resource).encode()
        self.storage.inbox.put("http://ehr/fhir", f"{document}/{version}", body, body_format=Format.FHIR)
        self.work()

    def work(self) -> None:
        for _ in range(20):
            if not self.worker.step():
                return
        raise AssertionError("there is always something to do")

    def states(self) -> list[tuple[int, str, str]]:
        return [(m.message_id, str(m.state), m.reason) for m in reversed(messages.listing(self.storage))]

    def owed(self) -> list[tuple[int, str, list[str]]]:
        """Of each delivery its message, its state, and what is created or the number of what is withdrawn."""
        rows = []
        with self.storage.database.read() as connection:
            for row in connection.execute(sa.select(OUTBOX).order_by(OUTBOX.c.outbox_id)):
                body = json.loads(row.body)
                created = [e["resource"]["description"] for e in body.get("entry", ()) if e["resource"]["resourceType"] == "Task"]
                rows.append((row.message_id, str(row.state), created or [f"withdraw {len(body['withdraw'])}"]))
        return rows


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Storage(tmp_path / "appliance.db")) as storage:
        yield Site(storage)


def test_a_replacement_may_come_again_and_name_what_it_replaced_again(site: Site) -> None:
    site.fhir("See cardiology. Eat well.", "A")
    site.fhir("See cardiology. Drink.", "B", "preliminary", "A")
    site.fhir("See cardiology. Drink more.", "B", "final", "A")
    site.fhir("See neurology.", "C", patient="10")
    assert [state for _, state, _ in site.states()] == ["done"] * 4
    assert site.owed() == [(1, "waiting", ["See cardiology."]), (4, "waiting", ["See neurology."])]


def test_a_replacement_may_be_read_again(site: Site) -> None:
    site.hl7("See cardiology. Eat well.", "A")
    site.hl7("See cardiology. Drink.", "B", "T10", "A")
    messages.replay(site.storage, 2)
    site.work()
    site.hl7("See neurology.", "C", patient="77")
    assert [state for _, state, _ in site.states()] == ["done"] * 3


def test_what_is_said_of_a_replaced_document_does_not_happen_to_its_replacement(site: Site) -> None:
    site.fhir("See cardiology.", "A")
    site.fhir("See neurology. See oncology.", "B", "final", "A")
    site.fhir("See cardiology.", "A", whole="entered-in-error")
    assert site.states()[-1][2] == "late: another document has taken its place (message 2)"
    site.fhir("See neurology. See oncology. See surgery.", "B", "final")
    assert site.owed()[1:] == [
        (2, "waiting", ["withdraw 1"]),
        (2, "waiting", ["See neurology.", "See oncology."]),
        (4, "waiting", ["See surgery."]),
    ]


def test_a_late_correction_of_a_replaced_document_changes_nothing(site: Site) -> None:
    site.hl7("See cardiology.", "A")
    site.hl7("See neurology.", "B", "T10", "A")
    before = site.owed()
    site.hl7("See cardiology and urology.", "A", "T08")
    assert site.owed() == before


def test_a_replaced_document_that_is_sent_once_more_does_not_come_back_when_its_replacement_has_changed(site: Site) -> None:
    site.hl7("See cardiology.", "A")
    site.hl7("See neurology.", "B", "T10", "A")
    site.hl7("See neurology. See oncology.", "B", "T08")
    before = site.owed()
    site.hl7("See cardiology.", "A")
    assert site.owed() == before
    assert site.states()[-1][2].startswith("late: another document has taken its place")


def test_a_replacement_under_another_patient_waits_for_a_person(site: Site) -> None:
    site.hl7("See cardiology.", "A")
    site.hl7("See cardiology.", "B", "T10", "A", patient="456")
    _, state, reason = site.states()[-1]
    assert state == "parked"
    assert "it replaces message 1, which is another patient's" in reason
    assert site.owed() == [(1, "waiting", ["See cardiology."])]


def test_a_dead_letter_of_a_replaced_document_is_followed_by_its_withdrawal(site: Site) -> None:
    site.hl7("See cardiology.", "A")
    letter = site.storage.outbox.claim(60, "fhir")
    assert letter
    site.storage.outbox.park(letter.outbox_id, "HTTP 422")
    site.hl7("Nothing.", "B", "T10", "A")
    withdrawal = site.storage.outbox.claim(60, "fhir")
    assert withdrawal
    site.storage.outbox.done(withdrawal.outbox_id)
    messages.replay(site.storage, 1)
    assert site.owed() == [(1, "waiting", ["See cardiology."]), (2, "waiting", ["withdraw 1"])]


def test_each_proposal_is_withdrawn_by_a_delivery_of_its_own_so_that_none_outlives_its_lease(site: Site) -> None:
    site.hl7(" ".join(f"See clinic {n}." for n in range(45)), "A")
    site.hl7("Nothing.", "B", "T10", "A")
    assert site.owed()[-45:] == [(2, "waiting", ["withdraw 1"])] * 45
