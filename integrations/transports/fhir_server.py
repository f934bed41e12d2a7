"""One FHIR R4 server that documents are read from: its pages, and a document with the Binaries that it links to."""

import base64
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from integrations.codecs import CodecError
from integrations.codecs.fhir_messages import Resource, collection, encoded, parse
from integrations.mailbox import Format
from integrations.transports import Refused, Retry, fhir_rest
from integrations.transports.arriving import Arrival

logger = logging.getLogger(__name__)

LONGEST_ANSWER_BYTES = 256 << 20
LONGEST_ANSWER_S = 300.0
LONGEST_BINARY_BYTES = 32 << 20
MOST_TRIES = 3
"""How often a Binary is asked for that its server fails to give, before its document is kept without it."""
_FHIR_JSON = {"Accept": "application/fhir+json"}


@dataclass(frozen=True)
class Page:
    """A part of a search's answer."""

    resources: tuple[Resource, ...] = field(repr=False)
    next_url: str
    """Empty on the last one."""
    is_sorted: bool
    """The server says that it has sorted them as it was asked to."""


class FhirServer:
    """Reads from one server, at its own addresses only: credentials and patients go nowhere else. For one thread."""

    def __init__(self, base: str, timeout_s: float, auth: httpx.Auth | None = None) -> None:
        """Nothing is asked for yet.

        Args:
            base: base address.
            timeout_s: for connecting, and for each wait on an answer.
            auth: logs in.
        """
        self.base = base.rstrip("/")
        self._client = fhir_rest.client(timeout_s, auth)
        self._tries: dict[str, int] = {}

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def page(self, url: str, parameters: Mapping[str, str] | None = None) -> Page:
        """One page of a search.

        Raises:
            Retry: not now.
            Refused: never, or the answer is none.
        """
        target = httpx.URL(self._own(url), params=parameters) if parameters else httpx.URL(self._own(url))
        answer = self.ask(str(target))
        found = _resource(answer)
        if found.get("type") != "searchset":
            raise Refused(f"HTTP {answer.status_code}, but the answer is no search's; is [fhir_source] url a server's base?")
        entries = [e for e in found.get("entry") or () if isinstance(e, dict) and isinstance(e.get("resource"), dict)]
        matches = (
            e["resource"] for e in entries if not isinstance(s := e.get("search"), dict) or s.get("mode") in (None, "match")
        )
        links = [link for link in found.get("link") or () if isinstance(link, dict)]
        urls = {str(link.get("relation")): str(link.get("url")) for link in links}
        next_url = urljoin(f"{self.base}/", urls["next"]) if "next" in urls else ""
        # The self link tells what of a search was understood; the rest may have been passed over in silence.
        return Page(tuple(matches), next_url, "_sort=" in urls.get("self", ""))

    def arrival(self, resource: Resource) -> Arrival:
        """A document as a message of its own, with the Binaries that it links to.

        Raises:
            Retry: a Binary cannot be had now.
        """
        control_id, reason, binaries = name_of(resource), "", []
        for url in _links(resource):
            try:
                target = urljoin(f"{self.base}/", url)
                binaries.append({"fullUrl": target, "resource": self._binary(target, control_id)})
            except Refused as error:
                reason = f"its attachment is a link that cannot be followed: {error}"
        kind_and_id = control_id.split("/_history/")[0]
        whole = collection({"fullUrl": f"{self.base}/{kind_and_id}", "resource": resource}, binaries) if binaries else resource
        return Arrival(self.base, control_id, encoded(whole), Format.FHIR, reason)

    def ask(
        self, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, most: int = LONGEST_ANSWER_BYTES
    ) -> httpx.Response:
        """An answer of the server that is a success, read whole.

        Raises:
            Retry, Refused: it is none.
        """
        began, size, parts = time.monotonic(), 0, []
        try:
            with self._client.stream(method, self._own(url), headers={**_FHIR_JSON, **(headers or {})}) as answer:
                for part in answer.iter_bytes():
                    size += len(part)
                    parts.append(part)
                    if size > most:
                        raise Refused(f"an answer of more than {most >> 20} MB")
                    if time.monotonic() - began > LONGEST_ANSWER_S:
                        raise Retry("the FHIR server's answer does not end", is_about_message=True)
        except httpx.ConnectError:
            raise Retry("the FHIR server cannot be reached") from None
        except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL) as error:
            is_about_this = isinstance(error, httpx.ReadTimeout | httpx.DecodingError)
            raise Retry(f"the FHIR server did not answer: {type(error).__name__}", is_about_message=is_about_this) from None
        whole = httpx.Response(answer.status_code, headers=_without_coding(answer.headers), content=b"".join(parts))
        if not whole.is_success:
            raise fhir_rest.failure(whole, _outcome(whole))
        return whole

    def lines(self, url: str) -> Iterator[bytes]:
        """The lines of a file of NDJSON, one at a time.

        Raises:
            Retry, Refused: the file cannot be had, or not to its end.
        """
        held = b""
        try:
            with self._client.stream("GET", self._own(url), headers={"Accept": "application/fhir+ndjson"}) as answer:
                if not answer.is_success:
                    answer.read()
                    raise fhir_rest.failure(answer, _outcome(answer))
                for part in answer.iter_bytes():
                    *whole, held = (held + part).split(b"\n")
                    yield from filter(bytes.strip, whole)
                    if len(held) > LONGEST_ANSWER_BYTES:
                        raise Refused(f"a line of more than {LONGEST_ANSWER_BYTES >> 20} MB")
        except httpx.ConnectError:
            raise Retry("the FHIR server cannot be reached") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Retry(f"a file of the export ended early: {type(error).__name__}") from None
        if held.strip():
            yield held

    def _binary(self, url: str, control_id: str) -> dict[str, Any]:
        """A Binary, whichever of its two forms the server gives."""
        try:
            answer = self.ask(url, headers={"Accept": "application/fhir+json, */*;q=0.5"}, most=LONGEST_BINARY_BYTES)
        except Retry as error:
            # A fault with this one must not hold up the others for ever; what is wrong with the whole server may.
            is_broken = str(error).startswith("HTTP 5") and not str(error).startswith("HTTP 503")
            if not (is_broken or error.is_about_message):
                raise
            self._tries[control_id] = self._tries.get(control_id, 0) + 1
            if self._tries[control_id] < MOST_TRIES:
                raise
            del self._tries[control_id]
            raise Refused(f"{error}, {MOST_TRIES} times") from None
        self._tries.pop(control_id, None)
        kind = answer.headers.get("Content-Type", "")
        if "json" in kind:
            found = _resource(answer)
            if found.get("resourceType") == "Binary":
                return {key: found[key] for key in ("resourceType", "id", "contentType", "data") if key in found}
        return {"resourceType": "Binary", "contentType": kind, "data": base64.b64encode(answer.content).decode()}

    def _own(self, url: str) -> str:
        """`url`, if it is one of this server."""
        if urlsplit(url)[:2] != urlsplit(self.base)[:2]:
            raise Refused("an address of another server than [fhir_source] url")
        return url


def name_of(resource: Resource) -> str:
    """A version of a resource at its server: `DocumentReference/d1/_history/2`."""
    meta = resource.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    name = f"{resource.get('resourceType')}/{resource.get('id', '')}"
    return f"{name}/_history/{version}" if version else name


def _links(resource: Resource) -> list[str]:
    """Attachments to be fetched: those without data, unless plain text is there already."""
    contents = [c.get("attachment") for c in resource.get("content") or () if isinstance(c, dict)]
    attachments = [a for a in (*contents, *(resource.get("presentedForm") or ())) if isinstance(a, dict)]
    if any(str(a.get("data") or "").strip() and str(a.get("contentType")).startswith("text/plain") for a in attachments):
        return []
    return [a["url"] for a in attachments if isinstance(a.get("url"), str) and "data" not in a]


def _resource(answer: httpx.Response) -> dict[str, Any]:
    try:
        return parse(answer.content)
    except CodecError as error:
        raise Refused(f"HTTP {answer.status_code}, but {error}") from None


def _outcome(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _without_coding(headers: httpx.Headers) -> dict[str, str]:
    # What was read is decoded already.
    return {
        name: value for name, value in headers.items() if name not in ("content-encoding", "content-length", "transfer-encoding")
    }
