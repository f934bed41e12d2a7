"""What must survive: messages received, what was found in them, and what is owed to the hospital.

A message's way is one row of the inbox: waiting, claimed under a lease, then done or parked. Its result is written by
`Storage.record` in one transaction with its end, so that a crash at any instant leaves either no result or one.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from appliance import documents, versions
from appliance.database import FINDINGS, INBOX, OUTBOX, READINGS, Database, StorageError
from appliance.queues import SqlInbox, SqlOutbox, outbox_row
from appliance.versions import Change
from integrations.mailbox import State
from integrations.records import Finding, Note

__all__ = ["Storage", "StorageError"]


class Storage:
    """The inbox, the findings and the outbox of one appliance. Safe to use from several threads."""

    def __init__(
        self,
        place: Path | str,
        *,
        owner: str = "",
        most_crashes: int = 5,
        busy_s: float = 30.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Open the database, making it or bringing it up to date where needed.

        Args:
            place: the database file, or the address of a PostgreSQL database.
            owner: in whose name messages are claimed: another one for each `run` that shares the database.
            most_crashes: a message is parked once this many claims of it ended in nothing.
            busy_s: how long to wait for another process that writes.
            clock: seconds since 1970, UTC; the database's own by default.
        Raises:
            StorageError: it cannot be opened.
        """
        self.database = Database(place, busy_s)
        self.clock = clock or self.database.clock
        self._owner = owner
        self.inbox = SqlInbox(self.database, self.clock, most_crashes, owner)
        self.outbox = SqlOutbox(self.database, self.clock, owner)

    def why_not_read(self, message_id: int, note: Note) -> str:
        """Why a note changes nothing and need not be read; empty where it is to be read.

        Raises:
            VersionError: it is to be looked at by a person.
        """
        with self.database.read() as connection:
            before = documents.standing(connection, note, _text_sha256(note))
            versions.refuse_another_patients(note, documents.replaced(connection, note))
        return versions.why_not_read(note, _text_sha256(note), message_id, before)

    def record(
        self,
        message_id: int,
        note: Note,
        findings: Sequence[Finding],
        model: str,
        owed: Callable[[Change], Sequence[tuple[str, bytes]]] = lambda change: (),
        reason: str = "",
    ) -> Change | None:
        """Keep the reading of one message, owe its deliveries and end the message, all or nothing.

        Args:
            message_id: the message that `note` came in.
            note: what was read.
            findings: what was found in it.
            model: `NAME@VERSION` of the bundle that read; empty where none did.
            owed: what is owed for what the note changes: destination and body of each.
            reason: why a note, or a part of its message, was not read, quoting nothing of it.
        Returns:
            What it changed; None, and nothing is written, when the message already had its result: repeating is harmless.
        Raises:
            StorageError: nothing was written; the message stays claimed until its lease ends.
            VersionError: the same, and a person has to look at it.
        """
        now, sha256 = self.clock(), _text_sha256(note)
        ended = sa.update(INBOX).where(INBOX.c.message_id == message_id, INBOX.c.state != State.DONE)
        with self.database.write() as connection:
            if connection.execute(ended.values(state=State.DONE)).rowcount == 0:
                return None
            documents.only_one(connection, note)
            before = documents.standing(connection, note, sha256)
            late = versions.why_not_read(note, sha256, message_id, before)
            reading = _reading_row(message_id, note, "" if late else model, now)
            (reading_id,) = connection.execute(sa.insert(READINGS).values(reading)).inserted_primary_key or (0,)
            changed = Change()
            if late and before:
                documents.also_called(connection, note, before, now)
            else:
                replaced = documents.replaced(connection, note)
                versions.refuse_another_patients(note, replaced)
                changed = versions.change(note, findings, [f for s in (before, replaced) if s for f in s.findings])
                documents.stand(connection, note, reading_id, before, now)
            if changed.standing:
                rows = [{"reading_id": reading_id} | _finding_row(finding) for finding in changed.standing]
                connection.execute(sa.insert(FINDINGS), rows)
            if deliveries := owed(changed):
                rows = [outbox_row(message_id, note.patient_key, d, b, now) for d, b in deliveries]
                connection.execute(sa.insert(OUTBOX), rows)
            connection.execute(sa.update(INBOX).where(INBOX.c.message_id == message_id).values(reason=late or reason))
        return changed

    def recover(self) -> int:
        """Put back what a process that is gone had claimed in our name: for one that knows it is the only one of that name.

        What others have claimed in a shared database they may still be reading: that comes back when its lease ends.

        Returns:
            How many messages and deliveries there were.
        """
        now = self.clock()
        with self.database.write() as connection:
            messages = self.inbox.return_lost(connection, self._is_ours(INBOX), now)
            return messages + self.outbox.return_lost(connection, self._is_ours(OUTBOX), now)

    def check_writable(self) -> None:
        """Raise StorageError where nothing can be written."""
        with self.database.write() as connection:
            connection.execute(sa.update(INBOX).where(sa.false()).values(reason=""))

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def _is_ours(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return table.c.owner == self._owner if self.database.is_shared else sa.true()


def _text_sha256(note: Note) -> str:
    return hashlib.sha256(note.text.encode()).hexdigest()


def _reading_row(message_id: int, note: Note, model: str, now: float) -> dict[str, object]:
    return {
        "message_id": message_id,
        "note_id": note.note_id,
        "kind": note.kind,
        "document_type": note.document_type,
        "model": model,
        "read_at_s": now,
        "patient_key": note.patient_key,
        "document_key": note.document_key,
        "text_sha256": _text_sha256(note),
        "status": note.status,
        "way": documents.way(note),
        "written_at_s": note.written_at.timestamp() if note.written_at else None,
    }


def _finding_row(finding: Finding) -> dict[str, object]:
    names = ("finding_id", "start", "end", "quote", "label", "score", "question", "model", "unsure")
    return {name: getattr(finding, name) for name in names} | {"at_s": finding.at.timestamp()}
