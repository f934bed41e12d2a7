"""`study`: do small models taught here beat large ones that are prompted? The paper's tables and figures, on your own labels."""

from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.cli.settings import Settings
from appliance.cli.train import seeds_in

Out = Annotated[Path, typer.Option(help="Folder of the study; one that is there is gone on with.")]
Clip = Annotated[
    Path | None, typer.Option(readable=False, help="Follow-up labels: PhysioNet's folder, or any layout that train takes.")
]
Radqa = Annotated[
    Path | None,
    typer.Option(readable=False, help="Questions about reports: a folder with train.json, dev.json, test.json, or a .json."),
]
Mednli = Annotated[
    Path | None, typer.Option(readable=False, help="Pairs: a folder with mli_train_v1.jsonl, _dev_, _test_, or a .jsonl.")
]
Families = Annotated[str, typer.Option(help="all, or systems by name with commas between: T5-Base,GatorTron.")]
Models = Annotated[
    Path | None,
    typer.Option(
        readable=False, help="Folder with a folder per system, named as it: config.json, model.safetensors, tokenizer.json."
    ),
]
Own = Annotated[list[str] | None, typer.Option(help="A model trained here, NAME or NAME@VERSION; may be given again.")]
Seeds = Annotated[str | None, typer.Option(help="Of weights and order, with commas between; 0,1,2 where not said.")]
Tiny = Annotated[bool, typer.Option("--tiny", help="Random models and synthetic labels: minutes, and the figures mean nothing.")]
LEARNING = ("heads", "text-to-text")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(
        no_args_is_help=True, help="The paper's comparison on your own labels: tables, figures 3 and 4, one page."
    )
    group.command()(compare)
    group.command()(ablate)
    group.command("in-context")(in_context)
    app.add_typer(group, name="study")


def compare(
    ctx: typer.Context,
    out: Out = Path("study"),
    clip: Clip = None,
    radqa: Radqa = None,
    mednli: Mednli = None,
    families: Families = "all",
    models: Models = None,
    own: Own = None,
    seeds: Seeds = None,
    tiny: Tiny = False,
) -> None:
    """Finetune or prompt every system you have and hold scores against what pretraining cost (figure 3).

    Writes report.html, figure_3, figure_4 (.png, .svg), results, ablation, differences, break_even (.csv) and study.json. A
    trial that is done is kept: Ctrl-C loses one at most, and the same command goes on. Try the whole way first:

    clinappliance study compare --families all --tiny

    The paper's printed figures stand beside yours, marked as printed. They are of the published data sets: labels of your own
    give scores of their own.
    """
    shares = (0.25, 1.0) if tiny else (1.0,)
    _run(ctx, out, clip, radqa, mednli, families, models, own, seeds, tiny, shares, (*LEARNING, "prompting"))


def ablate(
    ctx: typer.Context,
    out: Out = Path("study"),
    clip: Clip = None,
    radqa: Radqa = None,
    mednli: Mednli = None,
    families: Families = "all",
    models: Models = None,
    own: Own = None,
    seeds: Seeds = None,
    tiny: Tiny = False,
    shares: Annotated[str, typer.Option(help="Of the training data in per cent, with commas between.")] = "1,5,10,25,100",
) -> None:
    """Learn from less and less of the training data (figure 4).

    Shares are drawn by patient, each within the larger one, by the seed. Into the folder of a study that compared, it adds to
    that study. Example: clinappliance study ablate --out study --clip mimic-iii-clinical-action/ --models models/
    """
    chosen = tuple(sorted({_share(share) for share in shares.split(",")}))
    _run(ctx, out, clip, radqa, mednli, families, models, own, seeds, tiny, chosen, LEARNING)


def in_context(
    ctx: typer.Context,
    out: Out = Path("study"),
    clip: Clip = None,
    radqa: Radqa = None,
    mednli: Mednli = None,
    families: Families = "all",
    models: Models = None,
    tiny: Tiny = False,
) -> None:
    """Prompt the systems that are not taught: Flan-T5-XXL, and a local decoder in the place of GPT-3.

    Of several templates the one that does best on 200 dev items is asked on all test items. Answers with several labels are read
    as such. Put a decoder of yours into MODELS/GPT-3. Nothing leaves this machine.
    """
    _run(ctx, out, clip, radqa, mednli, families, models, None, "0", tiny, (1.0,), ("prompting",))


def _run(
    ctx: typer.Context,
    out: Path,
    clip: Path | None,
    radqa: Path | None,
    mednli: Path | None,
    families: str,
    models: Path | None,
    own: list[str] | None,
    seeds: str | None,
    tiny: bool,
    shares: tuple[float, ...],
    ways: tuple[str, ...],
) -> None:
    from appliance import studying
    from appliance.cli.progress import TerminalWatch
    from pretrain.models.systems import SYSTEMS

    settings: Settings = ctx.obj
    names = () if families == "all" else tuple(name.strip() for name in families.split(","))
    for name in names:
        if name not in SYSTEMS:
            raise typer.BadParameter(f"there is no system {name!r}; choose all, or of {', '.join(SYSTEMS)}")
    data = {task: path for task, path in (("mednli", mednli), ("radqa", radqa), ("clip", clip)) if path is not None}
    study = studying.Study(out, data, names, models, tuple(own or ()), _seeds(seeds, tiny), shares, tiny, ways)
    with TerminalWatch() as watch:
        told = studying.run(settings.home, study, watch)
    settings.emit(told, _summary(told))


def _share(text: str) -> float:
    try:
        share = float(text) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise typer.BadParameter(f"{text!r} is no share in per cent; write --shares 1,5,10,25,100")
    return share


def _seeds(text: str | None, tiny: bool) -> tuple[int, ...]:
    if text is None:
        return (0,) if tiny else (0, 1, 2)
    return seeds_in(text)


def _summary(told: dict[str, Any]) -> str:
    lines = [f"{told['trials']} trials of {len(told['measured'])} systems: {told['report']}"]
    lines += [f"  {task}: {said}" for task, said in told["labels"].items()]
    columns = [(task, name) for task, name in _COLUMNS if any(row.get(f"{task}_{name}") is not None for row in told["results"])]
    lines.append(f"  {'system':<24}" + "".join(f"{task + ' ' + name:>18}" for task, name in columns))
    for row in told["results"]:
        lines.append(f"  {row['system']:<24}" + "".join(_cell(row, task, name) for task, name in columns))
    lines.append("  Measured; in brackets what the paper printed of the published data sets.")
    if not told["means_something"]:
        lines.append("  Tiny random models on synthetic labels: these figures mean nothing.")
    lines += [f"  not measured: {name}, {why}" for name, why in told["not_measured"].items()]
    return "\n".join(lines)


_COLUMNS = (("mednli", "accuracy"), ("radqa", "f1"), ("clip", "micro_f1"), ("clip", "macro_f1"))


def _cell(row: dict[str, Any], task: str, name: str) -> str:
    value, printed = row.get(f"{task}_{name}"), row.get(f"{task}_{name}_printed")
    said = "-" if value is None else f"{value:.3f}"
    return f"{said + (f' [{printed:.3f}]' if printed is not None else ''):>18}"
