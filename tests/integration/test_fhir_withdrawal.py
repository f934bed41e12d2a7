"""Findings taken back at a real FHIR R4 server: what nobody has touched, and what a clinician already acts on."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from integrations.codecs import fhir, fhir_withdrawal
from integrations.records import Finding, ModelVersion, Note, NoteKind, NoteStatus
from integrations.transports import Retry, fhir_delivery, fhir_rest
from integrations.transports.fhir_rest import FhirConfig

MODEL = ModelVersion("clip-q", "1", "0f" * 32)
QUOTE = "See cardiology in 2 weeks."


def delivered(url: str, note_id: str) -> tuple[Note, Finding]:
    """A note with one finding, which is at the server."""
    note = Note(note_id, NoteKind.DISCHARGE_SUMMARY, QUOTE)
    finding = Finding(f"{note_id}-f", note_id, 0, len(QUOTE), QUOTE, "Appointment", 0.8, str(MODEL), datetime.now(UTC))
    for bundle in fhir.transactions(note, [finding], MODEL):
        deliver(url, bundle)
    return note, finding


def deliver(url: str, body: dict[str, Any]) -> None:
    fhir_delivery.deliver(config(url), json.dumps(body).encode())


def config(url: str) -> FhirConfig:
    return FhirConfig.model_validate({"url": url})


def found(url: str, kind: str, **parameters: str) -> list[dict[str, Any]]:
    return fhir_rest.search(config(url), kind, parameters)


def task(url: str, finding: Finding) -> dict[str, Any]:
    (task,) = found(url, "Task", identifier=f"{fhir.FINDING_ID}|{finding.finding_id}")
    return task


def set_status(url: str, task: dict[str, Any], status: str) -> None:
    httpx.put(f"{url}/Task/{task['id']}", json=task | {"status": status}, trust_env=False).raise_for_status()


def reviews(url: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    return [t for t in found(url, "Task", _count="1000") if t.get("focus", {}).get("reference") == f"Task/{task['id']}"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (NoteStatus.CORRECTED, "cancelled"),
        (NoteStatus.CANCELLED, "cancelled"),
        (NoteStatus.ENTERED_IN_ERROR, "entered-in-error"),
    ],
)
def test_a_task_that_nobody_touched_is_withdrawn_once_with_its_reason_and_provenance(fhir_server, status, expected):
    note, finding = delivered(fhir_server, f"untouched-{status}")
    order = fhir_withdrawal.order(replace(note, note_id=f"{note.note_id}-2", status=status), [finding])
    for _ in range(2):
        deliver(fhir_server, order)
    now = task(fhir_server, finding)
    assert (now["status"], now["description"], now["meta"]["security"]) == (expected, QUOTE, [fhir.AIAST])
    assert now["statusReason"]["text"]
    (update,) = [p for p in found(fhir_server, "Provenance", target=f"Task/{now['id']}") if "activity" in p]
    assert update["activity"]["coding"][0]["code"] == "UPDATE"
    assert reviews(fhir_server, now) == []
    history = httpx.get(f"{fhir_server}/Task/{now['id']}/_history", trust_env=False).json()
    assert len(history["entry"]) == 2


@pytest.mark.parametrize("status", ["accepted", "in-progress", "completed"])
def test_what_a_clinician_acts_on_is_left_and_raised_for_review_once(fhir_server, status):
    note, finding = delivered(fhir_server, f"touched-{status}")
    set_status(fhir_server, task(fhir_server, finding), status)
    order = fhir_withdrawal.order(replace(note, note_id=f"{note.note_id}-2", status=NoteStatus.CANCELLED), [finding])
    for _ in range(2):
        deliver(fhir_server, order)
    now = task(fhir_server, finding)
    assert now["status"] == status
    (review,) = reviews(fhir_server, now)
    assert (review["status"], review["code"]["text"]) == ("requested", "Review")
    assert f"It is {status}" in review["description"]


def test_what_was_never_delivered_or_was_refused_needs_no_withdrawal(fhir_server):
    note, finding = delivered(fhir_server, "refused")
    set_status(fhir_server, task(fhir_server, finding), "rejected")
    deliver(fhir_server, fhir_withdrawal.order(note, [finding, replace(finding, finding_id="never-delivered")]))
    assert task(fhir_server, finding)["status"] == "rejected"
    assert reviews(fhir_server, task(fhir_server, finding)) == []


def test_a_task_that_changes_at_the_same_moment_is_looked_at_again(fhir_server, monkeypatch):
    note, finding = delivered(fhir_server, "raced")
    order = fhir_withdrawal.order(replace(note, note_id="raced-2", status=NoteStatus.CANCELLED), [finding])
    seen = fhir_rest.search(config(fhir_server), "Task", {"identifier": f"{fhir.FINDING_ID}|{finding.finding_id}"})
    set_status(fhir_server, seen[0], "accepted")
    with monkeypatch.context() as patch:
        patch.setattr(fhir_rest, "search", lambda *_: seen)  # what was read just before
        with pytest.raises(Retry, match="changed a resource"):
            deliver(fhir_server, order)
    deliver(fhir_server, order)
    assert task(fhir_server, finding)["status"] == "accepted"
    assert len(reviews(fhir_server, task(fhir_server, finding))) == 1
