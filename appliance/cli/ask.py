"""`ask`: a question about a report, answered in its own words or not at all, now, in this process."""

from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.cli.settings import Settings, fail
from appliance.cli.texts import notes_of


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(ask)


def ask(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(readable=False, help="A report, in a file as `train` reads; '-' reads one from standard input.")
    ],
    question: Annotated[str, typer.Argument(help="In words, in quotes.")],
    model: Annotated[str | None, typer.Option(help="NAME or NAME@VERSION; the promoted model where absent.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
) -> None:
    """Ask a question about a radiology report.

    The answer is a stretch of the report's own characters, or none where the report does not say. A file of several reports gives
    an answer for each. Example: clinappliance ask report.txt "How large is the effusion?"
    """
    from appliance.publishing import reader_of
    from appliance.registry import Registry

    settings: Settings = ctx.obj
    if not question.strip():
        raise typer.BadParameter("the question is empty; ask one in words")
    advice = "run `clinappliance finetune radqa --model NAME --data FILE`"
    entry = Registry(settings.home.require().models).reader(model, "radqa", advice)
    reader = reader_of(settings.home, entry, engine)
    faults: list[str] = []
    for note in notes_of([file], faults, "ask about"):
        said = reader.answer(question, note.text)
        found: dict[str, Any] = {"note": note.note_id, "model": entry.reference, "question": question}
        found |= {"answer": None, "start": None, "end": None, "score": round(said.score, 4)}
        if said.span:
            found |= {"answer": said.text(note.text), "start": said.span.start, "end": said.span.end}
            found |= {} if reader.is_sure(said.score) else {"unsure": True}
        settings.emit(found, _page(found))
    if faults:
        fail("\nclinappliance: ".join(faults))


def _page(found: dict[str, Any]) -> str:
    said = "not answered in this report" if found["answer"] is None else f'"{" ".join(found["answer"].split())}"'
    unsure = ", unsure: look at the report" if "unsure" in found else ""
    return f"{found['note']}: {said}   {found['score']:+.2f} (model {found['model']}{unsure})"
