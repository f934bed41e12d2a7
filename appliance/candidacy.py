"""The candidate of one task: opened beside the model that reads, tried as long as it is one, and never in that one's way."""

import logging

from appliance.opening import Opened, Opener, version_of
from appliance.reading import Reader
from appliance.registry import Registry, RegistryError
from appliance.trial import Trial
from integrations.records import ModelVersion
from pretrain.bundle import BundleError
from serving.engine import EngineError
from serving.environment import ServerError

logger = logging.getLogger(__name__)


class Candidacy:
    """Follows which candidate the registry names. `step` and `end` are called from one thread."""

    def __init__(self, task: str, registry: Registry, opener: Opener) -> None:
        """Nothing is tried yet."""
        self._task, self._registry, self._opener = task, registry, opener
        self.trial: Trial | None = None
        """Whoever reads instead of the promoted model; None while nothing is tried."""
        self._tried: Opened | None = None
        self._untried: ModelVersion | None = None
        """A candidate that could not be opened; it is not tried again before another one was."""
        self._untold = ""

    def step(self, promoted: Reader | None) -> None:
        """Have the candidate beside `promoted`, where there is one; whatever goes wrong with it is told to the log alone."""
        try:
            found = self._registry.candidate(self._task)
            if found is None or promoted is None or found[0].is_promoted:
                self.end()
                return
            entry, share = found
            model = version_of(entry)
            if self._tried is None or self._tried.reader.model != model:
                if model == self._untried:
                    return
                self._untried = model
                self.end()
                self._tried = self._opener.open(entry)
            self._untried = None
            self._compare(promoted, self._tried, share)
        except (EngineError, ServerError, RegistryError, BundleError, OSError) as error:
            self.end()
            if self._untold != str(error):
                self._untold = str(error)
                logger.warning("the candidate cannot be tried: %s", error)

    def end(self) -> None:
        """Try nothing any more."""
        if self.trial is not None:
            self.trial.close()
        self.trial = self._tried = None

    def _compare(self, promoted: Reader, tried: Opened, share: float) -> None:
        if self.trial is None or (self.trial.promoted, self.trial.share) != (promoted, share):
            if self.trial is not None:
                self.trial.close()
            self.trial = Trial(promoted, tried.reader, share)
            logger.info("a candidate is tried", extra={"model": str(tried.reader.model), "share": share})
        if tried.failover is not None:
            tried.failover.check()
