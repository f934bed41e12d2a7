"""Who reads: the promoted model behind its engine, opened when it can be, watched from then on, and followed when it changes."""

import logging
import time

from appliance import metrics
from appliance.candidacy import Candidacy
from appliance.config import AppConfig
from appliance.home import Home
from appliance.opening import Opened, Opener, version_of
from appliance.reading import Reader
from appliance.registry import Entry, Registry, RegistryError
from integrations.mailbox import retry_delay_s
from integrations.records import ModelVersion
from pretrain.bundle import BundleError
from serving import repository, server
from serving.engine import EngineError
from serving.environment import ServerError
from serving.server import TritonServer

logger = logging.getLogger(__name__)

TASK = "clip"
PORTS_FREE_S = 15.0
"""How long the Triton of an appliance that was killed may take to be gone."""
LOADING_S = 60.0
"""How long a promoted model waits for a Triton that is well to load it; then this process reads with it alone."""


class EngineKeeper:
    """Starts Triton where it is wanted, opens the reader, and keeps both. `step` is called from one thread."""

    def __init__(self, home: Home, config: AppConfig) -> None:
        """Nothing is started yet."""
        self._home, self._config = home, config
        self._server: TritonServer | None = None
        if config.worker.engine == "triton":
            self._server = TritonServer(config.triton, home.repository, home.logs / "triton.log")
        self._opener = Opener(home, config, self._server)
        self._candidacy = Candidacy(TASK, Registry(home.models), self._opener)
        self._reading: Opened | None = None
        self._coming: Opened | None = None
        """Promoted, and not yet loaded by Triton."""
        self._reason: str | None = "engine_starting"
        self._refused: ModelVersion | None = None
        """What was promoted last and could not be taken up, how often, and when it is tried again."""
        self._refusals, self._again_at = 0, 0.0

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
        """Open the reader where there is none, follow what is promoted, and see that the engine lives. Called every second or so.

        Raises:
            EngineError, ServerError: there is no reader yet, and why.
            RegistryError, BundleError: nobody can tell which model is promoted, or its files are damaged.
        """
        if self._server is not None:
            self._server.watch()
        if self._reading is None:
            self._reason = "engine_starting"
            self._take_up(self._promoted()[0])
        else:
            self._follow(self._reading)
        self._reason = None
        if self._reading is not None and self._reading.failover is not None:
            self._reading.failover.check()
        metrics.FALLBACK.set(bool(self.degraded()))
        self._candidacy.step(self._reading.reader if self._reading else None)
        return False

    def reader(self) -> Reader | None:
        """Whoever reads; None until the engine is up."""
        return self._candidacy.trial or (self._reading.reader if self._reading else None)

    def reasons(self) -> list[str]:
        """Why nothing can be read now, as words for a machine; empty when it can."""
        return [self._reason] if self._reason else []

    def degraded(self) -> list[str]:
        """What is not as it should be though notes are read, as words for a machine."""
        failover = self._reading.failover if self._reading else None
        return ["triton_not_used"] if failover is not None and failover.reason else []

    def close(self) -> None:
        """Stop Triton, if we started it, and what is tried."""
        self._candidacy.end()
        if self._server is not None:
            self._server.stop()

    def _promoted(self) -> tuple[Entry, ModelVersion]:
        entry = Registry(self._home.models).promoted(TASK)
        if entry is None:
            self._reason = "no_model"
            raise EngineError(f"no {TASK} model is promoted; run `clinappliance train`, or `clinappliance models promote NAME`")
        return entry, version_of(entry)

    def _follow(self, reading: Opened) -> None:
        """Take up what was promoted meanwhile, beside the model that reads; that one goes on where the new one cannot.

        A message is read by one of them from its beginning to its end: whoever reads it has asked for the reader once.
        """
        model = None
        try:
            entry, model = self._promoted()
            if self._coming is not None and self._coming.reader.model == model:
                self._change_over(self._coming)
            elif model != reading.reader.model or self._is_displaced(reading):
                if model == self._refused and time.monotonic() < self._again_at:
                    return
                self._take_up(entry)
            else:
                self._coming = None
            self._refused, self._refusals = None, 0
        except (EngineError, ServerError, RegistryError, BundleError, OSError) as error:
            self._refusals = self._refusals + 1 if model == self._refused else 1
            self._refused = model
            # What answers otherwise than torch is compiled anew each time.
            self._again_at = time.monotonic() + retry_delay_s(self._refusals)
            if self._refusals == 1:
                logger.warning("%s goes on reading, the promoted model cannot: %s", reading.reader.model, error)

    def _is_displaced(self, reading: Opened) -> bool:
        """Whether two newer versions were published and the one that reads is not in Triton's repository any more."""
        return reading.version is not None and reading.version not in repository.versions(self._home.repository, TASK)

    def _take_up(self, entry: Entry) -> None:
        self._change_over(self._opener.open(entry))

    def _change_over(self, coming: Opened) -> None:
        """Let `coming` read, once Triton has loaded it: nobody need be slower for a promotion."""
        before = self._reading.failover if self._reading else None
        if coming.failover is not None and before is not None and before.reason is None:
            coming.failover.check()
            if coming.failover.reason and time.monotonic() - coming.since_s < LOADING_S:
                self._coming = coming
                return
        self._reading, self._coming = coming, None
        metrics.MODEL.clear()
        metrics.MODEL.labels(TASK, coming.reference, self._config.worker.engine).set(1)
        logger.info("the model is ready", extra={"model": str(coming.reader.model), "engine": self._config.worker.engine})
