"""The MLLP client over TLS, to a system that asks for our certificate."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from integrations.codecs import hl7v2
from integrations.transports import Retry, TransportError
from integrations.transports.mllp import Framer, frame
from integrations.transports.mllp_client import Hl7OutConfig, MllpClient, deliver
from tests.appliance_process import discharge_summary


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not on this host")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate), *named], check=True, capture_output=True)
    return certificate, key


@contextmanager
def system(certificate: Path, key: Path) -> Iterator[int]:
    """Answers messages of whoever has a certificate that it trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as connection:
                framer = Framer(1 << 20)
                while data := connection.recv(1 << 16):
                    for body in framer.feed(data):
                        connection.sendall(frame(hl7v2.ack(body, "AA")))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def client(port: int, **more: object) -> MllpClient:
    config = Hl7OutConfig.model_validate({"host": "127.0.0.1", "port": port, "timeout_s": 5, **more})
    return MllpClient(config.host, config.port, config.timeout_s, config.context())


def test_a_system_that_asks_for_our_certificate_gets_it_and_messages_share_a_connection(pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    with system(*pair) as port, client(port, tls=True, ca=certificate, certificate=certificate, key=key) as sender:
        for n in range(3):
            deliver(sender, discharge_summary(f"M{n}", "See cardiology."))


def test_a_system_whose_certificate_nobody_vouches_for_is_told_nothing(pair: tuple[Path, Path]) -> None:
    with (
        system(*pair) as port,
        client(port, tls=True) as sender,
        pytest.raises(Retry, match=r"TLS failed \(CERTIFICATE_VERIFY_FAILED\)"),
    ):
        deliver(sender, discharge_summary("M1", "See cardiology."))


def test_without_our_certificate_the_delivery_stays_owed(pair: tuple[Path, Path]) -> None:
    with system(*pair) as port, client(port, tls=True, ca=pair[0]) as sender, pytest.raises(Retry):
        deliver(sender, discharge_summary("M1", "See cardiology."))


def test_certificates_that_cannot_be_read_are_named_when_the_appliance_starts(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"certificates for 127\.0\.0\.1 cannot be used \(No such file or directory\)"):
        client(1, tls=True, ca=tmp_path / "missing.pem")
