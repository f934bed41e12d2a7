"""One page about one pretraining, for people who would rather look than read: self-contained HTML, no script, no text of a note.

`RunReport` holds the figures, `page` draws them. What was not measured says so instead of being left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from pretrain import plots
from pretrain.fertility import Fertility
from pretrain.pages import page as framed
from pretrain.pages import table


@dataclass(frozen=True)
class RunReport:
    """What one pretraining has to show."""

    title: str
    facts: Mapping[str, str]
    """The heading's table: size, parameters, dates, what made it."""
    notes_read: int
    documents: int
    held_out: int
    tokens: int
    """Of the training documents."""
    kinds: Mapping[str, int]
    """Training documents by kind of note."""
    drops: Mapping[str, int]
    """Notes left out, by reason."""
    remarks: Mapping[str, int]
    """Notes kept with an assumption, by what was assumed."""
    lengths: Sequence[tuple[int, int]]
    """(words, documents with up to so many and more than in the entry before)."""
    deidentified_by: str
    deidentification: Mapping[str, Mapping[str, Any]]
    """By kind of identifier, as `pretrain.deid.measure` gives it."""
    fertility: Sequence[Fertility]
    """On held-out documents: of the vocabulary that was learnt with, and of another to compare with."""
    history: Sequence[Mapping[str, Any]] = field(repr=False)
    """Lines of `history.jsonl`."""
    dev_loss_by_kind: Mapping[str, float]
    flops: Mapping[str, float]
    seconds: float
    devices: int
    device_name: str
    kwh: float
    kwh_source: str
    mfu: float | None = None
    mfu_against: str = ""
    leak_gate: Mapping[str, Any] = field(default_factory=dict)
    """As `pretrain.leakage` gives it."""


def page(run: RunReport) -> str:
    """The whole page."""
    sections = (_head, _corpus, _lengths, _vocabulary, _deidentification, _loss, _throughput, _cost, _leak_gate)
    body = "\n".join(section(run) for section in sections)
    return framed(run.title, body)


def _head(run: RunReport) -> str:
    passed = run.leak_gate.get("passed")
    verdicts = [
        ("good" if run.deidentified_by else "bad", "de-identified" if run.deidentified_by else "not de-identified"),
        {
            True: ("good", "leak gate passed"),
            False: ("bad", "leak gate failed: this model may not be promoted"),
            None: ("open", "leak gate not run"),
        }[passed],
    ]
    chips = " ".join(f'<span class="chip {kind}">{escape(text)}</span>' for kind, text in verdicts)
    return f"<h1>{escape(run.title)}</h1><p>{chips}</p>{table((), run.facts.items())}"


def _corpus(run: RunReport) -> str:
    left_out = sum(run.drops.values())
    lines = [
        ("notes, files and lines read", f"{run.notes_read:,}"),
        ("left out, with a reason each", f"{left_out:,}"),
        ("documents to learn from", f"{run.documents:,}"),
        ("documents of other patients, to watch the loss on", f"{run.held_out:,}"),
        ("tokens to learn from", f"{run.tokens:,}"),
    ]
    return "\n".join(
        [
            "<h2>Corpus</h2>",
            table((), lines),
            "<h3>Left out</h3>",
            _bars(run.drops, "Nothing was left out."),
            *(["<h3>Kept, with an assumption</h3>", _bars(run.remarks, "")] if run.remarks else []),
            "<h3>Kinds of note learnt from</h3>",
            _bars(run.kinds, "None."),
        ]
    )


def _lengths(run: RunReport) -> str:
    if not run.lengths:
        return "<h2>Lengths</h2><p>No document.</p>"
    names, counts = [f"to {words:,}" for words, _ in run.lengths], [count for _, count in run.lengths]
    return f"<h2>Lengths</h2>{plots.bars_svg(names, counts, 'words of a document', 'documents')}"


def _vocabulary(run: RunReport) -> str:
    if not run.fertility:
        return "<h2>Vocabulary</h2><p>No held-out notes to measure it on.</p>"
    rows = [
        (of.vocabulary, f"{of.pieces:,}", f"{of.tokens_per_word:.2f}", f"{of.characters_per_token:.2f}") for of in run.fertility
    ]
    return (
        "<h2>Vocabulary</h2><p>How many tokens it makes of held-out notes: the fewer, the more of a note fits a window. Line "
        "breaks are tokens of a vocabulary made here, and none of T5's or BERT's.</p>"
        + table(("vocabulary", "pieces", "tokens per word", "characters per token"), rows)
    )


def _deidentification(run: RunReport) -> str:
    if not run.deidentification:
        return f"<h2>De-identification</h2><p>By {escape(run.deidentified_by) or 'nothing'}; not measured in this run.</p>"
    rows = [
        (kind.replace("_", " "), _share(row["recall"]), _share(row["precision"])) for kind, row in run.deidentification.items()
    ]
    return (
        f"<h2>De-identification</h2><p>By {escape(run.deidentified_by)}. Measured on synthetic notes, whose every identifier is "
        "known and whose style its makers knew. Where nothing around a name says that it is one, it finds fewer: of the names in "
        "notes written by hand in other styles about nine in ten. Look at a sample of your own before you rely on it.</p>"
        + table(("identifier", "found of those there (95 %)", "right of those found (95 %)"), rows)
    )


def _loss(run: RunReport) -> str:
    trained = [(at["step"], at["smoothed_loss"]) for at in run.history]
    looks = [(at["step"], at["dev_loss"]) for at in run.history if "dev_loss" in at]
    rows = [(kind, f"{loss:.3f}") for kind, loss in run.dev_loss_by_kind.items()]
    return (
        "<h2>Loss</h2>"
        + plots.loss_svg(trained, looks)
        + (table(("held-out notes", "nats per target token"), rows) if rows else "<p>No held-out notes to measure on.</p>")
    )


def _throughput(run: RunReport) -> str:
    pace = [(at["tokens"], at["tokens_per_s"]) for at in run.history]
    mean = run.history[-1]["tokens"] / max(run.seconds, 1e-9) if run.history else 0.0
    lines = [("tokens read and written per second", f"{mean:,.0f}")]
    lines += [(f"floating-point operations, {rule}", f"{value:.3g}") for rule, value in run.flops.items()]
    if run.mfu is not None:
        lines.append((f"share of {run.mfu_against}", f"{100 * run.mfu:.1f} %"))
    return "<h2>Throughput</h2>" + plots.pace_svg(pace) + table((), lines)


def _cost(run: RunReport) -> str:
    hours = run.seconds / 3600 * run.devices
    lines = [
        (f"hours of {run.device_name}, {run.devices} of them", f"{hours:.2f}"),
        ("kWh", f"{run.kwh:.3f}"),
        ("how the energy is known", run.kwh_source),
    ]
    return "<h2>Cost</h2>" + table((), lines)


def _leak_gate(run: RunReport) -> str:
    if not run.leak_gate:
        return "<h2>Leak gate</h2><p>Not run: a model that was not tested for leaks may not be promoted.</p>"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in run.leak_gate["reasons"])
    rows = [
        tuple(f"{value:.3g}" if isinstance(value, float) else str(value) for value in level.values())
        for level in run.leak_gate["levels"]
    ]
    header = tuple(name.replace("_", " ") for name in run.leak_gate["levels"][0]) if rows else ()
    return (
        "<h2>Leak gate</h2><p>Made-up record numbers stood in the training text a known number of times. The model is asked to "
        "fill in each among all 100,000 it might be: where it ranks them no better than numbers that it never read, it has not "
        "learnt them by heart.</p>" + table(header, rows) + (f"<ul>{reasons}</ul>" if reasons else "<p>No reason to refuse.</p>")
    )


def _share(row: Mapping[str, float | int] | None) -> str:
    return f"{row['share']:.3f} ({row['low']:.3f} to {row['high']:.3f}) of {row['n']:,}" if row else "none"


def _bars(counts: Mapping[str, int], empty: str) -> str:
    """A row per name with a bar as long as its share of the largest."""
    if not counts:
        return f"<p>{escape(empty)}</p>"
    largest = max(counts.values())
    cells = (
        f'<td>{escape(name)}</td><td class="n">{n:,}</td><td class="bar"><i style="width:{100 * n / largest:.1f}%"></i></td>'
        for name, n in sorted(counts.items(), key=lambda item: -item[1])
    )
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
