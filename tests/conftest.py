"""What several folders of tests share. Its being here puts `tests/` on the import path, so that they share modules too."""

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def triton_environment() -> Path:
    """Triton's own environment: as named, as installed, or as kept in the checkout."""
    named = os.environ.get("CLINAPPLIANCE_TRITON_ENVIRONMENT")
    places = [Path(named)] if named else [Path(sys.prefix) / "triton", Path(__file__).parents[1] / ".triton"]
    for place in places:
        if place.exists():
            return place
    pytest.skip(f"Triton's environment is not in {' or '.join(map(str, places))}; ./install.sh makes it")
