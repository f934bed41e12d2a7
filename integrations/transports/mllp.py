"""MLLP: HL7 v2 messages over TCP: the framing, and a listener that answers only for what is stored.

Bytes come in, `Framer` cuts them into messages, `receive` keeps each one durably and builds its answer, the answer goes
back. Source: HL7 v2 Transport Specification MLLP, Release 1.
"""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

from prometheus_client import Counter, Histogram
from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, model_validator

from integrations.codecs import batch, hl7v2
from integrations.transports import TransportError, access
from integrations.transports.gathering import Gathering, ReceiveAll

logger = logging.getLogger(__name__)

MESSAGES = Counter("clinappliance_messages_received_total", "Messages by how they were answered", ["protocol", "outcome"])
ACK_LATENCY = Histogram("clinappliance_ack_latency_seconds", "From a message's last byte to its answer", ["protocol"])

REFUSED = Counter("clinappliance_connections_refused_total", "Connections that were not let in", ["protocol"])

START, END = b"\x0b", b"\x1c\x0d"
Receive = Callable[[str, bytes], bytes]
"""`receive(peer, body)` keeps a message durably, then gives its answer; empty where the sender wants none. May block."""

_CHUNK_BYTES = 1 << 16
_MOST_TOGETHER = 64
_BACKLOG = 1024
_OTHER_FILES = 256
_HANDSHAKE_S = 10.0
_PAUSE_S = 1.0
_CLOSING_S = 5.0
_OUTCOMES = {"A": "accepted", "E": "error", "R": "rejected"}


class MllpConfig(BaseModel):
    """`[mllp]`: where HL7 v2 messages are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on; without a certificate leave it on loopback or a closed network."""
    port: int = Field(default=2575, ge=0, le=65535)
    """TCP port; 0 takes a free one."""
    max_message_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """A longer message is answered with AR and its connection closed."""
    message_timeout_s: float = Field(default=60, gt=0)
    """Seconds between the first and the last byte of a message, and for a sender to take its answer."""
    idle_timeout_s: float = Field(default=3600, gt=0)
    """Seconds that a connection may stay open without a message."""
    max_connections: int = Field(default=2000, ge=1)
    """Connections at a time; one more is closed at once."""
    allow: tuple[IPvAnyNetwork, ...] = ()
    """Networks whose hosts may connect; by default all."""
    certificate: Path | None = None
    """The listener's certificate and those between it and its authority, PEM; turns TLS on."""
    key: Path | None = None
    """Its private key, PEM, without a password; by default it stands in `certificate`."""
    client_ca: Path | None = None
    """Authorities, PEM: only senders with a certificate of one of them may connect."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if self.certificate is None and (self.key or self.client_ca):
            raise ValueError("key and client_ca need a certificate")
        return self

    @property
    def is_exposed(self) -> bool:
        """Messages cross a network, and whoever listens there can read them."""
        return self.certificate is None and not access.is_loopback(self.host)


class TooLongError(Exception):
    """A frame has grown past what is taken; `head` is its beginning."""

    def __init__(self, head: bytes) -> None:
        super().__init__("frame too long")
        self.head = head


class Framer:
    """Cuts a stream of bytes into messages, whatever way the stream was cut into packets."""

    def __init__(self, max_message_bytes: int) -> None:
        self._max, self._buffer, self._searched = max_message_bytes, bytearray(), 0

    @property
    def is_inside(self) -> bool:
        """A message has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that these bytes complete. What lies between messages is dropped.

        Raises:
            TooLongError: the message that has begun is longer than the limit.
        """
        self._buffer += data
        while True:
            if not self._buffer.startswith(START):
                start = self._buffer.find(START)
                del self._buffer[: start if start >= 0 else len(self._buffer)]
                self._searched = 0
            end = self._buffer.find(END, max(self._searched - 1, 0))
            length = (end if end >= 0 else len(self._buffer) - len(END)) - len(START)
            if length > self._max:
                head = bytes(self._buffer[len(START) : _CHUNK_BYTES])
                self._buffer.clear()
                raise TooLongError(head)
            if end < 0:
                # Not searched again from the start: a message of 30 MB comes in hundreds of packets.
                self._searched = len(self._buffer)
                return
            body = bytes(self._buffer[len(START) : end])
            del self._buffer[: end + len(END)]
            self._searched = 0
            yield body


def frame(body: bytes) -> bytes:
    """`body` as it goes over the wire."""
    return START + body + END


@contextlib.asynccontextmanager
async def serve(config: MllpConfig, receive: Receive, receive_all: ReceiveAll | None = None) -> AsyncIterator[int]:
    """Listen while the context is open; gives the port.

    Connections are persistent, messages may be pipelined, and the answers of a connection keep their order. A message
    is answered only after `receive` has returned; where `receive` fails, the answer is AE (CE), so that the sender
    keeps the message. Each message of a batch is received and answered by itself, one framed answer after the other. On
    leaving, what is being stored is stored and answered, and nothing more is taken.

    Args:
        config: where to listen, and who may connect.
        receive: keeps one message.
        receive_all: the same for several that wait at a time; takes the place of `receive`.
    Raises:
        TransportError: the address cannot be listened on, or a certificate cannot be used.
    """
    tls = access.server_context(config.certificate, config.key, config.client_ca) if config.certificate else None
    try:
        server = socket.create_server(
            (config.host, config.port), family=socket.AF_INET6 if ":" in config.host else socket.AF_INET, backlog=_BACKLOG
        )
    except OSError as error:
        # A name that is not known has a number below zero, and no words there.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or type(error).__name__
        raise TransportError(
            f"cannot listen on {config.host}:{config.port} ({reason}); is it taken? change [mllp] host or port"
        ) from None
    if config.is_exposed:
        logger.warning("messages come over the network unencrypted: set [mllp] certificate, or keep to a closed network")
    _allow_open_files(config.max_connections)
    if receive_all is None:
        gathering = Gathering(lambda arrivals: [receive(*arrival) for arrival in arrivals], 1)
    else:
        gathering = Gathering(receive_all, _MOST_TOGETHER)
    server.setblocking(False)
    listener = _Listener(config, gathering, tls)
    listener.listen(server)
    try:
        yield server.getsockname()[1]
    finally:
        asyncio.get_running_loop().remove_reader(server)
        server.close()
        await listener.close()


def _allow_open_files(connections: int) -> None:
    """Each connection is an open file; hosts often allow 1,024 at first, and more to whoever asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


class _Listener:
    """The conversations that are open. Lives in one event loop."""

    def __init__(self, config: MllpConfig, gathering: Gathering, tls: ssl.SSLContext | None) -> None:
        self._config, self._gathering, self._tls = config, gathering, tls
        self._greeting: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def listen(self, server: socket.socket) -> None:
        """Greet whoever connects."""
        if not self._is_closing:
            asyncio.get_running_loop().add_reader(server, self._accept, server)

    def _accept(self, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, address = server.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of files, mostly. Others will close; until then nobody is served by trying again at once.
            logger.error("no connection can be taken: %s", error.strerror or type(error).__name__)
            loop.remove_reader(server)
            loop.call_later(_PAUSE_S, self.listen, server)
            return
        task = loop.create_task(self._greet(connection, address))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)
        # One that is cancelled may never have begun.
        task.add_done_callback(lambda done: connection.close() if done.cancelled() else None)

    async def _greet(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """Let a connection in, or say in the log why not; asyncio's own server tells of no failed handshake."""
        peer, reason = f"{address[0]}:{address[1]}", ""
        if not access.is_let_in(address[0], self._config.allow):
            reason = "its address is in no network of [mllp] allow"
        elif len(self._open) + len(self._greeting) > self._config.max_connections:
            reason = f"{len(self._open)} are open, as many as [mllp] max_connections allows"
        try:
            if not reason:
                protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(), self.converse)
                limit_s = _HANDSHAKE_S if self._tls else None
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=limit_s
                )
        except OSError as error:
            reason = f"TLS: {access.refusal(error)}"
        if reason:
            REFUSED.labels("mllp").inc()
            logger.warning("connection of %s refused: %s", peer, reason)
            connection.close()

    async def close(self) -> None:
        self._is_closing = True
        for task in [*self._waiting, *self._greeting]:
            task.cancel()
        if ending := self._open | self._greeting:
            await asyncio.wait(ending, timeout=_CLOSING_S)
        for task in list(self._open):
            task.cancel()
        self._gathering.close()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its end."""
        peer = ":".join(str(part) for part in (writer.get_extra_info("peername") or ("?",))[:2])
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._converse(peer, task, reader, writer)
        except (OSError, TimeoutError) as error:
            logger.info("connection of %s ended: %s", peer, type(error).__name__)
            writer.transport.abort()
        except asyncio.CancelledError:
            # Only `close` cancels. Passed on, asyncio's stream callback would log it as an error.
            writer.transport.abort()
        finally:
            self._open.discard(task)
            writer.close()

    async def _converse(
        self, peer: str, task: "asyncio.Task[None]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        framer, begun = Framer(self._config.max_message_bytes), time.monotonic()
        try:
            while not self._is_closing:
                limit_s = self._config.message_timeout_s if framer.is_inside else self._config.idle_timeout_s
                data = await self._next(task, reader, max(0.0, begun + limit_s - time.monotonic()))
                if not data:
                    return
                if not framer.is_inside:
                    begun = time.monotonic()
                bodies, too_long = _completed(framer, data)
                if bodies:
                    await self._answer_all(peer, bodies, writer)
                    begun = time.monotonic()
                if too_long:
                    await self._refuse(peer, too_long.head, reader, writer)
                    return
        finally:
            if framer.is_inside:
                MESSAGES.labels("mllp", "incomplete").inc()
                logger.warning("a message of %s ended before its last byte", peer)

    async def _answer_all(self, peer: str, bodies: list[bytes], writer: asyncio.StreamWriter) -> None:
        """Answer pipelined messages, and those of a batch, in their order; they are kept together."""
        parts = [part for body in bodies for part in batch.split(body)]
        answering = [self._answer(peer, part) for part in parts]
        # A gathering of one would be a task more for each message.
        answers = await asyncio.gather(*answering) if len(parts) > 1 else [await answering[0]]
        for answer in answers:
            await self._send(writer, answer)

    async def _next(self, task: "asyncio.Task[None]", reader: asyncio.StreamReader, timeout_s: float) -> bytes:
        self._waiting.add(task)
        try:
            async with asyncio.timeout(timeout_s):
                return await reader.read(_CHUNK_BYTES)
        finally:
            self._waiting.discard(task)

    async def _answer(self, peer: str, body: bytes) -> bytes:
        began = time.perf_counter()
        try:
            answer = await self._gathering.answer(peer, body)
        except Exception as error:
            # The kind only: a database's message quotes the values it was given.
            logger.error("a message of %s could not be stored: %s", peer, type(error).__name__)
            answer = hl7v2.ack(body, "AE", "could not be stored; send it again")
        ACK_LATENCY.labels("mllp").observe(time.perf_counter() - began)
        code, _ = hl7v2.acknowledged(answer)
        MESSAGES.labels("mllp", _OUTCOMES.get(code[1:], "unanswered")).inc()
        return answer

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        if answer:
            writer.write(frame(answer))
            async with asyncio.timeout(self._config.message_timeout_s):
                await writer.drain()

    async def _refuse(self, peer: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a message that is too long, and close."""
        MESSAGES.labels("mllp", "too_long").inc()
        logger.warning("a message of %s is longer than %d bytes", peer, self._config.max_message_bytes)
        error = f"longer than {self._config.max_message_bytes} bytes, the limit set by [mllp] max_message_bytes"
        await self._send(writer, hl7v2.ack(head, "AR", error))
        if writer.can_write_eof():
            writer.write_eof()
        # Closing with bytes unread would reset the connection, and the sender would never see the answer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_CLOSING_S, self._config.message_timeout_s)):
                while await reader.read(_CHUNK_BYTES):
                    pass


def _completed(framer: Framer, data: bytes) -> tuple[list[bytes], TooLongError | None]:
    """The messages that end in `data`, also where what follows them is too long."""
    bodies: list[bytes] = []
    try:
        bodies.extend(framer.feed(data))
    except TooLongError as error:
        return bodies, error
    return bodies, None


def send(host: str, port: int, body: bytes, timeout_s: float = 30.0) -> bytes:
    """`mllp_client.send`, for who has the listener at hand."""
    from integrations.transports import mllp_client  # which imports the framing from here

    return mllp_client.send(host, port, body, timeout_s)
