"""PostgreSQL as the appliance's database: one that the gateways and workers of several hosts share.

The address is libpq's own, so passwords come from where libpq finds them: a passfile, a service file, a certificate, a socket.
"""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from appliance.database import Damage, StorageError

if TYPE_CHECKING:
    import psycopg

CONNECT_S = 10
OLDEST_VERSION = 140_000
RECYCLE_S = 300.0
"""Age at which a connection is made anew, and the server's clock read again."""
_DEFAULTS: Mapping[str, Any] = {
    "application_name": "clinappliance",
    "connect_timeout": CONNECT_S,
    # A server whose host was switched off answers nothing, for ever: whoever waits for it must learn that.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_SCHEMA_LOCK = 0x636C696E
"""Of all advisory locks of the database the one that is held while its tables are changed ("clin")."""


class PostgresDatabase:
    """One database of a PostgreSQL server."""

    is_shared = True
    reading: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ"}

    def __init__(self, url: str, busy_s: float) -> None:
        """Nothing is connected yet.

        Args:
            url: as libpq reads it (PostgreSQL manual, "Connection URIs").
            busy_s: how long to wait for another transaction, and for a free connection.
        Raises:
            StorageError: the driver is not installed, or libpq does not understand the address.
        """
        self._busy_s = busy_s
        self._parameters: dict[str, Any] = {**_DEFAULTS, **_parameters(url), "client_encoding": "utf8"}
        self.name = _name(self._parameters)
        self._offset_s = time.time() - time.monotonic()

    def engine(self) -> sa.Engine:
        """Connections whose commits are durable. One that broke is replaced by the next use."""
        return sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_S,
            pool_timeout=self._busy_s,
            use_native_hstore=False,
            hide_parameters=True,  # an error of SQLAlchemy prints what it was given, and that is notes
        )

    def clock(self) -> float:
        """The server's clock, so that leases end for all hosts at once, however wrong their own clocks are.

        Read when a connection is made; in between this host's monotonic clock counts on, which nobody sets.
        """
        return time.monotonic() + self._offset_s

    def lock_schema(self, connection: sa.Connection) -> None:
        """Wait until no other process changes the tables, to the end of the transaction."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")

    def damage(self, connection: sa.Connection) -> Damage | None:
        """Whether it may lose what it has committed. The tables themselves are for its own tools to check (pg_amcheck)."""
        unsafe = ("fsync", "full_page_writes")
        off = " and ".join(s for s in unsafe if connection.exec_driver_sql(f"SHOW {s}").scalar_one() == "off")
        return Damage(f"{off} off, so that a power cut can lose what it has committed", "turn it on") if off else None

    def about(self, connection: sa.Connection) -> str:
        """Its version, and how large the database is."""
        asked = "SELECT current_setting('server_version'), pg_database_size(current_database())"
        version, size_bytes = connection.exec_driver_sql(asked).one()
        return f"version {version.split()[0]}, {size_bytes / 2**20:.1f} MiB"

    def explain(self, error: DBAPIError) -> str:
        """What a failure of PostgreSQL means to the person who runs the appliance."""
        state = getattr(error.orig, "sqlstate", None) or _state_of_refusal(str(error.orig))
        for start, meaning in _MEANINGS.items():
            if state.startswith(start):
                return f"{meaning} (SQLSTATE {state})"
        return f"it refused (SQLSTATE {state}); see its log"

    def _connect(self) -> "psycopg.Connection[Any]":
        import psycopg

        connection = psycopg.connect(**self._parameters, autocommit=True)
        if reason := _why_unfit(connection.info):
            connection.close()
            raise StorageError(f"{self.name}: {reason}")
        before = time.monotonic()
        row = connection.execute(_PREPARE, {"busy": f"{round(self._busy_s * 1000)}ms"}).fetchone()
        self._offset_s = (row[0] if row else time.time()) - (before + time.monotonic()) / 2
        connection.autocommit = False
        return connection


_PREPARE = """
SELECT extract(epoch FROM clock_timestamp())::float8,
       set_config('lock_timeout', %(busy)s, false),
       -- A host that froze with rows locked must not hold up the others.
       set_config('idle_in_transaction_session_timeout', '60s', false),
       set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)
"""


def _parameters(url: str) -> dict[str, Any]:
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        install = f"{sys.prefix}/bin/python -m pip install 'psycopg[binary]'"
        raise StorageError(f"[database] url needs the driver for PostgreSQL, which is not installed: {install}") from None
    try:
        return conninfo_to_dict(url)
    except psycopg.Error:
        # Its own message quotes the address.
        raise StorageError("[database] url: libpq does not understand it; write postgresql://USER@HOST:PORT/DATABASE") from None


def _why_unfit(server: "psycopg.ConnectionInfo") -> str | None:
    if server.server_version < OLDEST_VERSION:
        return f"it is version {server.server_version // 10_000}; {OLDEST_VERSION // 10_000} or newer is needed"
    encoding = server.parameter_status("server_encoding")
    return None if encoding == "UTF8" else f"its encoding is {encoding}; create it with ENCODING 'UTF8' TEMPLATE template0"


def _name(parameters: Mapping[str, Any]) -> str:
    if "service" in parameters:
        return f"PostgreSQL service {parameters['service']}"
    port = f":{parameters['port']}" if "port" in parameters else ""
    return f"PostgreSQL at {parameters.get('host', 'this host')}{port}, database {parameters.get('dbname', 'of our name')}"


def _state_of_refusal(message: str) -> str:
    """The SQLSTATE behind a connection that did not come about: libpq hands on the server's words only."""
    return next((state for words, state in _REFUSALS.items() if words in message), "08006")


_REFUSALS = {
    "authentication failed": "28P01",
    "no password supplied": "28P01",
    "pg_hba.conf": "28000",
    'role "': "28000",
    "does not exist": "3D000",
    "too many": "53300",
    "connection slots": "53300",
    "starting up": "57P03",
    "recovery": "57P03",
    "shutting down": "57P01",
    "read-write": "25006",
    "read-only": "25006",
}
_MEANINGS = {
    "53100": "its disk is full; free space there, nothing that was acknowledged is lost",
    "53200": "its memory is exhausted; see its log",
    "53300": "it takes no more connections; raise its max_connections, each `run` takes up to 15",
    "57P03": "it is starting or recovering; wait",
    "57P": "it was stopped; start it again",
    "57014": "it gave up after its statement_timeout; lift that for our role",
    "08": "it cannot be reached; see that it runs and that [database] url names it",
    "28": "it does not let us in; see the role, its passfile (for its owner alone, chmod 600) and the server's pg_hba.conf",
    "3D": "there is no such database; create it",
    "25006": "it takes no writes; name the primary, or add target_session_attrs=read-write to [database] url",
    "25P03": "this host did not answer it in time, and it undid the transaction",
    "42501": "no right to use its tables; let our role own the database",
    "3F": "no schema to make tables in; let our role own the database",
    "55P03": "another process holds what is to be written; wait, or stop it",
    "40": "two transactions were in each other's way; it is tried again",
    "58": "it cannot read or write its disk; see its log",
    "XX": "it is damaged; stop the appliance, see the server's log and restore your copy",
}
