"""SQLite as the appliance's database: one file of the home, in WAL mode with synchronous=FULL."""

import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from appliance.database import Damage, StorageError


class SqliteFile:
    """One file, of one appliance."""

    is_shared = False
    reading: Mapping[str, Any] = {"read_only": True}

    def __init__(self, path: Path, busy_s: float) -> None:
        """Make `path` for its owner alone where it is missing.

        Raises:
            StorageError: it cannot be opened.
        """
        self.name, self._path, self._busy_s = str(path), path, busy_s
        try:
            # SQLite would make it readable for all; its -wal and -shm files take their mode from this one. One that is there is
            # not touched: closing any descriptor of it gives up all locks that this process has on it (How To Corrupt An SQLite
            # Database File, 2.2), and the next process that closes it would take away the log that others still write to.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StorageError(f"{path}: cannot be opened ({error.strerror}); see that the folder exists and is yours") from error

    def engine(self) -> sa.Engine:
        """Connections whose commits are durable."""
        # hide_parameters: an error of SQLAlchemy prints what it was given, and that is notes.
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(self._path)), hide_parameters=True)
        settings = (f"busy_timeout={round(self._busy_s * 1000)}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")

        @sa.event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, _record: Any) -> None:
            connection.isolation_level = None  # else sqlite3 begins transactions by itself, and too late
            for pragma in settings:
                connection.execute(f"PRAGMA {pragma}").close()

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            # A writer that begins as a reader can fail half-way, when another one has written in between.
            read_only = connection.get_execution_options().get("read_only", False)
            connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

        return engine

    def clock(self) -> float:
        """This host's clock: nobody else works on the file."""
        return time.time()

    def lock_schema(self, connection: sa.Connection) -> None:
        """Nothing: who has begun to write is alone."""

    def damage(self, connection: sa.Connection) -> Damage | None:
        """What SQLite's own check finds wrong with the file; None when it is sound. Reads the whole file."""
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        return None if found == "ok" else Damage("it is damaged", "stop the appliance and restore your copy")

    def about(self, connection: sa.Connection) -> str:
        """How large the file is."""
        return f"{self._path.stat().st_size / 2**20:.1f} MiB"

    def explain(self, error: DBAPIError) -> str:
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
