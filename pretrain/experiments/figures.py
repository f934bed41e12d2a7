"""The paper's figures 3 and 4, of one's own measurements and with the paper's printed ones behind them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pretrain.experiments.comparison import (
    CONVENTIONS,
    PRINTED_ABLATION,
    PRINTED_SHARES,
    Measured,
    flops,
    is_clinical,
    printed,
    regression,
)
from pretrain.experiments.trials import FIGURE
from pretrain.models.systems import System
from pretrain.plots import figure_of

NAMES = {"mednli": "MedNLI, accuracy", "radqa": "RadQA, F1", "clip": "CLIP, macro-F1"}
CLINICAL, OTHER = "tab:red", "tab:blue"
SHAPES = {"encoder": "o", "encoder-decoder": "s", "decoder": "^"}


def figure_3(systems: Mapping[str, System], found: Sequence[Measured]) -> Any:
    """Scores over what pretraining cost: a row per convention of counting it, a column per task.

    Filled marks are measured here, with 95 % intervals; hollow ones are as the paper printed them. A regression line for those
    with clinical pretraining and one for those without, through measured marks where there are two, else through printed ones.
    """
    whole = {(one.system, one.task): one for one in found if one.share == 1.0}
    numbers = {name: number for number, name in enumerate(_drawn(systems), 1)}
    draws = [
        partial(_scores, systems=systems, numbers=numbers, whole=whole, convention=convention, task=task)
        for convention in CONVENTIONS
        for task in FIGURE
    ]
    figure = figure_of(draws, columns=len(FIGURE), width=5)
    handles = [_mark(f"{number}  {name}", systems[name]) for name, number in numbers.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return figure


def _drawn(systems: Mapping[str, System]) -> list[str]:
    """Those that learn, and whose cost is known."""
    return [name for name, row in systems.items() if row.learns != "prompting" and flops(row, CONVENTIONS[0]) is not None]


def _mark(label: str, system: System) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=SHAPES[system.architecture], color=_color(system), label=label, markersize=5)


def _color(system: System) -> str:
    return CLINICAL if is_clinical(system) else OTHER


def _scores(
    axes: Any,
    *,
    systems: Mapping[str, System],
    numbers: Mapping[str, int],
    whole: Mapping[tuple[str, str], Measured],
    convention: str,
    task: str,
) -> None:
    figure = FIGURE[task]
    points: dict[bool, tuple[list[tuple[float, float]], list[tuple[float, float]]]] = {True: ([], []), False: ([], [])}
    for name, number in numbers.items():
        system = systems[name]
        x = flops(system, convention) or 1.0
        own, theirs = points[is_clinical(system)]
        shape, color = SHAPES[system.architecture], _color(system)
        y, one = printed(system, task, figure), whole.get((name, task))
        if y is not None:
            theirs.append((x, y))
            axes.plot(x, y, shape, color=color, fillstyle="none", alpha=0.6, markersize=6)
        if one is not None:
            value = one.figures[figure]
            own.append((x, value))
            low, high = one.between.get(figure, (value, value))
            axes.errorbar(x, value, [[max(0, value - low)], [max(0, high - value)]], fmt=shape, color=color, capsize=2)
        for at in (y, None if one is None else one.figures[figure]):
            if at is not None:
                axes.annotate(str(number), (x, at), xytext=(5, 4), textcoords="offset points", fontsize=7, color=color)
    for clinical, (own, theirs) in points.items():
        drawn, style = (own, "-") if len({x for x, _ in own}) > 1 else (theirs, ":")
        line = regression(drawn)
        if line is not None:
            ends = [min(x for x, _ in drawn), max(x for x, _ in drawn)]
            label = f"{'with' if clinical else 'without'} clinical text: {line.slope:+.3f} per tenfold"
            axes.plot(ends, [line.at(x) for x in ends], style, color=CLINICAL if clinical else OTHER, linewidth=1, label=label)
    axes.set_xscale("log")
    axes.set_xlabel(f"operations of pretraining ({convention})")
    axes.set_ylabel(NAMES[task])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=7)


def figure_4(systems: Mapping[str, System], found: Sequence[Measured]) -> Any:
    """Scores over the share of training data, a panel per task.

    Solid lines are measured here, with the span of the seeds; dotted ones are read off the paper's figure, and its dashed levels
    are what prompting printed.
    """
    from matplotlib import color_sequences
    from matplotlib.lines import Line2D

    shown = {one.system for one in found} | {name for lines in PRINTED_ABLATION.values() for name in lines}
    shown |= {name for name, row in systems.items() if row.learns == "prompting"}
    tones = color_sequences["tab20"]
    colors = {name: tones[number % len(tones)] for number, name in enumerate(systems) if name in shown}
    draws = [partial(_shares, systems=systems, colors=colors, found=found, task=task) for task in FIGURE]
    figure = figure_of(draws, columns=len(FIGURE), width=5)
    handles = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=7, frameon=False, fontsize=8)
    return figure


def _shares(axes: Any, *, systems: Mapping[str, System], colors: Mapping[str, Any], found: Sequence[Measured], task: str) -> None:
    figure = FIGURE[task]
    for name, printed_at in PRINTED_ABLATION[task].items():
        points = [(100 * share, value) for share, value in zip(PRINTED_SHARES, printed_at, strict=True) if value is not None]
        axes.plot(*zip(*points, strict=True), ":", color=colors.get(name, "0.6"), linewidth=1)
    for name, system in systems.items():
        level = printed(system, task, figure)
        if system.learns == "prompting" and level is not None:
            axes.axhline(level, color=colors[name], linestyle="--", linewidth=0.8)
        own = sorted((one for one in found if (one.system, one.task) == (name, task)), key=lambda one: one.share)
        values = [one.figures[figure] for one in own]
        if own and system.learns == "prompting":
            axes.axhline(values[-1], color=colors[name], linewidth=1.4)
        elif own:
            below = [value - one.spread[figure][0] for value, one in zip(values, own, strict=True)]
            above = [one.spread[figure][1] - value for value, one in zip(values, own, strict=True)]
            axes.errorbar([100 * one.share for one in own], values, [below, above], color=colors[name], marker="o", capsize=2)
    axes.set_xscale("log")
    axes.set_xticks([1, 5, 10, 25, 100], ["1", "5", "10", "25", "100"])
    axes.minorticks_off()
    axes.set_xlabel("% of the training data, by patient")
    axes.set_ylabel(NAMES[task])
