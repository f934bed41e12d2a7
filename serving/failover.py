"""One model behind Triton and in this process: while Triton is gone, slow or wrong, the process answers in its place.

Triton is believed only as long as it answers in time, in the right shape, with finite numbers, and gives the known answer to a
few tokens that are asked after every batch: whoever lies gives itself away before what it said is used. Both sides run the
same compiled model, so who answered makes no difference to a note.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.engine import INPUTS, OUTPUT, Engine, EngineError

logger = logging.getLogger(__name__)

PATIENCE_S = 0.25
"""What any answer may take, beside the time its tokens need."""
TIMES_SLOWER = 4.0
"""How many times longer than in this process a batch may take: the two share a machine, and Triton has work of others too."""
PROBE_TOKENS = 8
MAX_PROBE_ERROR = 0.5
"""How far the known answer may be missed, in standard deviations of it: bfloat16 stays far below, garbage far above."""
STEADY_S = 60.0
"""Whoever has been believed for so long has recovered: the pause before it is believed again begins anew at a second."""
MAX_PAUSE_S = 60.0


class Remote(Protocol):
    """An engine that may keep one waiting."""

    def run(self, inputs: Mapping[str, NDArray[Any]], timeout_s: float | None = None) -> dict[str, NDArray[np.float32]]:
        """As `Engine.run`, in at most `timeout_s`."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class Failover:
    """An engine with two sides. `run` is called from one thread, `check` from another one.

    Triton is first asked when a `check` has found it well.
    """

    def __init__(
        self,
        connect: Callable[[], Remote],
        local: Engine,
        probe: Mapping[str, NDArray[Any]],
        on_change: Callable[[str | None], None] = lambda reason: None,
    ) -> None:
        """Ask `local` what the right answers are and how long they take; nothing is asked of Triton yet.

        Args:
            connect: gives a connection to the model in Triton, whether it is served now or not. Two are made.
            local: the same model in this process.
            probe: inputs of the bundle.
            on_change: told why Triton is not asked any more, or None when it is asked again.
        Raises:
            EngineError: the engine in this process does not answer.
        """
        self._local, self._on_change = local, on_change
        whole = {name: probe[name] for name in INPUTS}
        # Asked once before it is timed: engines settle their shapes at the first call.
        local.run(whole)
        began = time.perf_counter()
        local.run(whole)
        self._s_per_token = (time.perf_counter() - began) / whole[INPUTS[0]].size
        few_ids = whole[INPUTS[0]][:1, :PROBE_TOKENS].copy()
        self._few = dict(zip(INPUTS, (few_ids, np.ones_like(few_ids)), strict=True))
        self._expected = local.run(self._few)[OUTPUT]
        self._asked, self._watched = connect(), connect()
        self._changing = threading.Lock()
        self._reason: str | None = "not asked yet"
        self._since, self._pause_s, self._again_at = 0.0, 1.0, 0.0

    @property
    def reason(self) -> str | None:
        """Why this process answers in Triton's place; None while Triton does."""
        return self._reason

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """What Triton says, where it can be believed, and what the engine in this process says otherwise.

        Raises:
            EngineError: neither answers.
        """
        if self._reason is None:
            try:
                outputs = self._asked.run(inputs, self._patience_s(inputs))
                self._refuse_nonsense(inputs, outputs)
                self._refuse_lies(self._asked)
                return outputs
            except EngineError as error:
                self._stop_asking(str(error))
        return self._local.run(inputs)

    def check(self) -> None:
        """See whether Triton is well, and ask it again or no more. To be called every second."""
        if self._reason is not None and time.monotonic() < self._again_at:
            return
        try:
            self._refuse_lies(self._watched)
        except EngineError as error:
            self._stop_asking(str(error))
            return
        self._ask_again()

    def close(self) -> None:
        """Close both sides."""
        for engine in (self._asked, self._watched, self._local):
            engine.close()

    def _patience_s(self, inputs: Mapping[str, NDArray[Any]]) -> float:
        return PATIENCE_S + TIMES_SLOWER * self._s_per_token * inputs[INPUTS[0]].size

    def _refuse_nonsense(self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[np.float32]]) -> None:
        wanted = (*inputs[INPUTS[0]].shape, self._expected.shape[-1])
        if OUTPUT not in outputs or outputs[OUTPUT].shape != wanted:
            raise EngineError(f"Triton answers in a shape that is not {wanted}")
        if not np.isfinite(outputs[OUTPUT][inputs[INPUTS[1]].astype(bool)]).all():
            raise EngineError("Triton answers with numbers that are not finite")

    def _refuse_lies(self, remote: Remote) -> None:
        outputs = remote.run(self._few, self._patience_s(self._few))
        self._refuse_nonsense(self._few, outputs)
        error = float(np.abs(outputs[OUTPUT] - self._expected).max() / self._expected.std())
        if error > MAX_PROBE_ERROR:
            raise EngineError(f"Triton misses a known answer by {error:.2g} standard deviations (allowed {MAX_PROBE_ERROR:g})")

    def _stop_asking(self, reason: str) -> None:
        with self._changing:
            was_asked, self._reason = self._reason is None, reason
            if not was_asked:
                return
            now = time.monotonic()
            # One that fails again and again is left alone for longer and longer: each of its failures costs a note its patience.
            self._pause_s = 1.0 if now - self._since > STEADY_S else min(MAX_PAUSE_S, 2 * self._pause_s)
            self._again_at = now + self._pause_s
        logger.warning("answers are computed in this process: %s", reason)
        self._on_change(reason)

    def _ask_again(self) -> None:
        with self._changing:
            if self._reason is None:
                return
            self._reason, self._since = None, time.monotonic()
        logger.info("answers come from Triton")
        self._on_change(None)
