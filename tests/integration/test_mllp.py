"""The MLLP listener and client over real loopback sockets; python-hl7's own client is the independent peer."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import hl7
import pytest
from hl7.client import MLLPClient
from prometheus_client import REGISTRY
from pydantic import ValidationError

from integrations.codecs import hl7v2
from integrations.transports import TransportError, mllp
from integrations.transports.gathering import ReceiveAll
from integrations.transports.mllp import MllpConfig


def message(control_id: str, text: str = "no change", modes: str = "") -> bytes:
    head = rf"MSH|^~\&|RIS|GENHOSP|AIAPP|GENHOSP|20261101083000-0500||ORU^R01^ORU_R01|{control_id}|P|2.5.1|||{modes}"
    return f"{head}\rPID|1||MRN88^^^GENHOSP\rOBR|1||FL1\rOBX|1|TX|||{text}||||||F\r".encode()


class Store:
    """Keeps what it is given, as the inbox does, and tells when each message was kept."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.before: Callable[[bytes], None] = lambda body: None

    def receive(self, peer: str, body: bytes) -> bytes:
        assert peer.startswith("127.0.0.1:")
        self.before(body)
        self.bodies.append(body)
        try:
            return hl7v2.ack(hl7v2.read(body), "AA")
        except hl7v2.CodecError as error:
            return hl7v2.ack(body, "AR", str(error), error.condition)


@contextlib.contextmanager
def listening(receive: mllp.Receive, receive_all: ReceiveAll | None = None, **settings: object) -> Iterator[int]:
    """The listener in an event loop of its own thread, as the appliance runs it."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    ports: list[int] = []

    async def run() -> None:
        async with mllp.serve(MllpConfig.model_validate({"port": 0} | settings), receive, receive_all) as port:
            ports.append(port)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert ready.wait(10)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def port(store: Store) -> Iterator[int]:
    with listening(store.receive) as port:
        yield port


def read_all(connection: socket.socket, n: int, timeout_s: float = 10) -> list[bytes]:
    """`n` framed answers from a connection."""
    framer, answers = mllp.Framer(1 << 20), []
    connection.settimeout(timeout_s)
    while len(answers) < n:
        data = connection.recv(1 << 16)
        assert data, f"closed after {len(answers)} answers"
        answers += framer.feed(data)
    return answers


def named(answers: list[bytes]) -> list[tuple[str, str]]:
    return [hl7v2.acknowledged(a) for a in answers]


def count(outcome: str) -> float:
    return REGISTRY.get_sample_value("clinappliance_messages_received_total", {"protocol": "mllp", "outcome": outcome}) or 0.0


def wait_until(true: Callable[[], bool], timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "did not become true"
        time.sleep(0.01)


def test_python_hl7s_client_gets_an_answer_to_every_message_of_one_connection(port, store):
    with MLLPClient("127.0.0.1", port) as client:
        for n in range(5):
            answer = hl7.parse(client.send_message(message(f"M-{n}"))[1:-2].decode())
            assert (str(answer["MSA"][0][1]), str(answer["MSA"][0][2])) == ("AA", f"M-{n}")
    assert store.bodies == [message(f"M-{n}") for n in range(5)]


def test_pipelined_messages_are_answered_in_their_order(port, store):
    bodies = [message(f"P-{n}", "x" * 5000) for n in range(50)]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"".join(map(mllp.frame, bodies)))
        assert named(read_all(connection, 50)) == [("AA", f"P-{n}") for n in range(50)]
    assert store.bodies == bodies


def test_a_message_may_come_in_single_bytes_with_garbage_around_it(port, store):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /\r\n\x1c\r" + mllp.frame(message("M-1")) + b"\r\n" + mllp.frame(message("M-2")):
            connection.sendall(bytes([byte]))
        assert named(read_all(connection, 2)) == [("AA", "M-1"), ("AA", "M-2")]


def test_what_is_no_message_is_refused_and_the_connection_goes_on(port, store):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(mllp.frame(b"GET / HTTP/1.1\r\n") + mllp.frame(b"") + mllp.frame(message("M-1")))
        assert named(read_all(connection, 3)) == [("AR", ""), ("AR", ""), ("AA", "M-1")]


def test_nothing_is_acknowledged_before_it_is_stored(port, store):
    may_store = threading.Event()
    store.before = lambda body: assert_true(may_store.wait(10))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(mllp.frame(message("M-1")))
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        may_store.set()
        assert named(read_all(connection, 1)) == [("AA", "M-1")]


def assert_true(value: bool) -> None:
    assert value


@pytest.mark.parametrize(("modes", "code"), [("", "AE"), ("AL|NE", "CE")])
def test_a_message_that_cannot_be_stored_is_refused_and_quoted_nowhere(port, store, modes, code, caplog):
    def fail(body: bytes) -> None:
        raise OSError(f"disk full while writing {body!r}")

    before = count("error")
    store.before = fail
    answer = mllp.send("127.0.0.1", port, message("M-1", "secret", modes), 5)
    assert hl7v2.acknowledged(answer) == (code, "M-1")
    assert b"send it again" in answer
    assert "OSError" in caplog.text
    assert b"secret" not in answer
    assert "secret" not in caplog.text
    assert (store.bodies, count("error")) == ([], before + 1)


def test_a_sender_who_wants_no_answer_gets_none(port, store):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(mllp.frame(message("M-1", modes="NE|NE")) + mllp.frame(message("M-2", modes="AL|NE")))
        assert named(read_all(connection, 1)) == [("CA", "M-2")]
    assert len(store.bodies) == 2


@pytest.mark.parametrize("n_bytes", [100_001, 3_000_000])
def test_a_message_that_is_too_long_is_refused_by_its_name_and_its_connection_closed(store, n_bytes):
    before = count("too_long")
    with listening(store.receive, max_message_bytes=100_000) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(mllp.frame(message("M-long", "x" * n_bytes)))
        (answer,) = read_all(connection, 1)
        assert hl7v2.acknowledged(answer) == ("AR", "M-long")
        assert b"longer than 100000 bytes" in answer
        assert connection.recv(1) == b""
    assert (store.bodies, count("too_long")) == ([], before + 1)


def test_a_message_as_long_as_the_limit_is_taken(store):
    body = message("M-1", "x" * 100_000)
    with listening(store.receive, max_message_bytes=len(body)) as port:
        assert hl7v2.acknowledged(mllp.send("127.0.0.1", port, body, 5)) == ("AA", "M-1")


def test_a_sender_that_stops_in_the_middle_is_cut_off_without_an_answer(store):
    before = count("incomplete")
    with listening(store.receive, message_timeout_s=0.3) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(mllp.frame(message("M-1"))[:-1])
        connection.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert (store.bodies, count("incomplete")) == ([], before + 1)


def test_a_sender_that_drips_bytes_does_not_win_time(store):
    with listening(store.receive, message_timeout_s=0.5) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in mllp.START + b"M" * 200:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - began < 3


def test_an_idle_connection_is_closed(store):
    with listening(store.receive, idle_timeout_s=0.2) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_a_sender_that_vanishes_leaves_its_whole_messages_stored(port, store):
    before = count("incomplete")
    connection = socket.create_connection(("127.0.0.1", port))
    # Linger 0: closing resets the connection, as a pulled plug or a killed process does.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.sendall(mllp.frame(message("M-1")) + mllp.frame(message("M-2"))[:40])
    wait_until(lambda: len(store.bodies) == 1)
    connection.close()
    wait_until(lambda: count("incomplete") == before + 1)
    assert hl7v2.acknowledged(mllp.send("127.0.0.1", port, message("M-3"), 5)) == ("AA", "M-3")
    assert store.bodies == [message("M-1"), message("M-3")]


def test_no_more_connections_are_taken_than_allowed(store):
    with listening(store.receive, max_connections=1) as port:
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall(mllp.frame(message("M-1")))
            read_all(first, 1)
            with pytest.raises(TransportError):
                mllp.send("127.0.0.1", port, message("M-2"), 5)
        wait_until(lambda: is_taken(port))


def is_taken(port: int) -> bool:
    try:
        return hl7v2.acknowledged(mllp.send("127.0.0.1", port, message("M-3"), 5)) == ("AA", "M-3")
    except TransportError:
        return False


def test_what_is_being_stored_on_closing_is_still_answered(store):
    may_store, begun = threading.Event(), threading.Event()
    store.before = lambda body: assert_true(begun.set() is None and may_store.wait(10))
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(listening(store.receive))
        idle = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        connection.sendall(mllp.frame(message("M-1")))
        assert begun.wait(10)
        threading.Timer(0.3, may_store.set).start()
    with contextlib.suppress(OSError):
        idle.close()
    assert store.bodies == [message("M-1")]


def test_each_message_of_a_batch_is_kept_and_answered_by_itself(port, store):
    broken = message("").replace(b"ORU", b"XXX")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        batch = b"BHS|^~\\&|RIS\r" + message("B-1") + broken + message("B-2") + b"BTS|3\r"
        connection.sendall(mllp.frame(batch) + mllp.frame(message("M-1")))
        assert named(read_all(connection, 4)) == [("AA", "B-1"), ("AR", ""), ("AA", "B-2"), ("AA", "M-1")]
    assert set(store.bodies) == {message("B-1"), broken, message("B-2"), message("M-1")}


def test_a_batch_that_lost_a_message_says_so_after_its_answers(port, store):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(mllp.frame(b"BHS|^~\\&|RIS\r" + message("B-1") + b"BTS|2\r"))
        answers = read_all(connection, 2)
    assert named(answers) == [("AA", "B-1"), ("AR", "")]
    assert b"counts others than came" in answers[1]


class Together(Store):
    """Keeps several at a time, and refuses to where one of them is poison."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def receive_all(self, arrivals: Sequence[tuple[str, bytes]]) -> list[bytes]:
        self.sizes.append(len(arrivals))
        if any(b"poison" in body for _, body in arrivals):
            raise ValueError("poison")
        return [self.receive(peer, body) for peer, body in arrivals]


def test_messages_that_wait_at_a_time_are_kept_together_in_their_order():
    together, may_store, begun = Together(), threading.Event(), threading.Event()
    together.before = lambda body: assert_true(begun.set() is None and may_store.wait(10))
    with listening(together.receive, together.receive_all) as port, contextlib.ExitStack() as stack:
        first, *others = (stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(5))
        first.sendall(mllp.frame(message("M-first")))
        assert begun.wait(10)
        for n, connection in enumerate(others):
            connection.sendall(mllp.frame(message(f"M-{n}a")) + mllp.frame(message(f"M-{n}b")))
        time.sleep(0.3)
        may_store.set()
        for n, connection in enumerate(others):
            assert named(read_all(connection, 2)) == [("AA", f"M-{n}a"), ("AA", f"M-{n}b")]
    assert together.sizes[0] == 1
    assert sum(together.sizes) == 9
    assert max(together.sizes) > 2


def test_a_message_that_cannot_be_kept_does_not_take_its_neighbours_with_it():
    together = Together()
    bodies = [message("M-0"), message("M-1", "poison"), message("M-2")]
    with listening(together.receive, together.receive_all) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"".join(map(mllp.frame, bodies)))
        assert named(read_all(connection, 3)) == [("AA", "M-0"), ("AE", "M-1"), ("AA", "M-2")]
    assert together.bodies == [bodies[0], bodies[2]]


def test_a_port_in_use_is_told_in_one_line(port):
    async def listen_again() -> None:
        async with mllp.serve(MllpConfig(port=port), lambda peer, body: b""):
            pass

    with pytest.raises(TransportError, match=rf"cannot listen on 127.0.0.1:{port} .*in use.*change \[mllp\]"):
        asyncio.run(listen_again())


@pytest.mark.parametrize("settings", [{"port": 70000}, {"colour": "red"}, {"idle_timeout_s": 0}, {"max_connections": 0}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        MllpConfig.model_validate(settings)


@contextlib.contextmanager
def answering(*chunks: bytes) -> Iterator[int]:
    """A receiver that says what it is told to say."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            # The client may have heard enough and be gone.
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                for chunk in chunks:
                    connection.sendall(chunk)
                    time.sleep(0.02)
                if b"." not in chunks:
                    connection.settimeout(5)
                    connection.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def test_the_client_takes_only_the_answer_to_its_own_message():
    stale, own = (mllp.frame(hl7v2.ack(message(name), "AA")) for name in ("M-0", "M-1"))
    with answering(stale + own[:20], own[20:]) as port:
        assert hl7v2.acknowledged(mllp.send("127.0.0.1", port, message("M-1"), 5)) == ("AA", "M-1")


@pytest.mark.parametrize(
    ("chunks", "trouble"),
    [
        ([b"."], "closed the connection"),
        ([], "did not answer within 0.5 s"),
        ([mllp.frame(hl7v2.ack(message("M-0"), "AA"))], "1 answers named another message"),
        ([mllp.START + b"x" * 70_000] * 20, "does not end"),
    ],
)
def test_the_client_says_what_went_wrong(chunks, trouble):
    with answering(*chunks) as port, pytest.raises(TransportError, match=trouble):
        mllp.send("127.0.0.1", port, message("M-1", "secret"), 0.5 if not chunks or len(chunks[0]) < 1000 else 5)


def test_the_client_sends_nothing_that_no_answer_could_name():
    for body in (b"GET /", message(""), message("M-1", "\x1c\r")):
        with pytest.raises(TransportError, match="MSH-10"):
            mllp.send("127.0.0.1", 9, body)


def test_nobody_listening_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(TransportError, match=f"127.0.0.1:{port}: Connection refused"):
        mllp.send("127.0.0.1", port, message("M-1"))
