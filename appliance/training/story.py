"""`train`: from the export to what reads."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from appliance.config import AppConfig, load
from appliance.corpus_building import build, group_of
from appliance.home import Home
from appliance.lock import only_one
from appliance.registry import Entry, Registry, check_name
from appliance.training import starting_point, vocabulary
from appliance.training.labels import labelled_by_rules, read_all, reports_to_ask_about
from appliance.training.promoting import promote_first
from appliance.training.registering import manifest_of, register, registered
from appliance.training.request import REQUEST, Request, TrainingError, Watch, work_folder
from integrations.ehr_export import ExportFile, open_export
from pretrain import bundle
from pretrain.budget import Budget
from pretrain.corpus import Corpus, Drops, Part
from pretrain.splits import Labels
from pretrain.tasks.base import LabelledNote

PRETRAINING_SHARE = 0.6
"""Of the time that is left when pretraining begins; the leak gate, finetuning and evaluation get the rest."""
CLOSING_S = 20.0
"""Kept free of a wall-clock budget for measuring, exporting and writing."""


def train(home: Home, request: Request, watch: Watch) -> dict[str, Any]:
    """Do it all; the first bundle of a task is compiled, published and promoted too, if it passed its leak gate.

    Returns:
        What `train --json` prints: drops by reason, FLOPs, scores, what was registered.
    Raises:
        TrainingError, ExportError, DataError: what was given cannot be used.
        DeidError, NotDeidentified: texts cannot be de-identified; nothing is learnt then.
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
    config, registry = load(home), Registry(home.models)
    starting_point.check(request)
    vocabulary.to_compare_with(config.training)
    work = work_folder(home, request, config.training)
    labels = read_all(home, request)
    labelled = labels["clip"].examples if "clip" in labels else []
    evaluated = [note.text for note in labelled]
    evaluated += sorted({question.context for question in labels["radqa"].examples}) if "radqa" in labels else []
    corpus = read_corpus(home, config, request, labelled, evaluated, work, watch)
    # With torch behind them, which takes seconds to load: only now is it certain that there is something to learn from.
    from appliance.training.base import make_base
    from appliance.training.judge import make_judge
    from appliance.training.reader import make_reader
    from appliance.training.tagger import make_tagger

    base = registered(registry, work, bundle.BASE)
    if base is None:
        seconds = None if ends_at is None else _left(ends_at, PRETRAINING_SHARE)
        budget = Budget(seconds, request.steps, request.tokens)
        base = make_base(registry, request, config.training, corpus, evaluated, work, budget, watch)
    elif manifest_of(base).corpus_fingerprint != corpus.fingerprint:
        # Labels that came since would be measured on with a base that has read their notes.
        raise TrainingError(
            f"the notes or labels are not those that {base.reference} was trained with; give the same, or remove {work}"
        )
    manifest = manifest_of(base)
    report: dict[str, Any] = {
        "name": request.name,
        "documents": len(corpus.train) + len(corpus.dev),
        "dropped": dict(corpus.drops),
        "deidentified_by": corpus.stamp,
        "registered": [f"{base.reference} (base)"],
        "base": manifest.metrics | {"flops": manifest.flops},
        "leak_gate": manifest.leak_gate,
        "page": str(base.folder / bundle.PAGE),
    }
    tagger = registered(registry, work, "clip")
    if tagger is None:
        taught = labels.get("clip")
        if taught is None:
            watch.phase("Labelling notes by rules")
            taught = Labels(labelled_by_rules(corpus, request.seed))
            watch.say(f"nobody's labels: follow-up rules found something in {len(taught.examples)} notes")
        if taught.examples:
            share = 1 / (1 + len(labels.keys() - {"clip"}))
            budget = Budget(seconds=None if ends_at is None else _left(ends_at, share))
            tagger = make_tagger(
                home,
                base,
                taught,
                partial(register, registry, work, "clip"),
                budget,
                request.seed,
                watch,
                by_rules="clip" not in labels,
            )
    if tagger is not None:
        report["registered"].append(f"{tagger.reference} (clip)")
        report |= {"clip": manifest_of(tagger).metrics, "taught_by": manifest_of(tagger).taught_by}
        report |= promote_first(home, registry, tagger, (document.text for document in corpus.train), watch)
    makers: dict[str, Callable[..., Entry]] = {}
    if "radqa" in labels:
        reports = reports_to_ask_about(corpus, request.seed)
        makers["radqa"] = partial(make_reader, home, base, labels["radqa"], reports=reports)
    if "mednli" in labels:
        makers["mednli"] = partial(make_judge, home, base, labels["mednli"])
    for left, (task, make) in zip(range(len(makers), 0, -1), makers.items(), strict=True):
        entry = registered(registry, work, task)
        if entry is None:
            budget = Budget(seconds=None if ends_at is None else _left(ends_at, 1 / left))
            entry = make(add=partial(register, registry, work, task), budget=budget, seed=request.seed, watch=watch)
        report["registered"].append(f"{entry.reference} ({task})")
        report[task] = manifest_of(entry).metrics
        promote_first(home, registry, entry, (), watch)
    # First, or what a crash leaves of the folder would be taken for a run to go on with.
    (work / REQUEST).unlink()
    shutil.rmtree(work)
    return report


def read_corpus(
    home: Home,
    config: AppConfig,
    request: Request,
    labelled: Sequence[LabelledNote],
    evaluated: Sequence[str],
    work: Path,
    watch: Watch,
) -> Corpus:
    """The export as a corpus on disk, without the labelled and the excluded patients and what is, or nearly is, `evaluated`."""
    key = home.group_key.read_bytes()
    groups = {note.group for note in labelled} | {group_of(key, patient) for patient in excluded(request.exclude)}
    drops: Drops = Counter()
    export = open_export(request.notes, drops, config.export)
    watch.phase(f"Reading and de-identifying {len(export.files):,} files")
    done, total = 0, sum(file.size for file in export.files)

    def on_file(file: ExportFile, part: Part) -> None:
        nonlocal done
        done += file.size
        watch.work(done >> 20, total >> 20, "MB")

    corpus = build(
        export,
        work / "corpus",
        key,
        groups=groups,
        evaluated=evaluated,
        drops=drops,
        on_file=on_file,
        workers=config.training.workers,
        ray_address=config.training.ray_address,
    )
    for reason, n in corpus.drops.most_common():
        watch.say(f"{n} left out: {reason}")
    for remark, n in corpus.remarks.most_common():
        watch.say(f"{n} kept: {remark}")
    if not len(corpus.train):
        raise TrainingError(f"{request.notes} holds no note to learn from; what was left out and why stands above")
    watch.say(f"{len(corpus.train)} documents to learn from, {len(corpus.dev)} of other patients to watch the loss on")
    return corpus


def excluded(path: Path | None) -> list[str]:
    """The patients of a list, one a line; empty lines do not count."""
    if path is None:
        return []
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); give a text file with a patient a line") from None
    except UnicodeDecodeError:
        raise TrainingError(f"{path}: is no text in UTF-8; give a text file with a patient a line") from None


def _left(ends_at: float, share: float) -> float:
    return max(1.0, share * (ends_at - CLOSING_S - time.monotonic()))
