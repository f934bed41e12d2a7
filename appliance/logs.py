"""How the appliance logs: one JSON object per line in service, plain lines at a terminal, and never a note.

First line of defence: no call hands over text. The filter here is the net below.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO, Any

from appliance.trouble import explain

LONGEST = 300
"""Characters of one value that may be logged; what is longer is more likely a note than a word about one."""

QUIET = ("httpx", "httpcore", "uvicorn.access", "uvicorn.error", "alembic", "asyncio", "hl7apy")
"""Loggers whose messages carry addresses, bodies or chatter; only their warnings are kept."""


def configure(stream: IO[str] = sys.stderr, level: int = logging.INFO) -> None:
    """Send every log of this process to `stream`: plain where a person watches, JSON where a machine does."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(Net())
    handler.setFormatter(PlainLines() if stream.isatty() else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class Net(logging.Filter):
    """Withholds whatever could be a note: anything but short words and numbers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean `record` in place and let it pass."""
        if isinstance(record.args, tuple):
            record.args = tuple(_cleaned(value) for value in record.args)
        elif record.args:
            # logging takes a single dictionary apart for %(name)s; with any other placeholder it is printed whole.
            named = {name: _cleaned(value) for name, value in record.args.items()}
            record.args = named if "%(" in str(record.msg) else (_cleaned(record.args),)
        for name, value in _fields(record).items():
            setattr(record, name, _cleaned(value))
        return True


class JsonLines(logging.Formatter):
    """One JSON object per line: `at`, `level`, `logger`, `event` and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write `record` as one line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
        } | _fields(record)
        return json.dumps(line, ensure_ascii=False, default=str)


class PlainLines(logging.Formatter):
    """`12:30:01 message read  note_id=... ms=12`, for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Write `record` as one line."""
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        warning = "" if record.levelno < logging.WARNING else f"{record.levelname}: "
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        return f"{at} {warning}{_event(record)}  {fields}".rstrip()


def _event(record: logging.LogRecord) -> str:
    event = _cleaned(record.getMessage())
    if record.exc_info and record.exc_info[1]:
        # Not the traceback: the last line of one is the message of the exception, which can quote a note.
        event += f" ({explain(record.exc_info[1])})"
    return str(event)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _cleaned(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return (
            value if len(value) <= LONGEST and "\n" not in value and "\r" not in value else f"[{len(value)} characters withheld]"
        )
    if isinstance(value, BaseException):
        return explain(value)
    return f"[{type(value).__name__} withheld]"


_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
