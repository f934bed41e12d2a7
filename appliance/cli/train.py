"""`train`, `finetune`, `evaluate`: from notes to a model, from labels to a tagger, and how good that is on unseen notes."""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.cli.settings import Settings

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Size(StrEnum):
    """How large a model to train."""

    MINI = "mini"
    SMALL = "small"
    BASE = "base"
    LARGE = "large"


class Task(StrEnum):
    """What a model can be taught."""

    CLIP = "clip"
    RADQA = "radqa"
    MEDNLI = "mednli"


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(train)
    app.command()(finetune)
    app.command()(evaluate)


def duration(text: str) -> float:
    """Seconds in `90s`, `15m`, `1h30m` or `2d`."""
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        raise typer.BadParameter(f"{text!r} is no time span; write 90s, 15m, 1h30m or 2d")
    seconds = sum(float(n) * UNITS_S[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)([smhd])", text))
    if not seconds:
        raise typer.BadParameter(f"{text!r} leaves no time to work; write 90s, 15m, 1h30m or 2d")
    return seconds


Budget = Annotated[
    float | None, typer.Option(parser=duration, metavar="TIME", help="Wall-clock time for everything, e.g. 15m or 8h.")
]
Seed = Annotated[int, typer.Option(help="Same seed, same data, same steps: same model.")]


def train(
    ctx: typer.Context,
    notes: Annotated[
        Path,
        typer.Option(
            readable=False,
            help="The export, a folder or a file: .txt, .csv, .tsv, .jsonl, .parquet, FHIR .ndjson, HL7 v2 .hl7; also .gz, .zst.",
        ),
    ],
    clip: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Follow-up labels: .jsonl, CLIP's .csv or folder, Label Studio's .json, brat's folder; rules teach without.",
        ),
    ] = None,
    radqa: Annotated[
        Path | None, typer.Option(readable=False, help="Questions about radiology reports: RadQA's .json (SQuAD 2.0's layout).")
    ] = None,
    mednli: Annotated[
        Path | None, typer.Option(readable=False, help="Pairs of premise and hypothesis: MedNLI's mli_*_v1.jsonl.")
    ] = None,
    name: Annotated[str, typer.Option(help="What to call the model.")] = "clinical",
    size: Annotated[Size, typer.Option(help="mini learns in minutes on a CPU; base and large want a GPU.")] = Size.SMALL,
    begin_from: Annotated[
        Path | None,
        typer.Option(
            "--from", readable=False, help="Go on from this T5, BERT, RoBERTa or ModernBERT: a folder as transformers has it."
        ),
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(readable=False, help="Patients never to learn from, one a line, such as those of a study.")
    ] = None,
    budget: Budget = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Pretraining steps, instead of a time.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens to pretrain on, instead of a time.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run of this name stopped.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the notes, say what training would take, and write nothing.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Train a model on your notes and labels.

    De-identifies the notes, pretrains on them, tests the model for leaks, finetunes a tagger on the labels, measures it on
    patients it has not seen, and registers both; the first tagger that does not leak is promoted. Example:
    clinappliance train --notes export/ --clip labels.jsonl --name q --budget 15m

    Without --clip the tagger learns from what follow-up rules find in the notes. It is not measured then, and its card says so.

    Without --budget, --steps or --tokens it takes a night: 8 hours. Ctrl-C keeps the last checkpoint; --resume goes on from
    it. Columns of your own are named in appliance.toml, [export]. On several GPUs:
    torchrun --nproc-per-node 4 --no-python clinappliance train ...
    """
    if sum(bound is not None for bound in (budget, steps, tokens)) > 1:
        raise typer.BadParameter("give one of --budget, --steps and --tokens")
    # Started by torchrun beside the process that reads, writes and reports: all it does is to help that one pretrain.
    if int(os.environ.get("RANK", "0")) > 0:
        from pretrain.pretraining import follow

        follow()
        return
    from appliance.cli.progress import TerminalWatch
    from appliance.training.request import A_NIGHT_S, Request

    settings: Settings = ctx.obj
    seconds = None if steps or tokens else budget or A_NIGHT_S
    request = Request(notes, clip, name, size.value, seconds, steps, resume, seed, tokens, begin_from, exclude, radqa, mednli)
    with TerminalWatch() as watch:
        if dry_run:
            from appliance.training.planning import plan

            reckoned = plan(settings.home.require(), request, watch)
        else:
            from appliance.training import story

            report = story.train(settings.home, request, watch)
    if dry_run:
        settings.emit(reckoned, _reckoned(reckoned))
    else:
        settings.emit(report, _summary(report))


def finetune(
    ctx: typer.Context,
    task: Annotated[Task, typer.Argument(help="What to teach.")],
    model: Annotated[str, typer.Option(help="A pretrained model: NAME or NAME@VERSION.")],
    data: Annotated[Path, typer.Option(readable=False, help="Labels, in any layout that train takes for the task.")],
    fraction: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Learn from this share of the patients, to see what more labels would give.")
    ] = 1.0,
    seeds: Annotated[
        str, typer.Option(help="With commas between: one model per seed is measured, and the first one's is kept.")
    ] = "0",
    budget: Budget = None,
) -> None:
    """Teach a pretrained model labels that came later.

    clip tags follow-up, radqa answers questions about radiology reports, mednli judges a premise and a hypothesis.
    Thirty labelled notes are enough to begin with: all of them teach, and each measures a tagger that has not seen it; scores
    are calibrated. Minutes on a CPU. Example: clinappliance finetune clip --model q --data labels.jsonl

    Several --seeds tell how much of a score is chance: the share of the patients, the splits and the order are drawn anew.
    The first model of a task is promoted, later ones are not: see models promote.
    """
    from appliance.cli.progress import TerminalWatch
    from appliance.training import finetuning

    settings: Settings = ctx.obj
    if not fraction:
        raise typer.BadParameter("--fraction 0 leaves nobody to learn from; give a share such as 0.25")
    drawn = seeds_in(seeds)
    with TerminalWatch() as watch:
        report = finetuning.finetune(settings.home, task.value, model, data, budget, drawn, watch, fraction=fraction)
    settings.emit({"task": task.value} | report, _summary(report))


def seeds_in(text: str) -> tuple[int, ...]:
    """The numbers of a list such as `1,2,3`, each once."""
    try:
        return tuple(dict.fromkeys(int(seed) for seed in text.split(",")))
    except ValueError:
        raise typer.BadParameter(f"{text!r} are no seeds; write --seeds 0,1,2") from None


def evaluate(
    ctx: typer.Context,
    task: Annotated[Task, typer.Argument(help="What the model was taught.")],
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION.")],
    data: Annotated[Path, typer.Option(readable=False, help="Labels, in any layout that train takes for the task.")],
    folds: Annotated[
        int | None, typer.Option(min=2, help="Finetune the base K times, each time measured on the notes left out.")
    ] = None,
    without_pretraining: Annotated[
        bool, typer.Option("--without-pretraining", help="With --folds: the same model from random weights, to compare.")
    ] = False,
    budget: Budget = None,
    seed: Seed = 0,
) -> None:
    """Measure a model on notes it has not seen.

    Prints the task's own figures with 95 % intervals by bootstrap over notes.
    Example: clinappliance evaluate clip --model q --data labels.jsonl

    Without --folds the model is measured as it is, and the notes that it was taught on are left out and counted.
    Scores on your own labels are no scores on the published data sets.
    """
    if without_pretraining and not folds:
        raise typer.BadParameter("--without-pretraining needs --folds")
    if folds and task is not Task.CLIP:
        raise typer.BadParameter("--folds is for clip; finetune measures radqa and mednli on what it keeps apart")
    from appliance import measuring
    from appliance.cli.progress import TerminalWatch

    settings: Settings = ctx.obj
    with TerminalWatch() as watch:
        if folds:
            scores = measuring.cross_validate(settings.home, model, data, folds, not without_pretraining, budget, seed, watch)
        else:
            scores = measuring.evaluate(settings.home, task.value, model, data, watch)
    settings.emit({"task": task.value, "model": model} | scores, _table(scores))


def _summary(report: dict[str, Any]) -> str:
    lines = [f"{report['name']}: registered {', '.join(report['registered'])}"]
    if "page" in report:
        lines.append(f"  all about its pretraining: {report['page']}")
    if "taught_by" in report:
        lines.append(f"  taught by {report['taught_by']}")
    for task in Task:
        if task.value in report:
            measured = (
                _table(report[task.value]) if report[task.value] else "  not measured: no labelled patient was left to measure on"
            )
            lines.append(measured)
    if "between_seeds" in report:
        spread = report["between_seeds"]
        lines.append(
            f"  {len(spread['seeds'])} seeds: " + ", ".join(_spread(name, spread[name]) for name in _FIGURES if name in spread)
        )
    if report.get("promoted"):
        lines.append(f"{report['promoted']} is promoted: `clinappliance tag FILE` and `clinappliance run` use it")
    if report.get("not_promoted"):
        lines.append(f"Not promoted: {report['not_promoted']}")
    return "\n".join(lines)


def _spread(name: str, row: dict[str, float]) -> str:
    return f"{name} {row['mean']:.3f} ({row['lowest']:.3f} to {row['highest']:.3f})"


def _reckoned(plan: dict[str, Any]) -> str:
    """What a training would take, for people."""
    passes = "" if plan["passes"] is None else f"; what you asked for is {plan['passes']:.2g} passes"
    lines = [
        f"{plan['notes']:,} notes read, {plan['documents']:,} to learn from, about {plan['tokens']:,} tokens",
        *(f"  {n:,} left out: {reason}" for reason, n in sorted(plan["dropped"].items(), key=lambda drop: -drop[1])),
        *(f"  {n:,} kept: {remark}" for remark, n in plan["remarks"].items()),
        f"{plan['parameters']:,} parameters; a pass takes {plan['pass_flops']:.2g} operations "
        f"({plan['pass_flops_6pt']:.2g} by 6PT),",
        f"  about {_hours(plan['pass_s'])} on this machine ({plan['device']}){passes}",
        f"disk: {sum(plan['disk_bytes'].values()) / 1e9:.2g} GB while it trains, {plan['disk_free_bytes'] / 1e9:.3g} GB are free",
    ]
    if not plan["fits"]:
        lines.append("  That does not fit: free disk space, or move the home to a larger disk.")
    lines.append("Near duplicates were not looked for and nothing was de-identified: the real corpus is somewhat smaller.")
    return "\n".join(lines)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"


def _table(scores: dict[str, Any]) -> str:
    """Scores for people, intervals beside them."""
    read = scores.get("notes_not_kept_out_of_pretraining", 0)
    known = f"{read} of them not kept out of pretraining: this may flatter" if read else "none of them seen in training"
    counted = [f"{scores[key]} {key[2:]}" for key in ("n_notes", "n_sentences", "n_questions", "n_pairs") if key in scores]
    lines = [f"  on {' with '.join(counted)}, {known}"]
    interval = {key: f"{low:.3f} to {high:.3f}" for key, (low, high) in scores["ci95"].items()}
    lines += [f"  {key:<10} {scores[key]:.3f}   (95 %: {interval.get(key, 'not known')})" for key in _FIGURES if key in scores]
    if "has_answer" in scores:
        there, none = scores["has_answer"], scores["no_answer"]
        lines.append(f"  with an answer (n = {there['n']}): f1 {there['f1']:.3f}, em {there['em']:.3f}")
        lines.append(f"  without one (n = {none['n']}): told so {none['accuracy']:.3f}")
    if "per_label" in scores:
        lines.append(f"  {'label':<22} {'precision':>9} {'recall':>7} {'f1':>6} {'n':>5}")
        for label, row in scores["per_label"].items():
            lines.append(f"  {label:<22} {row['precision']:>9.3f} {row['recall']:>7.3f} {row['f1']:>6.3f} {row['support']:>5}")
    if "calibration" in scores:
        lines.append(f"  calibration error {scores['calibration']['ece']:.4f}: how far scores are from how often they are right")
    lines.append(f"  Measured on this site's own labels: not a score on the published {_PUBLISHED[scores['task']]} data set.")
    return "\n".join(lines)


_FIGURES = ("micro_f1", "macro_f1", "binary_f1", "em", "f1", "accuracy")
_PUBLISHED = {"clip": "CLIP", "radqa": "RadQA", "mednli": "MedNLI"}
