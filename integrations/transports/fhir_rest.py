"""FHIR REST: one transaction or one resource to the hospital's FHIR server, and what its answer means for the outbox."""

import json
import ssl
import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import quote

import httpx
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field

from integrations.transports import Refused, Retry

__all__ = ["FhirConfig", "Refused", "Retry", "client", "create", "post"]

# 401 says something of us, never of the message: until somebody has mended it, the queue keeps everything.
_LATER = frozenset({401, 408, 425, 429})
_MESSAGE_LATER = frozenset({409, 500})
"""The server is there and could not do this one now: a conflict with another writer, or a fault of its own."""
_LONGEST_ANSWER_BYTES = 16 << 20
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
    output: Literal["auto", "transaction", "summary"] = "auto"
    """Findings as transactions of Tasks and Observations, or as text in a DocumentReference; `auto` has the server's
    CapabilityStatement decide."""


def client(timeout_s: float, auth: httpx.Auth | None = None) -> httpx.Client:
    """How the FHIR server is spoken to; `auth` logs in.

    No settings from the environment: a proxy named there must not see patients. The system's certificates, because a
    hospital's own authority is among them and not in httpx's.
    """
    return httpx.Client(timeout=timeout_s, auth=auth, trust_env=False, verify=ssl.create_default_context())


def post(config: FhirConfig, bundle: Mapping[str, Any] | bytes, server: httpx.Client | None = None) -> list[str]:
    """Post one transaction Bundle (as bytes: its JSON) and give the status of each entry: 201 made, 200 was there.

    Raises:
        Retry: no connection, no answer in time, or 401, 408, 409, 425, 429 and 5xx.
        Refused: any other answer, and one that is not that of a transaction.
    """
    content = bundle if isinstance(bundle, bytes) else json.dumps(bundle, ensure_ascii=False).encode()
    n_entries = len(json.loads(content)["entry"])
    status, body = _exchange(config, server, "POST", "", content=content)
    entries = body.get("entry")
    if body.get("type") != "transaction-response" or not isinstance(entries, list) or len(entries) != n_entries:
        raise Refused(f"HTTP {status}, but the answer is not that of this transaction; is [fhir] url a server's base?")
    return [_entry_status(number, entry) for number, entry in enumerate(entries)]


def search(
    config: FhirConfig, kind: str, parameters: Mapping[str, str], server: httpx.Client | None = None
) -> list[dict[str, Any]]:
    """The resources of a kind that a search finds, as far as its first page.

    Raises:
        Retry, Refused: as `post`.
    """
    _, body = _exchange(config, server, "GET", f"/{kind}", params=dict(parameters))
    entries = body.get("entry", [])
    if body.get("type") != "searchset" or not isinstance(entries, list):
        raise Refused("the answer is not that of a search; is [fhir] url a server's base?")
    found = [entry.get("resource") for entry in entries if isinstance(entry, dict)]
    return [resource for resource in found if isinstance(resource, dict) and resource.get("resourceType") == kind]


def create(config: FhirConfig, resource: Mapping[str, Any], server: httpx.Client | None = None) -> str:
    """Make one resource, unless one with its first identifier is there; gives 201 made, 200 was there.

    Raises:
        Retry, Refused: as `post`.
    """
    kind, (identifier, *_) = resource["resourceType"], resource["identifier"]
    headers = {"If-None-Exist": f"identifier={quote('{system}|{value}'.format(**identifier), safe=':|')}"}
    content = json.dumps(resource, ensure_ascii=False).encode()
    status, _ = _exchange(config, server, "POST", f"/{kind}", content=content, headers=headers)
    return str(status)


def _exchange(
    config: FhirConfig,
    server: httpx.Client | None,
    method: str,
    path: str,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    params: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Ask for something below the server's base and give a good answer."""
    if config.url is None:
        raise Refused("no FHIR server is configured; set [fhir] url")
    url = str(config.url).rstrip("/") + path if path else str(config.url)
    fhir_json = {"Accept": "application/fhir+json"} | (
        {"Content-Type": "application/fhir+json; charset=utf-8"} if content else {}
    )
    until = time.monotonic() + 2 * config.timeout_s
    with client(config.timeout_s) if server is None else nullcontext(server) as server:
        try:
            with server.stream(method, url, content=content, params=params, headers={**fhir_json, **headers}) as answer:
                body = _json(_whole(answer, until))
        except httpx.ConnectError as error:
            raise Retry(f"the FHIR server cannot be reached: {error}") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Retry(f"the FHIR server did not answer: {type(error).__name__}") from None
    status = answer.status_code
    reason = _reason(f"HTTP {status}", body)
    if status in _LATER or status in _MESSAGE_LATER or status >= 500:
        about_message = status in _MESSAGE_LATER
        raise Retry(reason, _retry_after_s(answer), is_about_message=about_message)
    if not answer.is_success or body.get("resourceType") == "OperationOutcome":
        raise Refused(reason, status)
    return status, body


def _whole(answer: httpx.Response, until: float) -> bytes:
    """All of an answer: a server that gives a byte now and then must not hold the thread for ever."""
    chunks = []
    for chunk in answer.iter_bytes():
        chunks.append(chunk)
        if time.monotonic() > until or sum(map(len, chunks)) > _LONGEST_ANSWER_BYTES:
            raise httpx.ReadTimeout("the answer does not end")
    return b"".join(chunks)


def _entry_status(number: int, entry: Any) -> str:
    response = entry.get("response") if isinstance(entry, dict) else None
    response = response if isinstance(response, dict) else {}
    status = str(response.get("status", ""))[:3]
    reason = _reason(f"entry {number}: {status if status.isdigit() else 'no status'}", response.get("outcome"))
    if status.startswith("5") or status in {str(s) for s in _LATER | _MESSAGE_LATER}:
        raise Retry(reason, is_about_message=True)
    if not status.startswith("2"):
        raise Refused(reason, int(status) if status.isdigit() else 0)
    return status


def _json(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
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
