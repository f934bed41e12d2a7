import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from integrations.transports import TransportError
from integrations.transports.fhir_rest import FhirConfig, Refused, Retry, post

BUNDLE = {"resourceType": "Bundle", "type": "transaction", "entry": [{}, {}]}


class Server:
    """Answers every POST with what it is told, and keeps what it was sent."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, dict(self.headers), sent))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.config = FhirConfig.model_validate({"url": f"http://127.0.0.1:{self.http.server_port}/fhir", "timeout_s": 5})


@contextlib.contextmanager
def answering(status: int = 200, body: Any = b"", **headers: str) -> Iterator[Server]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    server = Server(status, content, {k.replace("_", "-"): v for k, v in headers.items()})
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join(10)
        server.http.server_close()


def response(*statuses: str, outcome: Any = None) -> dict[str, Any]:
    entries = [{"response": {"status": s} | ({"outcome": outcome} if outcome else {})} for s in statuses]
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


def outcome(*codes: str) -> dict[str, Any]:
    issues = [{"severity": "error", "code": c, "diagnostics": "Jane Doe MRN88", "details": {"text": "Jane Doe"}} for c in codes]
    return {"resourceType": "OperationOutcome", "issue": issues}


@pytest.mark.parametrize("bundle", [BUNDLE, json.dumps(BUNDLE).encode()])
def test_a_transaction_goes_to_the_base_and_gives_the_status_of_each_entry(bundle):
    with answering(200, response("201 Created", "200")) as server:
        assert post(server.config, bundle) == ["201", "200"]
    ((path, headers, sent),) = server.requests
    assert (path, json.loads(sent)) == ("/fhir", BUNDLE)
    assert headers["Content-Type"].startswith("application/fhir+json")


@pytest.mark.parametrize("status", [401, 408, 409, 425, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again_later(status):
    with answering(status, outcome("transient"), Retry_After="17") as server:
        with pytest.raises(Retry, match=f"HTTP {status}: transient") as caught:
            post(server.config, BUNDLE)
        assert caught.value.after_s == 17
        assert caught.value.is_about_message is (status in (409, 500))


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        (None, 200, 300),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 0, 0),
        ("Mon, 01 Jan 2024 00:00:00 -0000", 0, 0),
    ],
)
def test_the_wish_to_be_asked_later_may_be_a_date(header, low, high):
    header = header or format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    with answering(503, Retry_After=header) as server, pytest.raises(Retry) as caught:
        post(server.config, BUNDLE)
    assert caught.value.after_s is not None
    assert low <= caught.value.after_s <= high


@pytest.mark.parametrize("header", ["soon", "-5", "", "²"])
def test_a_wish_that_is_none_is_passed_over(header):
    with answering(503, Retry_After=header.encode().decode("latin-1")) as server, pytest.raises(Retry) as caught:
        post(server.config, BUNDLE)
    assert caught.value.after_s is None


@pytest.mark.parametrize("status", [301, 400, 403, 404, 412, 422])
def test_a_refusal_is_told_by_its_status_and_codes_and_never_quoted(status):
    with answering(status, outcome("required", "invalid", "Jane Doe")) as server, pytest.raises(Refused) as caught:
        post(server.config, BUNDLE)
    assert str(caught.value) == f"HTTP {status}: invalid, required"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (outcome("processing"), "HTTP 200: processing"),
        (b"<html>Please log in, Jane Doe</html>", "not that of this transaction"),
        ([1, 2], "not that of this transaction"),
        ({"resourceType": "Bundle", "type": "batch-response", "entry": [{}, {}]}, "not that of this transaction"),
        (response("201"), "not that of this transaction"),
        (response("201", "422 Jane Doe", outcome=outcome("invariant")), "entry 1: 422: invariant"),
        (response("201", "Jane Doe"), "entry 1: no status"),
        (response("201", "201") | {"entry": [{"response": {"status": "201"}}, None]}, "entry 1: no status"),
    ],
)
def test_an_answer_of_200_that_files_nothing_is_a_refusal(body, reason):
    with answering(200, body) as server, pytest.raises(Refused, match=reason) as caught:
        post(server.config, BUNDLE)
    assert "Jane" not in str(caught.value)


def test_an_entry_that_failed_for_now_is_asked_again():
    with answering(200, response("201", "503")) as server, pytest.raises(Retry, match="entry 1: 503"):
        post(server.config, BUNDLE)


def test_a_server_that_is_not_there_is_asked_again():
    with answering() as server:
        pass
    with pytest.raises(Retry, match=r"cannot be reached: .*refused"):
        post(server.config, BUNDLE)


def test_a_server_that_does_not_answer_in_time_is_asked_again():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = FhirConfig.model_validate({"url": f"http://127.0.0.1:{silent.getsockname()[1]}", "timeout_s": 0.2})
        with pytest.raises(Retry, match="ReadTimeout"):
            post(config, BUNDLE)


def test_a_proxy_in_the_environment_sees_no_patient(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with answering(200, response("201", "201")) as server:
        assert post(server.config, BUNDLE) == ["201", "201"]


def test_without_a_server_nothing_is_sent():
    with pytest.raises(Refused, match=r"\[fhir\] url"):
        post(FhirConfig(), BUNDLE)
    assert issubclass(Refused, TransportError)


@pytest.mark.parametrize("settings", [{"url": "ftp://ehr/fhir"}, {"url": "ehr"}, {"timeout_s": 0}, {"token": "x"}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        FhirConfig.model_validate(settings)
