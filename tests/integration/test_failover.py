"""A real Triton that dies, stands still, drags or lies while it is asked without a pause."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.engines.triton import RemoteEngine
from serving.failover import Failover
from tests.appliance_process import eventually
from tests.triton_faults import LIES, killed, lying, slowed, stopped, triton_and_stubs
from tests.triton_site import Site

MOST_S = 1.0
"""How long any answer may take, whatever befalls Triton."""


class Load:
    """Asks without a pause, as the worker does, beside a thread that looks after Triton every second, as the keeper does."""

    def __init__(self, site: Site) -> None:
        self.site, self.local = site, site.artifact.open()
        self.changes: list[str | None] = []
        self.failover = Failover(
            lambda: RemoteEngine(site.config.url, "clip", 1), site.artifact.open(), site.bundle.probe(), self.changes.append
        )
        self.slowest_s, self.answers, self.wrong, self.errors = 0.0, 0, 0, list[Exception]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=target) for target in (self._ask, self._keep)]

    def _ask(self) -> None:
        rng = np.random.default_rng(0)
        while not self._stop.is_set():
            inputs = {"input_ids": rng.integers(3, 200, (4, 16)), "attention_mask": np.ones((4, 16), np.int64)}
            began = time.perf_counter()
            try:
                found = self.failover.run(inputs)["token_logits"]
            except Exception as error:
                self.errors.append(error)
                continue
            self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
            self.answers += 1
            self.wrong += not np.allclose(found, self.local.run(inputs)["token_logits"], atol=1e-5)

    def _keep(self) -> None:
        while not self._stop.wait(1.0):
            self.site.server.watch()
            self.failover.check()

    def stop(self) -> None:
        if self._stop.is_set():
            return
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self.failover.close()
        self.local.close()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, triton_environment: Path) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("failover"), triton_environment)
    site.server.start()
    yield site
    site.server.stop()


@pytest.fixture
def load(site: Site) -> Iterator[Load]:
    """Under way, answered by Triton."""
    load = Load(site)
    load.start()
    eventually(lambda: load.changes == [None])
    answered = load.answers
    eventually(lambda: load.answers > answered + 20)
    yield load
    load.stop()


@pytest.mark.parametrize("befall", [killed, stopped, slowed], ids=lambda befall: befall.__name__)
def test_a_triton_that_is_gone_or_slow_is_stood_in_for_within_a_second_and_asked_again_when_it_is_well(befall, load):
    with befall(triton_and_stubs(load.site.server.pid)):
        eventually(lambda: len(load.changes) > 1)
        answered = load.answers
        eventually(lambda: load.answers > answered + 100)
    eventually(lambda: load.changes[-1] is None, within_s=30)
    answered = load.answers
    eventually(lambda: load.answers > answered + 20)
    load.stop()
    assert (load.errors, load.wrong) == ([], 0)
    assert load.slowest_s < MOST_S


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_no_answer_of_a_triton_that_lies_is_used(lie, load):
    with lying(load.site.repository / "clip" / "1", lie):
        eventually(lambda: len(load.changes) > 1)
        answered = load.answers
        eventually(lambda: load.answers > answered + 100)
    eventually(lambda: load.changes[-1] is None, within_s=30)
    load.stop()
    assert load.answers
    assert (load.errors, load.wrong) == ([], 0)
    assert load.slowest_s < MOST_S
