"""Who reads: the promoted model of each task behind its engine, and the Triton that runs them."""

import logging
import time
from collections.abc import Mapping

from appliance import metrics
from appliance.config import AppConfig
from appliance.home import Home
from appliance.model_keeper import ModelKeeper
from appliance.opening import Opener
from appliance.reading import Reader
from serving import server
from serving.engine import EngineError
from serving.environment import ServerError
from serving.server import TritonServer

logger = logging.getLogger(__name__)

PORTS_FREE_S = 15.0
"""How long the Triton of an appliance that was killed may take to be gone."""


class EngineKeeper:
    """Starts Triton where it is wanted, opens a reader for each task, and keeps them. `step` is called from one thread."""

    def __init__(self, home: Home, config: AppConfig) -> None:
        """Nothing is started yet."""
        self._config = config
        self._server: TritonServer | None = None
        if config.worker.engine == "triton":
            self._server = TritonServer(config.triton, home.repository, home.logs / "triton.log")
        opener = Opener(home, config, self._server)
        tasks = dict.fromkeys(config.routing.tasks.values())
        self._models = [ModelKeeper(task, home, opener) for task in tasks]
        self._told: dict[str, str | None] = {}

    def check(self) -> None:
        """Say at once what could never work.

        Raises:
            ServerError: Triton cannot be started here; the message says why and what to do.
        """
        if self._server is None:
            return
        deadline, is_told = time.monotonic() + PORTS_FREE_S, False
        while reason := server.why_not(self._config.triton):
            if not reason.startswith("port ") or time.monotonic() > deadline:
                raise ServerError(reason)
            if not is_told:
                logger.info("waiting %d s for a Triton that may be ending: %s", PORTS_FREE_S, reason)
                is_told = True
            time.sleep(0.1)

    def step(self) -> bool:
        """Open readers where there are none, follow what is promoted, and see that the engine lives. Called every second or so.

        Raises:
            EngineError: there is no reader at all, and why.
            ServerError: Triton cannot be looked after.
        """
        if self._server is not None:
            self._server.watch()
        for model in self._models:
            model.step()
        metrics.FALLBACK.set(any(model.is_without_triton for model in self._models))
        if self.reasons():
            raise EngineError("; ".join(model.trouble for model in self._models if model.trouble) or "no task is to be read for")
        for model in self._models:
            self._tell(model)
        return False

    def readers(self) -> Mapping[str, Reader]:
        """Whoever reads, by task; those tasks whose model is open."""
        return {model.task: reader for model in self._models if (reader := model.reader)}

    def reasons(self) -> list[str]:
        """Why nothing can be read now, as words for a machine; empty when one task can."""
        if self.readers():
            return []
        return ["engine_starting" if any(model.is_behind for model in self._models) else "no_model"]

    def degraded(self) -> list[str]:
        """What is not as it should be though notes are read, as words for a machine."""
        behind = [f"{model.task}_not_read" for model in self._models if model.is_behind and self.readers()]
        return ["triton_not_used"] * any(model.is_without_triton for model in self._models) + behind

    def close(self) -> None:
        """Stop Triton, if we started it, and what is tried."""
        for model in self._models:
            model.close()
        if self._server is not None:
            self._server.stop()

    def _tell(self, model: ModelKeeper) -> None:
        """Log, once, why a task is not read for, where a model of it is promoted: one that nobody wants is no trouble."""
        trouble = model.trouble if model.is_behind else None
        if trouble and self._told.get(model.task) != trouble:
            logger.warning("%s is not read: %s", model.task, trouble)
        self._told[model.task] = trouble
