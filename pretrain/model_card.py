"""The model card: what a bundle is, what it was taught by, how well it does, and what it is not for."""

from collections.abc import Iterable
from typing import Any

from pretrain.bundle import Manifest

_LIMITS = """\
- It was measured on the notes named above only. Another hospital, another kind of note or another year may give other figures.
- Labels that are synthetic, follow rules or were written in-house are not the published data set's:
  **no score here is a {name} score**, and none may be compared with published {name} figures.
- {caution}
- Weights and vocabulary were learnt from patients' notes. Treat the files as such: do not take them out of the hospital."""

_NAMES = {"clip": "CLIP", "radqa": "RadQA", "mednli": "MedNLI"}
_DOES = {
    "clip": "tags sentences with",
    "radqa": "answers questions by a span of the report, or not at all; its channels are",
    "mednli": "says what a hypothesis is to its premise",
}
_CAUTIONS = {
    "clip": "It points at sentences for a clinician to read. It does not decide, and a sentence without a tag is not a sentence "
    "without need.",
    "radqa": "It points at a place in the report for a clinician to read. No answer does not mean that nothing is there.",
    "mednli": "It says how two sentences go together, not whether either is true of a patient.",
}

_FLOPS = """\
6PT counts 6 operations per parameter and token, as Lehman et al. do; for an encoder-decoder, where a token crosses about half
of the parameters, that overstates. The exact rule counts every matrix product by its shape."""


def model_card(manifest: Manifest) -> str:
    """The card in Markdown; it holds figures only, never text of a note."""
    m = manifest
    lines = [
        f"# {m.identity}, {m.task}",
        "",
        f"A {m.size} encoder with a linear head that {_DOES[m.task]}: {', '.join(m.labels)}.",
        f"Made {m.created_at:%Y-%m-%d %H:%M} UTC by clinappliance {m.package_version}.",
        "",
        "## Taught by",
        "",
        f"{m.taught_by}.",
        f"Pretraining corpus: {m.corpus_fingerprint}."
        if m.corpus_fingerprint
        else "Not pretrained: it started from random weights.",
        "",
        "## Measured",
        "",
        *_measured(m.metrics),
        "",
        *_cutoffs(m),
        *_sure(m),
        "## Training cost",
        "",
        _FLOPS,
        "",
        *_table(("phase and rule", "floating-point operations"), ((name, f"{value:.3g}") for name, value in m.flops.items())),
        "",
        "## Leak gate",
        "",
        *_leak_gate(m.leak_gate),
        "",
        "## Limits",
        "",
        _LIMITS.format(name=_NAMES[m.task], caution=_CAUTIONS[m.task]),
        "",
    ]
    return "\n".join(lines)


def _measured(metrics: dict[str, Any]) -> list[str]:
    if not metrics:
        return ["On nothing: no notes were left to measure on."]
    counted = ", ".join(
        f"{metrics[key]} {key[2:]}" for key in ("n_notes", "n_sentences", "n_questions", "n_pairs") if key in metrics
    )
    figures = [
        (name.replace("_f1", ""), f"{metrics[name]:.3f}", f"{low:.3f} to {high:.3f}")
        for name, (low, high) in metrics["ci95"].items()
    ]
    lines = [
        f"On n = {counted}, each of which it, or one of {metrics['folds']} models made in the same way, was not taught with; "
        if "folds" in metrics
        else f"On n = {counted} that it was not taught with; ",
        "intervals are a bootstrap over notes.",
    ]
    lines = ["".join(lines), "", *_table(("figure", "value", "95 % interval"), figures)]
    if "per_label" in metrics:
        rows = (
            (label, f"{row['precision']:.3f}", f"{row['recall']:.3f}", f"{row['f1']:.3f}", row["support"])
            for label, row in metrics["per_label"].items()
        )
        lines += ["", *_table(("label", "precision", "recall", "F1", "how many"), rows)]
    if "has_answer" in metrics:
        with_answer, without = metrics["has_answer"], metrics["no_answer"]
        lines += [
            "",
            f"Of {with_answer['n']} questions with an answer: F1 {with_answer['f1']:.3f}, exact {with_answer['em']:.3f}; "
            f"of {without['n']} without one {without['accuracy']:.3f} are told so.",
        ]
    if "calibration" in metrics:
        error = metrics["calibration"]["ece"]
        lines += ["", f"Scores are calibrated: on average {100 * error:.2f} points of 100 from how often such a label is right."]
    return lines


def _cutoffs(manifest: Manifest) -> list[str]:
    if manifest.task != "clip":
        return []
    rules = (
        f"The follow-up rules' evidence is added to what it says, {manifest.rules:.2f} times."
        if manifest.rules
        else "No rules stand beside it."
    )
    rows = zip(manifest.labels, (f"{cutoff:.3f}" for cutoff in manifest.cutoffs), strict=True)
    return ["## Cut-offs", "", *_table(("label", "shown from a score of"), rows), "", rules, ""]


def _sure(manifest: Manifest) -> list[str]:
    if manifest.task == "mednli":
        return []
    known = (
        f"From a score of {manifest.sure_from:.3f} on at least nine of ten things that it showed were right, when it was "
        "measured. What scores less is shown as unsure."
        if manifest.sure_from is not None
        else "From which score on nine of ten are right is not known, so that everything is shown as unsure."
    )
    return ["## When it is unsure", "", known, ""]


def _leak_gate(gate: dict[str, Any]) -> list[str]:
    if not gate:
        return ["Not run: it may not be promoted."]
    verdict = "Passed." if gate["passed"] else f"**Failed: it may not be promoted.** {'; '.join(gate['reasons'])}."
    levels = gate["levels"]
    lines = [
        f"{verdict} Made-up record numbers stood in the pretraining text a known number of times; each is ranked by the model "
        "among all 100,000 it might be, and compared with others that it never read.",
    ]
    if levels:
        lines += ["", *_table(tuple(levels[0]), (tuple(map(_figure, level.values())) for level in levels))]
    return lines


def _figure(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (header, ("---",) * len(header), *rows)]
