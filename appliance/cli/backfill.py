"""`backfill`: an archive of any size, tagged at idle priority."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(backfill)


def backfill(
    ctx: typer.Context,
    archive: Annotated[
        Path, typer.Argument(readable=False, help="Notes, a file or a folder of any size, as `train` reads them.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the results: JSON lines, a folder per file of the archive. It holds note text.")
    ],
    model: Annotated[str | None, typer.Option(help="NAME or NAME@VERSION; the promoted model where absent.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with a model of its own; a file is read by one of them.")
    ] = 1,
    ray: Annotated[
        str, typer.Option(help="Address of a Ray cluster that does the work instead: auto, or ray://HOST:10001.")
    ] = "",
) -> None:
    """Tag the discharge summaries of an archive while the appliance goes on with its work.

    It computes at idle priority and stands back whenever a message waits to be read. Stop it when you like (Ctrl-C, or a
    power cut): the same command goes on where it was, and no note has its results twice. Nothing is sent to anyone.
    Example: clinappliance backfill /ehr/archive --out /data/archive-tags
    """
    from appliance.backfill import backfill as run
    from appliance.cli.progress import TerminalWatch
    from appliance.config import load
    from appliance.registry import Registry
    from integrations.ehr_export import open_export

    settings: Settings = ctx.obj
    home = settings.home.require()
    entry = Registry(home.models).reader(model, "clip", "run `clinappliance train --notes PATH --clip PATH`")
    drops: Counter[str] = Counter()
    export = open_export(archive, drops, load(home).export)
    total, done = sum(file.size for file in export.files), 0
    with TerminalWatch() as watch:
        watch.phase(f"Tagging {len(export.files):,} files with {entry.reference}")

        def on_bytes(n: int) -> None:
            nonlocal done
            done += n
            watch.work(done, total, "bytes")

        counts = run(home, export, entry, out, engine=engine, workers=workers, ray_address=ray, on_bytes=on_bytes)
    left_out = dict(drops) | {key.removeprefix("left out: "): n for key, n in counts.items() if key.startswith("left out: ")}
    found = {"model": entry.reference, "notes": counts["notes"], "findings": counts["findings"], "left_out": left_out}
    lines = [f"{counts['notes']:,} notes read, {counts['findings']:,} sentences to follow up: {out}"]
    lines += [f"  {n:,} left out: {reason}" for reason, n in left_out.items()]
    settings.emit(found, "\n".join(lines))
