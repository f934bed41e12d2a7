"""What a FHIR server says it takes, and in which form findings go there because of it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import httpx

from integrations.transports import Retry
from integrations.transports.fhir_rest import FhirConfig, client

ASK_S = 5.0
_MADE = ("Device", "Task", "Observation", "Provenance")
"""What a transaction makes."""


class Form(StrEnum):
    """How a FHIR server is told."""

    TRANSACTION = "transaction"
    SUMMARY = "summary"


@dataclass(frozen=True)
class Capability:
    """What matters here of a CapabilityStatement."""

    takes_transactions: bool
    creates: frozenset[str]
    """Types of resource."""


def ask(config: FhirConfig, timeout_s: float = ASK_S) -> Capability | None:
    """Ask the server for its CapabilityStatement; None where it answers with something else.

    Raises:
        Retry: it does not answer, or with an error.
    """
    url = f"{str(config.url).rstrip('/')}/metadata"
    try:
        with client(timeout_s) as server:
            answer = server.get(url, headers={"Accept": "application/fhir+json"})
        statement = answer.json() if answer.is_success else None
    except (httpx.HTTPError, ValueError) as error:
        raise Retry(type(error).__name__) from None
    if not answer.is_success:
        raise Retry(f"HTTP {answer.status_code}")
    if not isinstance(statement, dict) or statement.get("resourceType") != "CapabilityStatement":
        return None
    return capability(statement)


def capability(statement: dict[str, Any]) -> Capability:
    """What a CapabilityStatement says; of what is not one in all its parts, what can be read."""
    servers = [r for r in _list(statement, "rest") if r.get("mode", "server") == "server"]
    system = {_code(i) for server in servers for i in _list(server, "interaction")}
    resources = [r for server in servers for r in _list(server, "resource")]
    creates = frozenset(str(r.get("type")) for r in resources if "create" in {_code(i) for i in _list(r, "interaction")})
    return Capability("transaction" in system, creates)


def choose(output: Literal["auto", "transaction", "summary"], found: Capability | None) -> tuple[Form, str]:
    """The form that findings take, and why, for a person. What the site has set is taken at its word."""
    if output != "auto":
        return Form(output), "as [fhir] output says"
    if found is None or not (found.takes_transactions or found.creates):
        return Form.TRANSACTION, "its CapabilityStatement does not say otherwise"
    lacking = ([] if found.takes_transactions else ["transaction"]) + [f"create of {t}" for t in _MADE if t not in found.creates]
    if not lacking:
        return Form.TRANSACTION, "its CapabilityStatement has all that they need"
    why = f"its CapabilityStatement lacks {', '.join(lacking)}"
    if "DocumentReference" in found.creates:
        return Form.SUMMARY, why
    return Form.TRANSACTION, f"{why}, and create of DocumentReference too, so that it may refuse them; see [hl7_out]"


def _list(of: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = of.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _code(interaction: dict[str, Any]) -> str:
    return str(interaction.get("code"))
