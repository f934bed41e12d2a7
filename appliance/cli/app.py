"""`clinappliance`: the root command, its global options, and how an error becomes one line and an exit code."""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from appliance.cli import ask, backfill, backup, fetch, messages, models, operate, study, tag, train
from appliance.cli.settings import Settings, fail
from appliance.trouble import explain

DEFAULT_HOME = Path("~/.local/share/clinappliance")

ADVICE = {
    errno.ENOSPC: "free space and run it again",
    errno.EDQUOT: "free space and run it again",
    errno.EACCES: "run as the user who owns it, or mend its rights",
    errno.EPERM: "run as the user who owns it, or mend its rights",
    errno.EROFS: "choose a folder that can be written, or mount the disk for writing",
}
"""What to do about an error of the operating system."""


class Root(TyperGroup):
    """All commands; Ctrl-C ends any of them with one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("interrupted; run it again when you like")


app = typer.Typer(
    name="clinappliance",
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    ctx: typer.Context,
    home: Annotated[
        Path,
        # Rights are for the command to complain of: it knows what to do about them.
        typer.Option(
            envvar="CLINAPPLIANCE_HOME", readable=False, help="Where the appliance keeps its models, keys and messages."
        ),
    ] = DEFAULT_HOME,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line and nothing else.")] = False,
) -> None:
    """Train compact clinical language models on your own notes, and let them read your reports.

    First time: init, then train --notes EXPORT --clip LABELS, then run.
    """
    from appliance.home import Home

    ctx.obj = Settings(Home(home.expanduser().absolute()), as_json)


for part in (operate, messages, backup, train, tag, backfill, fetch, ask, models, study):
    part.register(app)


def main() -> None:
    """Entry point: exit 0 done, 1 failed, 2 wrong usage; trouble is one line on stderr."""
    try:
        app(arguments(sys.argv[1:]), prog_name="clinappliance")
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing to tell anybody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        print(f"clinappliance: {_line(error)}", file=sys.stderr)
        sys.exit(1)


def arguments(given: Sequence[str]) -> list[str]:
    """The command line with `--json` in front, wherever before a `--` it was given: `tag --json NOTE` means the same."""
    end = given.index("--") if "--" in given else len(given)
    kept = [word for word in given[:end] if word != "--json"]
    return ["--json"] * (len(kept) < end) + kept + list(given[end:])


def _line(error: Exception) -> str:
    """What went wrong, for the person at the terminal."""
    if isinstance(error, OSError) and error.strerror and type(error).__module__ == "builtins":
        found = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return f"{found}; {ADVICE.get(error.errno or 0, 'run `clinappliance doctor`')}"
    return explain(error)
