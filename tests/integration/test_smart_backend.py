"""Logging in to a FHIR server whose token endpoint checks every signature."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from integrations.transports import TransportError
from integrations.transports.fhir_rest import Retry, client
from integrations.transports.smart_backend import BackendServices, FhirAuthConfig, login
from tests.peers.oauth_server import OAuthServer, running_oauth_server

RSA = rsa.generate_private_key(65537, 2048)
KEYS: dict[str, Any] = {"RS384": RSA, "ES384": ec.generate_private_key(ec.SECP384R1())}


class Clock:
    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def pem(path: Path, key: Any) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture(params=KEYS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[OAuthServer, FhirAuthConfig]]:
    key = KEYS[request.param]
    config = {"client_id": "clinappliance", "key_file": pem(tmp_path / "key.pem", key), "key_id": "k1"}
    with running_oauth_server("clinappliance", "k1", key.public_key()) as server:
        yield server, FhirAuthConfig.model_validate(config)


def get(server: OAuthServer, auth: httpx.Auth | None) -> int:
    with client(10, auth) as http:
        return http.get(f"{server.base}/fhir/Patient/1").status_code


def test_a_signed_request_gives_a_token_that_is_used_until_it_ends(site: tuple[OAuthServer, FhirAuthConfig]) -> None:
    server, config = site
    server.lives_s = 31
    clock = Clock()
    auth = BackendServices(config, f"{server.base}/fhir", clock=clock)
    assert [get(server, None), get(server, auth), get(server, auth)] == [401, 200, 200]
    assert (len(server.tokens), server.refusals, server.scopes) == (1, [], ["system/*.read"])
    clock.ahead = 2  # half a minute before its end, a token is not used any more
    assert get(server, auth) == 200
    assert len(server.tokens) == 2


def test_a_token_that_is_taken_back_is_asked_for_anew(site: tuple[OAuthServer, FhirAuthConfig]) -> None:
    server, config = site
    auth = login(config, f"{server.base}/fhir/")
    assert get(server, auth) == 200
    server.tokens.clear()
    assert get(server, auth) == 200
    assert len(server.tokens) == 1


def test_a_client_that_the_server_does_not_know_is_told_what_to_look_at(site: tuple[OAuthServer, FhirAuthConfig]) -> None:
    server, config = site
    server.client_id = "another"
    with pytest.raises(Retry, match=r"no token \(HTTP 400: invalid_client\); see \[fhir_auth\]") as caught:
        get(server, login(config, f"{server.base}/fhir"))
    assert "Jane" not in str(caught.value)
    assert server.refusals == ["iss"]


def test_a_key_that_the_server_does_not_have_signs_in_vain(site: tuple[OAuthServer, FhirAuthConfig], tmp_path: Path) -> None:
    server, config = site
    other = pem(tmp_path / "other.pem", rsa.generate_private_key(65537, 2048))
    with pytest.raises(Retry, match="invalid_client"):
        get(server, login(config.model_copy(update={"key_file": other}), f"{server.base}/fhir"))
    assert server.refusals == ["signature: InvalidSignature"]


def test_a_server_that_does_not_take_such_signatures_or_is_no_smart_server_is_named(
    site: tuple[OAuthServer, FhirAuthConfig],
) -> None:
    server, config = site
    server.algorithms = ["RS256"]
    with pytest.raises(Retry, match=r"takes no (RS|ES)384 signatures"):
        get(server, login(config, f"{server.base}/fhir"))
    with pytest.raises(Retry, match="names no token endpoint"):
        get(server, login(config, f"{server.base}/elsewhere"))
    server.algorithms, server.endpoint = ["RS384", "ES384"], "ftp://x/token"
    with pytest.raises(Retry, match="names no token endpoint"):
        get(server, login(config, f"{server.base}/fhir"))


def test_a_token_in_a_file_may_be_replaced_while_it_is_used(site: tuple[OAuthServer, FhirAuthConfig], tmp_path: Path) -> None:
    server, _ = site
    path = tmp_path / "token"
    server.tokens = {"second"}
    auth = login(FhirAuthConfig(token_file=path), server.base)
    with pytest.raises(Retry, match="token_file cannot be read"):
        get(server, auth)
    path.write_text("first\n")
    assert get(server, auth) == 401
    path.write_text("second\n")
    assert get(server, auth) == 200


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"no private key that can be read \(FileNotFoundError\)"),
        (b"secret words", r"no private key that can be read \(ValueError\)"),
        (ec.generate_private_key(ec.SECP256R1()), "RSA key of at least 2048 bits or an EC key on P-384"),
        (rsa.generate_private_key(65537, 1024), "RSA key of at least 2048 bits or an EC key on P-384"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_when_it_is_opened(content: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        pem(path, content)
    with pytest.raises(TransportError, match=reason):
        login(FhirAuthConfig(client_id="c", key_file=path), "https://ehr.example/fhir")


def test_no_login_is_none_and_half_a_key_is_refused() -> None:
    assert login(FhirAuthConfig(), "https://ehr.example/fhir") is None
    with pytest.raises(ValueError, match="client_id and key_file go together"):
        FhirAuthConfig(client_id="c")
