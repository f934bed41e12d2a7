"""Who reads: the promoted model behind its engine, opened when it can be and watched from then on."""

import logging
import time

from appliance import metrics
from appliance.config import AppConfig
from appliance.home import Home
from appliance.publishing import publish, published, tagger_of
from appliance.reading import Reader, TaggerReader
from appliance.registry import Entry, Registry
from integrations.records import ModelVersion
from pretrain import bundle
from serving import artifact, repository, server
from serving.engine import EngineError
from serving.engines import triton
from serving.environment import ServerError
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
        self._version: int | None = None
        self._reason: str | None = "engine_starting"

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
        """Open the reader where there is none, and see that its engine lives. Called every second or so.

        Raises:
            EngineError, ServerError: there is no reader yet, and why.
        """
        if self._server is not None:
            self._server.watch()
        if self._reader is None:
            self._reader = self._open()
            self._reason = None
            logger.info("the model is ready", extra={"model": str(self._reader.model), "engine": self._config.worker.engine})
        elif self._server is not None:
            self._reason = None if self._server.is_ready(TASK, self._version) else "engine_not_ready"
            if self._reason and self._version not in repository.versions(self._home.repository, TASK):
                # Two newer ones were published meanwhile: what is promoted is opened anew, published again if need be.
                self._reader = None
        return False

    def reader(self) -> Reader | None:
        """Whoever reads; None until the engine is up."""
        return self._reader

    def reasons(self) -> list[str]:
        """Why nothing can be read now, as words for a machine; empty when it can."""
        return [self._reason] if self._reason else []

    def close(self) -> None:
        """Stop Triton, if we started it."""
        if self._server is not None:
            self._server.stop()

    def _open(self) -> Reader:
        entry = Registry(self._home.models).promoted(TASK)
        if entry is None:
            self._reason = "no_model"
            raise EngineError(f"no {TASK} model is promoted; run `clinappliance train`, or `clinappliance models promote NAME`")
        self._reason = "engine_starting"
        tagger = tagger_of(self._home, entry) if self._server is None else self._remote_tagger(self._server, entry)
        metrics.MODEL.clear()
        metrics.MODEL.labels(TASK, entry.reference, self._config.worker.engine).set(1)
        manifest = artifact.sha256(entry.folder / bundle.MANIFEST)
        return TaggerReader(tagger, ModelVersion(entry.name, str(entry.version), manifest))

    def _remote_tagger(self, running: TritonServer, entry: Entry) -> Tagger:
        opened = bundle.load(entry.folder)
        version = published(self._home, entry)
        if version is None:
            version = int(publish(self._home, entry).name)
        if running.pid is None:
            running.start()
        engine = triton.open_remote(self._config.triton.url, TASK, version)
        self._version = version
        return Tagger(opened, engine)
