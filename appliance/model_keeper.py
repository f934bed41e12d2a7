"""The promoted model of one task: opened when it can be, watched from then on, and followed when another is promoted."""

import logging
import time

from appliance import metrics
from appliance.candidacy import Candidacy
from appliance.home import Home
from appliance.opening import Opened, Opener, version_of
from appliance.reading import Reader
from appliance.registry import Registry, RegistryError
from integrations.mailbox import retry_delay_s
from integrations.records import ModelVersion
from pretrain.bundle import BundleError
from serving import repository
from serving.engine import EngineError
from serving.environment import ServerError

logger = logging.getLogger(__name__)

LOADING_S = 60.0
"""How long a promoted model waits for a Triton that is well to load it; then this process reads with it alone."""


class ModelKeeper:
    """Keeps whoever reads for one task. `step` and `close` are called from one thread."""

    def __init__(self, task: str, home: Home, opener: Opener) -> None:
        """Nothing is opened yet."""
        self.task = task
        self.trouble: str | None = None
        """Why there is no reader, in a sentence; None while there is one, or nobody has looked yet."""
        self._home, self._registry, self._opener = home, Registry(home.models), opener
        self._candidacy = Candidacy(task, self._registry, opener)
        self._reading: Opened | None = None
        self._coming: Opened | None = None
        """Promoted, and not yet loaded by Triton."""
        self._is_promoted = True
        self._refused: ModelVersion | None = None
        """What was promoted last and could not be taken up, how often, and when it is tried again."""
        self._refusals, self._again_at = 0, 0.0

    @property
    def reader(self) -> Reader | None:
        """Whoever reads; None until a model is open."""
        return self._candidacy.trial or (self._reading.reader if self._reading else None)

    @property
    def is_behind(self) -> bool:
        """Whether a model is promoted and none is open."""
        return self._reading is None and self._is_promoted

    @property
    def is_without_triton(self) -> bool:
        """Whether this process computes answers that Triton should."""
        failover = self._reading.failover if self._reading else None
        return failover is not None and bool(failover.reason)

    def step(self) -> None:
        """Open what is promoted, or follow it, and see that Triton is well; what fails is in `trouble` or in the log."""
        self._follow()
        self.trouble = None if self._reading else self.trouble
        if self._reading is not None and self._reading.failover is not None:
            self._reading.failover.check()
        self._candidacy.step(self._reading.reader if self._reading else None)

    def close(self) -> None:
        """End what is tried."""
        self._candidacy.end()

    def _follow(self) -> None:
        """Take up what was promoted meanwhile, beside the model that reads; that one goes on where the new one cannot.

        A message is read by one of them from its beginning to its end: whoever reads it has asked for the reader once.
        """
        model = None
        try:
            entry = self._registry.promoted(self.task)
            self._is_promoted = entry is not None
            if entry is None:
                advice = "run `clinappliance train`, or `clinappliance models promote NAME`"
                raise EngineError(f"no {self.task} model is promoted; {advice}")
            model = version_of(entry)
            if self._coming is not None and self._coming.reader.model == model:
                self._change_over(self._coming)
            elif self._reading is None or model != self._reading.reader.model or self._is_displaced(self._reading):
                if model == self._refused and time.monotonic() < self._again_at:
                    return
                self._change_over(self._opener.open(entry))
            else:
                self._coming = None
            self._refused, self._refusals = None, 0
        except (EngineError, ServerError, RegistryError, BundleError, OSError) as error:
            self._refuse(model, error)

    def _refuse(self, model: ModelVersion | None, error: Exception) -> None:
        self._refusals = self._refusals + 1 if model == self._refused else 1
        self._refused = model
        # What answers otherwise than torch is compiled anew each time.
        self._again_at = time.monotonic() + retry_delay_s(self._refusals, longest_s=300.0 if self._reading else 30.0)
        if self._reading is None:
            self.trouble = str(error)
        elif self._refusals == 1:
            logger.warning("%s goes on reading, the promoted model cannot: %s", self._reading.reader.model, error)

    def _is_displaced(self, reading: Opened) -> bool:
        """Whether two newer versions were published and the one that reads is not in Triton's repository any more."""
        return reading.version is not None and reading.version not in repository.versions(self._home.repository, self.task)

    def _change_over(self, coming: Opened) -> None:
        """Let `coming` read, once Triton has loaded it: nobody need be slower for a promotion."""
        before = self._reading.failover if self._reading else None
        if coming.failover is not None and before is not None and before.reason is None:
            coming.failover.check()
            if coming.failover.reason and time.monotonic() - coming.since_s < LOADING_S:
                self._coming = coming
                return
        if self._reading is not None:
            metrics.MODEL.remove(self.task, self._reading.reference, self._opener.engine)
        self._reading, self._coming = coming, None
        metrics.MODEL.labels(self.task, coming.reference, self._opener.engine).set(1)
        logger.info("the model is ready", extra={"model": str(coming.reader.model), "engine": self._opener.engine})
