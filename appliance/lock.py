"""One `run` per home, one training per name: a lock that the kernel lets go of when its process ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockError(RuntimeError):
    """Another process does this already; the message names it."""


@contextmanager
def only_one(lock: Path, doing: str = "runs this appliance") -> Iterator[None]:
    """Hold `lock`, with our process number in it.

    Args:
        lock: a file; its folder is made if need be.
        doing: what its holder does, for the message.
    Raises:
        LockError: another process holds it.
    """
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockError(f"process {_number(lock) or '?'} {doing} already; stop it first") from None
        _write(lock, str(os.getpid()))
        yield
        _write(lock, "")


def holder(lock: Path) -> int | None:
    """The process that holds `lock`; None where none does."""
    try:
        with lock.open("r", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _number(lock)
    return None


def _number(lock: Path) -> int | None:
    text = lock.read_text(encoding="ascii").strip()
    return int(text) if text.isdigit() else None


def _write(lock: Path, text: str) -> None:
    lock.write_text(text, encoding="ascii")
