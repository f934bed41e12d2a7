"""The night's story: an EHR export becomes a pretrained base and a finetuned tagger, registered with its card.

export -> documents without patients -> tokenizer -> span corruption -> base -> finetuning -> evaluation on patients it has
not seen -> ONNX -> bundle. Everything a run needs to go on after an interruption lies in `corpora/NAME`.
"""

import hashlib
import hmac
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Protocol

from appliance.home import Home
from appliance.lock import only_one
from appliance.publishing import publish
from appliance.registry import Entry, Registry, check_name
from integrations.ehr_export import read_notes
from pretrain import bundle
from pretrain.bundle import Manifest, ModelBundle
from pretrain.corpus import Document, Drops, clean, split, without
from pretrain.evaluation import hold_out
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote
from pretrain.tokenizer import Tokenizer
from pretrain.tokenizer import train as train_tokenizer
from pretrain.trainer import Budget, StepReport

A_NIGHT_S = 8 * 3600.0
VOCABULARY = 16_384
"""Pieces asked for; a small corpus gives fewer."""
WINDOW_TOKENS = 512
PRETRAINING_SHARE = 0.6
"""Of the time that is left when pretraining begins; finetuning and evaluation get the rest."""
CLOSING_S = 20.0
"""Kept free of a wall-clock budget for measuring, exporting and writing."""
MEASURED_SHARE = 0.2
"""Of labelled patients, kept apart to measure on; of the rest, the same share chooses epoch and cut-offs."""
REQUEST = "request.json"
"""In the work folder of a run that can be gone on with: what it was asked for."""
KEPT_OUT = "kept_out.json"
"""In a finetuned bundle: hashes of the texts that its base was kept away from."""
SEEN = "seen.json"
"""In a bundle: hashes of the texts it was taught or chosen with. In a base: of the texts it was kept away from."""


class TrainingError(RuntimeError):
    """Training cannot begin or go on; the message says why and what to do."""


class Watch(Protocol):
    """Who is told how the work goes on."""

    def phase(self, name: str) -> None:
        """A new part of the work begins."""
        ...

    def say(self, line: str) -> None:
        """Something worth knowing, one line."""
        ...

    def step(self, report: StepReport) -> None:
        """One optimiser step is done."""
        ...

    def work(self, done: int, total: int, unit: str) -> None:
        """So much of the phase is done."""
        ...


@dataclass(frozen=True)
class Request:
    """What `train` was asked for."""

    notes: Path
    clip: Path | None
    name: str
    size: str
    budget_s: float | None
    """Wall-clock seconds for everything; None where `steps` bounds pretraining."""
    steps: int | None
    resume: bool = False
    seed: int = 0


def train(home: Home, request: Request, watch: Watch) -> dict[str, Any]:
    """Do it all; the first bundle of a task is compiled, published and promoted too.

    Returns:
        What `train --json` prints: drops by reason, FLOPs, scores, what was registered.
    Raises:
        TrainingError, ExportError, DataError: what was given cannot be used.
        LockError: another process trains a model of this name.
        Interrupted, TrainingError: by Ctrl-C; the message says whether `--resume` goes on.
    """
    home.require()
    check_name(request.name)
    try:
        # Two would write the same work folder, or one remove what the other writes.
        with only_one(home.run / f"train-{request.name}.pid", f"trains {request.name}"):
            return _train(home, request, watch)
    except KeyboardInterrupt:
        kept = (home.corpora / request.name / REQUEST).exists()
        advice = "--resume goes on from there" if kept else "nothing is kept yet, run it again"
        raise TrainingError(f"{request.name} was interrupted; {advice}") from None


def _train(home: Home, request: Request, watch: Watch) -> dict[str, Any]:
    ends_at = time.monotonic() + request.budget_s if request.budget_s else None
    registry = Registry(home.models)
    work = _work_folder(home, request)
    watch.phase("Reading the notes")
    labelled = [] if request.clip is None else _keyed(home, clip.read(request.clip))
    corpus = _corpus(home, request.notes, labelled, watch)
    base = _registered(registry, work, bundle.BASE)
    if base is None:
        base = _pretrain(registry, request, corpus, labelled, work, ends_at, watch)
    elif _manifest(base).corpus_fingerprint != corpus.fingerprint:
        # Labels that came since would be measured on with a base that has read their notes.
        raise TrainingError(
            f"the notes or labels are not those that {base.reference} was trained with; give the same, or remove {work}"
        )
    report: dict[str, Any] = {
        "name": request.name,
        "documents": len(corpus.train) + len(corpus.dev),
        "dropped": dict(corpus.drops),
        "registered": [f"{base.reference} (base)"],
        "base": _manifest(base).metrics | {"flops": _manifest(base).flops},
    }
    if labelled:
        tagger = _registered(registry, work, "clip")
        if tagger is None:
            tagger = _finetune(home, request, base, labelled, work, ends_at, watch)
        report["registered"].append(f"{tagger.reference} (clip)")
        report["clip"] = _manifest(tagger).metrics
        if registry.promoted("clip") is None:
            watch.phase("Compiling for this host")
            publish(home, tagger)
            registry.promote(tagger)
            report["promoted"] = tagger.reference
    # First, or what a crash leaves of the folder would be taken for a run to go on with.
    (work / REQUEST).unlink()
    shutil.rmtree(work)
    return report


@dataclass(frozen=True)
class _Corpus:
    train: list[Document]
    dev: list[Document]
    drops: Drops

    @property
    def fingerprint(self) -> str:
        """The same for the same texts, whatever their order."""
        return hashlib.sha256("".join(sorted(digest(d.text) for d in self.train)).encode()).hexdigest()


def _work_folder(home: Home, request: Request) -> Path:
    """Where this run keeps what it needs to go on; begins anew, or goes on where it was told to."""
    work = home.corpora / request.name
    asked = work / REQUEST
    if asked.exists() and not request.resume:
        raise TrainingError(
            f"a run of {request.name} was interrupted; add --resume to go on with it, or remove {work} to begin anew"
        )
    if request.resume and not asked.exists():
        raise TrainingError(f"no interrupted run of {request.name} to go on with; leave --resume out")
    if request.resume and asked.read_text() != _asked(request):
        raise TrainingError(
            f"the interrupted run of {request.name} had other --notes, --clip, --size or --seed; give the same again"
        )
    if not request.resume:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return work


def _asked(request: Request) -> str:
    labels = None if request.clip is None else str(request.clip.absolute())
    asked = {"notes": str(request.notes.absolute()), "clip": labels, "size": request.size, "seed": request.seed}
    return json.dumps(asked)


def _corpus(home: Home, notes: Path, labelled: Sequence[LabelledNote], watch: Watch) -> _Corpus:
    """The export as documents, without the labelled patients and whatever is, or nearly is, a labelled note."""
    drops: Drops = Counter()
    remarks: Counter[str] = Counter()
    kept_out = {note.group for note in labelled}
    documents = clean(_documents(home, notes, kept_out, drops, remarks), drops)
    train, dev = split(without(documents, [note.text for note in labelled], drops))
    for reason, n in drops.most_common():
        watch.say(f"{n} left out: {reason}")
    for remark, n in remarks.most_common():
        watch.say(f"{n} kept: {remark}")
    if not train:
        raise TrainingError(f"{notes} holds no note to learn from; what was left out and why stands above")
    watch.say(f"{len(train)} documents to learn from, {len(dev)} of other patients to watch the loss on")
    return _Corpus(train, dev, drops)


def _documents(home: Home, notes: Path, kept_out: set[str], drops: Drops, remarks: Counter[str]) -> Iterator[Document]:
    for note in read_notes(notes, drops, remarks):
        group = _group(home, note.patient.value if note.patient else note.note_id)
        if group in kept_out:
            drops["of a patient with labelled notes"] += 1
        else:
            yield Document(note.note_id, note.text, group)


def _keyed(home: Home, labelled: Iterable[LabelledNote]) -> list[LabelledNote]:
    return [replace(note, group=_group(home, note.group)) for note in labelled]


def _group(home: Home, patient: str) -> str:
    """A keyed hash: the same patient gives the same group in this home, and nobody can guess back."""
    # An export's numbers come without the space around them, those of labels as they stand.
    return hmac.new(home.group_key.read_bytes(), patient.strip().encode(), hashlib.sha256).hexdigest()[:32]


def _pretrain(
    registry: Registry,
    request: Request,
    corpus: _Corpus,
    labelled: Sequence[LabelledNote],
    work: Path,
    ends_at: float | None,
    watch: Watch,
) -> Entry:
    from pretrain.plots import loss_curve
    from pretrain.pretraining import pretrain

    tokenizer_path = work / "tokenizer.json"
    if not request.resume:
        watch.phase("Training the tokenizer")
        train_tokenizer([d.text for d in corpus.train], VOCABULARY).save(tokenizer_path)
        # From here on there is something to go on with.
        (work / REQUEST).write_text(_asked(request))
    tokenizer = Tokenizer.load(tokenizer_path)
    watch.say(f"{tokenizer.vocab_size} pieces")
    watch.phase(f"Pretraining ({request.size})")
    share = PRETRAINING_SHARE if labelled else 1.0
    budget = Budget(seconds=None if ends_at is None else _left(ends_at, share), steps=request.steps)
    result = pretrain(
        corpus.train, corpus.dev, tokenizer, request.size, work, budget, watch.step, resume=request.resume, seed=request.seed
    )
    loss_curve(*_losses(work), work / bundle.LOSS_CURVE)
    manifest = Manifest(
        name=request.name,
        task=bundle.BASE,
        version=1,
        size=request.size,
        labels=(),
        cutoffs=(),
        window_tokens=WINDOW_TOKENS,
        metrics={
            "dev_loss": result.dev_loss,
            "train_loss": result.train_loss,
            "parameters": result.parameters,
            "steps": result.steps,
            "tokens": result.tokens,
            "seconds": round(result.seconds, 1),
            "documents": len(corpus.train),
            "dropped": dict(corpus.drops),
        },
        flops={"pretraining, exact": float(result.flops), "pretraining, 6PT": float(result.flops_6pt)},
        corpus_fingerprint=corpus.fingerprint,
        taught_by=f"span corruption on {len(corpus.train)} documents",
        created_at=datetime.now(UTC),
        package_version=package_version("clinappliance"),
    )
    files: dict[str, bytes | Path] = {
        name: work / name for name in (bundle.WEIGHTS, bundle.CONFIG, bundle.TOKENIZER, bundle.LOSS_CURVE)
    }
    files[SEEN] = json.dumps(sorted(digest(note.text) for note in labelled)).encode()

    def write(folder: Path, number: int) -> ModelBundle:
        return bundle.write(folder, manifest.model_copy(update={"version": number}), files)

    entry = _register(registry, work, bundle.BASE, write)
    watch.say(f"{entry.reference}: loss curve at {entry.folder / bundle.LOSS_CURVE}")
    return entry


def _losses(work: Path) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """(step, smoothed loss) while training, and (step, loss) on held-out documents."""
    from pretrain.pretraining import history

    lines = history(work)
    looks = [(at["step"], at["dev_loss"]) for at in lines if "dev_loss" in at]
    return [(at["step"], at["smoothed_loss"]) for at in lines], looks


def _register(registry: Registry, work: Path, task: str, write: Callable[[Path, int], ModelBundle]) -> Entry:
    """Add a bundle of this run. Its number is noted before the bundle is there, so that no crash lets a run add it twice."""

    def write_noted(folder: Path, number: int) -> ModelBundle:
        (work / f"{task}.json").write_text(json.dumps({"version": number}))
        return write(folder, number)

    return registry.add(work.name, task, write_noted)


def _registered(registry: Registry, work: Path, task: str) -> Entry | None:
    """What an interrupted run had registered for `task`, if it got so far."""
    try:
        version = json.loads((work / f"{task}.json").read_text())["version"]
    except (FileNotFoundError, ValueError):  # not begun, or cut off in the middle of the note
        return None
    return next((e for e in registry.entries(task) if (e.name, e.version) == (work.name, version)), None)


def _finetune(
    home: Home,
    request: Request,
    base: Entry,
    labelled: Sequence[LabelledNote],
    work: Path,
    ends_at: float | None,
    watch: Watch,
) -> Entry:
    from pretrain.evaluation import evaluate as measure
    from pretrain.finetuning import finetune_clip
    from pretrain.model_card import model_card
    from pretrain.onnx_export import export, probe

    watch.phase(f"Finetuning the tagger on {len(labelled)} labelled notes")
    rest, measured = hold_out(labelled, MEASURED_SHARE, request.seed)
    taught, dev = hold_out(rest, MEASURED_SHARE, request.seed + 1)
    opened = bundle.load(base.folder)
    tokenizer = Tokenizer.load(opened.tokenizer)
    tagger = finetune_clip(
        taught,
        dev,
        tokenizer,
        size=request.size,
        encoder=base.folder,
        window_tokens=WINDOW_TOKENS,
        budget=Budget(seconds=None if ends_at is None else _left(ends_at, 1.0)),
        seed=request.seed,
        on_step=watch.step,
    )
    if tagger.interrupted:
        raise TrainingError(f"interrupted while finetuning; {base.reference} is kept, and --resume finetunes it again")
    metrics = measure(tagger.run, tokenizer, tagger.cutoffs, measured, WINDOW_TOKENS) if measured else {}
    watch.phase("Exporting")
    manifest = Manifest(
        name=request.name,
        task="clip",
        version=1,
        size=request.size,
        labels=clip.LABELS,
        cutoffs=tuple(float(c) for c in tagger.cutoffs),
        window_tokens=WINDOW_TOKENS,
        metrics=metrics,
        flops=opened.manifest.flops | tagger.flops,
        corpus_fingerprint=opened.manifest.corpus_fingerprint,
        taught_by=f"{len(taught)} labelled notes, {len(dev)} more to choose epoch and cut-offs; base {base.reference}",
        created_at=datetime.now(UTC),
        package_version=package_version("clinappliance"),
    )
    with tempfile.TemporaryDirectory(dir=home.corpora) as scratch:
        graph = Path(scratch) / bundle.ONNX
        export(tagger.model, graph)
        contents: dict[str, bytes | Path] = {
            **tagger.model.files(),
            bundle.ONNX: graph,
            bundle.PROBE: probe(tagger.model),
            bundle.TOKENIZER: opened.tokenizer,
            bundle.LOSS_CURVE: base.folder / bundle.LOSS_CURVE,
            SEEN: json.dumps(sorted(digest(note.text) for note in (*taught, *dev))).encode(),
            KEPT_OUT: base.folder / SEEN,
        }

        def write(folder: Path, number: int) -> ModelBundle:
            numbered = manifest.model_copy(update={"version": number})
            return bundle.write(folder, numbered, contents | {bundle.CARD: model_card(numbered).encode()})

        return _register(Registry(home.models), work, "clip", write)


def _left(ends_at: float, share: float) -> float:
    return max(1.0, share * (ends_at - CLOSING_S - time.monotonic()))


def _manifest(entry: Entry) -> Manifest:
    return bundle.load(entry.folder).manifest


def digest(text: str) -> str:
    """Names a text without telling it; white space does not count."""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "replace")).hexdigest()
