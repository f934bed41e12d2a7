import pytest

from pretrain.deid import Deidentifier, deidentifier


@pytest.fixture(scope="session")
def deid() -> Deidentifier:
    return deidentifier()
