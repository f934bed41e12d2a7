"""What reaches the log, and what the net keeps out of it."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from appliance import logs
from appliance.storage import StorageError
from integrations.records import Note, NoteKind

TEXT = "Mr Doe was seen for chest pain."
logger = logging.getLogger("appliance.test")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object_with_its_fields(stream: io.StringIO) -> None:
    logger.info("note recorded", extra={"message_id": 7, "kind": NoteKind.OTHER, "ms": 1.5})
    (line,) = lines(stream)
    assert str(line.pop("at")).endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "appliance.test",
        "event": "note recorded",
        "message_id": 7,
        "kind": "other",
        "ms": 1.5,
    }


@pytest.mark.parametrize(
    "value", [TEXT.encode(), Note("n", NoteKind.OTHER, TEXT), {"text": TEXT}, [TEXT], f"{TEXT}\n{TEXT}", TEXT * 20]
)
def test_what_may_be_a_note_is_withheld(stream: io.StringIO, value: object) -> None:
    logger.warning("got %s", value, extra={"body": value})
    assert "Doe" not in stream.getvalue()
    assert "withheld" in stream.getvalue()


def test_a_traceback_that_quotes_a_note_is_told_by_kind_and_place(stream: io.StringIO) -> None:
    try:
        {}[TEXT]
    except KeyError as error:
        logger.exception("it broke: %s", error)
    assert "Doe" not in stream.getvalue()
    assert "KeyError in test_a_traceback" in str(lines(stream)[0]["event"])


def test_our_own_exceptions_are_told_in_their_words(stream: io.StringIO) -> None:
    logger.error("not kept: %s", StorageError("the disk is full"))
    assert lines(stream)[0]["event"] == "not kept: the disk is full"


def test_a_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.makeLogRecord({"name": "x", "levelno": logging.WARNING, "levelname": "WARNING", "msg": "careful", "ms": 3})
    assert logs.PlainLines().format(record).endswith("WARNING: careful  ms=3")


def test_the_clients_that_log_addresses_are_quiet(stream: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET http://ehr/Patient?identifier=123")
    assert stream.getvalue() == ""


def test_the_log_goes_to_standard_error_unless_told_otherwise() -> None:
    assert logs.configure.__defaults__ is not None
    assert logs.configure.__defaults__[0].fileno() == 2 or sys.stderr is not sys.__stderr__
