"""Commands that run the appliance and look after it: init, run, messages, status, doctor."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.cli.settings import Settings, fail

if TYPE_CHECKING:
    from appliance.messages import Received, Story
    from appliance.storage import Storage

messages = typer.Typer(no_args_is_help=True, help="Messages received: list, show, and send them round again.")


def register(app: typer.Typer) -> None:
    """Add this file's commands to the root command."""
    app.command()(init)
    app.command()(run)
    app.add_typer(messages, name="messages")
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


@messages.command("list")
def list_messages(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(help="Only waiting, claimed, done or parked ones.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
) -> None:
    """List messages, newest first."""
    from appliance.messages import listing
    from integrations.mailbox import State

    if state not in ("", *State):
        raise typer.BadParameter(f"{state!r} is no state; there are: {', '.join(State)}", param_hint="--state")
    settings: Settings = ctx.obj
    for message in listing(_storage(settings), State(state) if state else None, limit):
        settings.emit(_row(message), _line(message))


@messages.command()
def show(ctx: typer.Context, message_id: Annotated[int, typer.Argument(help="Its number, as `messages list` shows it.")]) -> None:
    """Show what was found in one message.

    And where it was delivered. Prints sentences of the note.
    """
    from appliance.messages import show as look

    settings: Settings = ctx.obj
    story = look(_storage(settings), message_id)
    settings.emit(_story(story), _page(story))


@messages.command()
def replay(
    ctx: typer.Context,
    message_ids: Annotated[list[int] | None, typer.Argument(help="Numbers, as `messages list` shows them.")] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Every parked message and every dead letter.")] = False,
) -> None:
    """Send messages round again.

    Dead letters of a message are delivered again; without any, the message is read again.
    """
    from appliance.messages import replay as again
    from appliance.messages import set_aside

    settings: Settings = ctx.obj
    if parked == bool(message_ids):
        raise typer.BadParameter("name messages, or give --parked", param_hint="MESSAGE_IDS")
    storage = _storage(settings)
    for message_id in message_ids or set_aside(storage):
        next_step = again(storage, message_id)
        settings.emit({"message": message_id, "next": next_step}, f"message {message_id}: {next_step}")


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


def _storage(settings: Settings) -> "Storage":
    from appliance.config import load
    from appliance.storage import Storage

    home = settings.home.require()
    return Storage(load(home).database.place(home.database))


def _row(message: "Received") -> dict[str, Any]:
    return asdict(message) | {"received_at": message.received_at.isoformat(timespec="seconds")}


def _line(message: "Received") -> str:
    at = message.received_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    found = f"{message.n_findings:>3} findings"
    return f"{message.message_id:>7}  {at}  {message.state:<8} {found}  {message.source}  {message.reason}".rstrip()


def _story(story: "Story") -> dict[str, Any]:
    return {
        **_row(story.message),
        "note": story.note_id,
        "kind": story.kind,
        "model": story.model,
        "findings": [
            {"id": f.finding_id, "start": f.start, "end": f.end, "text": f.quote, "label": f.label, "score": round(f.score, 4)}
            for f in story.findings
        ],
        "deliveries": [asdict(delivery) for delivery in story.deliveries],
    }


def _page(story: "Story") -> str:
    message = story.message
    lines = [
        f"message {message.message_id} from {message.source}, {message.state}" + (f": {message.reason}" * bool(message.reason))
    ]
    if story.note_id:
        lines.append(f"note {story.note_id}, {story.kind}, " + (f"read by {story.model}" if story.model else "not read"))
    lines += [f'  {f.label:<21} {f.score:.2f}  "{" ".join(f.quote.split())}"' for f in story.findings]
    lines += [f"  to {d.destination}: {d.state}, {d.attempts} tries {d.reason}".rstrip() for d in story.deliveries]
    return "\n".join(lines)
