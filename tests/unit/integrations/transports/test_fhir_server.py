"""Documents of a FHIR server whose Binaries fail in ways of their own."""

import httpx
import pytest

from integrations.transports import Retry
from integrations.transports.fhir_server import MOST_TRIES, FhirServer

BASE = "https://ehr.example/fhir"
LINKED = {
    "resourceType": "DocumentReference",
    "id": "d1",
    "content": [
        {"attachment": {"contentType": "text/plain", "data": ""}},
        {"attachment": {"contentType": "application/pdf", "url": "Binary/b1"}},
    ],
}


def failing(monkeypatch: pytest.MonkeyPatch, error: type[httpx.RequestError]) -> FhirServer:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error("not this one", request=request)

    server = FhirServer(BASE, 1.0)
    monkeypatch.setattr(server, "_client", httpx.Client(transport=httpx.MockTransport(answer)))
    return server


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.DecodingError])
def test_a_binary_that_cannot_be_read_holds_its_document_up_for_some_tries_only(monkeypatch, error):
    server = failing(monkeypatch, error)
    for _ in range(MOST_TRIES - 1):
        with pytest.raises(Retry):
            server.arrival(LINKED)
    assert f"{error.__name__}, {MOST_TRIES} times" in server.arrival(LINKED).unreadable_because


def test_a_server_that_is_away_is_waited_for(monkeypatch):
    server = failing(monkeypatch, httpx.ConnectError)
    for _ in range(MOST_TRIES + 1):
        with pytest.raises(Retry, match="cannot be reached"):
            server.arrival(LINKED)
