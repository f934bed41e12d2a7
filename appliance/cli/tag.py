"""`tag`: what to follow up in a note, now, in this process."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.cli.settings import Settings, fail

if TYPE_CHECKING:
    from integrations.records import Note
    from serving.predictor import Tagged, Tagger

NOTES_AT_ONCE = 16


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(tag)


def tag(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            readable=False,
            help="Notes, in files or folders as `train` reads; '-' reads one from standard input.",
        ),
    ],
    model: Annotated[str | None, typer.Option(help="NAME or NAME@VERSION; the promoted model where absent.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
) -> None:
    """Tag the follow-up actions in notes.

    Each finding is a stretch of the note's own characters. Example: clinappliance tag --model q@2 summary.txt
    """
    from appliance.publishing import tagger_of
    from appliance.registry import Registry, RegistryError

    settings: Settings = ctx.obj
    registry = Registry(settings.home.require().models)
    entry = registry.find(model, "clip") if model else registry.promoted("clip")
    if entry is None:
        raise RegistryError(
            "no clip model is promoted; run `clinappliance train --notes PATH --clip PATH` or name one with --model"
        )
    tagger = tagger_of(settings.home, entry, engine)
    faults: list[str] = []
    for note, tagged in _tagged(tagger, _notes(files, faults)):
        found = report(note.note_id, note.text, entry.reference, tagged)
        settings.emit(found, _page(found))
    if faults:
        fail("\nclinappliance: ".join(faults))


def report(note_id: str, text: str, model: str, tagged: "Tagged") -> dict[str, Any]:
    """What a model found in one note: one finding per sentence, with every label it carries."""
    by_sentence = groupby(sorted(tagged.spans, key=lambda s: (s.start, s.end)), key=lambda s: (s.start, s.end))
    findings = [
        {
            "start": start,
            "end": end,
            "text": text[start:end],
            "labels": [{"label": s.label, "score": round(s.score, 4)} for s in sorted(spans, key=lambda s: -s.score)],
        }
        for (start, end), spans in by_sentence
    ]
    return {"note": note_id, "model": model, "n_sentences": tagged.n_sentences, "findings": findings}


def _notes(files: list[Path], faults: list[str]) -> Iterator["Note"]:
    """The notes of all files. A file that gives none is one of the `faults`; what is left out of another is told on stderr."""
    from integrations.ehr_export import ExportError

    for file in files:
        drops: Counter[str] = Counter()
        remarks: Counter[str] = Counter()
        n_notes = 0
        try:
            for note in _notes_of(file, drops, remarks):
                n_notes += 1
                yield note
        except ExportError as error:
            faults.append(str(error))
            continue
        told = [f"{n} left out: {reason}" for reason, n in drops.items()] + [f"{n} kept: {how}" for how, n in remarks.items()]
        if not n_notes:
            faults.append(
                f"{file}: holds no note to tag ({'; '.join(told) or 'it is empty'}); give .txt, .jsonl, .csv or .parquet"
            )
            continue
        for line in told:
            print(f"{file}: {line}", file=sys.stderr)


def _notes_of(file: Path, drops: Counter[str], remarks: Counter[str]) -> Iterator["Note"]:
    from integrations.ehr_export import read_notes, text_note

    if str(file) != "-":
        yield from read_notes(file, drops, remarks)
    elif note := text_note(sys.stdin.buffer.read(), "standard input", drops, remarks):
        yield note


def _tagged(tagger: "Tagger", notes: Iterable["Note"]) -> Iterator[tuple["Note", "Tagged"]]:
    notes = iter(notes)
    while chunk := list(islice(notes, NOTES_AT_ONCE)):
        yield from zip(chunk, tagger.tag([n.text for n in chunk]), strict=True)


def _page(found: dict[str, Any]) -> str:
    lines = [
        f"{found['note']}: {len(found['findings'])} of {found['n_sentences']} sentences to follow up (model {found['model']})"
    ]
    for finding in found["findings"]:
        quote = " ".join(finding["text"].split())
        lines += [f'  {at["label"]:<22}  {at["score"]:.2f}   "{quote}"' for at in finding["labels"]]
    return "\n".join(lines)
