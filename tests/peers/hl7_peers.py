"""Other people's HL7 v2 senders and receivers, out of `tests/peers/hl7` or python-hl7, and a proxy that spoils answers."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hl7.mllp
import pytest

from integrations.transports.mllp import Framer, frame
from tests.appliance_process import eventually, free_ports

FOLDER = Path(__file__).parent / "hl7"
Spoil = Callable[[int, bytes], list[bytes] | None]
"""`spoil(n, answer)`: what goes back in place of the n-th answer; None hangs up."""


def require_node_peers() -> None:
    """Skip, or in CI fail, where they are not installed."""
    lacking = "node is not installed" if not shutil.which("node") else ""
    if not lacking and not (FOLDER / "node_modules/simple-hl7").is_dir():
        lacking = "the HL7 peers are not installed: run `npm ci` in tests/peers/hl7"
    if lacking and os.environ.get("CI") == "true":
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)


def send_from_node(peer: str, port: int, messages: list[str]) -> list[str]:
    """Have a package send `messages` over one connection; gives its answers as it understood them."""
    command = ["node", f"send-{peer}.mjs", str(port)]
    done = subprocess.run(command, cwd=FOLDER, input=json.dumps(messages), capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Receiver:
    """What a peer has received, in order; as long as it runs."""

    def __init__(self, port: int) -> None:
        self.port, self.received = port, list[str]()


@contextlib.contextmanager
def node_receiver(peer: str, *options: str) -> Iterator[Receiver]:
    """A receiver over one of the packages."""
    found = Receiver(*free_ports(1))
    process = subprocess.Popen(
        ["node", f"receive-{peer}.mjs", str(found.port), *options], cwd=FOLDER, stdin=-1, stdout=-1, text=True, encoding="utf-8"
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    reading = threading.Thread(target=lambda: [found.received.append(json.loads(line)) for line in process.stdout or ()])
    reading.start()
    try:
        yield found
    finally:
        process.stdin.close()
        process.wait(10)
        reading.join(10)
        process.stdout.close()


@contextlib.contextmanager
def python_receiver() -> Iterator[Receiver]:
    """A receiver over python-hl7's asyncio server."""
    found = Receiver(0)
    ready, loop = threading.Event(), asyncio.new_event_loop()

    async def converse(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while not writer.is_closing():
                message = await reader.readmessage()
                found.received.append(str(message))
                writer.writemessage(message.create_ack())
                await writer.drain()
        writer.close()

    async def serve() -> None:
        stop = loop.create_future()
        found_stop.append(stop)
        async with await hl7.mllp.start_hl7_server(converse, "127.0.0.1", 0, encoding="utf-8") as server:
            found.port = server.sockets[0].getsockname()[1]
            ready.set()
            await stop

    found_stop: list[asyncio.Future[None]] = []
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(found_stop[0].set_result, None)
        thread.join(10)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class Proxy:
    """Stands before a receiver: what we send goes through and is kept, what it answers is spoilt."""

    def __init__(self, upstream_port: int, spoil: Spoil) -> None:
        self._upstream_port, self._spoil = upstream_port, spoil
        self.sent: list[bytes] = []
        self.n_connections = 0
        self._n_answers = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []

    def __enter__(self) -> "Proxy":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            _hang_up(connection)
        for thread in self._threads:
            thread.join(10)
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                self.n_connections += 1
                theirs = socket.create_connection(("127.0.0.1", self._upstream_port))
                self._open += [ours, theirs]
                for work in (self._forward, self._back):
                    self._threads.append(threading.Thread(target=work, args=(ours, theirs)))
                    self._threads[-1].start()

    def _forward(self, ours: socket.socket, theirs: socket.socket) -> None:
        for body in _messages(ours):
            self.sent.append(body)
            with contextlib.suppress(OSError):
                theirs.sendall(frame(body))
        _hang_up(theirs)

    def _back(self, ours: socket.socket, theirs: socket.socket) -> None:
        for answer in _messages(theirs):
            self._n_answers += 1
            told = self._spoil(self._n_answers, answer)
            if told is None:
                break
            with contextlib.suppress(OSError):
                for one in told:
                    ours.sendall(frame(one))
        _hang_up(ours)


def _messages(connection: socket.socket) -> Iterator[bytes]:
    framer = Framer(1 << 24)
    with contextlib.suppress(OSError):
        while data := connection.recv(1 << 16):
            yield from framer.feed(data)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def wait_for(receiver: Receiver, n: int) -> None:
    """Until a receiver has printed at least `n` messages."""
    eventually(lambda: len(receiver.received) >= n, 10)
