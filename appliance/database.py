"""The database file: its tables, how it is opened and brought up to date, and what its failures mean.

SQLite in WAL mode with synchronous=FULL: what a transaction has committed survives a power cut. `appliance.storage`
is what the rest of the appliance talks to; the tables are made by `appliance.migrations`.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from integrations.mailbox import State

SCHEMA = "0003"
"""The newest step in `appliance/migrations/versions`."""

METADATA = sa.MetaData()
INBOX = sa.Table(
    "inbox",
    METADATA,
    sa.Column("message_id", sa.Integer, primary_key=True),
    sa.Column("source", sa.String),
    sa.Column("control_id", sa.String),
    sa.Column("sha256", sa.String),
    sa.Column("format", sa.String),
    sa.Column("body", sa.LargeBinary),
    sa.Column("received_at_s", sa.Float),
    sa.Column("state", sa.String),
    # When a waiting row may be claimed, and when the lease of a claimed one ends. Times are seconds since 1970, UTC.
    sa.Column("due_at_s", sa.Float),
    sa.Column("attempts", sa.Integer),
    # Claims that ended in nothing: no result, no release. The message may have killed its reader.
    sa.Column("crashes", sa.Integer),
    sa.Column("reason", sa.String),
)
READINGS = sa.Table(
    "readings",
    METADATA,
    sa.Column("reading_id", sa.Integer, primary_key=True),
    sa.Column("message_id", sa.Integer),
    sa.Column("note_id", sa.String),
    sa.Column("kind", sa.String),
    sa.Column("document_type", sa.String),
    sa.Column("model", sa.String),
    sa.Column("read_at_s", sa.Float),
    # Hashes: whose note it is, which document it is a version of, and its text. Empty for what was read before there were any.
    sa.Column("patient_key", sa.String),
    sa.Column("document_key", sa.String),
    sa.Column("text_sha256", sa.String),
    sa.Column("status", sa.String),
)
# The version of each document that stands, whichever order its messages came in.
DOCUMENTS = sa.Table(
    "documents",
    METADATA,
    sa.Column("document_key", sa.String, primary_key=True),
    sa.Column("patient_key", sa.String),
    sa.Column("reading_id", sa.Integer),
    sa.Column("status", sa.String),
    sa.Column("updated_at_s", sa.Float),
)
FINDINGS = sa.Table(
    "findings",
    METADATA,
    sa.Column("reading_id", sa.Integer, primary_key=True),
    sa.Column("finding_id", sa.String, primary_key=True),
    sa.Column("start", sa.Integer),
    sa.Column("end", sa.Integer),
    sa.Column("quote", sa.String),
    sa.Column("label", sa.String),
    sa.Column("score", sa.Float),
    sa.Column("question", sa.String),
    sa.Column("unsure", sa.Boolean),
)
OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("outbox_id", sa.Integer, primary_key=True),
    sa.Column("message_id", sa.Integer),
    sa.Column("destination", sa.String),
    # Deliveries about one patient leave in the order in which they were owed.
    sa.Column("patient_key", sa.String),
    sa.Column("body", sa.LargeBinary),
    sa.Column("created_at_s", sa.Float),
    sa.Column("state", sa.String),
    sa.Column("due_at_s", sa.Float),
    sa.Column("attempts", sa.Integer),
    sa.Column("reason", sa.String),
)


def is_in(table: sa.Table, state: State) -> sa.ColumnElement[bool]:
    """That a row of the inbox or the outbox is in `state`.

    Written out, not bound: only so does SQLite see that the index of that state answers the question.
    """
    return table.c.state == sa.literal_column(f"'{state}'")


class StorageError(RuntimeError):
    """The database cannot be read or written; the message says why and what to do."""


class Database:
    """One SQLite file, brought up to date when opened. Safe to use from several threads."""

    def __init__(self, path: Path, busy_s: float = 30.0) -> None:
        """Open `path`, making it for its owner alone where it is missing.

        Args:
            path: the database file; its folder must exist.
            busy_s: how long a transaction waits for another process that writes.
        Raises:
            StorageError: it cannot be opened, is no database, or was made by a newer version.
        """
        self.path = path
        try:
            # SQLite would make it readable for all; its -wal and -shm files take their mode from this one. One that is there is
            # not touched: closing any descriptor of it gives up all locks that this process has on it (How To Corrupt An SQLite
            # Database File, 2.2), and the next process that closes it would take away the log that others still write to.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StorageError(f"{path}: cannot be opened ({error.strerror}); see that the folder exists and is yours") from error
        self._engine = _connect(path, busy_s)
        try:
            self._bring_up_to_date()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, durable when the block ends and undone when it raises.

        Raises:
            StorageError: it could not begin or commit; nothing of it is kept.
        """
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view, which waits for no writer."""
        with self._explained(), self._engine.connect().execution_options(read_only=True) as connection:
            yield connection

    def damage(self) -> str | None:
        """What SQLite's own check finds wrong with the file; None when it is sound. Reads the whole file."""
        with self.read() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        return None if found == "ok" else str(found)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _bring_up_to_date(self) -> None:
        with self.read() as connection:
            revision = self._revision(connection)
        if revision == SCHEMA:
            return
        with self.write() as connection:
            # Asked again: between the two transactions another process may have done it.
            revision = self._revision(connection)
            if revision is not None and revision > SCHEMA:
                newer = f"made by a newer clinappliance (schema {revision}, this one knows {SCHEMA})"
                raise StorageError(f"{self.path}: {newer}; install that version")
            migrate(connection, SCHEMA)

    @staticmethod
    def _revision(connection: sa.Connection) -> str | None:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StorageError(f"{self.path}: {_explain(error)}") from error


def migrate(connection: sa.Connection, revision: str) -> None:
    """Take the steps up or down to `revision` ("base" is the empty database) in the transaction of `connection`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "appliance:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    now = Database._revision(connection)
    is_down = revision == "base" or (now is not None and now > revision)
    (command.downgrade if is_down else command.upgrade)(config, revision)


def _connect(path: Path, busy_s: float) -> sa.Engine:
    # hide_parameters: an error of SQLAlchemy prints what it was given, and that is notes.
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # else sqlite3 begins transactions by itself, and too late
        for pragma in (f"busy_timeout={round(busy_s * 1000)}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A writer that begins as a reader can fail half-way, when another one has written in between.
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _explain(error: DBAPIError) -> str:
    """What a failure of SQLite means to the person who runs the appliance."""
    name = getattr(error.orig, "sqlite_errorname", "") or type(error.orig).__name__
    for start, meaning in _MEANINGS.items():
        if name.startswith(start):
            return f"{meaning} ({name})"
    return f"the database refused ({name}); run `clinappliance doctor`"


_MEANINGS = {
    "SQLITE_FULL": "the disk is full; free space, nothing that was acknowledged is lost",
    "SQLITE_IOERR": "the disk cannot be written or read; see that it is not full and that it is sound",
    "SQLITE_BUSY": "another process holds the database; stop it, or wait",
    "SQLITE_LOCKED": "another process holds the database; stop it, or wait",
    "SQLITE_READONLY": "the database cannot be written; see that file and folder are yours and the disk is not read-only",
    "SQLITE_CANTOPEN": "the database cannot be opened; see that file and folder are yours and that there is space left",
    "SQLITE_PERM": "no right to use the database; run as the user who owns it",
    "SQLITE_NOTADB": "this is no database; move it away and restore your copy",
    "SQLITE_CORRUPT": "the database is damaged; stop the appliance and restore your copy",
}
