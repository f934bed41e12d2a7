"""`fetch`: what the FHIR server holds already, by Bulk Data $export."""

from typing import Annotated

import typer

from appliance.cli.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(fetch)


def fetch(
    ctx: typer.Context,
    group: Annotated[str, typer.Option(help="Id of a Group at the server; every patient where absent.")] = "",
    since: Annotated[str, typer.Option(help="Only documents that changed since then, as 2026-11-01T00:00:00Z.")] = "",
) -> None:
    """Fetch the documents that the FHIR server of [fhir_source] holds already into the inbox, by Bulk Data $export.

    It may run beside `run`, which reads them. Stop it when you like: the same command goes on where it was.
    Example: clinappliance fetch --since 2026-11-01T00:00:00Z
    """
    from appliance.cli.progress import TerminalWatch
    from appliance.config import load
    from appliance.intake import export
    from appliance.storage import Storage

    settings: Settings = ctx.obj
    home = settings.home.require()
    config = load(home)
    storage = Storage(config.database.place(home.database))
    try:
        with TerminalWatch() as watch:
            watch.phase("Waiting for the FHIR server's export")
            found = export(home, config, storage, group, since, lambda done, total: watch.work(done, total, "files"))
    finally:
        storage.close()
    counts = {"new": found.n_new, "known": found.n_known, "unreadable": found.n_unreadable}
    shown = (
        f"{found.n_new:,} documents fetched, {found.n_known:,} were there, {found.n_unreadable:,} of the new ones cannot be read"
    )
    settings.emit(counts | {"transaction_time": found.transaction_time}, shown)
