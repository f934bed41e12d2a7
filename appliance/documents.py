"""The version of each document that stands, in the database: what `appliance.versions` compares with, and what it decided."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from appliance.database import DOCUMENTS, FINDINGS, READINGS
from appliance.versions import Standing
from integrations.records import Finding, Note, NoteStatus

REPLACED = "replaced"
"""The status of a document that another one has taken the place of: what its sender says of it later changes nothing any more."""
SAME_REPORT_S = 24 * 3600.0
"""A text that a patient has twice, written within this time under two names, is one report that came two ways, seconds."""


def only_one(connection: sa.Connection, note: Note) -> None:
    """Let no other host decide about this patient's documents until the transaction ends. On SQLite no other one can."""
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(bytes.fromhex(note.patient_key or note.document_key)[:8], "big", signed=True)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def standing(connection: sa.Connection, note: Note, text_sha256: str) -> Standing | None:
    """What stands of the note's document, under its own name or under the one that it came by another way with."""
    by_name = sa.select(DOCUMENTS.c.reading_id, DOCUMENTS.c.status).where(DOCUMENTS.c.document_key == note.document_key)
    row = connection.execute(by_name).one_or_none() or _under_another_name(connection, note, text_sha256)
    return None if row is None else _standing(connection, row)


def replaced(connection: sa.Connection, note: Note) -> Standing | None:
    """What stands of the document whose place the note takes; None where another one has taken it already."""
    key = note.key_of(note.replaces)
    of_key = sa.select(DOCUMENTS).where(DOCUMENTS.c.document_key == key, DOCUMENTS.c.status != REPLACED)
    row = connection.execute(of_key).one_or_none() if key else None
    return None if row is None else _standing(connection, row)


def stand(connection: sa.Connection, note: Note, reading_id: int, before: Standing | None, now: float) -> None:
    """Let a reading stand: for the note's document, for the other names of the version before, and against what it replaces."""
    values = {"reading_id": reading_id, "status": note.status, "updated_at_s": now}
    if before:
        of_before = sa.update(DOCUMENTS).where(DOCUMENTS.c.reading_id == before.reading_id)
        connection.execute(of_before.where(DOCUMENTS.c.status != REPLACED).values(values))
        connection.execute(of_before.where(DOCUMENTS.c.status == REPLACED).values(reading_id=reading_id))
    _put(connection, note.document_key, {"patient_key": note.patient_key, **values})
    if key := note.key_of(note.replaces):
        gone = {"patient_key": note.patient_key, "reading_id": reading_id, "status": REPLACED, "updated_at_s": now}
        _put(connection, key, gone)


def also_called(connection: sa.Connection, note: Note, same: Standing, now: float) -> None:
    """Remember that the note's document is one that stands under another name."""
    known = sa.select(DOCUMENTS.c.document_key).where(DOCUMENTS.c.document_key == note.document_key)
    if connection.execute(known).one_or_none() is None:
        values = {"reading_id": same.reading_id, "status": same.status, "updated_at_s": now, "patient_key": note.patient_key}
        _put(connection, note.document_key, values)


def way(note: Note) -> str:
    """Who sent a note, and in what."""
    return f"{note.source.sender}|{note.source.carrier}" if note.source else ""


def _put(connection: sa.Connection, key: str, values: dict[str, object]) -> None:
    if not connection.execute(sa.update(DOCUMENTS).where(DOCUMENTS.c.document_key == key).values(values)).rowcount:
        connection.execute(sa.insert(DOCUMENTS).values(document_key=key, **values))


def _under_another_name(connection: sa.Connection, note: Note, text_sha256: str) -> Any:
    if note.written_at is None or not note.text:
        return None
    at = note.written_at.timestamp()
    same = (
        sa.select(DOCUMENTS.c.reading_id, DOCUMENTS.c.status)
        .join(READINGS, READINGS.c.reading_id == DOCUMENTS.c.reading_id)
        .where(
            DOCUMENTS.c.status != REPLACED,
            READINGS.c.patient_key == note.patient_key,
            READINGS.c.text_sha256 == text_sha256,
            READINGS.c.kind == note.kind,
            # Two documents that come the same way are two by their sender's own word, though they say the same.
            READINGS.c.way != way(note),
            READINGS.c.written_at_s.between(at - SAME_REPORT_S, at + SAME_REPORT_S),
        )
        .order_by(DOCUMENTS.c.updated_at_s)
        .limit(1)
    )
    return connection.execute(same).one_or_none()


def _standing(connection: sa.Connection, row: Any) -> Standing:
    reading = connection.execute(sa.select(READINGS).where(READINGS.c.reading_id == row.reading_id)).one()
    is_replaced = row.status == REPLACED
    return Standing(
        reading.reading_id,
        reading.message_id,
        NoteStatus.CANCELLED if is_replaced else NoteStatus(row.status),
        reading.patient_key,
        reading.text_sha256,
        tuple(findings(connection, reading)),
        is_replaced,
    )


def findings(connection: sa.Connection, reading: sa.Row[Any]) -> list[Finding]:
    """What holds of a reading, in the order of its text: what it found, and what it kept of the version before."""
    of_reading = FINDINGS.c.reading_id == reading.reading_id
    rows = sa.select(FINDINGS).where(of_reading).order_by(FINDINGS.c.start, FINDINGS.c.label, FINDINGS.c.question)
    return [
        Finding(
            finding_id=row.finding_id,
            note_id=reading.note_id,
            start=row.start,
            end=row.end,
            quote=row.quote,
            label=row.label,
            score=row.score,
            model=row.model or reading.model,
            at=datetime.fromtimestamp(row.at_s or reading.read_at_s, UTC),
            question=row.question,
            unsure=row.unsure,
        )
        for row in connection.execute(rows)
    ]
