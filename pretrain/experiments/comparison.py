"""What trials come to: a table with the paper's printed figures beside, scores against what pretraining cost, and from how
many read tokens on a small specialised model has paid for its pretraining.

Source: Lehman et al. 2023, tables of results, figures 3 and 4, equations 1 to 7.
"""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.experiments.trials import FIGURE, FIGURES, Trial, figure_of
from pretrain.models.systems import BySource, System

PRINTED_AS = {
    ("mednli", "accuracy"): "mednli_accuracy",
    ("radqa", "em"): "radqa_em",
    ("radqa", "f1"): "radqa_f1",
    ("clip", "micro_f1"): "clip_micro_f1",
    ("clip", "macro_f1"): "clip_macro_f1",
}
"""What the paper calls a figure of a task."""

CONVENTIONS = ("6PT", "by architecture")
"""How pretraining is counted: the paper's rule for everything, or with an encoder-decoder's at half of it, since each of its
tokens passes about half of its parameters."""

H100_FLOPS = 989e12
"""A second of dense bf16 products, as NVIDIA states it for one H100 SXM."""
H100_SHARE = 0.4
"""Of it that is commonly reached."""
H100_WATTS = 700.0

# Read off the paper's figure 4, so about 0.005 either way; None where another line hides it.
PRINTED_SHARES = (0.01, 0.05, 0.10, 0.25, 1.0)
PRINTED_ABLATION: dict[str, dict[str, tuple[float | None, ...]]] = {
    "mednli": {
        "BioClinRoBERTa": (0.824, 0.852, 0.862, 0.882, 0.900),
        "GatorTron": (0.811, 0.818, 0.837, 0.858, 0.883),
        "RoBERTa-Large": (0.719, 0.759, 0.786, 0.809, 0.852),
        "PubMedGPT": (0.597, 0.717, 0.807, 0.846, 0.870),
        "Clinical-T5-Large": (0.582, 0.741, 0.801, 0.838, 0.872),
    },
    "radqa": {
        "BioClinRoBERTa": (0.369, 0.368, 0.618, 0.717, 0.759),
        "GatorTron": (0.314, 0.618, 0.665, 0.717, 0.759),
        "Clinical-T5-Large": (0.283, 0.540, 0.598, 0.679, 0.745),
        "PubMedGPT": (0.290, 0.460, 0.563, 0.671, 0.728),
        "RoBERTa-Large": (0.201, 0.354, 0.542, 0.613, 0.684),
    },
    "clip": {
        "GatorTron": (0.389, 0.404, 0.520, 0.659, 0.690),
        "Clinical-T5-Large": (0.356, 0.466, 0.549, 0.621, 0.663),
        "BioClinRoBERTa": (0.311, 0.418, 0.525, 0.648, 0.707),
        "RoBERTa-Large": (0.295, None, 0.407, 0.589, 0.677),
        "PubMedGPT": (0.203, None, 0.427, 0.585, 0.666),
    },
}


@dataclass(frozen=True)
class Measured:
    """Trials of one system, task and share, over seeds."""

    system: str
    task: str
    share: float
    seeds: int
    learnt_from: int
    figures: Mapping[str, float]
    """Means over seeds."""
    between: Mapping[str, tuple[float, float]]
    """The means of the seeds' 95 % intervals, which tell of which notes were measured; of figures that have them."""
    spread: Mapping[str, tuple[float, float]]
    """The lowest and the highest seed."""
    counts: Mapping[str, int]
    """Of what was measured."""
    trials: tuple[Trial, ...]


def measured(trials: Iterable[Trial]) -> list[Measured]:
    """The trials by system, task and share, in the order in which those first come."""
    together: dict[tuple[str, str, float], list[Trial]] = {}
    for trial in trials:
        together.setdefault((trial.system, trial.task, trial.share), []).append(trial)
    made = []
    for (system, task, share), own in together.items():
        intervals = [trial.scores["ci95"] for trial in own]
        made.append(
            Measured(
                system,
                task,
                share,
                len(own),
                round(mean(trial.learnt_from for trial in own)),
                {name: mean(trial.of(name) for trial in own) for name in FIGURES[task]},
                {
                    name: (mean(one[name][0] for one in intervals), mean(one[name][1] for one in intervals))
                    for name in FIGURES[task]
                    if all(name in one for one in intervals)
                },
                {name: (min(t.of(name) for t in own), max(t.of(name) for t in own)) for name in FIGURES[task]},
                {key: value for key, value in own[0].scores.items() if key in ("n_notes", "n_questions", "n_pairs")},
                tuple(own),
            )
        )
    return made


@dataclass(frozen=True)
class Difference:
    """A system against the best one of its task, on the same examples."""

    system: str
    task: str
    best: str
    value: float
    """Its figure less the best one's."""
    ci95: tuple[float, float]
    """Paired: patients or reports are drawn together for both, seeds for each."""


def differences(found: Sequence[Measured], draws: int = 2000) -> Iterator[Difference]:
    """Every system that was measured on all of the data, against the best one by the figure that the paper draws."""
    for task, figure in FIGURE.items():
        whole = [one for one in found if one.task == task and one.share == 1.0]
        if len(whole) < 2:
            continue
        best = max(whole, key=lambda one: one.figures[figure])
        theirs = _drawn(best, draws)
        for one in whole:
            if one is not best:
                low, high = np.quantile(_drawn(one, draws) - theirs, (0.025, 0.975))
                yield Difference(one.system, task, best.system, one.figures[figure] - best.figures[figure], (low, high))


def _drawn(one: Measured, draws: int) -> NDArray[np.float64]:
    """The figure in every draw (R,); the same seed draws the same patients for all."""
    sums_SGK = np.array([trial.sums for trial in one.trials])
    weights_RG = np.random.default_rng(0).multinomial(sums_SGK.shape[1], np.full(sums_SGK.shape[1], 1 / sums_SGK.shape[1]), draws)
    by_seed_SR = np.array([figure_of(one.task, weights_RG @ sums_GK) for sums_GK in sums_SGK])
    # Seeds of two systems have nothing in common.
    rng = np.random.default_rng(zlib.crc32(one.system.encode()))
    picked_RS = rng.integers(len(by_seed_SR), size=(draws, len(by_seed_SR)))
    return np.asarray(by_seed_SR[picked_RS, np.arange(draws)[:, None]].mean(1))


def flops(system: System, convention: str) -> float | None:
    """Spent on pretraining, all kinds of text together; None where a part is not known."""
    spent = [getattr(system.flops, kind) for kind in ("general", "biomedical", "clinical")]
    if any(one is None for one in spent):
        return None
    halved = convention == CONVENTIONS[1] and system.architecture == "encoder-decoder"
    return float(sum(spent)) / (2 if halved else 1)


def is_clinical(system: System) -> bool:
    """Whether any of its pretraining was on clinical notes."""
    return (system.tokens.clinical is None and system.tokens != BySource(None, None, None)) or bool(system.tokens.clinical)


def printed(system: System, task: str, figure: str) -> float | None:
    """What the paper prints of a system; None where it does not."""
    name = PRINTED_AS.get((task, figure))
    return None if system.printed is None or name is None else float(getattr(system.printed, name))


@dataclass(frozen=True)
class Line:
    """A straight line through points: score = `at_1` + `slope` x log10(operations)."""

    slope: float
    """Score gained by ten times as many operations."""
    at_1: float
    points: int

    def at(self, operations: float) -> float:
        """The score there."""
        return self.at_1 + self.slope * math.log10(operations)


def regression(points: Sequence[tuple[float, float]]) -> Line | None:
    """Least squares of scores over log10 of operations; None where fewer than two differ."""
    logs = [math.log10(operations) for operations, _ in points]
    if len(set(logs)) < 2:
        return None
    at, score = mean(logs), mean(score for _, score in points)
    slope = sum((x - at) * (y - score) for x, (_, y) in zip(logs, points, strict=True)) / sum((x - at) ** 2 for x in logs)
    return Line(slope, score - slope * at, len(points))


@dataclass(frozen=True)
class Pretrained:
    """What equations 5 to 7 ask of a model."""

    name: str
    parameters: float
    fertility: float = 1.0
    """Tokens that its vocabulary makes of a note, relative to the other one's."""
    pretraining_tokens: float = 0.0
    """That have to be paid for here; 0 for what others have pretrained."""
    finetuning_tokens: float = 0.0


@dataclass(frozen=True)
class BreakEven:
    """From when on a specialised model has cost less than a larger general one."""

    specialised: str
    general: str
    task: str
    better_by: float
    """The specialised one's figure less the general one's."""
    tokens: float
    """Read in use, 0 where it is cheaper from the start."""
    operations: float
    """That either has cost by then."""
    gpu_hours: float
    kwh: float


def break_even_tokens(specialised: Pretrained, general: Pretrained) -> float | None:
    """Equation 7: tokens read in use from which on the specialised model has cost less; None where it never has.

    C = 6 P w (T_pretraining + T_finetuning) + 2 P w T_use for each, the general model's pretraining being others'.
    """
    c, g = specialised, general
    saved = g.fertility * g.parameters - c.fertility * c.parameters
    if saved <= 0:
        return None
    spent = c.fertility * c.parameters * (c.pretraining_tokens + c.finetuning_tokens)
    return max(0.0, 3 * (spent - g.fertility * g.parameters * g.finetuning_tokens) / saved)


def cost(model: Pretrained, used_tokens: float) -> float:
    """Equations 5 and 6: operations of pretraining, finetuning and so many tokens read in use."""
    learning = model.pretraining_tokens + model.finetuning_tokens
    return model.parameters * model.fertility * (6 * learning + 2 * used_tokens)


def break_even(
    systems: Mapping[str, System], found: Sequence[Measured], fertility: Mapping[str, float], use_printed: bool
) -> Iterator[BreakEven]:
    """Every pair of a model with clinical pretraining and a larger one without that it is at least as good as.

    Args:
        systems: by name.
        found: on all of the training data; the rest is not looked at.
        fertility: tokens per character of a system's vocabulary, where it was measured; 1 for all where not.
        use_printed: take the paper's figures, for systems that are not measured here.
    """
    for task, figure in FIGURE.items():
        scores = {one.system: one.figures[figure] for one in found if one.task == task and one.share == 1.0}
        if use_printed:
            scores = {name: value for name, row in systems.items() if (value := printed(row, task, figure)) is not None}
        able = [systems[name] for name in scores if name in systems and systems[name].learns != "prompting"]
        for ours in filter(is_clinical, able):
            for theirs in able:
                if is_clinical(theirs) or scores[ours.name] < scores[theirs.name] or not ours.tokens.clinical:
                    continue
                weight = fertility.get(theirs.name, 1.0) / fertility.get(ours.name, 1.0) if fertility else 1.0
                c = Pretrained(ours.name, ours.parameters, 1.0, ours.tokens.clinical, _finetuning(found, ours.name, task))
                g = Pretrained(theirs.name, theirs.parameters, weight, 0.0, _finetuning(found, theirs.name, task))
                tokens = break_even_tokens(c, g)
                if tokens is None:
                    continue
                spent = cost(c, tokens)
                hours = spent / (H100_FLOPS * H100_SHARE) / 3600
                better = scores[ours.name] - scores[theirs.name]
                yield BreakEven(ours.name, theirs.name, task, better, tokens, spent, hours, hours * H100_WATTS / 1000)


def _finetuning(found: Sequence[Measured], system: str, task: str) -> float:
    own = [t.finetuning_tokens for one in found if (one.system, one.task, one.share) == (system, task, 1.0) for t in one.trials]
    return float(mean(own)) if own else 0.0


def results_table(systems: Mapping[str, System], found: Sequence[Measured]) -> list[dict[str, Any]]:
    """A row per system with everything that is known of it: what it is, what was printed, what was measured on all the data."""
    by_name = {(one.system, one.task): one for one in found if one.share == 1.0}
    rows = []
    for system in systems.values():
        row: dict[str, Any] = {
            "system": system.name,
            "architecture": system.architecture,
            "learns": system.learns,
            "parameters": system.parameters or None,
            "licence": system.licence,
        }
        for kind in ("general", "biomedical", "clinical"):
            row[f"pretraining_tokens_{kind}"] = getattr(system.tokens, kind)
            row[f"flops_6pt_{kind}"] = getattr(system.flops, kind)
            row[f"flops_printed_{kind}"] = getattr(system.printed_flops, kind)
        row["flops_by_architecture"] = flops(system, CONVENTIONS[1])
        for task, names in FIGURES.items():
            one = by_name.get((system.name, task))
            for name in names:
                row[f"{task}_{name}_printed"] = printed(system, task, name)
                row[f"{task}_{name}"] = one.figures[name] if one else None
                low, high = one.between.get(name, (None, None)) if one else (None, None)
                row[f"{task}_{name}_ci95_low"], row[f"{task}_{name}_ci95_high"] = low, high
            row[f"{task}_seeds"] = one.seeds if one else 0
            row[f"{task}_n"] = next(iter(one.counts.values()), None) if one else None
        rows.append(row)
    return rows


def ablation_table(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """A row per system, task, share and figure, the paper's marked as printed."""
    rows = [
        {
            "system": one.system,
            "task": one.task,
            "share": one.share,
            "learnt_from": one.learnt_from,
            "figure": name,
            "value": value,
            "ci95_low": one.between.get(name, (None, None))[0],
            "ci95_high": one.between.get(name, (None, None))[1],
            "seeds_low": one.spread[name][0],
            "seeds_high": one.spread[name][1],
            "seeds": one.seeds,
            "source": "measured",
        }
        for one in found
        for name, value in one.figures.items()
    ]
    for task, lines in PRINTED_ABLATION.items():
        for system, values in lines.items():
            rows += [
                {"system": system, "task": task, "share": share, "figure": FIGURE[task], "value": value, "source": "printed"}
                for share, value in zip(PRINTED_SHARES, values, strict=True)
                if value is not None
            ]
    return rows
