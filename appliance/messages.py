"""What `messages` and `status` look at: the queues as a person sees them, and how that person sends a message round again."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa

from appliance import documents
from appliance.database import FINDINGS, INBOX, OUTBOX, READINGS, is_in
from appliance.decoding import note_of
from appliance.storage import Storage
from integrations.codecs import CodecError
from integrations.codecs.hl7v2 import NoText
from integrations.mailbox import Format, InboxMessage, State
from integrations.records import Finding, NoteKind

STAGES = {"inbox": INBOX, "outbox": OUTBOX}
OPEN = (State.WAITING, State.CLAIMED)
"""States of what is still on its way."""


class MessageError(RuntimeError):
    """There is no such message, or it cannot be replayed."""


@dataclass(frozen=True)
class Received:
    """One message of the inbox and what became of it."""

    message_id: int
    source: str
    received_at: datetime
    size_bytes: int
    state: State
    attempts: int
    reason: str
    n_findings: int
    """Of its last reading."""


@dataclass(frozen=True)
class Owed:
    """One delivery of a message's findings."""

    outbox_id: int
    destination: str
    state: State
    attempts: int
    reason: str


@dataclass(frozen=True)
class Story:
    """All there is about one message, its last reading included."""

    message: Received
    note_id: str
    kind: str
    model: str
    """Empty where no model has read it."""
    findings: tuple[Finding, ...] = field(repr=False)
    deliveries: tuple[Owed, ...]


@dataclass(frozen=True)
class QueueCounts:
    """How many rows of a stage are in each state, and how long the oldest open one has been there."""

    by_state: dict[State, int]
    oldest_age_s: float
    """Zero where nothing waits."""


def counts(storage: Storage, stage: str, states: Iterable[State] = tuple(State)) -> QueueCounts:
    """Count the rows of `stage` ("inbox" or "outbox") in `states`."""
    table = STAGES[stage]
    since = table.c.received_at_s if stage == "inbox" else table.c.created_at_s
    by_state, oldest = {}, None
    with storage.database.read() as connection:
        for state in states:
            found = sa.select(sa.func.count(), sa.func.min(since) if state in OPEN else sa.null()).where(is_in(table, state))
            by_state[state], first = connection.execute(found).one()
            oldest = min((t for t in (oldest, first) if t is not None), default=None)
    return QueueCounts(by_state, 0.0 if oldest is None else max(0.0, storage.clock() - oldest))


def listing(storage: Storage, state: State | None = None, limit: int = 50) -> list[Received]:
    """The newest messages, newest first; only those in `state` where one is given."""
    query = _received().order_by(INBOX.c.message_id.desc()).limit(limit)
    if state is not None:
        query = query.where(is_in(INBOX, state))
    with storage.database.read() as connection:
        return [_as_received(row) for row in connection.execute(query)]


def newest_texts(storage: Storage, routes: Mapping[str, NoteKind], kinds: Collection[NoteKind], limit: int) -> list[str]:
    """The texts of the newest notes of `kinds` that were read, `limit` at most."""
    is_one = sa.and_(INBOX.c.message_id == READINGS.c.message_id, READINGS.c.kind.in_(list(kinds)))
    columns = [INBOX.c[n] for n in ("message_id", "source", "control_id", "body", "received_at_s", "attempts", "format")]
    query = sa.select(*columns).where(is_one).order_by(INBOX.c.message_id.desc()).limit(limit)
    with storage.database.read() as connection:
        kept = [_as_message(row) for row in connection.execute(query)]
    notes = [note_of(message, routes) for message in kept]
    return [note.text for note in notes if not isinstance(note, NoText) and note.text]


def _as_message(row: sa.Row[tuple[object, ...]]) -> InboxMessage:
    received_at = datetime.fromtimestamp(row.received_at_s, UTC)
    return InboxMessage(row.message_id, row.source, row.control_id, row.body, received_at, row.attempts, Format(row.format))


def show(storage: Storage, message_id: int) -> Story:
    """Everything about one message.

    Raises:
        MessageError: there is none of this number.
    """
    last = sa.select(READINGS).where(READINGS.c.message_id == message_id).order_by(READINGS.c.reading_id.desc()).limit(1)
    owed = sa.select(OUTBOX).where(OUTBOX.c.message_id == message_id).order_by(OUTBOX.c.outbox_id)
    with storage.database.read() as connection:
        message = connection.execute(_received().where(INBOX.c.message_id == message_id)).one_or_none()
        if message is None:
            raise MessageError(f"there is no message {message_id}; `clinappliance messages list` shows those there are")
        reading = connection.execute(last).one_or_none()
        findings = () if reading is None else tuple(documents.findings(connection, reading))
        deliveries = tuple(
            Owed(r.outbox_id, r.destination, State(r.state), r.attempts, r.reason) for r in connection.execute(owed)
        )
    note_id, kind, model = ("", "", "") if reading is None else (reading.note_id, reading.kind, reading.model)
    return Story(_as_received(message), note_id, kind, model, findings, deliveries)


def text(storage: Storage, routes: Mapping[str, NoteKind], message_id: int) -> str:
    """The text that one message carries, as it is read.

    Raises:
        MessageError: there is none of this number, or it carries no text; the message says why.
    """
    columns = [INBOX.c[n] for n in ("message_id", "source", "control_id", "body", "received_at_s", "attempts", "format")]
    with storage.database.read() as connection:
        row = connection.execute(sa.select(*columns).where(INBOX.c.message_id == message_id)).one_or_none()
    if row is None:
        raise MessageError(f"there is no message {message_id}; `clinappliance messages list` shows those there are")
    try:
        note = note_of(_as_message(row), routes)
    except CodecError as error:
        raise MessageError(f"message {message_id} cannot be read: {error}") from error
    if isinstance(note, NoText):
        raise MessageError(f"message {message_id} carries no text: {note.reason}")
    return note.text


def replay(storage: Storage, message_id: int) -> str:
    """Send one message round again: its dead letters are owed again; without any, the message is read again.

    Returns:
        What happens next, for a person.
    Raises:
        MessageError: there is none of this number, or it is still on its way.
    """
    now = storage.clock()
    is_dead = sa.and_(OUTBOX.c.message_id == message_id, is_in(OUTBOX, State.PARKED))
    again = {"state": State.WAITING, "due_at_s": now, "attempts": 0, "reason": ""}
    with storage.database.write() as connection:
        state = connection.execute(sa.select(INBOX.c.state).where(INBOX.c.message_id == message_id)).scalar()
        if state is None:
            raise MessageError(f"there is no message {message_id}; `clinappliance messages list` shows those there are")
        if state in (State.WAITING, State.CLAIMED):
            raise MessageError(f"message {message_id} is {state}: it is still on its way and needs no replay")
        dead = connection.execute(sa.select(OUTBOX.c.destination, OUTBOX.c.patient_key, OUTBOX.c.outbox_id).where(is_dead)).all()
        if n := connection.execute(sa.update(OUTBOX).where(is_dead).values(again)).rowcount:
            # Else a proposal would come back that has been withdrawn since: by a later version, by what replaced the document, or
            # under its other name. What is there already stays as it is.
            for letter in dead:
                of_patient = [OUTBOX.c.destination == letter.destination, OUTBOX.c.patient_key == letter.patient_key]
                after = sa.and_(*of_patient, OUTBOX.c.outbox_id > letter.outbox_id, is_in(OUTBOX, State.DONE))
                connection.execute(sa.update(OUTBOX).where(after).values(again))
            return f"{n} dead {'letter' if n == 1 else 'letters'} will be delivered again"
        connection.execute(sa.update(INBOX).where(INBOX.c.message_id == message_id).values(again | {"crashes": 0}))
    return "it will be read again"


def set_aside(storage: Storage) -> list[int]:
    """The messages that wait for a person: parked, or with a dead letter; oldest first."""
    parked = sa.select(INBOX.c.message_id).where(is_in(INBOX, State.PARKED))
    dead = sa.select(OUTBOX.c.message_id).where(is_in(OUTBOX, State.PARKED))
    with storage.database.read() as connection:
        return sorted(connection.execute(sa.union(parked, dead)).scalars())


def _received() -> sa.Select[tuple[object, ...]]:
    of_message = READINGS.c.message_id == INBOX.c.message_id
    last = sa.select(sa.func.max(READINGS.c.reading_id)).where(of_message).correlate(INBOX).scalar_subquery()
    n_findings = sa.select(sa.func.count()).where(FINDINGS.c.reading_id == last).correlate(INBOX).scalar_subquery()
    columns = [INBOX.c[n] for n in ("message_id", "source", "received_at_s", "state", "attempts", "reason")]
    return sa.select(*columns, sa.func.length(INBOX.c.body).label("size_bytes"), n_findings.label("n_findings"))


def _as_received(row: sa.Row[tuple[object, ...]]) -> Received:
    received_at = datetime.fromtimestamp(row.received_at_s, UTC)
    state = State(row.state)
    return Received(row.message_id, row.source, received_at, row.size_bytes, state, row.attempts, row.reason, row.n_findings)
