"""`study`: the paper's systems, and one's own models, on one's own labels; a folder of tables, figures and one page.

Every trial is a line of the study's `trials.jsonl` as soon as it is done, and none is done twice: a study of days goes on where
it was stopped, and `compare`, `ablate` and `in-context` into one folder make one report.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.home import Home
from appliance.registry import Registry
from appliance.training.request import TrainingError, Watch
from pretrain import bundle
from pretrain.models.systems import SYSTEMS, BySource, System, system_named

if TYPE_CHECKING:
    from pretrain.experiments.trials import Trial
    from pretrain.splits import Labelled

TRIALS = "trials.jsonl"
TINY = "tiny"
"""In a study's folder: random models and synthetic labels."""
MOST_TEXTS = 200
"""That a vocabulary is measured on."""


@dataclass(frozen=True)
class Study:
    """What a study was asked for."""

    out: Path
    data: Mapping[str, Path]
    """Labels by task: a folder as the data set is published, or any layout that `train` takes."""
    systems: tuple[str, ...]
    """Names of rows; empty for all."""
    models: Path | None
    """A folder with a folder per system, named as its row."""
    own: tuple[str, ...] = ()
    """Registered models: NAME or NAME@VERSION."""
    seeds: tuple[int, ...] = (0, 1, 2)
    shares: tuple[float, ...] = (1.0,)
    tiny: bool = False
    """Random models and, without `data`, synthetic labels."""
    ways: tuple[str, ...] = ("heads", "text-to-text", "prompting")


@dataclass(frozen=True)
class _Able:
    """Who takes part."""

    folders: dict[str, Path]
    systems: dict[str, System]
    not_measured: dict[str, str] = field(default_factory=dict)


def run(home: Home, study: Study, watch: Watch) -> dict[str, Any]:
    """Do all trials that are not done yet and write the report; what `study --json` prints.

    Raises:
        TrainingError: there is nothing to measure, or nothing to measure it on.
        DataError: labels cannot be read, or mix what is learnt from with what is measured on.
        RegistryError: there is no such model of one's own.
        ValueError: a folder holds another model than its name says.
    """
    from pretrain import splits

    data = dict(study.data)
    # Nothing is written before the labels were read: most trouble is theirs.
    labelled = {task: splits.divided(task, path) for task, path in data.items()}
    study.out.mkdir(parents=True, exist_ok=True)
    if study.tiny and not data:
        from appliance.demo.published_layouts import write_all

        labelled = {task: splits.divided(task, path) for task, path in write_all(study.out / TINY / "data").items()}
    if not labelled:
        raise TrainingError("nothing to measure on; give --clip, --radqa or --mednli, or --tiny for a dry run")
    from pretrain.experiments import trials

    able = _able(home, study, labelled)
    done = {_key(trial): trial for trial in trials.written(study.out / TRIALS)}
    effort = trials.TASTE if study.tiny else trials.FULL
    marks = {name: trials.fingerprint(folder) for name, folder in able.folders.items()}
    asked = [
        (name, task, seed, share)
        for name, task, seed, share in _asked(study, able, labelled)
        if (name, marks[name], task, labelled[task].fingerprint, seed, share, effort.is_full) not in done
    ]
    watch.phase(f"{len(asked)} trials")
    for number, (name, task, seed, share) in enumerate(asked):
        watch.work(number, len(asked), "trials")
        watch.say(f"{name} on {task}, seed {seed}, {share:.0%} of what is labelled")
        trial = trials.run(able.systems[name], able.folders[name], labelled[task], seed=seed, share=share, effort=effort)
        trials.append(study.out / TRIALS, trial)
        done[_key(trial)] = trial
    # What another model of that name, or other labels, gave is of another study.
    here = [
        trial
        for trial in done.values()
        if trial.task in labelled
        and trial.data == labelled[trial.task].fingerprint
        and trial.is_full == effort.is_full
        and trial.model == marks.get(trial.system, trial.model)
    ]
    watch.phase("Writing the report")
    return _report(study, able, labelled, here)


def _key(trial: "Trial") -> tuple[Any, ...]:
    return (trial.system, trial.model, trial.task, trial.data, trial.seed, trial.share, trial.is_full)


def _asked(study: Study, able: _Able, labelled: Mapping[str, "Labelled"]) -> Iterator[tuple[str, str, int, float]]:
    for name in able.folders:
        for task in labelled:
            if able.systems[name].learns == "prompting":
                # It learns nothing, and answers without chance.
                yield name, task, study.seeds[0], 1.0
            else:
                yield from ((name, task, seed, share) for share in study.shares for seed in study.seeds)


def _able(home: Home, study: Study, labelled: Mapping[str, "Labelled"]) -> _Able:
    chosen = [system_named(name) for name in study.systems] or list(SYSTEMS.values())
    chosen = [system for system in chosen if system.learns in study.ways]
    able = _Able({}, dict(SYSTEMS))
    for system in chosen:
        folder = (study.models / system.name) if study.models else None
        if study.tiny:
            able.folders[system.name] = _tiny(system, study.out / TINY / system.name, labelled)
        elif folder is not None and folder.is_dir():
            able.folders[system.name] = folder
        elif study.systems:
            raise TrainingError(f"{folder or system.name}: no folder of {system.name}; give --models FOLDER that holds it")
        else:
            able.not_measured[system.name] = "no folder of that name in --models" if study.models else "no --models"
    for name in study.own:
        system, folder = _own(home, name)
        able.systems[system.name], able.folders[system.name] = system, folder
    if not able.folders:
        names = ", ".join(system.name for system in chosen)
        raise TrainingError(f"no model to measure; give --models FOLDER with a folder per system ({names}), or --own NAME")
    return able


def _tiny(system: System, folder: Path, labelled: Mapping[str, "Labelled"]) -> Path:
    from pretrain.models.systems import tiny

    if not (folder / "model.safetensors").exists():
        texts = [text for one in labelled.values() for text in _texts(one)]
        tiny(system, folder, texts[:MOST_TEXTS], positions=1024)
    return folder


def _texts(labelled: "Labelled") -> list[str]:
    """Texts that are learnt from, each once."""
    found = dict.fromkeys(text for split in labelled.splits for example in split.train for text in _TEXTS[labelled.task](example))
    return list(found)


_TEXTS: dict[str, Callable[[Any], tuple[str, ...]]] = {
    "mednli": lambda pair: (pair.premise, pair.hypothesis),
    "radqa": lambda question: (question.context,),
    "clip": lambda note: (note.text,),
}


def _own(home: Home, name: str) -> tuple[System, Path]:
    """A registered base as a row: finetuned with heads, as the product does."""
    from pretrain.experiments.trials import parameters_of

    registry = Registry(home.require().models)
    entry = registry.find(name, bundle.BASE)
    manifest = bundle.load(entry.folder).manifest
    kind = str(json.loads((entry.folder / bundle.CONFIG).read_text(encoding="utf-8")).get("model_type", "t5"))
    parameters = parameters_of(entry.folder)
    tokens = round(manifest.flops.get("pretraining, 6PT", 0.0) / (6 * parameters))
    row = System(
        entry.reference,
        "encoder-decoder" if kind == "t5" else "encoder",
        kind,
        parameters,
        # What it went on from had costs of its own, which nobody told.
        BySource(None, None, tokens) if "going on from" in manifest.taught_by else BySource(clinical=tokens),
        None,
        BySource(None, None, None),
        "heads",
        "this site's own",
        "trained here",
    )
    return row, entry.folder


def _report(study: Study, able: _Able, labelled: Mapping[str, "Labelled"], trials: Sequence["Trial"]) -> dict[str, Any]:
    from pretrain.experiments import comparison, figures, study_page
    from pretrain.plots import svg_of

    found = comparison.measured(trials)
    fertility = _fertility(able, labelled)
    even = list(comparison.break_even(able.systems, found, fertility, use_printed=False))
    even_printed = list(comparison.break_even(SYSTEMS, (), {}, use_printed=True))
    results = comparison.results_table(able.systems, found)
    _csv(study.out / "results.csv", results)
    _csv(study.out / "ablation.csv", comparison.ablation_table(found))
    apart = [vars(one) for one in comparison.differences(found)]
    _csv(study.out / "differences.csv", apart)
    rows = [vars(one) | {"by": "measured"} for one in even] + [vars(one) | {"by": "printed"} for one in even_printed]
    _csv(study.out / "break_even.csv", rows)
    drawn = {"figure_3": figures.figure_3(able.systems, found), "figure_4": figures.figure_4(able.systems, found)}
    svgs = {name: svg_of(figure) for name, figure in drawn.items()}
    for name, figure in drawn.items():
        figure.savefig(study.out / f"{name}.png", dpi=150)
        (study.out / f"{name}.svg").write_text(svgs[name], encoding="utf-8")
    sources = {task: _said(one) for task, one in labelled.items()}
    html = study_page.page(able.systems, found, even, even_printed, sources, able.not_measured, fertility, svgs)
    (study.out / "report.html").write_text(html, encoding="utf-8")
    told = {
        "report": str(study.out / "report.html"),
        "means_something": not study.tiny,
        "trials": len(trials),
        "measured": sorted({trial.system for trial in trials}),
        "not_measured": able.not_measured,
        "labels": sources,
        "results": [row for row in results if any(row[f"{task}_seeds"] for task in labelled)],
        "differences": apart,
        "break_even": rows,
    }
    (study.out / "study.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return told


def _said(labelled: "Labelled") -> str:
    counts = [sum(len(getattr(split, part)) for split in labelled.splits) for part in ("train", "dev", "test")]
    each = len(labelled.splits)
    said = f"{labelled.source}: {counts[0] // each} to learn from, {counts[1] // each} to choose with, {counts[2]} measured"
    return said + (f"; {labelled.left_out} left out whose premise is measured" if labelled.left_out else "")


def _fertility(able: _Able, labelled: Mapping[str, "Labelled"]) -> dict[str, float]:
    """Tokens per character of every vocabulary, on texts that are learnt from."""
    from pretrain.fertility import measure
    from pretrain.tokenizer import Tokenizer

    texts = [text for one in labelled.values() for text in _texts(one)[:MOST_TEXTS]]
    return {
        name: 1 / measure(name, Tokenizer.load(folder / "tokenizer.json"), texts).characters_per_token
        for name, folder in able.folders.items()
    }


def _csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
