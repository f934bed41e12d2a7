"""Commands that run the appliance and look after it: init, run, status, doctor."""

from dataclasses import asdict

import typer

from appliance.cli.settings import Settings, fail


def register(app: typer.Typer) -> None:
    """Add this file's commands to the root command."""
    app.command()(init)
    app.command()(run)
    app.command()(status)
    app.command()(doctor)


def init(ctx: typer.Context) -> None:
    """Make the appliance's home: settings, keys, database.

    What is there already stays as it is. Example: clinappliance --home /srv/clinappliance init
    """
    settings: Settings = ctx.obj
    made = [str(path) for path in settings.home.init()]
    told = "\n".join(f"  made {path}" for path in made) or "  everything was there already"
    settings.emit({"home": str(settings.home.root), "made": made}, f"{settings.home.root} is ready\n{told}")


def run(ctx: typer.Context) -> None:
    """Take messages, read them, deliver the findings.

    Starts Triton, the MLLP listener, the delivery to the FHIR server and the health pages, as appliance.toml in the home says,
    and works until Ctrl-C or SIGTERM.
    """
    from appliance import logs, service
    from appliance.config import load

    settings: Settings = ctx.obj
    config = load(settings.home.require())
    logs.configure()

    def told(ports: service.Ports) -> None:
        settings.emit(
            {"mllp_port": ports.mllp, "http_port": ports.http},
            f"Taking HL7 v2 messages on port {ports.mllp}; health and metrics on port {ports.http}. Ctrl-C stops.",
        )

    service.run(settings.home, config, told)


def status(ctx: typer.Context) -> None:
    """Show what runs, which model reads, and the queues."""
    from appliance import report

    settings: Settings = ctx.obj
    found = report.status(settings.home.require())
    settings.emit(found, report.page(found))


def doctor(ctx: typer.Context) -> None:
    """Check this host and this home.

    Says what to do about what is wrong. Exit 1 where something fails.
    """
    from appliance.doctor import examine

    settings: Settings = ctx.obj
    failed = 0
    for check in examine(settings.home):
        failed += check.outcome == "fail"
        advice = f"\n      {check.advice}" if check.advice else ""
        settings.emit(asdict(check), f"{check.outcome:<4}  {check.name}: {check.found}{advice}")
    if failed:
        fail(f"{failed} {'check' if failed == 1 else 'checks'} failed")
