"""What must survive: messages received, what was found in them, and what is owed to the hospital.

A message's way is one row of the inbox: waiting, claimed under a lease, then done or parked. Its result is written by
`Storage.record` in one transaction with its end, so that a crash at any instant leaves either no result or one.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from appliance.database import FINDINGS, INBOX, OUTBOX, READINGS, Database, StorageError, is_in
from integrations.mailbox import Format, InboxMessage, OutboxMessage, State
from integrations.records import Finding, Note

__all__ = ["Incoming", "SqlInbox", "SqlOutbox", "Storage", "StorageError"]


class Incoming(NamedTuple):
    """A message to be kept; one that nobody can read carries the reason, and is parked."""

    source: str
    control_id: str
    body: bytes
    unreadable_because: str = ""
    format: Format = Format.HL7V2


class Storage:
    """The inbox, the findings and the outbox of one appliance. Safe to use from several threads."""

    def __init__(
        self, path: Path, *, most_crashes: int = 5, busy_s: float = 30.0, clock: Callable[[], float] = time.time
    ) -> None:
        """Open the database, making it or bringing it up to date where needed.

        Args:
            path: the database file.
            most_crashes: a message is parked once this many claims of it ended in nothing.
            busy_s: how long to wait for another process that writes.
            clock: seconds since 1970, UTC.
        Raises:
            StorageError: it cannot be opened.
        """
        self.database = Database(path, busy_s)
        self.clock = clock
        self.inbox = SqlInbox(self.database, clock, most_crashes)
        self.outbox = SqlOutbox(self.database, clock)

    def record(
        self,
        message_id: int,
        note: Note,
        findings: Sequence[Finding],
        model: str,
        deliveries: Sequence[tuple[str, bytes]],
        reason: str = "",
    ) -> bool:
        """Keep the reading of one message, owe its deliveries and end the message, all or nothing.

        Args:
            message_id: the message that `note` came in.
            note: what was read.
            findings: what was found in it.
            model: `NAME@VERSION` of the bundle that read; empty where none did.
            deliveries: what is owed: destination and body of each.
            reason: why a note, or a part of its message, was not read, quoting nothing of it.
        Returns:
            False, and nothing is written, when the message already had its result: repeating is harmless.
        Raises:
            StorageError: nothing was written; the message stays claimed until its lease ends.
        """
        now = self.clock()
        ended = (
            sa.update(INBOX)
            .where(INBOX.c.message_id == message_id, INBOX.c.state != State.DONE)
            .values(state=State.DONE, reason=reason)
        )
        reading = {
            "message_id": message_id,
            "note_id": note.note_id,
            "kind": note.kind,
            "document_type": note.document_type,
            "model": model,
            "read_at_s": now,
            "patient_key": note.patient_key,
            "document_key": note.document_key,
            "text_sha256": hashlib.sha256(note.text.encode()).hexdigest(),
            "status": note.status,
        }
        with self.database.write() as connection:
            if connection.execute(ended).rowcount == 0:
                return False
            (reading_id,) = connection.execute(sa.insert(READINGS).values(reading)).inserted_primary_key or (None,)
            if findings:
                rows = [{"reading_id": reading_id} | _finding_row(finding) for finding in findings]
                connection.execute(sqlite.insert(FINDINGS).on_conflict_do_nothing(), rows)
            if deliveries:
                connection.execute(
                    sa.insert(OUTBOX), [_outbox_row(message_id, note.patient_key, d, b, now) for d, b in deliveries]
                )
        return True

    def recover(self) -> int:
        """Put every claimed message and delivery back: for a process that knows it is the only one.

        Returns:
            How many there were.
        """
        with self.database.write() as connection:
            return self.inbox.return_lost(connection, None) + self.outbox.return_lost(connection, None)

    def check_writable(self) -> None:
        """Raise StorageError where no transaction can begin."""
        with self.database.write():
            pass

    def close(self) -> None:
        """Close the database."""
        self.database.close()


class SqlInbox:
    """`integrations.mailbox.Inbox`, on disk."""

    def __init__(self, database: Database, clock: Callable[[], float], most_crashes: int) -> None:
        self._database, self._clock, self._most_crashes = database, clock, most_crashes

    def put(
        self, source: str, control_id: str, body: bytes, unreadable_because: str = "", body_format: Format = Format.HL7V2
    ) -> bool:
        """Keep one message durably; False when it is already here.

        One that nobody can read is parked at once, with the reason.

        Raises:
            StorageError: it is not kept and must not be acknowledged.
        """
        return self.put_all([Incoming(source, control_id, body, unreadable_because, body_format)])[0]

    def put_all(self, messages: Sequence[Incoming]) -> list[bool]:
        """Keep several messages in one transaction, all or none; False for each that is already here.

        Raises:
            StorageError: none is kept, and none must be acknowledged.
        """
        rows = [_inbox_row(message, self._clock()) for message in messages]
        with self._database.write() as connection:
            return [connection.execute(_KEPT_ONCE, row).rowcount == 1 for row in rows]

    def claim(self, lease_s: float) -> InboxMessage | None:
        """The oldest message that waits, or whose lease ran out; None when there is none.

        One that may have killed its reader comes after those that have not, and is parked after `most_crashes`.
        """
        now = self._clock()
        columns = ("message_id", "source", "control_id", "format", "body", "received_at_s", "attempts")
        claimed = _claim(INBOX, (INBOX.c.crashes, INBOX.c.message_id), columns, now, lease_s)
        with self._database.write() as connection:
            self.return_lost(connection, now)
            row = connection.execute(claimed).one_or_none()
        if row is None:
            return None
        received_at = datetime.fromtimestamp(row.received_at_s, UTC)
        return InboxMessage(row.message_id, row.source, row.control_id, row.body, received_at, row.attempts, Format(row.format))

    def has_work(self) -> bool:
        """Whether a message is being read, or is due to be."""
        is_due = sa.and_(is_in(INBOX, State.WAITING), INBOX.c.due_at_s <= self._clock())
        with self._database.read() as connection:
            return bool(connection.execute(sa.select(sa.exists().where(sa.or_(is_due, is_in(INBOX, State.CLAIMED))))).scalar())

    def done(self, message_id: int, reason: str) -> None:
        """End a claimed message that has nothing to read, with its reason."""
        _end(self._database, INBOX, message_id, State.DONE, reason)

    def release(self, message_id: int, delay_s: float, reason: str) -> None:
        """Put a claimed message back, to be claimed again after `delay_s`."""
        _end(self._database, INBOX, message_id, State.WAITING, reason, self._clock() + delay_s)

    def park(self, message_id: int, reason: str) -> None:
        """Set a claimed message aside for a person; `reason` quotes nothing of it."""
        _end(self._database, INBOX, message_id, State.PARKED, reason)

    def return_lost(self, connection: sa.Connection, leased_until_s: float | None) -> int:
        """Count a crash for each claim whose lease ended by then (None: for each claim), and let it be claimed again."""
        crashes = INBOX.c.crashes + 1
        is_poison = crashes >= self._most_crashes
        reason = f"the appliance stopped {self._most_crashes} times while reading it; see the log, then replay it"
        lost = (
            sa.update(INBOX)
            .where(is_in(INBOX, State.CLAIMED), *(() if leased_until_s is None else (INBOX.c.due_at_s <= leased_until_s,)))
            .values(
                crashes=crashes,
                state=sa.case((is_poison, State.PARKED), else_=State.WAITING),
                reason=sa.case((is_poison, reason), else_=INBOX.c.reason),
                due_at_s=self._clock(),
            )
        )
        return connection.execute(lost).rowcount


class SqlOutbox:
    """`integrations.mailbox.Outbox`, on disk."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    def claim(self, lease_s: float) -> OutboxMessage | None:
        """The oldest delivery that is due; None when there is none."""
        now = self._clock()
        columns = ("outbox_id", "message_id", "destination", "body", "attempts")
        claimed = _claim(OUTBOX, (OUTBOX.c.outbox_id,), columns, now, lease_s)
        with self._database.write() as connection:
            self.return_lost(connection, now)
            row = connection.execute(claimed).one_or_none()
        return None if row is None else OutboxMessage(*row)

    def done(self, outbox_id: int) -> None:
        """The destination has confirmed it."""
        _end(self._database, OUTBOX, outbox_id, State.DONE, "")

    def release(self, outbox_id: int, delay_s: float, reason: str) -> None:
        """Try again after `delay_s`."""
        _end(self._database, OUTBOX, outbox_id, State.WAITING, reason, self._clock() + delay_s)

    def park(self, outbox_id: int, reason: str) -> None:
        """Dead letter: kept, with its reason, until a person replays it."""
        _end(self._database, OUTBOX, outbox_id, State.PARKED, reason)

    def return_lost(self, connection: sa.Connection, leased_until_s: float | None) -> int:
        """Let each claim whose lease ended by then (None: each claim) be claimed again."""
        by_then = () if leased_until_s is None else (OUTBOX.c.due_at_s <= leased_until_s,)
        lost = sa.update(OUTBOX).where(is_in(OUTBOX, State.CLAIMED), *by_then).values(state=State.WAITING, due_at_s=self._clock())
        return connection.execute(lost).rowcount


def _claim(table: sa.Table, order: Sequence[sa.Column[Any]], columns: Sequence[str], now: float, lease_s: float) -> sa.Executable:
    """Lease the first row that waits and is due; gives its `columns`."""
    (key,) = table.primary_key.columns
    first = sa.select(key).where(is_in(table, State.WAITING), table.c.due_at_s <= now).order_by(*order).limit(1)
    leased = {"state": State.CLAIMED, "due_at_s": now + lease_s, "attempts": table.c.attempts + 1}
    return sa.update(table).where(key == first.scalar_subquery()).values(leased).returning(*(table.c[n] for n in columns))


def _end(database: Database, table: sa.Table, row_id: int, state: State, reason: str, due_at_s: float | None = None) -> None:
    """End the claim on a row, only while it is claimed: whoever lost the lease has no say any more."""
    (key,) = table.primary_key.columns
    due = {} if due_at_s is None else {"due_at_s": due_at_s}
    ended = sa.update(table).where(key == row_id, is_in(table, State.CLAIMED)).values(state=state, reason=reason, **due)
    with database.write() as connection:
        connection.execute(ended)


_KEPT_ONCE = sqlite.insert(INBOX).on_conflict_do_nothing()


def _inbox_row(message: Incoming, now: float) -> dict[str, object]:
    return {
        "source": message.source,
        "control_id": message.control_id,
        "sha256": hashlib.sha256(message.body).hexdigest(),
        "format": message.format,
        "body": message.body,
        "received_at_s": now,
        "state": State.PARKED if message.unreadable_because else State.WAITING,
        "due_at_s": now,
        "attempts": 0,
        "crashes": 0,
        "reason": message.unreadable_because,
    }


def _finding_row(finding: Finding) -> dict[str, object]:
    return {c.name: getattr(finding, c.name) for c in FINDINGS.c if c.name != "reading_id"}


def _outbox_row(message_id: int, patient_key: str, destination: str, body: bytes, now: float) -> dict[str, object]:
    return {
        "message_id": message_id,
        "destination": destination,
        "patient_key": patient_key,
        "body": body,
        "created_at_s": now,
        "state": State.WAITING,
        "due_at_s": now,
        "attempts": 0,
        "reason": "",
    }
