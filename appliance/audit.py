"""Who looked at or changed what: a file that only grows, each line sealed together with all lines before it.

A line is written and on the disk before what it tells of is done; where it cannot be written, that is not done. The seal is an
HMAC under a key of the home, so that a line cannot be altered, taken out or put elsewhere without the key and unseen. Lines taken
off the end are seen only by whoever has noted the newest seal elsewhere. No line quotes a note or names a patient.
"""

import fcntl
import hashlib
import hmac
import json
import math
import os
import pwd
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from appliance.home import Home

_FIRST = "0" * 64
_TAIL_BYTES = 1 << 16
WHOLE_EVERY_S = 3600.0


class AuditError(RuntimeError):
    """The audit cannot be written or is not what was written; the message says where and what to do."""


def record(home: Home, did: str, on: str) -> str:
    """Tell that the user of this process is about to do something.

    Args:
        home: whose audit it is.
        did: the command, such as `messages show`.
        on: what it is done to, such as `message 12`; names no patient.
    Returns:
        The line's seal.
    Raises:
        AuditError: it could not be written durably, so what it tells of must not be done.
    """
    try:
        with _locked(home) as descriptor:
            size = _whole_bytes(descriptor)
            entry = {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "who": _user(),
                "host": socket.gethostname(),
                "did": did,
                "on": on,
                "after": _last_seal(descriptor, size),
            }
            entry["seal"] = _seal(home, entry)
            line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
            # A write that was cut short by a crash told of nothing that was done.
            os.ftruncate(descriptor, size)
            try:
                if os.pwrite(descriptor, line, size) != len(line):
                    raise OSError(0, "it was written in part")
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
    except OSError as error:
        raise AuditError(
            f"{home.audit}: cannot be written ({error.strerror}), so nothing was shown or done; free space or mend its rights"
        ) from error
    return str(entry["seal"])


def entries(home: Home) -> Iterator[dict[str, Any]]:
    """Every line that is there now, oldest first, each checked.

    Raises:
        AuditError: names the first line that is not as it was written.
    """
    for entry, _ in _entries_after(home, _START):
        yield entry


@dataclass(frozen=True)
class _Place:
    """Between two lines."""

    offset: int
    lines: int
    """Before it."""
    seal: str
    """Of the line before it."""


_START = _Place(0, 0, _FIRST)


class Watch:
    """Looks at an audit again and again: at new lines each time, at all of them once in an hour. For one thread at a time."""

    def __init__(self, home: Home) -> None:
        """Nothing is looked at yet."""
        self._home, self._place, self._is_sound = home, _START, True
        self._all_at_s = -math.inf

    def look(self) -> tuple[int, bool]:
        """How many lines there are that are as they were written, from the first on; and whether these are all."""
        if not self._is_sound or time.monotonic() - self._all_at_s > WHOLE_EVERY_S or self._is_shorter():
            self._place, self._all_at_s = _START, time.monotonic()
        try:
            for _, place in _entries_after(self._home, self._place):
                self._place = place
            self._is_sound = True
        except AuditError:
            self._is_sound = False
        return self._place.lines, self._is_sound

    def _is_shorter(self) -> bool:
        try:
            return self._home.audit.stat().st_size < self._place.offset
        except OSError:
            return True


def _entries_after(home: Home, place: _Place) -> Iterator[tuple[dict[str, Any], _Place]]:
    """Each line after a place, checked, and the place after it."""
    try:
        with home.audit.open("rb") as file:
            # Whoever writes a line holds the lock until it is whole.
            fcntl.flock(file, fcntl.LOCK_SH)
            size = os.fstat(file.fileno()).st_size
            fcntl.flock(file, fcntl.LOCK_UN)
            file.seek(place.offset)
            while place.offset < size:
                line = file.readline()
                entry = _entry(line)
                if entry is None or entry["after"] != place.seal or not hmac.compare_digest(_seal(home, entry), entry["seal"]):
                    raise AuditError(
                        f"{home.audit}: line {place.lines + 1} is not as it was written, or lines before it are missing; "
                        "keep the file, and restore a copy to compare it with"
                    )
                place = _Place(place.offset + len(line), place.lines + 1, entry["seal"])
                yield entry, place
    except FileNotFoundError:
        return
    except OSError as error:
        raise AuditError(f"{home.audit}: cannot be read ({error.strerror})") from error


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    names = ("at", "who", "host", "did", "on", "after", "seal")
    return entry if isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in names) else None


@contextmanager
def _locked(home: Home) -> Iterator[int]:
    descriptor = os.open(home.audit, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _whole_bytes(descriptor: int) -> int:
    """How far the file's whole lines reach."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    return size - len(tail) + tail.rfind(b"\n") + 1


def _last_seal(descriptor: int, size: int) -> str:
    tail = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))[: min(size, _TAIL_BYTES)]
    last = _entry(tail.rstrip(b"\n").rsplit(b"\n", 1)[-1] + b"\n") if tail else None
    if size and last is None:
        raise OSError(0, "its last line is not as it was written; `clinappliance audit verify` says more")
    return str(last["seal"]) if last else _FIRST


def _seal(home: Home, entry: dict[str, Any]) -> str:
    sealed = json.dumps({name: value for name, value in entry.items() if name != "seal"}, sort_keys=True)
    return hmac.new(home.key("audit"), sealed.encode(), hashlib.sha256).hexdigest()


def _user() -> str:
    """The account that this process runs as, which no variable changes; behind sudo that of whoever logged in, too."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {behind})" if behind and behind != name else name
