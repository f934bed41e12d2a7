"""A small template language, and the draft that templates are written into.

    <a|b|>       one of these, each as likely; they nest
    {name}       what the note's facts or the lexicon say under that name
    {3-14}       a whole number between the two, both included; {3.1-4.9} one with a decimal
    [phrase]     the stretch that answers a question

`parse` turns a template into a tree once; `Draft.write` walks the tree and notes where identifiers and marked phrases land.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import NamedTuple, TypeAlias, TypeVar

from appliance.demo.note_writer.records import IdentifierKind, IdentifierSpan
from pretrain.text import Span

T = TypeVar("T")


class Slot(NamedTuple):
    """To be filled from the facts."""

    name: str


class Choice(NamedTuple):
    """One of several templates."""

    options: "tuple[Template, ...]"


class Number(NamedTuple):
    """A number between two others."""

    low: float
    high: float
    decimals: int


class Marked(NamedTuple):
    """A stretch whose place in the text is wanted."""

    body: "Template"


class Identifier(NamedTuple):
    """Text that names somebody or something."""

    text: str
    kind: IdentifierKind


Part: TypeAlias = "str | Slot | Choice | Number | Marked | Identifier"
Template: TypeAlias = tuple[Part, ...]
Fact: TypeAlias = "Template | Callable[[], Template]"

_TOKEN = re.compile(r"\{[^{}]+\}|[<|>\[\]]|[^{}<|>\[\]]+")
_RANGE = re.compile(r"(\d+(?:\.\d)?)-(\d+(?:\.\d)?)")


@cache
def parse(template: str) -> Template:
    """The tree of a template.

    Raises:
        ValueError: a bracket is left open or closes nothing.
    """
    tokens = _TOKEN.findall(template)
    position = 0

    def sequence(closers: str) -> Template:
        nonlocal position
        parts: list[Part] = []
        while position < len(tokens) and tokens[position] not in closers.split():
            token = tokens[position]
            position += 1
            if token == "<":  # noqa: S105 - a bracket, not a password
                options = [sequence("| >")]
                while position < len(tokens) and tokens[position] == "|":
                    position += 1
                    options.append(sequence("| >"))
                close(">")
                parts.append(Choice(tuple(options)))
            elif token == "[":  # noqa: S105
                parts.append(Marked(sequence("]")))
                close("]")
            elif token.startswith("{"):
                parts.append(_slot(token[1:-1]))
            elif token in ("|", ">", "]"):
                raise ValueError(f"'{token}' closes nothing in the template {template!r}")
            else:
                parts.append(token)
        return tuple(parts)

    def close(bracket: str) -> None:
        nonlocal position
        if position >= len(tokens) or tokens[position] != bracket:
            raise ValueError(f"'{bracket}' is missing in the template {template!r}")
        position += 1

    return sequence("")


def _slot(name: str) -> Slot | Number:
    if found := _RANGE.fullmatch(name):
        return Number(float(found[1]), float(found[2]), int("." in name))
    return Slot(name)


@dataclass
class Draft:
    """A text that is being written, from left to right, with the places of what stands in it."""

    rng: Random
    facts: dict[str, Fact]
    identifiers: list[IdentifierSpan] = field(default_factory=list)
    marks: list[Span] = field(default_factory=list)
    length: int = 0
    """Characters written so far: the offset of the next one."""
    capitalise: bool = False
    """The next character opens a sentence."""
    _pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything written so far."""
        return "".join(self._pieces)

    @property
    def ends_line(self) -> bool:
        """Whether the next character starts a line."""
        return not self._pieces or self._pieces[-1].endswith("\n")

    def pick(self, options: Sequence[T]) -> T:
        """One of several, each as likely. Faster than `Random.choice`, and as repeatable."""
        return options[int(self.rng.random() * len(options))]

    def literal(self, text: str) -> None:
        """Write `text` as it stands, but for its first letter where a sentence opens."""
        if self.capitalise and text:
            text, self.capitalise = text[0].upper() + text[1:], False
        self._pieces.append(text)
        self.length += len(text)

    def write(self, template: Template) -> None:
        """Write what a template may say, choosing wherever it leaves a choice.

        Raises:
            KeyError: neither the facts nor the lexicon fill one of its slots.
        """
        for part in template:
            if type(part) is str:
                self.literal(part)
            elif type(part) is Choice:
                self.write(self.pick(part.options))
            elif type(part) is Slot:
                fact = self.facts[part.name]
                self.write(fact() if callable(fact) else fact)
            elif type(part) is Number:
                number = part.low + self.rng.random() * (part.high - part.low + 0.1**part.decimals)
                self.literal(str(int(number * 10) / 10) if part.decimals else str(int(number)))
            elif type(part) is Identifier:
                self.identifiers.append(IdentifierSpan(self.length, self.length + len(part.text), part.kind))
                self.literal(part.text)
            elif type(part) is Marked:
                start = self.length
                self.write(part.body)
                self.marks.append(Span(start, self.length))

    def drop_full_stop(self) -> None:
        """Take back a full stop that was written last."""
        if self._pieces and self._pieces[-1].endswith("."):
            self._pieces[-1] = self._pieces[-1][:-1]
            self.length -= 1
