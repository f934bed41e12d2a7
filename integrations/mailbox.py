"""Inbox and outbox: the states of a message, and how long to wait before the next try.

The protocols stand here, beside the transports that fill and empty them; `appliance.storage` keeps them on disk.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Format(StrEnum):
    """What the body of a message is, so that the codec of that name reads it."""

    HL7V2 = "hl7v2"
    FHIR = "fhir"
    TEXT = "text"


class State(StrEnum):
    """Where a message stands. A parked one waits for a person, with its reason."""

    WAITING = "waiting"
    CLAIMED = "claimed"
    DONE = "done"
    PARKED = "parked"


@dataclass(frozen=True)
class InboxMessage:
    """One message as received."""

    message_id: int
    source: str
    control_id: str = field(repr=False)
    body: bytes = field(repr=False)
    received_at: datetime
    attempts: int
    format: Format = Format.HL7V2


@dataclass(frozen=True)
class OutboxMessage:
    """One delivery that is owed to the hospital."""

    outbox_id: int
    message_id: int
    destination: str
    body: bytes = field(repr=False)
    attempts: int


class Inbox(Protocol):
    """Messages the hospital handed over, kept until they are read.

    A message is committed before its transport acknowledges it: a crash in between makes the sender repeat
    itself and never loses a note. (source, control_id, SHA-256 of the body) names a message, because control
    ids repeat in the wild.
    """

    def put(
        self, source: str, control_id: str, body: bytes, unreadable_because: str = "", body_format: Format = Format.HL7V2
    ) -> bool:
        """Keep one message durably; False when it is already here."""
        ...

    def claim(self, lease_s: float) -> InboxMessage | None:
        """The oldest message that waits, or whose lease ran out; None when there is none."""
        ...

    def release(self, message_id: int, delay_s: float, reason: str) -> None:
        """Put a claimed message back, to be claimed again after `delay_s`."""
        ...

    def park(self, message_id: int, reason: str) -> None:
        """Set a message aside for a person; `reason` quotes nothing of it."""
        ...


class Outbox(Protocol):
    """Deliveries owed, oldest first. A row leaves only when its destination has confirmed it."""

    def claim(self, lease_s: float, destination: str) -> OutboxMessage | None:
        """The oldest delivery to `destination` that is due, none of the same patient before it; None when there is none."""
        ...

    def done(self, outbox_id: int) -> None:
        """The destination has confirmed it."""
        ...

    def release(self, outbox_id: int, delay_s: float, reason: str) -> None:
        """Try again after `delay_s`."""
        ...

    def park(self, outbox_id: int, reason: str) -> None:
        """Dead letter: kept, with its reason, until a person replays it."""
        ...


def retry_delay_s(attempts: int, first_s: float = 1.0, longest_s: float = 300.0) -> float:
    """Seconds before try number `attempts + 1`: doubles from `first_s`, never above `longest_s`."""
    return float(min(longest_s, first_s * 2 ** min(max(attempts, 1) - 1, 30)))
