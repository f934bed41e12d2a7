"""A real PostgreSQL for tests: Debian's, in a temporary folder, on a Unix socket of its own."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance_process import eventually

ROLE = "clinappliance"


def programs() -> Path | None:
    """The folder of the newest `initdb` and `postgres`; None where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Postgres:
    """One server, which may be stopped and started again."""

    def __init__(self, folder: Path, programs: Path) -> None:
        """Make its files; it does not run yet."""
        self.folder, self._programs = folder, programs
        self._numbers = itertools.count()
        self.process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        made = [f"--pgdata={folder / 'data'}", f"--username={ROLE}", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run([*self._prefix(), programs / "initdb", *made, "--no-sync"], capture_output=True, check=True, cwd=folder)

    def start(self, *settings: str) -> None:
        """Run until stopped; returns once it takes connections."""
        given = ["listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=60", *settings]
        arguments = [word for setting in given for word in ("-c", setting)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._prefix(), self._programs / "postgres", "-D", self.folder / "data", *arguments],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        ask = [self._programs / "pg_isready", "--quiet", f"--host={self.folder}", f"--username={ROLE}"]
        eventually(lambda: subprocess.run(ask, check=False).returncode == 0, 60, self.log.read_text)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Disconnect everybody and stop; with SIGQUIT as in a crash."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)

    def new_database(self) -> str:
        """Make an empty database and give its address."""
        name = f"test{next(self._numbers)}"
        self.tell(f"CREATE DATABASE {name} TEMPLATE template0", "postgres")
        return self.url(name)

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://{ROLE}@/{database}?host={self.folder}"

    def tell(self, statement: str, database: str) -> None:
        """Run one statement as its superuser."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log"

    def _prefix(self) -> list[str]:
        # The server refuses root, and must not outlive the tests.
        nobody = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        return ["setpriv", *nobody, "--pdeathsig=QUIT"]


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server of its own, empty; stopped and removed at the end."""
    found = programs()
    if found is None:
        reason = "PostgreSQL is not installed: apt-get install postgresql"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    # Not below pytest's own folder: a socket's path may have 107 characters, and nobody else may enter there.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        server = Postgres(folder, found)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server that all tests of a run share; each makes databases of its own."""
    with running_postgres() as server:
        yield server
