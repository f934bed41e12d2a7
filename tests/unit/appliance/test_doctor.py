"""What doctor says about a host and a home, sound and otherwise."""

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from appliance.config import parse
from appliance.doctor import Check, connections, examine, host
from appliance.doctor.host import GIB
from appliance.home import Home
from appliance.lock import LockError, holder, only_one
from integrations.transports.mllp import MllpConfig


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.init()
    return made


def by_name(home: Home) -> dict[str, Check]:
    return {check.name: check for check in examine(home)}


def test_a_new_home_fails_nothing_but_what_is_not_installed(home: Home) -> None:
    home.config.write_text('[worker]\nengine = "local"\n[mllp]\nport = 0\n[http]\nport = 0\n')
    found = by_name(home)
    assert [c for c in found.values() if c.outcome == "fail" and c.name != "disk"] == []
    assert found["model clip"].outcome == "warn"


def test_every_check_that_is_not_ok_says_what_to_do(home: Home) -> None:
    home.config.write_text("[mllp]\nprot = 1\n")
    home.database.write_bytes(b"x" * 5000)
    home.root.chmod(0o755)
    found = by_name(home)
    assert {name for name in ("settings", "database", "home") if found[name].outcome == "fail"} == {
        "settings",
        "database",
        "home",
    }
    assert [c.name for c in found.values() if c.outcome != "ok" and not c.advice] == []


def test_without_a_home_only_the_host_is_looked_at(tmp_path: Path) -> None:
    found = by_name(Home(tmp_path / "absent"))
    assert set(found) == {"python", "disk", "memory", "cpu", "home"}
    assert found["home"].outcome == "fail"
    assert found["home"].advice.endswith("absent init")


def test_a_taken_port_names_the_setting_that_moves_it(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = parse(f'[mllp]\nport = {port}\n[worker]\nengine = "local"\n[http]\nport = 0\n')
        found = {c.name: c for c in connections.ports(home, config)}
    assert found[f"port {port}"].outcome == "fail"
    assert "[mllp] port" in found[f"port {port}"].advice
    assert found["port 0"].outcome == "ok"


def test_ports_that_the_appliance_holds_itself_are_no_trouble(home: Home) -> None:
    with only_one(home.lock):
        (found,) = connections.ports(home, parse(""))
    assert (found.outcome, found.name) == ("ok", "ports")


def test_a_second_appliance_on_one_home_is_refused_and_the_first_one_named(home: Home) -> None:
    with only_one(home.lock):
        pid = holder(home.lock)
        with pytest.raises(LockError, match=f"process {pid} runs this appliance already"), only_one(home.lock):
            pass
    assert holder(home.lock) is None


def test_an_old_python_fails() -> None:
    assert host.python((3, 10, 2)).outcome == "fail"
    assert host.python((3, 11, 0)).outcome == "ok"


@pytest.mark.parametrize(
    ("least", "wanted", "outcome"), [(0, 0, "ok"), (0, 10**9 * GIB, "warn"), (10**9 * GIB, 10**9 * GIB, "fail")]
)
def test_scarce_space_warns_before_it_fails(tmp_path: Path, least: int, wanted: int, outcome: str) -> None:
    assert host.disk(tmp_path / "not" / "yet", least, wanted).outcome == outcome
    assert host.memory(least, wanted).outcome == outcome


def test_a_cpu_without_vectors_is_told_to_be_slow(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : fpu sse2\n")
    assert host.cpu(cpuinfo).outcome == "warn"
    cpuinfo.write_text("flags : fpu avx2\n")
    assert host.cpu(cpuinfo).outcome == "ok"


def test_a_missing_triton_environment_says_what_to_do(tmp_path: Path) -> None:
    found = host.triton(parse(f'[triton]\nenvironment = "{tmp_path}"'))
    assert (found.outcome, bool(found.advice)) == ("fail", True)


def test_a_fhir_server_that_does_not_answer_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    assert connections.fhir(parse(f'[fhir]\nurl = "http://127.0.0.1:{port}/fhir"')).outcome == "fail"
    assert connections.fhir(parse("")).outcome == "ok"


class Page(http.server.BaseHTTPRequestHandler):
    """Answers /metadata of three servers: a FHIR server, one that is something else, and one that is broken."""

    def do_GET(self) -> None:
        body = b'{"resourceType": "CapabilityStatement"}' if self.path.startswith("/fhir/") else b"{}"
        self.send_response(500 if self.path.startswith("/broken/") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("base", "outcome"), [("fhir", "ok"), ("other", "warn"), ("broken", "fail")])
def test_a_server_is_taken_for_what_its_metadata_say(base: str, outcome: str) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        found = connections.fhir(parse(f'[fhir]\nurl = "http://user:secret@127.0.0.1:{server.server_port}/{base}"'))
        answering.join()
    assert found.outcome == outcome
    assert f"http://127.0.0.1:{server.server_port}/{base}" in found.found
    assert "secret" not in found.found


def test_a_system_that_is_told_by_hl7_is_asked_for_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config = parse(f'[hl7_out.ris]\nhost = "127.0.0.1"\nport = {port}\ntls = false')
        (there,) = connections.hl7_out(config)
    (gone,) = connections.hl7_out(config)
    assert (there.name, there.outcome, gone.outcome) == ("hl7_out ris", "ok", "fail")
    assert gone.found == f"127.0.0.1:{port}: Connection refused"
    assert connections.fhir(config).found == "no server is set; findings go to ris"


def test_a_certificate_of_the_hospitals_own_authority_is_trusted_as_the_delivery_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not on this host")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate), *named], check=True, capture_output=True)
    # Where OpenSSL looks for the system's authorities.
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secret = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secret.load_cert_chain(certificate, key)
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        server.socket = secret.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.handle_request, daemon=True).start()
        found = connections.fhir(parse(f'[fhir]\nurl = "https://127.0.0.1:{server.server_port}/fhir"'))
    assert found.outcome == "ok"


@pytest.mark.parametrize(
    ("settings", "outcome", "found"),
    [
        ({}, "ok", "on 127.0.0.1 only"),
        ({"host": "0.0.0.0"}, "warn", "unencrypted to 0.0.0.0"),
        ({"certificate": "/nowhere/c.pem"}, "fail", "No such file"),
    ],
)
def test_messages_that_cross_a_network_unencrypted_are_warned_of(settings: dict[str, str], outcome: str, found: str) -> None:
    check = connections.encryption(MllpConfig.model_validate(settings))
    assert (check.outcome, found in check.found) == (outcome, True)
