"""`clinappliance run` in processes forked from one that has imported all it needs: a start takes a tenth of a second.

As a script it is that process: each line on its input, `start HOME` or `kill PID SIGNAL`, is answered by a number, the
process begun or its exit code. The children are whole appliances, with the listener, the worker and the delivery of `run`.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from appliance.home import Home

ROOT = Path(__file__).parents[1]
PR_SET_PDEATHSIG = 1
_QUICK = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/dev/null"}
"""No thread before the fork; and nobody's certificate is looked at on loopback, while to load them all takes a 20th second."""


class Starter:
    """Begins appliances quickly, and kills them; for a `with` block."""

    def __init__(self, log: Path) -> None:
        """Import everything; what it and the appliances say is appended to `log`."""
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked_appliance"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=os.environ | _QUICK,
            )

    def start(self, home: Home) -> int:
        """Run an appliance on `home`; gives its process."""
        return self._ask(f"start {home.root}")

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> int:
        """Send it a signal and give its exit code once it has gone."""
        return self._ask(f"kill {pid} {int(number)}")

    def said(self) -> str:
        """All that was logged."""
        return self._log.read_text()

    def __enter__(self) -> "Starter":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=30)

    def _ask(self, line: str) -> int:
        assert self._process.stdin
        assert self._process.stdout
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, self.said()
        return int(answer)


def _serve() -> None:
    _import_all()
    assert len(os.listdir("/proc/self/task")) == 1
    for line in sys.stdin:
        what, *words = line.split()
        print(_start(Path(words[0])) if what == "start" else _kill(*map(int, words)), flush=True)


def _import_all() -> None:
    # Not the engines: they begin threads as soon as they are imported, and those would not survive the fork.
    import psycopg  # noqa: F401
    import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401
    import uvicorn.lifespan.on
    import uvicorn.loops.auto
    import uvicorn.protocols.http.auto  # noqa: F401

    import appliance.postgres
    import appliance.service
    import appliance.sqlite  # noqa: F401
    import serving.predictor  # noqa: F401


def _start(root: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        # An appliance must not outlive the tests, however they end.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        _run(root)
    except BaseException as error:
        print(f"{root.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def _run(root: Path) -> None:
    from appliance import logs, service
    from appliance.config import load

    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    logs.configure()
    service.run(Home(root), load(Home(root)))


def _kill(pid: int, number: int) -> int:
    os.kill(pid, signal.Signals(number))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    _serve()
