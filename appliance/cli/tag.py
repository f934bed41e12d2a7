"""`tag`: what to follow up in a note, now, in this process."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.cli.settings import Settings, fail
from appliance.cli.texts import notes_of

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
    from appliance.reading import as_json
    from appliance.registry import Registry

    settings: Settings = ctx.obj
    advice = "run `clinappliance train --notes PATH --clip PATH`"
    entry = Registry(settings.home.require().models).reader(model, "clip", advice)
    tagger = tagger_of(settings.home, entry, engine)
    faults: list[str] = []
    for note, tagged in _tagged(tagger, notes_of(files, faults, "tag")):
        found = as_json(note.note_id, note.text, entry.reference, tagged, tagger.is_sure)
        settings.emit(found, _page(found))
    if faults:
        fail("\nclinappliance: ".join(faults))


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
        lines += [
            f'  {at["label"]:<22}  {at["score"]:.2f}{"?" if "unsure" in at else " "}  "{quote}"' for at in finding["labels"]
        ]
    if any("unsure" in at for finding in found["findings"] for at in finding["labels"]):
        lines.append("  ? unsure: of what scores so, fewer than nine in ten were right, or nobody knows how many")
    return "\n".join(lines)
