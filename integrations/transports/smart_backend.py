"""Logging in to a FHIR server: SMART Backend Services with a private key, or a bearer token from a file.

Both are `httpx.Auth`, so that whoever speaks to the server (delivery, polling, Bulk Data) takes one of them and knows no
more. Source: SMART App Launch 2.2, Backend Services and Asymmetric Authentication; RFC 7523.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, model_validator

from integrations.transports import Retry, TransportError

logger = logging.getLogger(__name__)

Flow = Generator[httpx.Request, httpx.Response, None]
_ASSERTION_S = 240
"""A signed request for a token may live for five minutes at most."""
_MARGIN_S = 30
"""A token is not used in the last seconds of its life."""
_SHORTEST_LIFE_S = 60
"""Of a token whose server does not say how long it lives."""
_OAUTH_ERRORS = frozenset({
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
})  # fmt: skip


class FhirAuthConfig(BaseModel):
    """`[fhir_auth]`: how the appliance logs in to the hospital's FHIR server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_file: Path | None = None
    """A file that holds a bearer token; read anew for every request, so that it may be replaced."""
    client_id: str = ""
    """SMART Backend Services, instead of a token's file: the name under which the server knows the appliance."""
    key_file: Path | None = None
    """Its private key, PEM without a password: RSA of 2048 bits or more (RS384), or EC P-384 (ES384)."""
    key_id: str = ""
    """`kid` of that key in the key set that the server has."""
    scope: str = "system/*.read"
    """What to ask for; `system/*.read system/*.write` where findings are delivered there."""

    @model_validator(mode="after")
    def _whole(self) -> "FhirAuthConfig":
        if bool(self.client_id) != bool(self.key_file):
            raise ValueError("client_id and key_file go together")
        return self


def login(config: FhirAuthConfig, base: str, timeout_s: float = 30) -> httpx.Auth | None:
    """How to log in to the server at `base`; None where it asks for nothing.

    Raises:
        TransportError: the key cannot be used.
    """
    if config.key_file:
        return BackendServices(config, base.rstrip("/"), timeout_s=timeout_s)
    return TokenFile(config.token_file) if config.token_file else None


class TokenFile(httpx.Auth):
    """A bearer token as it stands in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def auth_flow(self, request: httpx.Request) -> Flow:
        """Add the token to a request."""
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            token = ""
        if not token or not token.isprintable():
            raise Retry("the file of [fhir_auth] token_file cannot be read or holds no token; see that it is there and is yours")
        request.headers["Authorization"] = f"Bearer {token}"
        yield request


class BackendServices(httpx.Auth):
    """A token that the server gives for a signed request: kept until it ends, asked for anew at a 401.

    Safe to use from several threads.
    """

    def __init__(
        self, config: FhirAuthConfig, base: str, *, timeout_s: float = 30, clock: Callable[[], float] = time.time
    ) -> None:
        """Nothing is asked for yet.

        Raises:
            TransportError: the key cannot be used.
        """
        self._config, self._base, self._timeout_s, self._clock = config, base, timeout_s, clock
        assert config.key_file
        self._key, self._algorithm = _private_key(config.key_file)
        self._lock = threading.Lock()
        self._endpoint, self._token, self._ends_at = "", "", 0.0

    def sync_auth_flow(self, request: httpx.Request) -> Flow:
        """Add a token to a request; once more with a new one where the server no longer takes it."""
        token = self._current()
        if not token:
            token = yield from self._new_token()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            token = yield from self._new_token()
            request.headers["Authorization"] = f"Bearer {token}"
            yield request

    def _current(self) -> str:
        with self._lock:
            return self._token if self._clock() < self._ends_at else ""

    def _new_token(self) -> Generator[httpx.Request, httpx.Response, str]:
        if not self._endpoint:
            self._endpoint = yield from self._discover()
        form = {
            "grant_type": "client_credentials",
            "scope": self._config.scope,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self._assertion(),
        }
        answer = yield httpx.Request("POST", self._endpoint, data=form, headers=_ACCEPT, extensions=self._timeouts())
        found = _json(answer)
        token = found.get("access_token")
        if not answer.is_success or not isinstance(token, str) or not token.isprintable():
            said = str(found.get("error"))
            reason = f": {said}" if said in _OAUTH_ERRORS else ""
            raise Retry(f"the token endpoint gives no token (HTTP {answer.status_code}{reason}); see [fhir_auth]")
        lives_s = found.get("expires_in")
        with self._lock:
            self._token = token
            self._ends_at = self._clock() + (lives_s if isinstance(lives_s, int) else _SHORTEST_LIFE_S + _MARGIN_S) - _MARGIN_S
        logger.info("logged in to the FHIR server")
        return token

    def _discover(self) -> Generator[httpx.Request, httpx.Response, str]:
        url = f"{self._base}/.well-known/smart-configuration"
        answer = yield httpx.Request("GET", url, headers=_ACCEPT, extensions=self._timeouts())
        found = _json(answer)
        endpoint, algorithms = found.get("token_endpoint"), found.get("token_endpoint_auth_signing_alg_values_supported")
        if not answer.is_success or not isinstance(endpoint, str) or not endpoint.startswith(("https://", "http://")):
            raise Retry(f"{url} names no token endpoint (HTTP {answer.status_code}); does the server know SMART?")
        if self._base.startswith("https://") and not endpoint.startswith("https://"):
            raise Retry("the server's token endpoint is not https; it is not given a signature")
        if isinstance(algorithms, list) and self._algorithm not in algorithms:
            raise Retry(f"the server takes no {self._algorithm} signatures; give [fhir_auth] key_file a key of another kind")
        return endpoint

    def _assertion(self) -> str:
        import jwt

        now = int(self._clock())
        name = self._config.client_id
        claims = {"iss": name, "sub": name, "aud": self._endpoint, "jti": uuid.uuid4().hex, "exp": now + _ASSERTION_S}
        headers = {"kid": self._config.key_id} if self._config.key_id else None
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers=headers)

    def _timeouts(self) -> dict[str, Any]:
        return {"timeout": httpx.Timeout(self._timeout_s).as_dict()}


_ACCEPT = {"Accept": "application/json"}


def _json(answer: httpx.Response) -> dict[str, Any]:
    answer.read()
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _private_key(path: Path) -> tuple[Any, Literal["RS384", "ES384"]]:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise TransportError(f"[fhir_auth] key_file holds no private key that can be read ({type(error).__name__})") from None
    if isinstance(key, RSAPrivateKey) and key.key_size >= 2048:
        return key, "RS384"
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1):
        return key, "ES384"
    raise TransportError("[fhir_auth] key_file must hold an RSA key of at least 2048 bits or an EC key on P-384")
