"""Who may send: TLS, certificates of senders and networks, over real sockets with certificates made here."""

import contextlib
import shutil
import socket
import ssl
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError

from integrations.codecs import hl7v2
from integrations.transports import TransportError, access, mllp
from integrations.transports.mllp import MllpConfig
from tests.certificates import Authority, Pair
from tests.integration.test_mllp import Store, listening, message, named, read_all, wait_until

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl command to make certificates with")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("hospital") / "ca")


@pytest.fixture(scope="module")
def server(hospital: Authority) -> Pair:
    return hospital.sign("clinappliance")


@pytest.fixture
def store() -> Store:
    return Store()


@contextlib.contextmanager
def connected(
    port: int, authority: Authority, own: Pair | None = None, version: ssl.TLSVersion | None = None
) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=authority.certificate)
    if own:
        context.load_cert_chain(*own)
    if version:
        context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        yield connection


def answered(port: int, authority: Authority, own: Pair | None = None, name: str = "M-1") -> list[tuple[str, str]]:
    with connected(port, authority, own) as connection:
        connection.sendall(mllp.frame(message(name)))
        return named(read_all(connection, 1))


def refused() -> float:
    return REGISTRY.get_sample_value("clinappliance_connections_refused_total", {"protocol": "mllp"}) or 0.0


@needs_openssl
def test_messages_come_encrypted_and_pipelined(store, hospital, server):
    tls = {"certificate": server.certificate, "key": server.key}
    with listening(store.receive, **tls) as port, connected(port, hospital) as connection:
        connection.sendall(b"".join(mllp.frame(message(f"M-{n}", "x" * 50_000)) for n in range(20)))
        assert named(read_all(connection, 20)) == [("AA", f"M-{n}") for n in range(20)]
        assert connection.version() == "TLSv1.3"


@needs_openssl
def test_a_message_that_is_too_long_is_answered_under_tls_too(store, hospital, server):
    limits = {"certificate": server.certificate, "key": server.key, "max_message_bytes": 100_000}
    with listening(store.receive, **limits) as port, connected(port, hospital) as connection:
        connection.sendall(mllp.frame(message("M-long", "x" * 200_000)))
        assert named(read_all(connection, 1)) == [("AR", "M-long")]


@needs_openssl
def test_a_sender_shows_a_certificate_of_the_hospitals_authority(store, hospital, server):
    mutual = {"certificate": server.certificate, "key": server.key, "client_ca": hospital.certificate}
    with listening(store.receive, **mutual) as port:
        assert answered(port, hospital, hospital.sign("ris")) == [("AA", "M-1")]


@needs_openssl
@pytest.mark.parametrize("whose", ["nobody", "another", "expired"])
def test_a_sender_without_a_good_certificate_is_refused_and_the_next_one_served(store, hospital, server, tmp_path, whose, caplog):
    bad = {"nobody": None, "another": Authority(tmp_path / "other").sign("ris"), "expired": hospital.sign("old", days=-1)}[whose]
    mutual = {"certificate": server.certificate, "key": server.key, "client_ca": hospital.certificate}
    before = refused()
    with listening(store.receive, **mutual) as port:
        with pytest.raises((OSError, AssertionError)):
            answered(port, hospital, bad, "M-secret")
        wait_until(lambda: refused() == before + 1)
        assert answered(port, hospital, hospital.sign("ris")) == [("AA", "M-1")]
    assert store.bodies == [message("M-1")]
    reason = {"nobody": "peer did not return a certificate", "expired": "certificate has expired"}.get(whose, "certificate")
    assert f"refused: TLS: {reason}" in caplog.text or whose == "another"
    assert "TLS: " in caplog.text
    assert "secret" not in caplog.text


@needs_openssl
@pytest.mark.parametrize("sent", [mllp.frame(message("M-secret")), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_plain_text_on_an_encrypted_port_is_refused_and_the_next_one_served(store, hospital, server, sent, caplog):
    before = refused()
    with listening(store.receive, certificate=server.certificate, key=server.key) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            plain.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert mllp.START not in plain.recv(1 << 16)
        wait_until(lambda: refused() == before + 1)
        assert answered(port, hospital) == [("AA", "M-1")]
    assert (store.bodies, "secret" in caplog.text) == ([message("M-1")], False)


@needs_openssl
def test_a_sender_that_says_nothing_holds_up_nobody(store, hospital, server):
    tls = {"certificate": server.certificate, "key": server.key}
    with listening(store.receive, **tls) as port, socket.create_connection(("127.0.0.1", port)):
        assert answered(port, hospital) == [("AA", "M-1")]


@needs_openssl
def test_old_tls_is_refused(store, hospital, server):
    with (
        listening(store.receive, certificate=server.certificate, key=server.key) as port,
        pytest.warns(DeprecationWarning, match="TLSv1_1"),
        pytest.raises(OSError, match=r"(?i)version|protocol|alert"),
        connected(port, hospital, version=ssl.TLSVersion.TLSv1_1),
    ):
        pass


@needs_openssl
def test_certificates_that_cannot_be_used_are_told_in_one_line(hospital, server, tmp_path):
    other = hospital.sign("other")
    for certificate, key, client_ca, trouble in (
        (tmp_path / "none.pem", None, None, "No such file"),
        (server.certificate, other.key, None, "key values mismatch"),
        (server.certificate, None, None, r"cannot be used \(.*correct \[mllp\] certificate"),
        (server.certificate, server.key, server.key, "client_ca"),
    ):
        with pytest.raises(TransportError, match=trouble):
            access.server_context(certificate, key, client_ca)


def test_only_hosts_of_the_networks_that_are_let_in_are_answered(store, caplog):
    with listening(store.receive, allow=["10.0.0.0/8", "::1/128"]) as port:
        with pytest.raises(TransportError):
            mllp.send("127.0.0.1", port, message("M-1"), 5)
        assert "is in no network of [mllp] allow" in caplog.text
    with listening(store.receive, allow=["10.0.0.0/8", "127.0.0.0/8"]) as port:
        assert hl7v2.acknowledged(mllp.send("127.0.0.1", port, message("M-2"), 5)) == ("AA", "M-2")
    assert store.bodies == [message("M-2")]


def test_an_address_of_ipv4_is_one_also_where_ipv6_listens():
    networks = MllpConfig.model_validate({"allow": ["10.1.0.0/16"]}).allow
    assert access.is_let_in("::ffff:10.1.2.3", networks)
    assert not access.is_let_in("::ffff:10.2.2.3", networks)
    assert not access.is_let_in("fe80::1%eth0", networks)
    assert access.is_let_in("fe80::1%eth0", ())


@pytest.mark.parametrize(
    "settings", [{"key": "k.pem"}, {"client_ca": "ca.pem"}, {"allow": ["10.0.0.1/8"]}, {"allow": ["hospital"]}]
)
def test_settings_of_access_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        MllpConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "is_exposed"),
    [
        ({}, False), ({"host": "::1"}, False), ({"host": "localhost"}, False), ({"host": "127.0.0.2"}, False),
        ({"host": "0.0.0.0"}, True), ({"host": "10.1.2.3"}, True), ({"host": "::"}, True), ({"host": "ris.hospital"}, True),
        ({"host": "0.0.0.0", "certificate": "c.pem"}, False),
    ],
)  # fmt: skip
def test_messages_are_exposed_where_they_cross_a_network_unencrypted(settings, is_exposed):
    assert MllpConfig.model_validate(settings).is_exposed is is_exposed


def test_listening_to_a_network_without_tls_is_warned_of(store, caplog):
    with listening(store.receive, host="0.0.0.0"):
        assert "over the network unencrypted" in caplog.text
