"""A registered bundle as something that reads notes: compiled, opened in this process, and behind Triton where that runs."""

import time
from dataclasses import dataclass
from functools import partial

from appliance import metrics
from appliance.config import AppConfig
from appliance.home import Home
from appliance.publishing import artifact_of, publish, published
from appliance.questions import questions_of
from appliance.reading import Reader, ReportReader, TaggerReader
from appliance.registry import Entry
from integrations.records import ModelVersion
from pretrain import bundle
from pretrain.bundle import ModelBundle
from serving import artifact, predictor
from serving.engine import Engine
from serving.engines.triton import RemoteEngine
from serving.failover import Failover
from serving.server import TritonServer


@dataclass(frozen=True)
class Opened:
    """A model that can read, or does."""

    reader: Reader
    reference: str
    failover: Failover | None
    """Where Triton is to run it."""
    version: int | None
    """In Triton's repository."""
    since_s: float


class Opener:
    """Opens bundles on one host."""

    def __init__(self, home: Home, config: AppConfig, server: TritonServer | None) -> None:
        """Nothing is opened yet; without a `server`, models run in this process alone."""
        self._home, self._config, self._server = home, config, server
        self.engine = config.worker.engine
        """Who runs the models, as the settings have it."""

    def open(self, entry: Entry) -> Opened:
        """Have `entry` read, published to Triton first where that runs.

        Raises:
            BundleError: its files are damaged.
            EngineError: no engine of this host opens it, or it answers otherwise than torch did.
        """
        opened = bundle.load(entry.folder)
        failover = version = None
        if self._server is not None:
            # Before it is opened here: publishing may compile it anew.
            version = published(self._home, entry) or int(publish(self._home, entry).name)
            self._server.want()
        compiled = artifact_of(self._home, entry)
        # What stands in for a Triton on a GPU must not need that GPU.
        is_on_gpu = compiled.engine == "tensorrt" and version is not None
        local = (artifact_of(self._home, entry, "cpu") if is_on_gpu else compiled).open()
        if version is not None:
            connect = partial(RemoteEngine, self._config.triton.url, entry.task, version)
            failover = Failover(connect, local, opened.probe(), _told)
        reader = self._reader(opened, failover or local, compiled.tokens_per_batch, version_of(entry))
        return Opened(reader, entry.reference, failover, version, time.monotonic())

    def _reader(self, opened: ModelBundle, engine: Engine, tokens_per_batch: int, model: ModelVersion) -> Reader:
        if opened.manifest.task == "radqa":
            asked = partial(questions_of, config=self._config.questions)
            return ReportReader(predictor.Reader(opened, engine, tokens_per_batch), model, asked)
        return TaggerReader(predictor.Tagger(opened, engine, tokens_per_batch), model)


def version_of(entry: Entry) -> ModelVersion:
    """The model as findings name it."""
    return ModelVersion(entry.name, str(entry.version), artifact.sha256(entry.folder / bundle.MANIFEST))


def _told(reason: str | None) -> None:
    if reason is not None:
        metrics.FALLBACKS.inc()
