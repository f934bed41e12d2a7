"""The model card: what a bundle is, what it was taught by, how well it does, and what it is not for."""

from collections.abc import Iterable
from typing import Any

from pretrain.bundle import Manifest

_LIMITS = """\
- It was measured on the notes named above only. Another hospital, another kind of note or another year may give other figures.
- Labels that are synthetic, follow rules or were written in-house are not CLIP's: **no score here is a CLIP score**, and none
  may be compared with published CLIP figures.
- Scores order sentences; they are not calibrated probabilities.
- It points at sentences for a clinician to read. It does not decide, and a sentence without a tag is not a sentence without need.
- Weights and vocabulary were learnt from patients' notes. Treat the files as such: do not take them out of the hospital."""

_FLOPS = """\
6PT counts 6 operations per parameter and token, as Lehman et al. do; for an encoder-decoder, where a token crosses about half
of the parameters, that overstates. The exact rule counts every matrix product by its shape."""


def model_card(manifest: Manifest) -> str:
    """The card in Markdown; it holds figures only, never text of a note."""
    m = manifest
    lines = [
        f"# {m.identity}, {m.task}",
        "",
        f"A {m.size} T5 encoder with a linear head that tags sentences with: {', '.join(m.labels)}.",
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
        "## Cut-offs",
        "",
        *_table(("label", "shown from a score of"), zip(m.labels, (f"{c:.3f}" for c in m.cutoffs), strict=True)),
        "",
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
        _LIMITS,
        "",
    ]
    return "\n".join(lines)


def _measured(metrics: dict[str, Any]) -> list[str]:
    if not metrics:
        return ["On nothing: no notes were left to measure on."]
    figures = [
        (name.replace("_f1", ""), f"{metrics[name]:.3f}", f"{low:.3f} to {high:.3f}")
        for name, (low, high) in metrics["ci95"].items()
    ]
    labels = (
        (label, f"{row['precision']:.3f}", f"{row['recall']:.3f}", f"{row['f1']:.3f}", row["support"])
        for label, row in metrics["per_label"].items()
    )
    return [
        f"On n = {metrics['n_notes']} notes with {metrics['n_sentences']} sentences that it was not taught with; "
        "intervals are a bootstrap over notes.",
        "",
        *_table(("F1", "value", "95 % interval"), figures),
        "",
        *_table(("label", "precision", "recall", "F1", "sentences"), labels),
    ]


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
