"""`status`, asked of whatever address the health pages are served on."""

import http.server
import socket
import threading

import pytest

from appliance import report
from appliance.config import parse


class Ready(http.server.BaseHTTPRequestHandler):
    """Answers /readyz."""

    def do_GET(self) -> None:
        body = b'{"ready": false, "reasons": ["no_model"], "degraded": []}'
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class OverIPv6(http.server.HTTPServer):
    address_family = socket.AF_INET6


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_running_appliance_is_asked_where_it_listens(host: str) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this host has no IPv6")
    with (OverIPv6 if ":" in host else http.server.HTTPServer)((host, 0), Ready) as server:
        answering = threading.Thread(target=server.handle_request, daemon=True)
        answering.start()
        found = report._readiness(parse(f'[http]\nhost = "{host}"\nport = {server.server_port}'))
        answering.join(5)
    assert found == {"ready": False, "reasons": ["no_model"], "degraded": []}


def test_an_appliance_that_does_not_answer_is_said_not_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert report._readiness(parse(f"[http]\nport = {port}")) == {"reasons": ["no_answer"]}
