"""The database: its tables, how it is opened and brought up to date, and where it may lie.

A SQLite file in the home (`appliance.sqlite`), or a PostgreSQL server that several hosts share (`appliance.postgres`). On both,
what a transaction has committed survives a power cut. `appliance.storage` is what the rest of the appliance talks to; the
tables are made by `appliance.migrations`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, field_validator
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionFreeError

from integrations.mailbox import State

SCHEMA = "0005"
"""The newest step in `appliance/migrations/versions`."""
LONGEST_NAME = 256
"""Characters that are kept of a sender and of a control id: PostgreSQL refuses an index entry of more than 2.7 kB. The hash of
the whole message stands beside them and tells apart what begins alike."""

ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


class Text(sa.types.TypeDecorator[str]):
    """Text from outside. PostgreSQL knows no NUL, so there it becomes U+FFFD, which keeps every other character in its place."""

    impl = sa.String
    cache_ok = True

    def __init__(self, longest: int | None = None) -> None:
        """Keep `longest` characters at most; None keeps all."""
        super().__init__()
        self.longest = longest

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """What is stored for `value`."""
        if value is None:
            return None
        kept = str(value)[: self.longest]
        return kept.replace("\0", "\ufffd") if dialect.name == "postgresql" else kept


TEXT = Text()
METADATA = sa.MetaData()
INBOX = sa.Table(
    "inbox",
    METADATA,
    sa.Column("message_id", ROW_ID, primary_key=True),
    sa.Column("source", Text(LONGEST_NAME)),
    sa.Column("control_id", Text(LONGEST_NAME)),
    sa.Column("sha256", TEXT),
    sa.Column("format", TEXT),
    sa.Column("body", sa.LargeBinary),
    sa.Column("received_at_s", sa.Float),
    sa.Column("state", TEXT),
    # Who claimed it last: one home of one host, where several share the database.
    sa.Column("owner", TEXT),
    # When a waiting row may be claimed, and when the lease of a claimed one ends. Times are seconds since 1970, UTC.
    sa.Column("due_at_s", sa.Float),
    sa.Column("attempts", sa.Integer),
    # Claims that ended in nothing: no result, no release. The message may have killed its reader.
    sa.Column("crashes", sa.Integer),
    sa.Column("reason", TEXT),
)
READINGS = sa.Table(
    "readings",
    METADATA,
    sa.Column("reading_id", ROW_ID, primary_key=True),
    sa.Column("message_id", ROW_ID),
    sa.Column("note_id", TEXT),
    sa.Column("kind", TEXT),
    sa.Column("document_type", TEXT),
    sa.Column("model", TEXT),
    sa.Column("read_at_s", sa.Float),
    # Hashes: whose note it is, which document it is a version of, and its text. Empty for what was read before there were any.
    sa.Column("patient_key", TEXT),
    sa.Column("document_key", TEXT),
    sa.Column("text_sha256", TEXT),
    sa.Column("status", TEXT),
    sa.Column("written_at_s", sa.Float),
    # Sender and what carried the note: a report that comes two ways has the same text and two names.
    sa.Column("way", TEXT),
)
# The version of each document that stands, whichever order its messages came in.
DOCUMENTS = sa.Table(
    "documents",
    METADATA,
    sa.Column("document_key", TEXT, primary_key=True),
    sa.Column("patient_key", TEXT),
    sa.Column("reading_id", ROW_ID),
    sa.Column("status", TEXT),
    sa.Column("updated_at_s", sa.Float),
)
FINDINGS = sa.Table(
    "findings",
    METADATA,
    sa.Column("reading_id", ROW_ID, primary_key=True),
    sa.Column("finding_id", TEXT, primary_key=True),
    sa.Column("start", sa.Integer),
    sa.Column("end", sa.Integer),
    sa.Column("quote", TEXT),
    sa.Column("label", TEXT),
    sa.Column("score", sa.Float),
    sa.Column("question", TEXT),
    sa.Column("unsure", sa.Boolean),
    # Who found it and when, where it was kept from an earlier version of the document.
    sa.Column("model", TEXT),
    sa.Column("at_s", sa.Float),
)
OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("outbox_id", ROW_ID, primary_key=True),
    sa.Column("message_id", ROW_ID),
    sa.Column("destination", TEXT),
    # Deliveries about one patient leave in the order in which they were owed.
    sa.Column("patient_key", TEXT),
    sa.Column("body", sa.LargeBinary),
    sa.Column("created_at_s", sa.Float),
    sa.Column("state", TEXT),
    sa.Column("owner", TEXT),
    sa.Column("due_at_s", sa.Float),
    sa.Column("attempts", sa.Integer),
    sa.Column("reason", TEXT),
)


def is_in(table: sa.Table, state: State) -> sa.ColumnElement[bool]:
    """That a row of the inbox or the outbox is in `state`.

    Written out, not bound: only so does SQLite see that the index of that state answers the question.
    """
    return table.c.state == sa.literal_column(f"'{state}'")


class StorageError(RuntimeError):
    """The database cannot be read or written; the message says why and what to do."""


class RowError(StorageError):
    """The database works, and does not take what it was given: the same would be refused again."""


class DatabaseConfig(BaseModel):
    """`[database]`: where messages, findings and deliveries are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None
    """Address of a PostgreSQL database, as libpq reads it; None keeps everything in a file of the home."""

    @field_validator("url")
    @classmethod
    def _without_password(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres"):
            raise ValueError("must begin with postgresql://")
        if parts.password or "password" in parse_qs(parts.query):
            raise ValueError("must hold no password; put it into a file for the owner alone and add ?passfile=/PATH/TO/IT")
        return url

    def place(self, file: Path) -> Path | str:
        """What `Database` opens: `file`, unless an address is set."""
        return self.url or file


@dataclass(frozen=True)
class Damage:
    """Why a database cannot be trusted, and what to do."""

    what: str
    advice: str


class Backend(Protocol):
    """What differs between the places a database may lie in."""

    name: str
    """For messages; holds no password."""
    is_shared: bool
    """Whether other hosts may work on it at the same time."""
    reading: Mapping[str, Any]
    """SQLAlchemy's execution options of one consistent view."""

    def engine(self) -> sa.Engine:
        """Connections whose commits are durable."""
        ...

    def clock(self) -> float:
        """Seconds since 1970, UTC, the same for all who share the database."""
        ...

    def lock_schema(self, connection: sa.Connection) -> None:
        """Wait until no other process changes the tables, to the end of the transaction."""
        ...

    def damage(self, connection: sa.Connection) -> Damage | None:
        """What is wrong with it, as far as it can tell; None when nothing is."""
        ...

    def about(self, connection: sa.Connection) -> str:
        """What and how large it is."""
        ...

    def explain(self, error: DBAPIError) -> str:
        """What a failure means to the person who runs the appliance."""
        ...


class Database:
    """One database, brought up to date when opened. Safe to use from several threads."""

    def __init__(self, place: Path | str, busy_s: float = 30.0) -> None:
        """Open it.

        Args:
            place: a SQLite file, made for its owner alone where it is missing; or the address of a PostgreSQL database.
            busy_s: how long a transaction waits for another process that writes.
        Raises:
            StorageError: it cannot be opened, is no database, or was made by a newer version.
        """
        self.backend = _backend(place, busy_s)
        self._engine = self.backend.engine()
        try:
            self._bring_up_to_date()
        except BaseException:
            self.close()
            raise

    @property
    def is_shared(self) -> bool:
        """Whether other hosts may work on it at the same time."""
        return self.backend.is_shared

    def clock(self) -> float:
        """Seconds since 1970, UTC, the same for all who share the database."""
        return self.backend.clock()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, durable when the block ends and undone when it raises.

        Raises:
            StorageError: it could not begin or commit; nothing of it is kept, unless the server went away in the very moment
                of the commit. Whoever repeats it must find what is there.
        """
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view, which waits for no writer."""
        with self._explained(), self._engine.connect().execution_options(**self.backend.reading) as connection:
            yield connection

    def damage(self) -> Damage | None:
        """What the database's own check finds wrong with it; None when it is sound. Reads the whole of a file."""
        with self.read() as connection:
            return self.backend.damage(connection)

    def about(self) -> str:
        """What and how large it is, for a person."""
        with self.read() as connection:
            return f"{self.backend.name}, {self.backend.about(connection)}, schema {SCHEMA}"

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _bring_up_to_date(self) -> None:
        with self.read() as connection:
            revision = self._revision(connection)
        if revision == SCHEMA:
            return
        with self.write() as connection:
            self.backend.lock_schema(connection)
            # Asked again: between the two transactions another process may have done it.
            revision = self._revision(connection)
            if revision is not None and revision > SCHEMA:
                newer = f"made by a newer clinappliance (schema {revision}, this one knows {SCHEMA})"
                raise StorageError(f"{self.backend.name}: {newer}; install that version")
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
        except (IntegrityError, DataError) as error:
            raise RowError(f"{self.backend.name}: {self.backend.explain(error)}") from error
        except DBAPIError as error:
            raise StorageError(f"{self.backend.name}: {self.backend.explain(error)}") from error
        except NoConnectionFreeError as error:
            raise StorageError(f"{self.backend.name}: every connection was in use for too long; is it overloaded?") from error


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


def _backend(place: Path | str, busy_s: float) -> Backend:
    if isinstance(place, Path):
        from appliance.sqlite import SqliteFile

        return SqliteFile(place, busy_s)
    from appliance.postgres import PostgresDatabase

    return PostgresDatabase(place, busy_s)
