"""The pretrained base: a vocabulary, a model that read the corpus, the leak gate, and the page that tells of it all."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from itertools import chain
from pathlib import Path
from typing import Any

from appliance.registry import Entry, Registry
from appliance.training.labels import SEEN, digest
from appliance.training.page import page_of
from appliance.training.registering import register
from appliance.training.request import REQUEST, Request, Watch, asked
from appliance.training.settings import TrainingConfig
from appliance.training.starting_point import is_t5
from appliance.training.vocabulary import fertility
from pretrain import bundle
from pretrain.budget import Budget, Schedule
from pretrain.bundle import Manifest, ModelBundle
from pretrain.corpus import Corpus, Document
from pretrain.leakage import Canaries
from pretrain.plots import loss_curve
from pretrain.pretraining import DEV, TRAIN, PretrainingResult, history
from pretrain.progress import StepReport
from pretrain.shards import Shard, tokenize
from pretrain.tokenizer import Tokenizer
from pretrain.tokenizer import train as train_tokenizer

WINDOW_TOKENS = 512
TOKENIZER_CHARACTERS = 50_000_000
"""Of the corpus are enough to learn a vocabulary from, and all that memory has to hold."""
ENERGY = "energy.json"
"""In the work folder: what the runs so far took."""
METER_EVERY_S = 30.0
"""How often the energy meter is read: it takes what GPUs draw at that moment for what they drew since the last."""


def make_base(
    registry: Registry,
    request: Request,
    config: TrainingConfig,
    corpus: Corpus,
    kept_out: Sequence[str],
    work: Path,
    budget: Budget,
    watch: Watch,
) -> Entry:
    """Pretrain on the corpus and register what came of it."""
    from pretrain.devices import best_device
    from pretrain.energy import Meter

    tokenizer = _tokenizer(request, config, corpus, work, watch)
    fertile = fertility(corpus, tokenizer, config)
    watch.say(
        f"{tokenizer.vocab_size} pieces; fertility on held-out notes: {'; '.join(map(str, fertile)) or 'none to measure on'}"
    )
    canaries = Canaries.plan(request.seed)
    learned = _shards(request, corpus, canaries, tokenizer, work, watch)
    meter = Meter(best_device(), len(os.sched_getaffinity(0)), kept=work / ENERGY)
    read_at = time.monotonic()

    def on_step(report: StepReport) -> None:
        nonlocal read_at
        if time.monotonic() - read_at > METER_EVERY_S:
            meter.read()
            read_at = time.monotonic()
        watch.step(report)

    watch.phase(f"Pretraining ({request.begin_from.name if request.begin_from else request.size})")
    try:
        result = _learn(request, config.schedule, tokenizer, work, budget, on_step, watch)
    finally:
        energy = meter.read()
    watch.phase("Testing whether it gives away what it read")
    gate = _leak_gate(request, work, tokenizer, canaries, watch)
    watch.say("leak gate passed" if gate["passed"] else f"leak gate FAILED: {'; '.join(gate['reasons'])}")
    manifest = Manifest(
        name=request.name,
        task=bundle.BASE,
        version=1,
        size=result.size,
        labels=(),
        cutoffs=(),
        window_tokens=WINDOW_TOKENS,
        metrics={
            "dev_loss": result.dev_loss,
            "dev_loss_by_kind": dict(result.dev_loss_by_kind),
            "train_loss": result.train_loss,
            "parameters": result.parameters,
            "steps": result.steps,
            "tokens": result.tokens,
            "seconds": round(result.seconds, 1),
            "mfu": result.mfu,
            "mfu_against": result.mfu_against,
            "kwh": energy.kwh,
            "documents": len(corpus.train),
            "fertility": [asdict(of) for of in fertile],
            "dropped": dict(corpus.drops),
        },
        flops={"pretraining, exact": float(result.flops), "pretraining, 6PT": float(result.flops_6pt)},
        corpus_fingerprint=corpus.fingerprint,
        taught_by=f"{_objective(request)} on {len(corpus.train)} documents, de-identified by {corpus.stamp}",
        leak_gate=gate,
        created_at=datetime.now(UTC),
        package_version=package_version("clinappliance"),
    )
    lines = history(work)
    looks = [(at["step"], at["dev_loss"]) for at in lines if "dev_loss" in at]
    loss_curve([(at["step"], at["smoothed_loss"]) for at in lines], looks, work / bundle.LOSS_CURVE)
    files: dict[str, bytes | Path] = {
        name: work / name for name in (bundle.WEIGHTS, bundle.CONFIG, bundle.TOKENIZER, bundle.LOSS_CURVE)
    }
    files[SEEN] = json.dumps(sorted(set(map(digest, kept_out)))).encode()

    def write(folder: Path, number: int) -> ModelBundle:
        numbered = manifest.model_copy(update={"version": number})
        told = page_of(numbered, corpus, learned, energy, lines)
        return bundle.write(folder, numbered, files | {bundle.PAGE: told.encode()})

    entry = register(registry, work, bundle.BASE, write)
    watch.say(f"{entry.reference}: everything about it at {entry.folder / bundle.PAGE}")
    return entry


def _tokenizer(request: Request, config: TrainingConfig, corpus: Corpus, work: Path, watch: Watch) -> Tokenizer:
    """A vocabulary learnt from the corpus, or that of the model to go on from; a resumed run has one already."""
    path = work / bundle.TOKENIZER
    if not request.resume:
        if request.begin_from is None:
            watch.phase("Training the tokenizer")
            sample = corpus.sample(TOKENIZER_CHARACTERS, request.seed)
            train_tokenizer(sample, config.vocabulary, cased=config.cased).save(path)
        else:
            Tokenizer.load(request.begin_from / bundle.TOKENIZER).save(path)
        # From here on there is something to go on with.
        (work / REQUEST).write_text(asked(request, config))
    return Tokenizer.load(path)


def _shards(request: Request, corpus: Corpus, canaries: Canaries, tokenizer: Tokenizer, work: Path, watch: Watch) -> Shard:
    """Make shards of training and held-out documents, and return the former: the leak gate's secrets stand in it.

    They are planted after de-identification, for what it misses: they bear its stamp, or no shard would take them.
    """
    total = len(corpus.train) + len(corpus.dev)
    watch.phase("Turning text into tokens")
    planted = [replace(document, deidentified_by=corpus.stamp) for document in canaries.documents()]
    told = _Told(watch, total)
    learned = tokenize(
        work / TRAIN,
        chain(told.through(corpus.train), planted),
        tokenizer,
        corpus.stamp,
        f"{corpus.train.fingerprint} and canaries of seed {request.seed}",
    )
    tokenize(work / DEV, told.through(corpus.dev), tokenizer, corpus.stamp, corpus.dev.fingerprint)
    return learned


class _Told:
    """Passes documents on and tells how many it were."""

    def __init__(self, watch: Watch, total: int) -> None:
        self._watch, self._total, self._done = watch, total, 0

    def through(self, documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            yield document
            self._done += 1
            if self._done % 1000 == 0 or self._done == self._total:
                self._watch.work(self._done, self._total, "documents")


def _learn(
    request: Request,
    schedule: Schedule,
    tokenizer: Tokenizer,
    work: Path,
    budget: Budget,
    on_step: Callable[[StepReport], None],
    watch: Watch,
) -> PretrainingResult:
    from pretrain.pretraining import CONTINUED, CONTINUED_MASKED, NEW, continue_masked, pretrain

    how: dict[str, Any] = {"resume": request.resume, "seed": request.seed, "say": watch.say}
    begin_from = request.begin_from
    if begin_from is not None and not is_t5(request):
        settings = replace(CONTINUED_MASKED, schedule=schedule)
        return continue_masked(tokenizer, begin_from, work, budget, on_step, settings=settings, **how)
    settings = replace(CONTINUED if begin_from else NEW, schedule=schedule)
    return pretrain(tokenizer, request.size, work, budget, on_step, begin_from=begin_from, settings=settings, **how)


def _leak_gate(request: Request, work: Path, tokenizer: Tokenizer, canaries: Canaries, watch: Watch) -> dict[str, Any]:
    from pretrain.leakage import measure
    from pretrain.masked_language import load_masked
    from pretrain.models.families import load_t5

    model = load_t5(work) if is_t5(request) else load_masked(work)
    total = len(canaries.canaries)
    return measure(model, tokenizer, canaries, lambda done: watch.work(done, total, "planted secrets")).to_dict()


def _objective(request: Request) -> str:
    how = "span corruption" if is_t5(request) else "masked words"
    return f"{how}, going on from {request.begin_from.name}," if request.begin_from else how
