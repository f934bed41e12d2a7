"""FHIR REST: one transaction to the hospital's FHIR server, and what its answer means for the outbox."""

import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field

from integrations.transports import TransportError

_LATER = frozenset({408, 425, 429})
# FHIR's issue types: only these are repeated, because what else an outcome says may quote a patient.
_ISSUE_TYPES = frozenset({
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired", "forbidden",
    "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long",
    "code-invalid", "extension", "too-costly", "business-rule", "conflict", "transient", "lock-error", "no-store",
    "exception", "timeout", "incomplete", "throttled", "informational",
})  # fmt: skip


class FhirConfig(BaseModel):
    """`[fhir]`: where findings are delivered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: AnyHttpUrl | None = None
    """Base address of a FHIR R4 server, e.g. `https://ehr.hospital/fhir`; without one, findings stay here."""
    timeout_s: float = Field(default=30, gt=0)
    """Seconds for connecting, and for each wait on the answer."""


class Retry(TransportError):  # noqa: N818 - what to do, as the outbox reads it
    """Not delivered, or not known to be: the same transaction may be sent again. `after_s` is the server's wish."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Refused(TransportError):  # noqa: N818
    """The server does not want it; sending it again is of no use."""


def client(timeout_s: float, auth: httpx.Auth | None = None) -> httpx.Client:
    """How the FHIR server is spoken to; `auth` logs in.

    No settings from the environment: a proxy named there must not see patients. The system's certificates, because a
    hospital's own authority is among them and not in httpx's.
    """
    return httpx.Client(timeout=timeout_s, auth=auth, trust_env=False, verify=ssl.create_default_context())


def post(config: FhirConfig, bundle: Mapping[str, Any] | bytes) -> list[str]:
    """Post one transaction Bundle (as bytes: its JSON) and give the status of each entry: 201 made, 200 was there.

    Raises:
        Retry: no connection, no answer in time, or 408, 425, 429 and 5xx.
        Refused: any other answer, and one that is not that of a transaction.
    """
    if config.url is None:
        raise Refused("no FHIR server is configured; set [fhir] url")
    content = bundle if isinstance(bundle, bytes) else json.dumps(bundle, ensure_ascii=False).encode()
    n_entries = len(json.loads(content)["entry"])
    headers = {"Content-Type": "application/fhir+json; charset=utf-8", "Accept": "application/fhir+json"}
    try:
        with client(config.timeout_s) as server:
            answer = server.post(str(config.url), content=content, headers=headers)
    except httpx.ConnectError as error:
        raise Retry(f"the FHIR server cannot be reached: {error}") from None
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise Retry(f"the FHIR server did not answer: {type(error).__name__}") from None
    body = _json(answer)
    if answer.status_code in _LATER or answer.status_code >= 500:
        raise Retry(_reason(f"HTTP {answer.status_code}", body), _retry_after_s(answer))
    if not answer.is_success or body.get("resourceType") == "OperationOutcome":
        raise Refused(_reason(f"HTTP {answer.status_code}", body))
    entries = body.get("entry")
    if body.get("type") != "transaction-response" or not isinstance(entries, list) or len(entries) != n_entries:
        raise Refused(
            f"HTTP {answer.status_code}, but the answer is not that of this transaction; is [fhir] url a server's base?"
        )
    return [_entry_status(number, entry) for number, entry in enumerate(entries)]


def _entry_status(number: int, entry: Any) -> str:
    response = entry.get("response") if isinstance(entry, dict) else None
    response = response if isinstance(response, dict) else {}
    status = str(response.get("status", ""))[:3]
    reason = _reason(f"entry {number}: {status if status.isdigit() else 'no status'}", response.get("outcome"))
    if status.startswith("5") or status in {str(s) for s in _LATER}:
        raise Retry(reason)
    if not status.startswith("2"):
        raise Refused(reason)
    return status


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _reason(start: str, outcome: Any) -> str:
    issues = outcome.get("issue") if isinstance(outcome, dict) else None
    codes = {str(i.get("code")) for i in issues if isinstance(i, dict)} if isinstance(issues, list) else set()
    return ": ".join(filter(None, (start, ", ".join(sorted(codes & _ISSUE_TYPES)))))


def _retry_after_s(answer: httpx.Response) -> float | None:
    wish = answer.headers.get("Retry-After", "").strip()
    if wish.isascii() and wish.isdigit():
        return float(wish)
    try:
        at = parsedate_to_datetime(wish)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def failure(answer: httpx.Response, outcome: object = None) -> Retry | Refused:
    """What an answer that is no success means to whoever asked; `outcome` is its body."""
    reason = _reason(f"HTTP {answer.status_code}", outcome)
    # 401 says something of our log-in, which can be mended, and nothing of what was asked for.
    if answer.status_code in _LATER | {401} or answer.status_code >= 500:
        return Retry(reason, _retry_after_s(answer))
    return Refused(reason)
