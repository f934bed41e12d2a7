"""Commands about messages received and about the audit of who looked at them: messages list, show, replay; audit show, verify."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.cli.settings import Settings

if TYPE_CHECKING:
    from appliance.messages import Received, Story
    from appliance.storage import Storage
    from integrations.records import Finding

messages = typer.Typer(no_args_is_help=True, help="Messages received: list, show, and send them round again.")
audit = typer.Typer(no_args_is_help=True, help="Who looked at or changed what.")


def register(app: typer.Typer) -> None:
    """Add this file's commands to the root command."""
    app.add_typer(messages, name="messages")
    app.add_typer(audit, name="audit")


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
def show(
    ctx: typer.Context,
    message_id: Annotated[int, typer.Argument(help="Its number, as `messages list` shows it.")],
    text: Annotated[bool, typer.Option("--text", help="Print the whole text of its note, too.")] = False,
) -> None:
    """Show what was found in one message.

    And where it was delivered. Prints sentences of the note, so the audit tells who looked.
    """
    from appliance.audit import record
    from appliance.config import load
    from appliance.messages import show as look
    from appliance.messages import text as text_of
    from appliance.routing import routes

    settings: Settings = ctx.obj
    storage = _storage(settings)
    record(settings.home, "messages show --text" if text else "messages show", f"message {message_id}")
    story = look(storage, message_id)
    whole = text_of(storage, routes(load(settings.home).routing), message_id) if text else ""
    settings.emit(_story(story) | ({"text": whole} if text else {}), _page(story) + (f"\n\n{whole}" if text else ""))


@messages.command()
def replay(
    ctx: typer.Context,
    message_ids: Annotated[list[int] | None, typer.Argument(help="Numbers, as `messages list` shows them.")] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Every parked message and every dead letter.")] = False,
) -> None:
    """Send messages round again.

    Dead letters of a message are delivered again; without any, the message is read again. The audit tells who did it.
    """
    from appliance.audit import record
    from appliance.messages import replay as again
    from appliance.messages import set_aside

    settings: Settings = ctx.obj
    if parked == bool(message_ids):
        raise typer.BadParameter("name messages, or give --parked", param_hint="MESSAGE_IDS")
    storage = _storage(settings)
    for message_id in message_ids or set_aside(storage):
        record(settings.home, "messages replay", f"message {message_id}")
        next_step = again(storage, message_id)
        settings.emit({"message": message_id, "next": next_step}, f"message {message_id}: {next_step}")


@audit.command("show")
def show_audit(ctx: typer.Context, limit: Annotated[int, typer.Option(min=1, help="How many, the newest of all.")] = 50) -> None:
    """Show who looked at or changed what, oldest first."""
    from collections import deque

    from appliance.audit import entries

    settings: Settings = ctx.obj
    for entry in deque(entries(settings.home.require()), maxlen=limit):
        settings.emit(entry, f"{entry['at']}  {entry['who']} on {entry['host']}: {entry['did']}, {entry['on']}")


@audit.command()
def verify(
    ctx: typer.Context,
    seal: Annotated[str, typer.Option(help="A seal noted earlier: lines after it may be new, itself must be there.")] = "",
) -> None:
    """Check that no line was altered, taken out or moved.

    Note the newest seal somewhere else: only so will it show when lines are taken off the end. Exit 1 where something is wrong.
    """
    from appliance.audit import AuditError, entries

    settings: Settings = ctx.obj
    seals = [entry["seal"] for entry in entries(settings.home.require())]
    if seal and seal not in seals:
        raise AuditError(f"{settings.home.audit}: the line with this seal is gone; restore a copy to compare it with")
    newest = seals[-1] if seals else ""
    settings.emit(
        {"lines": len(seals), "seal": newest}, f"{len(seals)} lines, all as they were written; newest seal {newest or '-'}"
    )


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
        "findings": [_finding(finding) for finding in story.findings],
        "deliveries": [asdict(delivery) for delivery in story.deliveries],
    }


def _finding(finding: "Finding") -> dict[str, Any]:
    """What `tag` prints of a label and `ask` of an answer: nulls where the report does not answer."""
    found: dict[str, Any] = {"id": finding.finding_id, "start": finding.start, "end": finding.end, "text": finding.quote}
    if finding.question:
        found |= {"question": finding.question, "answer": finding.quote or None}
        if not finding.quote:
            found |= {"start": None, "end": None, "text": None}
    else:
        found |= {"label": finding.label}
    return found | {"score": round(finding.score, 4)} | ({"unsure": True} if finding.unsure else {})


def _finding_line(finding: "Finding") -> str:
    name = finding.question or f"{finding.label:<21}"
    said = f'"{" ".join(finding.quote.split())}"' if finding.quote else "not answered in this report"
    return f"  {name} {finding.score:.2f}{'?' if finding.unsure else ' '} {said}"


def _page(story: "Story") -> str:
    message = story.message
    lines = [
        f"message {message.message_id} from {message.source}, {message.state}" + (f": {message.reason}" * bool(message.reason))
    ]
    if story.note_id:
        lines.append(f"note {story.note_id}, {story.kind}, " + (f"read by {story.model}" if story.model else "not read"))
    lines += [_finding_line(finding) for finding in story.findings]
    if any(finding.unsure for finding in story.findings):
        lines.append("  ? unsure: of what scores so, fewer than nine in ten were right, or nobody knows how many")
    lines += [f"  to {d.destination}: {d.state}, {d.attempts} tries {d.reason}".rstrip() for d in story.deliveries]
    return "\n".join(lines)
