"""Stretches of a text, always as character offsets."""

from typing import NamedTuple


class Span(NamedTuple):
    """Characters `start:end` of a text, end excluded."""

    start: int
    end: int
