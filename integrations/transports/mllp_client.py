"""MLLP as a client: one message in flight, and only the answer that names it counts.

Engines answer late, twice and for messages of before: a late answer that is taken for the next message's makes a lost message
look delivered. So MSA-2 must be our MSH-10, everything else is passed over, and a connection on which an answer is overdue
is closed before the message is sent again.
"""

import contextlib
import socket
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from integrations.codecs import hl7v2
from integrations.transports import Refused, Retry, TransportError
from integrations.transports.mllp import END, Framer, TooLongError, frame

_CHUNK_BYTES = 1 << 16
_LONGEST_ANSWER_BYTES = 1 << 20
_TAKEN, _REFUSED, _FAILED = ("AA", "CA"), ("AR", "CR"), ("AE", "CE")


class Hl7OutConfig(BaseModel):
    """`[hl7_out.NAME]`: a system that is told findings as HL7 v2 over MLLP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(min_length=1)
    """Name or address."""
    port: int = Field(default=2575, ge=1, le=65535)
    message: Literal["ORU", "MDM"] = "ORU"
    """ORU^R01, results to the source's order; or MDM^T02, a document that belongs to the source's."""
    receiving_application: str = ""
    """MSH-5."""
    receiving_facility: str = ""
    """MSH-6."""
    sending_facility: str = ""
    """MSH-4; MSH-3 is CLINAPPLIANCE."""
    tls: bool = True
    """Whether the connection is encrypted and the system's certificate checked."""
    ca: Path | None = None
    """Certificates (PEM) of the authority that signed the system's; else those that this host trusts."""
    certificate: Path | None = None
    """Our own certificate (PEM), where the system asks for one; `key` is its private key."""
    key: Path | None = None
    timeout_s: float = Field(default=30, gt=0)
    """Seconds for connecting, and until the answer must be there."""

    @model_validator(mode="after")
    def _means_what_it_says(self) -> "Hl7OutConfig":
        if (self.ca or self.certificate or self.key) and not self.tls:
            raise ValueError("ca, certificate and key are for TLS; set tls = true, or leave them out")
        if self.key and not self.certificate:
            raise ValueError("key needs the certificate that it belongs to")
        return self

    def context(self) -> ssl.SSLContext | None:
        """What TLS needs; None without it.

        Raises:
            TransportError: a certificate or key cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
            raise TransportError(
                f"the certificates for {self.host} cannot be used ({reason}); see ca, certificate, key"
            ) from None
        return context


class MllpClient:
    """A connection that is made when there is something to send, kept, and made anew when in doubt. For one thread."""

    def __init__(self, host: str, port: int, timeout_s: float = 30.0, context: ssl.SSLContext | None = None) -> None:
        """Nothing is opened yet.

        Args:
            host: name or address.
            port: of TCP.
            timeout_s: for connecting, and from sending a message until its answer must be there.
            context: of TLS; None sends in the clear.
        """
        self._address, self._timeout_s, self._context = (host, port), timeout_s, context
        self._peer = f"{host}:{port}"
        self._connection: socket.socket | None = None
        self._framer = Framer(_LONGEST_ANSWER_BYTES)

    def __enter__(self) -> "MllpClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def connect(self) -> None:
        """Open the connection, where it is not.

        Raises:
            TransportError: there is none.
        """
        try:
            self._open()
        except OSError as error:
            raise self._explained(error, 0) from None

    def exchange(self, body: bytes) -> bytes:
        """Send one message and give the answer to it, whatever its code.

        Raises:
            TransportError: no connection, no answer in time, or the message has no MSH-10 that an answer could name. The
                connection is closed: what was sent on it may or may not have been taken.
        """
        _, control_id = hl7v2.envelope(body)
        if not control_id or END in body:
            raise Refused("a message to send needs MSH-10, and must not hold MLLP's end of block")
        others = 0
        try:
            connection = self._open()
            until = time.monotonic() + self._timeout_s
            connection.settimeout(self._timeout_s)
            connection.sendall(frame(body))
            while True:
                for answer in self._framer.feed(self._next(connection, until)):
                    if hl7v2.acknowledged(answer)[1] == control_id:
                        return answer
                    others += 1
        except BaseException as error:
            self.close()
            raise self._explained(error, others) from None

    def _open(self) -> socket.socket:
        """The connection that is there, emptied of what came late; else a new one."""
        if self._connection is not None and not self._is_usable(self._connection):
            self.close()
        if self._connection is None:
            connection = socket.create_connection(self._address, timeout=self._timeout_s)
            try:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if self._context:
                    connection = self._context.wrap_socket(connection, server_hostname=self._address[0])
            except BaseException:
                connection.close()
                raise
            self._connection, self._framer = connection, Framer(_LONGEST_ANSWER_BYTES)
        return self._connection

    def _is_usable(self, connection: socket.socket) -> bool:
        """Whether the peer still listens. Answers that came since the last message name another one, and are dropped."""
        with contextlib.suppress(OSError, TooLongError, ssl.SSLError):
            connection.settimeout(0)
            while True:
                try:
                    data = connection.recv(_CHUNK_BYTES)
                except (BlockingIOError, ssl.SSLWantReadError):
                    return True
                if not data:
                    return False
                # Through the framer, so that half an answer does not swallow the beginning of the next.
                for _ in self._framer.feed(data):
                    pass
        return False

    def _next(self, connection: socket.socket, until: float) -> bytes:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        data = connection.recv(_CHUNK_BYTES)
        if not data:
            raise TransportError(f"{self._peer} closed the connection without an answer")
        return data

    def _explained(self, error: BaseException, others: int) -> BaseException:
        if isinstance(error, TimeoutError):
            beside = f" ({others} answers named another message)"
            return TransportError(f"{self._peer} did not answer within {self._timeout_s:g} s{beside}")
        if isinstance(error, TooLongError):
            return TransportError(f"{self._peer} sent an answer that does not end")
        if isinstance(error, ssl.SSLError):
            return TransportError(f"{self._peer}: TLS failed ({error.reason or type(error).__name__})")
        if isinstance(error, OSError):
            return TransportError(f"{self._peer}: {error.strerror or type(error).__name__}")
        return error


def send(host: str, port: int, body: bytes, timeout_s: float = 30.0) -> bytes:
    """Send one message on a connection of its own and give the answer to it, whatever its code.

    Raises:
        TransportError: no connection, no answer in time, or the message has no MSH-10 that an answer could name.
    """
    with MllpClient(host, port, timeout_s) as client:
        return client.exchange(body)


def deliver(client: MllpClient, body: bytes) -> None:
    """Send one message until the peer has said that it has it.

    AA and CA mean that it has: an accept acknowledgement is given for what is kept, and an application's answer that follows it
    is of no concern to the queue.

    Raises:
        Retry: no connection, no answer, AE or CE, or an answer that says nothing.
        Refused: AR or CR, or what could never be answered.
    """
    try:
        code, _ = hl7v2.acknowledged(client.exchange(body))
    except Refused:
        raise
    except TransportError as error:
        raise Retry(str(error)) from None
    if code in _TAKEN:
        return
    # The same message may be sent again, and a second copy of this answer must not be taken for the next one's.
    client.close()
    if code in _REFUSED:
        raise Refused(f"answered {code}")
    raise Retry(f"answered {code}" if code in _FAILED else "the answer has no code (MSA-1)", is_about_message=True)
