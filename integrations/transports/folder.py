"""A drop folder: files put there become messages, then move to `done`, or to `failed` with a reason beside them.

A file is looked at once it has kept its size and time for a while; names that begin with a dot are never looked at, so that
whoever writes `.report.hl7` and renames it to `report.hl7` cannot be overtaken. Every message of a file is kept durably
before the file moves: after a crash the file is read again, and the inbox knows its messages.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from integrations.codecs import CodecError, batch, fhir_messages, hl7v2, plain
from integrations.codecs.er7 import BOM
from integrations.mailbox import Format
from integrations.transports import TransportError
from integrations.transports.arriving import Arrival, Keep
from integrations.transports.durable import move, write_whole
from integrations.transports.fhir_server import name_of

logger = logging.getLogger(__name__)

LONGEST_FILE_BYTES = 256 << 20
DONE, FAILED = "done", "failed"
_MSH = re.compile(rb"(?:\A|(?<=[\r\n\x0b\x1c]))MSH(?=[!-/:-@\[-`{-~])")
_BETWEEN = b"\r\n\x0b\x1c \t"

Check = Callable[[Arrival], str]
"""Why nobody can read a message, quoting nothing of it; empty where it can be read."""


class FolderConfig(BaseModel):
    """`[folder]`: a drop folder for sites with neither HL7 v2 over TCP nor FHIR."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path | None = None
    """The folder; `done` and `failed` are made in it. Without one, no files are taken."""
    sender: str = Field(default="folder", min_length=1)
    """What the numbers in file names and FHIR resources are of; the name of the hospital or the system that writes them."""
    settle_s: float = Field(default=5, ge=0)
    """How long a file must have been as it is before it is read, seconds."""
    interval_s: float = Field(default=2, gt=0)
    """Seconds between two looks into the folder."""


class Folder:
    """Takes the files of a folder, oldest first. For one thread."""

    def __init__(
        self, path: Path, config: FolderConfig, keep: Keep, check: Check, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make `done` and `failed`.

        Args:
            path: the folder.
            config: who sends, and how long a file must rest.
            keep: keeps a message durably.
            check: says of a message why it cannot be read.
            clock: seconds.
        Raises:
            TransportError: the folder is not there, or not ours.
        """
        self._path, self._config, self._keep, self._check, self._clock = path, config, keep, check, clock
        self._since: dict[str, tuple[int, int, float]] = {}
        try:
            for name in (DONE, FAILED):
                (path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise TransportError(f"[folder] path cannot be used ({error.strerror}); make it, and see that it is yours") from None

    def step(self) -> bool:
        """Take every file that is at rest; whether there was one.

        Raises:
            TransportError: the folder cannot be read, or a file not be moved.
        """
        try:
            names = list(self._at_rest())
        except OSError as error:
            raise TransportError(f"[folder] path cannot be read ({error.strerror})") from None
        failure = None
        for name in names:
            try:
                self._take(name)
            except OSError as error:
                failure = error  # the others go on
        if failure:
            raise TransportError(f"a file of the drop folder cannot be read or moved ({failure.strerror}); see that it is yours")
        return bool(names)

    def _at_rest(self) -> Iterator[str]:
        found: dict[str, tuple[int, int, float]] = {}
        with os.scandir(self._path) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                    state = entry.stat(follow_symlinks=False)
                    size, changed, since = self._since.get(entry.name, (-1, 0, 0.0))
                    is_same = (size, changed) == (state.st_size, state.st_mtime_ns)
                    found[entry.name] = (state.st_size, state.st_mtime_ns, since if is_same else self._clock())
        self._since, now = found, self._clock()
        ordered = sorted(found, key=lambda name: (found[name][1], name))
        yield from (name for name in ordered if now - found[name][2] >= self._config.settle_s)

    def _take(self, name: str) -> None:
        path = self._path / name
        size, changed, _ = self._since[name]
        faults = [f"larger than {LONGEST_FILE_BYTES >> 20} MB"] if size > LONGEST_FILE_BYTES else []
        content = b"" if faults else path.read_bytes()
        state = path.stat()
        if (state.st_size, state.st_mtime_ns) != (size, changed):
            return  # still being written: its time begins anew
        arrivals = [] if faults else list(_arrivals(name, content, self._config.sender))
        for number, arrival in enumerate(arrivals, 1):
            reason = arrival.unreadable_because or self._check(arrival)
            self._keep(Arrival(arrival.source, arrival.control_id, arrival.body, arrival.format, reason))
            faults += [f"message {number} of {len(arrivals)}: {reason}"] if reason else []
        if faults:
            target = _free(self._path / FAILED, name)
            write_whole(target.with_name(f"{target.name}.reason"), ("\n".join(faults) + "\n").encode())
            logger.warning("a file of the drop folder went to failed: %s", faults[0])
        else:
            target = _free(self._path / DONE, name)
        move(path, target)
        del self._since[name]


def _free(folder: Path, name: str) -> Path:
    """A name in `folder` that no file has."""
    candidates = (folder / (name if n == 1 else f"{name}.{n}") for n in range(1, 1_000_000))
    return next(path for path in candidates if not path.exists())


def _arrivals(name: str, content: bytes, sender: str) -> Iterable[Arrival]:
    """The messages in a file, by its ending."""
    suffix = Path(name).suffix.lower()
    if suffix == ".hl7":
        named = ((body, *hl7v2.envelope(body)) for body in hl7_messages(content))
        return [Arrival(source or sender, control_id, body, Format.HL7V2) for body, source, control_id in named]
    if suffix in (".json", ".ndjson"):
        bodies = [content] if suffix == ".json" else [line for line in content.split(b"\n") if line.strip()]
        return [arrival for body in bodies for arrival in _fhir(name, body, sender)]
    reason = "" if suffix in plain.TYPES else f"files ending in .hl7, .json, .ndjson, {', '.join(plain.TYPES)} are read"
    return [Arrival(sender, name, content, Format.TEXT, reason)]


def _fhir(name: str, body: bytes, sender: str) -> Iterator[Arrival]:
    try:
        bodies = fhir_messages.split(body)
    except CodecError as error:
        yield Arrival(sender, name, body, Format.FHIR, str(error))
        return
    for whole in bodies:
        found = fhir_messages.parse(whole)
        resource = found["entry"][0]["resource"] if len(bodies) > 1 and found["resourceType"] == "Bundle" else found
        yield Arrival(sender, name_of(resource), whole, Format.FHIR)


def hl7_messages(content: bytes) -> list[bytes]:
    """The messages of a file: a batch, or messages one after the other, with or without MLLP's frames.

    What stands before the first one, or a batch whose trailers count other messages than came, leaves a message of its own,
    which nobody can read: it must not vanish.
    """
    if (messages := batch.split(content)) != [content]:
        return messages
    content = content.removeprefix(BOM)
    starts = [found.start() for found in _MSH.finditer(content)]
    pieces = [_unframed(content[start:stop]) for start, stop in pairwise([0, *starts, len(content)])]
    return [piece for piece in pieces if piece] or [content]


def _unframed(piece: bytes) -> bytes:
    whole = piece.rstrip(_BETWEEN)
    # The codec tells by the last segment's end whether a message is whole; its frame's end shows that too.
    return whole + b"\r" if whole and len(whole) < len(piece) else whole
