"""A real Triton that dies, stands still, drags or lies while it is asked without a pause."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from serving.engines.triton import RemoteEngine
from serving.failover import Failover
from tests.appliance_process import eventually
from tests.triton_site import Site, processes

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


def triton_and_stubs(site: Site) -> list[psutil.Process]:
    return processes(site.server.pid)[1:]


def each(them: list[psutil.Process], number: signal.Signals) -> None:
    for process in them:
        process.send_signal(number)


@contextmanager
def killed(site: Site) -> Iterator[None]:
    triton_and_stubs(site)[0].kill()
    yield


@contextmanager
def stopped(site: Site) -> Iterator[None]:
    them = triton_and_stubs(site)
    each(them, signal.SIGSTOP)
    yield
    each(them, signal.SIGCONT)


@contextmanager
def slowed(site: Site) -> Iterator[None]:
    """It runs for a fiftieth of the time, some hundred milliseconds apart."""
    them, is_over = triton_and_stubs(site), threading.Event()

    def drag() -> None:
        while not is_over.wait(0.01):
            each(them, signal.SIGSTOP)
            is_over.wait(0.5)
            each(them, signal.SIGCONT)

    thread = threading.Thread(target=drag)
    thread.start()
    yield
    is_over.set()
    thread.join()


LIES = {
    "other_numbers": "return -3 * array",
    "not_finite": "return array * np.float32('nan')",
    "another_shape": "return array[..., :2]",
    "nothing": "return array[:0]",
}


LIAR = """\
import numpy as np
{honest}
def lie(array):
    {lie}

class Liar(TritonPythonModel):
    def initialize(self, args):
        super().initialize(args)
        run = self._engine.run
        self._engine.run = lambda inputs: {{name: np.float32(lie(array)) for name, array in run(inputs).items()}}

TritonPythonModel = Liar
"""


@contextmanager
def lying(site: Site, lie: str) -> Iterator[None]:
    """The model of a real Triton answers otherwise; Triton notices that its file changed, and loads it again."""
    model = site.repository / "clip" / "1" / "model.py"
    honest = model.read_text()
    for compiled in model.parent.glob("__pycache__/*"):
        compiled.unlink()
    model.write_text(LIAR.format(honest=honest, lie=lie))
    yield
    model.write_text(honest)


@pytest.mark.parametrize("befall", [killed, stopped, slowed], ids=lambda befall: befall.__name__)
def test_a_triton_that_is_gone_or_slow_is_stood_in_for_within_a_second_and_asked_again_when_it_is_well(befall, load):
    with befall(load.site):
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
    with lying(load.site, lie):
        eventually(lambda: len(load.changes) > 1)
        answered = load.answers
        eventually(lambda: load.answers > answered + 100)
    eventually(lambda: load.changes[-1] is None, within_s=30)
    load.stop()
    assert load.answers
    assert (load.errors, load.wrong) == ([], 0)
    assert load.slowest_s < MOST_S
