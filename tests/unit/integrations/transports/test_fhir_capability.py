"""Which form findings take, by what a FHIR server says of itself."""

import re
from typing import Any

import pytest

from integrations.transports.fhir_capability import Form, capability, choose

ALL = ("Device", "Task", "Observation", "Provenance")


def statement(*creates: str, system: tuple[str, ...] = ("transaction", "batch"), mode: str = "server") -> dict[str, Any]:
    resources = [{"type": t, "interaction": [{"code": "read"}, {"code": "create"}]} for t in creates]
    rest = {"mode": mode, "interaction": [{"code": c} for c in system], "resource": [*resources, {"type": "Patient"}]}
    return {"resourceType": "CapabilityStatement", "rest": [rest]}


@pytest.mark.parametrize(
    ("said", "form", "why"),
    [
        (statement(*ALL), Form.TRANSACTION, "has all that they need"),
        (statement(*ALL, "DocumentReference", system=("batch",)), Form.SUMMARY, "lacks transaction$"),
        (statement("Device", "Observation", "Provenance", "DocumentReference"), Form.SUMMARY, "lacks create of Task$"),
        (statement("DocumentReference", system=()), Form.SUMMARY, "lacks transaction, create of Device, create of Task, "),
        (statement("Patient", system=()), Form.TRANSACTION, "it may refuse them"),
        ({"resourceType": "CapabilityStatement"}, Form.TRANSACTION, "does not say otherwise"),
        (statement("DocumentReference", mode="client"), Form.TRANSACTION, "does not say otherwise"),
        ({"rest": {"mode": "server"}}, Form.TRANSACTION, "does not say otherwise"),
        ({"rest": [{"resource": [None, {"type": 7, "interaction": "create"}]}]}, Form.TRANSACTION, "does not say otherwise"),
    ],
)
def test_the_servers_own_statement_decides(said: dict[str, Any], form: Form, why: str) -> None:
    chosen, because = choose("auto", capability(said))
    assert chosen is form
    assert re.search(why, because)


def test_a_server_that_has_not_answered_is_told_by_transactions() -> None:
    assert choose("auto", None)[0] is Form.TRANSACTION


@pytest.mark.parametrize("output", ["summary", "transaction"])
def test_what_the_site_has_set_holds_whatever_the_server_says(output: Any) -> None:
    assert choose(output, capability(statement(*ALL, "DocumentReference"))) == (Form(output), "as [fhir] output says")
