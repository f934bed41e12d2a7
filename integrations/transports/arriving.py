"""What a transport that fetches hands to the inbox, and how far it has come."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from integrations.mailbox import Format
from integrations.transports.durable import write_whole


@dataclass(frozen=True)
class Arrival:
    """One message that was fetched."""

    source: str
    control_id: str = field(repr=False)
    body: bytes = field(repr=False)
    format: Format
    unreadable_because: str = ""
    """Why nobody can read it; it is kept all the same."""


Keep = Callable[[Arrival], bool]
"""Keeps a message durably, then returns; False where it was there already. Raises where it is not kept."""


class Progress:
    """How far a source has been read: names and values, in a file that is always whole."""

    def __init__(self, path: Path) -> None:
        """Take up what the last run has left; a file that cannot be read is none."""
        self._path = path
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = {}
        self._values: dict[str, str] = {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}

    def get(self, name: str) -> str:
        """A value; empty where there is none."""
        return self._values.get(name, "")

    def set(self, **values: str) -> None:
        """Keep values durably; an empty one is forgotten.

        Raises:
            OSError: the file cannot be written; the old values stand.
        """
        changed = {k: v for k, v in (self._values | values).items() if v}
        if changed != self._values:
            write_whole(self._path, json.dumps(changed, sort_keys=True).encode())
            self._values = changed
