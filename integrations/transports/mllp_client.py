"""MLLP as a client: one message, and the answer that names it."""

import socket
import time

from integrations.codecs import hl7v2
from integrations.transports import TransportError
from integrations.transports.mllp import END, Framer, TooLongError, frame

_CHUNK_BYTES = 1 << 16


def send(host: str, port: int, body: bytes, timeout_s: float = 30.0) -> bytes:
    """Send one message and give the answer to it, whatever its code.

    One message is in flight, on a connection of its own; answers to other messages (MSA-2) are passed over.

    Raises:
        TransportError: no connection, no answer in time, or the message has no MSH-10 that an answer could name.
    """
    _, control_id = hl7v2.envelope(body)
    if not control_id or END in body:
        raise TransportError("a message to send needs MSH-10, and must not hold MLLP's end of block")
    deadline, framer, others = time.monotonic() + timeout_s, Framer(1 << 20), 0
    peer = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(frame(body))
            while True:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                data = connection.recv(_CHUNK_BYTES)
                if not data:
                    raise TransportError(f"{peer} closed the connection without an answer")
                for answer in framer.feed(data):
                    if hl7v2.acknowledged(answer)[1] == control_id:
                        return answer
                    others += 1
    except TimeoutError:
        raise TransportError(f"{peer} did not answer within {timeout_s:g} s ({others} answers named another message)") from None
    except TooLongError:
        raise TransportError(f"{peer} sent an answer that does not end") from None
    except OSError as error:
        raise TransportError(f"{peer}: {error.strerror or type(error).__name__}") from None
