"""What the global options say, and the two ways a command speaks: one result on stdout, one line of trouble on stderr."""

import json
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

import typer

from appliance.home import Home


@dataclass(frozen=True)
class Settings:
    """The global options, as every command finds them in `ctx.obj`."""

    home: Home
    json: bool = False

    def emit(self, result: Any, human: str) -> None:
        """Print a result: `result` as one line of JSON under `--json`, `human` otherwise."""
        print(json.dumps(result, ensure_ascii=False, default=str) if self.json else human, flush=True)


def fail(message: str) -> NoReturn:
    """End the command with one line on stderr and exit 1."""
    print(f"clinappliance: {message}", file=sys.stderr)
    raise typer.Exit(1)
