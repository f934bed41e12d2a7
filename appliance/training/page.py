"""The page about one pretraining: what the run left behind, put together for `pretrain.report_page`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pretrain.bundle import Manifest
from pretrain.corpus import Corpus
from pretrain.energy import Energy
from pretrain.fertility import Fertility
from pretrain.report_page import RunReport, page
from pretrain.shards import Shard

MEASURED_NOTES = 200
"""Synthetic ones, to say on the page how much the de-identifier finds."""


def page_of(manifest: Manifest, corpus: Corpus, learned: Shard, energy: Energy, history: Sequence[Mapping[str, Any]]) -> str:
    """The page about a pretraining, as HTML."""
    m = manifest.metrics
    run = RunReport(
        title=f"{manifest.identity}, pretraining",
        facts={
            "model": f"{manifest.size}, {m['parameters']:,} parameters, vocabulary of {learned.vocab_size:,}",
            "taught by": manifest.taught_by,
            "made": f"{manifest.created_at:%Y-%m-%d %H:%M} UTC by clinappliance {manifest.package_version}",
            "steps": f"{m['steps']:,}, {m['tokens']:,} tokens in {m['seconds']:,.0f} s",
        },
        notes_read=len(corpus.train) + len(corpus.dev) + sum(corpus.drops.values()),
        documents=len(corpus.train),
        held_out=len(corpus.dev),
        tokens=len(learned.tokens),
        kinds=corpus.kinds,
        drops=corpus.drops,
        remarks=corpus.remarks,
        lengths=corpus.length_histogram,
        deidentified_by=corpus.stamp,
        deidentification=_deidentification(),
        fertility=[Fertility(**of) for of in m["fertility"]],
        history=history,
        dev_loss_by_kind=m["dev_loss_by_kind"],
        flops=manifest.flops,
        seconds=m["seconds"],
        devices=energy.devices,
        device_name=energy.device_name,
        kwh=energy.kwh,
        kwh_source=energy.source,
        mfu=m["mfu"],
        mfu_against=m["mfu_against"],
        leak_gate=manifest.leak_gate,
    )
    return page(run)


def _deidentification() -> dict[str, Any]:
    """How much the de-identifier finds in synthetic notes, whose every identifier is known."""
    from appliance.demo.note_writer import write_notes
    from pretrain.deid import Case, Identifier, Kind, deidentifier, measure

    mask = deidentifier()
    return measure(
        Case(
            note.note.text,
            [Identifier(span.start, span.end, Kind(span.kind.value)) for span in note.identifiers],
            mask.find(note.note.text),
        )
        for note in write_notes(MEASURED_NOTES)
    )
