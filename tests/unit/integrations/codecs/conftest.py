"""What the fuzzers of codecs share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def own_garbage() -> Iterator[None]:
    """Leave out of the collections during a test what other tests have left: with their millions of objects one takes seconds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
