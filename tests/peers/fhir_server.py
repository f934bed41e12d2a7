"""A real FHIR R4 server for tests: Medplum's router, started from `tests/peers/fhir`."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "fhir"


def why_not() -> str | None:
    """What is missing for the server to start; None when nothing is."""
    if not shutil.which("node"):
        return "node is not installed"
    if not all((FOLDER / "node_modules" / name).is_dir() for name in ("@medplum/fhir-router", "fhir")):
        return "the FHIR server is not installed: run `npm ci` in tests/peers/fhir"
    return None


@contextlib.contextmanager
def running_fhir_server(port: int = 0) -> Iterator[str]:
    """A server of its own, empty; gives its base URL and stops it at the end."""
    process = subprocess.Popen(
        ["node", "server.mjs", str(port)], cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert line.startswith("ready "), f"the FHIR server did not start: exit {process.wait(10)}"
        yield f"http://127.0.0.1:{line.split()[1]}/fhir"
    finally:
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


@pytest.fixture(scope="session")
def fhir_server() -> Iterator[str]:
    """Base URL of a FHIR server that all tests of a run share."""
    reason = why_not()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with running_fhir_server() as url:
        yield url
