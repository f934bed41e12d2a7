"""A study as one page: figures 3 and 4, the table of results with the printed figures beside, break-even. No text of a note."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pretrain.experiments.comparison import BreakEven, Difference, Measured, differences, flops, printed
from pretrain.experiments.trials import FIGURES
from pretrain.models.systems import System
from pretrain.pages import page as framed
from pretrain.pages import table

MEANS_NOTHING = (
    "Tiny random models on synthetic examples: every measured figure on this page shows that the way works from end to end, and "
    "nothing about the systems whose names it stands under."
)


def page(
    systems: Mapping[str, System],
    found: Sequence[Measured],
    even: Sequence[BreakEven],
    even_printed: Sequence[BreakEven],
    sources: Mapping[str, str],
    not_measured: Mapping[str, str],
    fertility: Mapping[str, float],
    drawn: Mapping[str, str],
) -> str:
    """The whole page.

    Args:
        systems: by name, the paper's and one's own.
        found: what was measured.
        even: break-even by what was measured.
        even_printed: the same by what the paper printed.
        sources: of each task's labels, for people.
        not_measured: why a system is not, by name.
        fertility: tokens per character of a system's vocabulary.
        drawn: figures 3 and 4 as `<svg>` elements.
    """
    is_full = all(trial.is_full for one in found for trial in one.trials)
    parts = [
        "<h1>Do we still need clinical language models? Measured here</h1>",
        "" if is_full else f'<p><span class="chip bad">means nothing</span> {escape(MEANS_NOTHING)}</p>',
        "<p>Measured on this site's own labels unless they are the published data sets: then, and only then, the measured "
        "figures may be held against the printed ones. Printed: Lehman et al. 2023.</p>",
        "<h2>What was measured on</h2>",
        table(("task", "labels"), sources.items()),
        "<h2>Results</h2>",
        "<p>Systems with a head are finetuned as this appliance does it, without its follow-up rules; its reader of questions is "
        "told which sentence shares their words. Text-to-text systems learn by the paper's recipe, prompted ones not at all.</p>",
        _results(systems, found),
        _differences(list(differences(found))),
        "<h2>Figure 3: scores over what pretraining cost</h2>",
        "<p>Filled: measured here, with 95 % intervals. Hollow: as printed. Solid lines are regressions of measured marks, "
        "dotted ones of printed marks. Above, every model counts six operations for each parameter and token; below, an "
        "encoder-decoder counts half of that, since a token passes its encoder or its decoder. Squares are encoder-decoders, "
        "circles encoders, triangles decoders; red ones have read clinical notes.</p>",
        drawn["figure_3"],
        "<h2>Figure 4: scores over how much is labelled</h2>",
        "<p>Solid: measured here, bars from the lowest to the highest seed. Dotted: read off the paper's figure, about 0.005 "
        "either way. Dashed: what prompting printed. Shares are drawn by patient, the smaller within the larger.</p>",
        drawn["figure_4"],
        "<h2>Break-even</h2>",
        "<p>From how many tokens read in use a smaller model with clinical pretraining, its pretraining paid for here, has "
        "cost less than a larger one without that it is at least as good as (equation 7). Hours and kWh of one H100 at 40 % of "
        "its dense bf16 rate and 700 W.</p>",
        _even("By what was measured", even),
        _even("By what the paper printed", even_printed),
        *_vocabularies(fertility),
        *(["<h2>Not measured</h2>", table(("system", "why"), not_measured.items())] if not_measured else []),
    ]
    return framed("Study: do we still need clinical language models?", "\n".join(parts))


def _results(systems: Mapping[str, System], found: Sequence[Measured]) -> str:
    whole = {(one.system, one.task): one for one in found if one.share == 1.0}
    header = ["system", "parameters", "operations (6PT)"]
    header += [f"{task} {name}" for task, names in FIGURES.items() for name in names]
    rows = []
    for system in systems.values():
        spent = flops(system, "6PT")
        row = [system.name, _count(system.parameters), "not known" if spent is None else f"{spent:.2g}"]
        for task, names in FIGURES.items():
            row += [_cell(whole.get((system.name, task)), name, printed(system, task, name)) for name in names]
        rows.append(row)
    return "<p>Measured, with its 95 % interval; in brackets the printed figure.</p>" + table(header, rows)


def _differences(rows: Sequence[Difference]) -> str:
    if not rows:
        return ""
    cells = [
        (one.task, one.system, one.best, f"{one.value:+.3f}", f"{one.ci95[0]:+.3f} to {one.ci95[1]:+.3f}", _verdict(one))
        for one in rows
    ]
    return (
        "<h3>Against the best</h3><p>Paired: both are measured on the same patients or reports, drawn together 2,000 times.</p>"
        + table(("task", "system", "best", "difference", "95 %", ""), cells)
    )


def _verdict(one: Difference) -> str:
    return "" if one.ci95[0] <= 0 <= one.ci95[1] else "significant"


def _cell(one: Measured | None, name: str, theirs: float | None) -> str:
    said = ""
    if one is not None:
        low, high = one.between.get(name, (None, None))
        said = f"{one.figures[name]:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else "")
    return f"{said} [{theirs:.3f} printed]".strip() if theirs is not None else said or "-"


def _count(number: int) -> str:
    return f"{number / 1e9:.3g} B" if number >= 1e9 else f"{number / 1e6:.3g} M"


def _even(title: str, rows: Sequence[BreakEven]) -> str:
    if not rows:
        return f"<h3>{title}</h3><p>No such pair.</p>"
    cells: list[tuple[Any, ...]] = [
        (
            one.specialised,
            one.general,
            one.task,
            f"{one.better_by:+.3f}",
            f"{one.tokens:.3g}",
            f"{one.operations:.3g}",
            f"{one.gpu_hours:,.0f}",
            f"{one.kwh:,.0f}",
        )
        for one in rows
    ]
    header = ("specialised", "general", "task", "better by", "tokens", "operations", "H100 hours", "kWh")
    return f"<h3>{title}</h3>" + table(header, cells)


def _vocabularies(fertility: Mapping[str, float]) -> list[str]:
    if not fertility:
        return []
    rows = [(name, f"{per_character:.4f}") for name, per_character in fertility.items()]
    return ["<h2>Vocabularies</h2><p>On the texts that were learnt from.</p>", table(("system", "tokens per character"), rows)]
