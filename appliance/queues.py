"""Inbox and outbox in the database: how messages and deliveries are kept, claimed under a lease, put back and ended."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from appliance.database import INBOX, OUTBOX, Database, is_in
from integrations.mailbox import Format, InboxMessage, OutboxMessage, State


class Incoming(NamedTuple):
    """A message to be kept; one that nobody can read carries the reason, and is parked."""

    source: str
    control_id: str
    body: bytes
    unreadable_because: str = ""
    format: Format = Format.HL7V2


class SqlInbox:
    """`integrations.mailbox.Inbox`, on disk."""

    def __init__(self, database: Database, clock: Callable[[], float], most_crashes: int, owner: str) -> None:
        self._database, self._clock, self._most_crashes, self._owner = database, clock, most_crashes, owner

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
            kept = _kept_once(connection.dialect.name)
            return [connection.execute(kept, row).one_or_none() is not None for row in rows]

    def claim(self, lease_s: float) -> InboxMessage | None:
        """The oldest message that waits, or whose lease ran out; None when there is none.

        One that may have killed its reader comes after those that have not, and is parked after `most_crashes`.
        """
        now = self._clock()
        columns = ("message_id", "source", "control_id", "format", "body", "received_at_s", "attempts")
        claimed = _claim(INBOX, (INBOX.c.crashes, INBOX.c.message_id), columns, now, lease_s, self._owner)
        with self._database.write() as connection:
            self.return_lost(connection, INBOX.c.due_at_s <= now, now)
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
        _end(self._database, INBOX, self._owner, message_id, State.DONE, reason)

    def release(self, message_id: int, delay_s: float, reason: str) -> None:
        """Put a claimed message back, to be claimed again after `delay_s`."""
        _end(self._database, INBOX, self._owner, message_id, State.WAITING, reason, self._clock() + delay_s)

    def park(self, message_id: int, reason: str) -> None:
        """Set a claimed message aside for a person; `reason` quotes nothing of it."""
        _end(self._database, INBOX, self._owner, message_id, State.PARKED, reason)

    def return_lost(self, connection: sa.Connection, is_lost: sa.ColumnElement[bool], now: float) -> int:
        """Count a crash for each claim that `is_lost`, and let it be claimed again; gives how many there were."""
        crashes = INBOX.c.crashes + 1
        is_poison = crashes >= self._most_crashes
        reason = f"the appliance stopped {self._most_crashes} times while reading it; see the log, then replay it"
        returned = _claims(INBOX, is_lost).values(
            crashes=crashes,
            state=sa.case((is_poison, State.PARKED.value), else_=State.WAITING.value),
            reason=sa.case((is_poison, reason), else_=INBOX.c.reason),
            due_at_s=now,
        )
        return connection.execute(returned).rowcount


class SqlOutbox:
    """`integrations.mailbox.Outbox`, on disk."""

    def __init__(self, database: Database, clock: Callable[[], float], owner: str) -> None:
        self._database, self._clock, self._owner = database, clock, owner

    def claim(self, lease_s: float, destination: str) -> OutboxMessage | None:
        """The oldest delivery to `destination` that is due and whose turn it is; None when there is none.

        A patient's deliveries leave in the order in which they were owed: none while an earlier one waits or is on its way.
        A dead letter holds up nothing, and other patients overtake.
        """
        now = self._clock()
        columns = ("outbox_id", "message_id", "destination", "body", "attempts")
        claimed = _claim(
            OUTBOX,
            (OUTBOX.c.outbox_id,),
            columns,
            now,
            lease_s,
            self._owner,
            OUTBOX.c.destination == destination,
            _is_next(),
        )
        with self._database.write() as connection:
            self.return_lost(connection, OUTBOX.c.due_at_s <= now, now)
            row = connection.execute(claimed).one_or_none()
        return None if row is None else OutboxMessage(*row)

    def done(self, outbox_id: int) -> None:
        """The destination has confirmed it."""
        _end(self._database, OUTBOX, self._owner, outbox_id, State.DONE, "")

    def release(self, outbox_id: int, delay_s: float, reason: str) -> None:
        """Try again after `delay_s`."""
        _end(self._database, OUTBOX, self._owner, outbox_id, State.WAITING, reason, self._clock() + delay_s)

    def park(self, outbox_id: int, reason: str) -> None:
        """Dead letter: kept, with its reason, until a person replays it."""
        _end(self._database, OUTBOX, self._owner, outbox_id, State.PARKED, reason)

    def return_lost(self, connection: sa.Connection, is_lost: sa.ColumnElement[bool], now: float) -> int:
        """Let each claim that `is_lost` be claimed again; gives how many there were."""
        returned = _claims(OUTBOX, is_lost).values(state=State.WAITING, due_at_s=now)
        return connection.execute(returned).rowcount


def _is_next() -> sa.ColumnElement[bool]:
    """That no earlier delivery of the same patient to the same destination is open."""
    earlier = OUTBOX.alias("earlier")
    is_same = sa.and_(
        earlier.c.destination == OUTBOX.c.destination,
        earlier.c.patient_key == OUTBOX.c.patient_key,
        earlier.c.outbox_id < OUTBOX.c.outbox_id,
    )
    # One condition, as the index outbox_order has it: SQLite uses it only where the words are the same.
    is_open: sa.ColumnElement[bool] = sa.literal_column("earlier.state IN ('waiting', 'claimed')")
    return sa.or_(OUTBOX.c.patient_key == "", ~sa.exists().where(is_same, is_open))


def _claim(
    table: sa.Table,
    order: Sequence[sa.Column[Any]],
    columns: Sequence[str],
    now: float,
    lease_s: float,
    owner: str,
    *conditions: sa.ColumnElement[bool],
) -> sa.Executable:
    """Lease the first row that waits, is due and meets `conditions`, passing over what others are about to claim."""
    (key,) = table.primary_key.columns
    is_due = sa.and_(is_in(table, State.WAITING), table.c.due_at_s <= now, *conditions)
    first = sa.select(key).where(is_due).order_by(*order).limit(1).with_for_update(skip_locked=True, of=table)
    leased = {"state": State.CLAIMED, "owner": owner, "due_at_s": now + lease_s, "attempts": table.c.attempts + 1}
    return sa.update(table).where(key == first.scalar_subquery()).values(leased).returning(*(table.c[n] for n in columns))


def _claims(table: sa.Table, which: sa.ColumnElement[bool]) -> sa.Update:
    """An update of those claims, passing over what others are about to end."""
    (key,) = table.primary_key.columns
    return sa.update(table).where(
        key.in_(sa.select(key).where(is_in(table, State.CLAIMED), which).with_for_update(skip_locked=True))
    )


def _end(
    database: Database, table: sa.Table, owner: str, row_id: int, state: State, reason: str, due_at_s: float | None = None
) -> None:
    """End our claim on a row, only while it is ours: whoever lost the lease has no say any more."""
    (key,) = table.primary_key.columns
    due = {} if due_at_s is None else {"due_at_s": due_at_s}
    is_ours = sa.and_(key == row_id, is_in(table, State.CLAIMED), table.c.owner == owner)
    with database.write() as connection:
        connection.execute(sa.update(table).where(is_ours).values(state=state, reason=reason, **due))


@cache
def _kept_once(dialect: str) -> sa.Insert:
    """Gives no row for a message that is here already; built once, for SQLAlchemy takes longer to build a statement than SQLite.

    One that could not be read when it came, and can be now, is taken up as if it were new: its sender is told so.
    """
    insert = postgresql.insert(INBOX) if dialect == "postgresql" else sqlite.insert(INBOX)
    again = {"state": insert.excluded.state, "reason": insert.excluded.reason, "due_at_s": insert.excluded.due_at_s}
    was_unreadable = sa.and_(
        is_in(INBOX, State.PARKED), INBOX.c.attempts == 0, INBOX.c.crashes == 0, insert.excluded.state == State.WAITING
    )
    identity = ["source", "control_id", "sha256"]
    return insert.on_conflict_do_update(index_elements=identity, set_=again, where=was_unreadable).returning(INBOX.c.message_id)


def _inbox_row(message: Incoming, now: float) -> dict[str, object]:
    return {
        "source": message.source,
        "control_id": message.control_id,
        "sha256": hashlib.sha256(message.body).hexdigest(),
        "format": message.format,
        "body": message.body,
        "received_at_s": now,
        "state": State.PARKED if message.unreadable_because else State.WAITING,
        "owner": "",
        "due_at_s": now,
        "attempts": 0,
        "crashes": 0,
        "reason": message.unreadable_because,
    }


def outbox_row(message_id: int, patient_key: str, destination: str, body: bytes, now: float) -> dict[str, object]:
    """A delivery that is owed from now on."""
    return {
        "message_id": message_id,
        "destination": destination,
        "patient_key": patient_key,
        "body": body,
        "created_at_s": now,
        "state": State.WAITING,
        "owner": "",
        "due_at_s": now,
        "attempts": 0,
        "reason": "",
    }
