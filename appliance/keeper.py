"""Who reads: the promoted model behind its engine, opened when it can be, watched from then on, and followed when it changes."""

import logging
import time

from appliance import metrics
from appliance.config import AppConfig
from appliance.home import Home
from appliance.publishing import artifact_of, publish, published
from appliance.reading import Reader, TaggerReader
from appliance.registry import Entry, Registry, RegistryError
from integrations.mailbox import retry_delay_s
from integrations.records import ModelVersion
from pretrain import bundle
from pretrain.bundle import BundleError, ModelBundle
from serving import artifact, repository, server
from serving.engine import Engine, EngineError
from serving.engines.triton import RemoteEngine
from serving.environment import ServerError
from serving.failover import Failover
from serving.predictor import Tagger
from serving.server import TritonServer

logger = logging.getLogger(__name__)

TASK = "clip"
PORTS_FREE_S = 15.0
"""How long the Triton of an appliance that was killed may take to be gone."""


class EngineKeeper:
    """Starts Triton where it is wanted, opens the reader, and keeps both. `step` is called from one thread."""

    def __init__(self, home: Home, config: AppConfig) -> None:
        """Nothing is started yet."""
        self._home, self._config = home, config
        self._server: TritonServer | None = None
        if config.worker.engine == "triton":
            self._server = TritonServer(config.triton, home.repository, home.logs / "triton.log")
        self._reader: Reader | None = None
        self._failover: Failover | None = None
        self._version: int | None = None
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
        if self._reader is None:
            self._reason = "engine_starting"
            self._take_up(*self._promoted())
        else:
            self._follow(self._reader)
        self._reason = None
        if self._failover is not None:
            self._failover.check()
        return False

    def reader(self) -> Reader | None:
        """Whoever reads; None until the engine is up."""
        return self._reader

    def reasons(self) -> list[str]:
        """Why nothing can be read now, as words for a machine; empty when it can."""
        return [self._reason] if self._reason else []

    def degraded(self) -> list[str]:
        """What is not as it should be though notes are read, as words for a machine."""
        return ["triton_not_used"] if self._failover is not None and self._failover.reason else []

    def close(self) -> None:
        """Stop Triton, if we started it."""
        if self._server is not None:
            self._server.stop()

    def _promoted(self) -> tuple[Entry, ModelVersion]:
        entry = Registry(self._home.models).promoted(TASK)
        if entry is None:
            self._reason = "no_model"
            raise EngineError(f"no {TASK} model is promoted; run `clinappliance train`, or `clinappliance models promote NAME`")
        manifest = artifact.sha256(entry.folder / bundle.MANIFEST)
        return entry, ModelVersion(entry.name, str(entry.version), manifest)

    def _follow(self, reader: Reader) -> None:
        """Take up what was promoted meanwhile, beside the model that reads; that one goes on where the new one cannot.

        A message is read by one of them from its beginning to its end: whoever reads it has asked for the reader once.
        """
        model = None
        try:
            entry, model = self._promoted()
            if model != reader.model or self._is_displaced():
                if model == self._refused and time.monotonic() < self._again_at:
                    return
                self._take_up(entry, model)
            self._refused, self._refusals = None, 0
        except (EngineError, ServerError, RegistryError, BundleError, OSError) as error:
            self._refusals = self._refusals + 1 if model == self._refused else 1
            self._refused = model
            # Triton takes some seconds to load what was published; what answers otherwise than torch is compiled anew each time.
            self._again_at = time.monotonic() + retry_delay_s(self._refusals)
            if self._refusals == 1:
                logger.warning("%s goes on reading, the promoted model cannot yet: %s", reader.model, error)

    def _is_displaced(self) -> bool:
        """Whether two newer versions were published and the one that reads is not in Triton's repository any more."""
        return self._version is not None and self._version not in repository.versions(self._home.repository, TASK)

    def _take_up(self, entry: Entry, model: ModelVersion) -> None:
        opened = bundle.load(entry.folder)
        engine: Engine = artifact_of(self._home, entry).open()
        failover = None
        if self._server is not None:
            failover, self._version = self._behind(self._server, entry, engine, opened)
            engine = failover
        self._failover, self._reader = failover, TaggerReader(Tagger(opened, engine), model)
        metrics.MODEL.clear()
        metrics.MODEL.labels(TASK, entry.reference, self._config.worker.engine).set(1)
        logger.info("the model is ready", extra={"model": str(model), "engine": self._config.worker.engine})

    def _behind(self, running: TritonServer, entry: Entry, local: Engine, opened: ModelBundle) -> tuple[Failover, int]:
        """The engine that asks Triton and falls back on `local`, and the version in Triton's repository that it asks for.

        Raises:
            EngineError: Triton serves the model that reads, and this one not yet.
        """
        version = published(self._home, entry)
        if version is None:
            version = int(publish(self._home, entry).name)
        running.want()
        failover = Failover(lambda: RemoteEngine(self._config.triton.url, TASK, version), local, opened.probe(), _told)
        if self._failover is not None and self._failover.reason is None:
            # Nobody need be slower for a promotion: the model that reads goes on until Triton has loaded this one.
            failover.check()
            if failover.reason:
                raise EngineError(failover.reason)
        return failover, version


def _told(reason: str | None) -> None:
    metrics.FALLBACK.set(reason is not None)
    if reason is not None:
        metrics.FALLBACKS.inc()
