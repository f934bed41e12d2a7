"""One thing that was looked at, and what to do about it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    outcome: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""
