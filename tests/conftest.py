"""What several folders of tests share."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.fhir_site import fhir_site
from tests.peers.fhir_server import fhir_server
from tests.peers.postgres import Postgres, postgres
from tests.trained_home import trained_home

__all__ = ["fhir_server", "fhir_site", "postgres", "trained_home"]

# A shell that starts the tests in the background lets them ignore Ctrl-C, and so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database may be made: whatever asks for it is tested on both kinds."""
    if request.param == "sqlite":
        return tmp_path / "appliance.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture(scope="session")
def triton_environment() -> Path:
    """Triton's own environment: as named, as installed, or as kept in the checkout."""
    named = os.environ.get("CLINAPPLIANCE_TRITON_ENVIRONMENT")
    places = [Path(named)] if named else [Path(sys.prefix) / "triton", Path(__file__).parents[1] / ".triton"]
    for place in places:
        if place.exists():
            return place
    pytest.skip(f"Triton's environment is not in {' or '.join(map(str, places))}; ./install.sh makes it")
