"""What befalls a real Triton: it dies, stands still, drags, or its model lies; and is well again afterwards."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

LIES = {
    "other_numbers": "return -3 * array",
    "not_finite": "return array * np.float32('nan')",
    "another_shape": "return array[..., :2]",
    "nothing": "return array[:0]",
}

_LIAR = """\
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


def triton_and_stubs(pid: int) -> list[psutil.Process]:
    """The Triton that descends from process `pid`, then its stubs."""
    found = [p for p in psutil.Process(pid).children(recursive=True) if p.name().startswith("triton")]
    return sorted(found, key=lambda p: p.name() != "tritonserver")


@contextmanager
def killed(them: Sequence[psutil.Process]) -> Iterator[None]:
    """Triton is killed; its keeper starts another one."""
    them[0].kill()
    yield


@contextmanager
def stopped(them: Sequence[psutil.Process]) -> Iterator[None]:
    """It stands still."""
    _send(them, signal.SIGSTOP)
    yield
    _send(them, signal.SIGCONT)


@contextmanager
def slowed(them: Sequence[psutil.Process]) -> Iterator[None]:
    """It runs for a fiftieth of the time, half a second apart."""
    is_over = threading.Event()

    def drag() -> None:
        while not is_over.wait(0.01):
            _send(them, signal.SIGSTOP)
            is_over.wait(0.5)
            _send(them, signal.SIGCONT)

    thread = threading.Thread(target=drag)
    thread.start()
    yield
    is_over.set()
    thread.join()


@contextmanager
def lying(version: Path, lie: str) -> Iterator[None]:
    """The model in folder `version` of the repository answers otherwise: Triton sees its file change and loads it again."""
    model = version / "model.py"
    honest = model.read_text()
    for compiled in version.glob("__pycache__/*"):
        compiled.unlink()
    model.write_text(_LIAR.format(honest=honest, lie=lie))
    yield
    model.write_text(honest)


def _send(them: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in them:
        process.send_signal(number)
