"""MLLP: HL7 v2 messages over TCP: the framing, and a listener that answers only for what is stored.

Bytes come in, `Framer` cuts them into messages, `receive` keeps each one durably and builds its answer, the answer goes
back. Source: HL7 v2 Transport Specification MLLP, Release 1.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Counter, Histogram
from pydantic import BaseModel, ConfigDict, Field

from integrations.codecs import hl7v2
from integrations.transports import TransportError

logger = logging.getLogger(__name__)

MESSAGES = Counter("clinappliance_messages_received_total", "Messages by how they were answered", ["protocol", "outcome"])
ACK_LATENCY = Histogram("clinappliance_ack_latency_seconds", "From a message's last byte to its answer", ["protocol"])

START, END = b"\x0b", b"\x1c\x0d"
Receive = Callable[[str, bytes], bytes]
"""`receive(peer, body)` keeps a message durably, then gives its answer; empty where the sender wants none. May block."""

_CHUNK_BYTES = 1 << 16
_RECEIVERS = 32
"""Threads in `receive`: as many messages as can be committed together."""
_CLOSING_S = 5.0
_OUTCOMES = {"A": "accepted", "E": "error", "R": "rejected"}


class MllpConfig(BaseModel):
    """`[mllp]`: where HL7 v2 messages are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on; messages are not encrypted, so leave it on loopback or a closed network."""
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
async def serve(config: MllpConfig, receive: Receive) -> AsyncIterator[int]:
    """Listen while the context is open; gives the port.

    Connections are persistent, messages may be pipelined, and the answers of a connection keep their order. A message
    is answered only after `receive` has returned; where `receive` fails, the answer is AE (CE), so that the sender
    keeps the message. On leaving, what is being stored is stored and answered, and nothing more is taken.

    Raises:
        TransportError: the address cannot be listened on.
    """
    listener = _Listener(config, receive)
    try:
        server = await asyncio.start_server(listener.converse, config.host, config.port)
    except OSError as error:
        # asyncio's own words repeat the address; a name that is not known has a number below zero, and no words there.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or type(error).__name__
        raise TransportError(
            f"cannot listen on {config.host}:{config.port} ({reason}); is it taken? change [mllp] host or port"
        ) from None
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await listener.close()


class _Listener:
    """The conversations that are open. Lives in one event loop; only `receive` runs elsewhere, in a few threads."""

    def __init__(self, config: MllpConfig, receive: Receive) -> None:
        self._config, self._receive = config, receive
        self._pool = ThreadPoolExecutor(_RECEIVERS, thread_name_prefix="mllp")
        self._open: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def close(self) -> None:
        self._is_closing = True
        for task in list(self._waiting):
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=_CLOSING_S)
        for task in list(self._open):
            task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its end."""
        peer = ":".join(str(part) for part in (writer.get_extra_info("peername") or ("?",))[:2])
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._config.max_connections:
            logger.warning("connection refused: %d are open, as many as [mllp] max_connections allows", len(self._open))
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            await self._converse(peer, task, reader, writer)
        except (ConnectionError, TimeoutError) as error:
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
                for body in framer.feed(data):
                    await self._send(writer, await self._answer(peer, body))
                    begun = time.monotonic()
        except TooLongError as error:
            await self._refuse(peer, error.head, reader, writer)
        finally:
            if framer.is_inside:
                MESSAGES.labels("mllp", "incomplete").inc()
                logger.warning("a message of %s ended before its last byte", peer)

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
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, self._receive, peer, body)
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
        writer.write_eof()
        # Closing with bytes unread would reset the connection, and the sender would never see the answer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_CLOSING_S, self._config.message_timeout_s)):
                while await reader.read(_CHUNK_BYTES):
                    pass


def send(host: str, port: int, body: bytes, timeout_s: float = 30.0) -> bytes:
    """`mllp_client.send`, for who has the listener at hand."""
    from integrations.transports import mllp_client  # which imports the framing from here

    return mllp_client.send(host, port, body, timeout_s)
