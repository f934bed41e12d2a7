"""A token endpoint for SMART Backend Services that checks what it is sent, by `cryptography` alone."""

import base64
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class OAuthServer:
    """Knows one client; gives tokens, and answers /fhir with what it was sent where a token is good."""

    def __init__(self, client_id: str, key_id: str, public_key: Any) -> None:
        self.client_id, self.key_id, self.public_key = client_id, key_id, public_key
        self.base = ""
        self.tokens: set[str] = set()
        self.seen: set[str] = set()
        self.refusals: list[str] = []
        self.scopes: list[str] = []
        self.lives_s = 300
        self.algorithms = ["RS384", "ES384"]
        self.endpoint = ""

    def why_not(self, form: dict[str, list[str]]) -> str:
        """What is wrong with a request for a token; empty where nothing is."""
        try:
            head, body, signature = form["client_assertion"][0].split(".")
            header, claims = json.loads(decoded(head)), json.loads(decoded(body))
            self._verify(header["alg"], f"{head}.{body}".encode(), decoded(signature))
        except (KeyError, ValueError, InvalidSignature) as error:
            return f"signature: {type(error).__name__}"
        checks = {
            "grant": form.get("grant_type") == ["client_credentials"],
            "type": form.get("client_assertion_type") == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
            "typ": header.get("typ") == "JWT",
            "kid": header.get("kid") == self.key_id,
            "iss": claims.get("iss") == claims.get("sub") == self.client_id,
            "aud": claims.get("aud") == f"{self.base}/token",
            "exp": time.time() < claims.get("exp", 0) <= time.time() + 300,
            "jti": claims.get("jti") not in self.seen and len(claims.get("jti", "")) >= 16,
            "scope": bool(form.get("scope")),
        }
        self.seen.add(claims.get("jti"))
        return ", ".join(name for name, is_right in checks.items() if not is_right)

    def _verify(self, algorithm: str, signed: bytes, signature: bytes) -> None:
        if algorithm == "RS384" and isinstance(self.public_key, rsa.RSAPublicKey):
            self.public_key.verify(signature, signed, padding.PKCS1v15(), SHA384())
        elif algorithm == "ES384" and isinstance(self.public_key, ec.EllipticCurvePublicKey):
            r, s = (int.from_bytes(half) for half in (signature[:48], signature[48:]))
            self.public_key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA384()))
        else:
            raise InvalidSignature


@contextlib.contextmanager
def running_oauth_server(client_id: str, key_id: str, public_key: Any) -> Iterator[OAuthServer]:
    """The server on a free port of loopback."""
    site = OAuthServer(client_id, key_id, public_key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def answer(self, status: int, found: Any) -> None:
            body = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            if self.path == "/fhir/.well-known/smart-configuration":
                endpoint = site.endpoint or f"{site.base}/token"
                self.answer(
                    200, {"token_endpoint": endpoint, "token_endpoint_auth_signing_alg_values_supported": site.algorithms}
                )
            elif self.headers.get("Authorization", "").removeprefix("Bearer ") in site.tokens:
                self.answer(200, {"resourceType": "Patient"})
            else:
                self.answer(401, {"resourceType": "OperationOutcome", "issue": [{"code": "login"}]})

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if reason := site.why_not(form):
                site.refusals.append(reason)
                self.answer(400, {"error": "invalid_client", "error_description": "about Jane Doe"})
                return
            token = secrets.token_urlsafe()
            site.tokens.add(token)
            site.scopes += form["scope"]
            self.answer(200, {"access_token": token, "token_type": "bearer", "expires_in": site.lives_s})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
