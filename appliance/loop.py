"""How a thread of the service works: step after step, resting when idle, backing off while something is broken."""

import logging
import threading
from collections.abc import Callable

from appliance.trouble import explain
from integrations.mailbox import retry_delay_s

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0


class Loop:
    """Repeats a step in a thread of its own until told to stop. What a step raises is logged, and the step tried again."""

    def __init__(self, name: str, step: Callable[[], bool], idle_s: float) -> None:
        """Nothing runs yet.

        Args:
            name: of the thread, for logs.
            step: does one piece of work; False when there was none.
            idle_s: how long to rest after that, unless woken.
        """
        self.name = name
        self._step, self._idle_s = step, idle_s
        self._stopping = threading.Event()
        self._something_new = threading.Event()
        # A daemon: where a step hangs, the process can still end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._something_new.set()

    def ask_to_stop(self) -> None:
        """Let the step in hand be the last."""
        self._stopping.set()
        self._something_new.set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the last step; False when it was not finished in time."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._something_new.clear()
            try:
                is_idle = not self._step()
                failures = 0
            except Exception as error:
                # Whatever it is, a thread that ended would be worse: the queues keep everything, and it is tried again.
                failures += 1
                pause_s = retry_delay_s(failures, longest_s=LONGEST_PAUSE_S)
                logger.warning("%s failed: %s", self.name, explain(error), extra={"next_try_in_s": pause_s})
                self._stopping.wait(pause_s)
                continue
            if is_idle:
                self._something_new.wait(self._idle_s)
