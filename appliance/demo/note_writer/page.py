"""A page of a note: headings, prose and lists in one of many layouts, and where its sentences stand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from appliance.demo.note_writer.grammar import Draft, Fact, parse
from pretrain.text import Span

NO_LABELS: frozenset[str] = frozenset()
NO_FACTS: Mapping[str, Fact] = MappingProxyType({})


class Item(NamedTuple):
    """One sentence to write, and what it asks for."""

    template: str
    labels: frozenset[str] = NO_LABELS
    facts: Mapping[str, Fact] = NO_FACTS
    """What to remember before writing it, such as the side that a finding is on."""


class Section(NamedTuple):
    """Where a section landed."""

    span: Span
    """Heading included, trimmed."""
    marks: tuple[Span | None, ...]
    """Per item, the phrase marked in it."""


@dataclass(frozen=True)
class Layout:
    """How one note looks, from top to bottom."""

    heading: str
    """`upper:`, `title:`, `upper_`, `title_` or `title=`: the case of headings, then a colon or what underlines them."""
    inline: bool
    """Prose starts on its heading's line; with headings that end in a colon only."""
    bullet: str
    """Before each item of a list; `#` stands for its number."""
    gap: str
    """Between two sentences of a paragraph."""
    full_stops: bool
    """Items of a list end as sentences do."""
    width: int | None
    """Characters a line may have; None where lines are not wrapped."""
    loose: bool
    """A blank line stands between two sections."""
    terse: bool
    """Abbreviations rather than words."""

    @classmethod
    def draw(cls, rng: Random) -> "Layout":
        """Any one of them."""
        heading = rng.choice(("upper:", "upper:", "upper:", "title:", "title:", "upper_", "title_", "title="))
        return cls(
            heading=heading,
            inline=heading.endswith(":") and rng.random() < 0.55,
            bullet=rng.choice(("#. ", "#. ", "#) ", "- ", "- ", "* ", "• ", "  - ", "")),
            gap=rng.choice((" ", " ", "  ")),
            full_stops=rng.random() < 0.6,
            width=rng.choice((None, None, None, 68, 76, 80, 96)),
            loose=rng.random() < 0.8,
            terse=rng.random() < 0.3,
        )


class Page:
    """A note being written; every method adds at its end."""

    def __init__(self, draft: Draft, layout: Layout) -> None:
        self.draft = draft
        self.layout = layout
        self.sentences: list[Span] = []
        self.labels: list[frozenset[str]] = []

    def text(self) -> str:
        """What was written, wrapped. A line is broken by turning one space into a line break, so offsets stay true."""
        text = self.draft.text.rstrip()
        return text if self.layout.width is None else wrap(text, self.layout.width)

    def line(self, template: str) -> None:
        """One unlabelled sentence on a line of its own."""
        self._end_line()
        self._sentence(self.draft.length, Item(template))

    def keep_line(self, start: int) -> None:
        """Count what was written since `start` as an unlabelled sentence."""
        self._keep(start, NO_LABELS)

    def blank_line(self) -> None:
        """One empty line, but none at the top."""
        if self.draft.length:
            self._end_line()
            self.draft.literal("\n")

    def section(self, heading: str, items: Sequence[Item], *, as_list: bool = False) -> Section:
        """A heading and what stands below it, or beside it."""
        if self.layout.loose:
            self.blank_line()
        else:
            self._end_line()
        start = self.draft.length
        beside = self.layout.inline and not as_list
        body = self._heading(heading, beside)
        marks = self._list(items) if as_list else self._prose(items, body)
        return Section(Span(start, self.draft.length), tuple(marks))

    def _heading(self, heading: str, beside: bool) -> int:
        """Write the heading; where the first sentence of the body starts."""
        start = self.draft.length
        style, under = self.layout.heading[:-1], self.layout.heading[-1]
        title = heading.upper() if style == "upper" else heading
        self.draft.literal(title + ":" if under == ":" else title)
        if beside:
            self.draft.literal(self.layout.gap)
            return start
        self._keep(start, NO_LABELS)
        self.draft.literal("\n")
        if under != ":":
            self.draft.literal({"_": "-", "=": "="}[under] * len(title) + "\n")
        return self.draft.length

    def _prose(self, items: Sequence[Item], start: int) -> Iterable[Span | None]:
        marks = []
        for number, item in enumerate(items):
            if number:
                # A long story has paragraphs.
                self.draft.literal("\n" if number % 6 == 0 else self.layout.gap)
                start = self.draft.length
            marks.append(self._sentence(start, item))
        return marks

    def _list(self, items: Sequence[Item]) -> Iterable[Span | None]:
        marks = []
        for number, item in enumerate(items, 1):
            self._end_line()
            bullet = self.layout.bullet.replace("#", str(number))
            indent = len(bullet) - len(bullet.lstrip())
            self.draft.literal(bullet)
            marks.append(self._sentence(self.draft.length - len(bullet) + indent, item, self.layout.full_stops))
        return marks

    def _sentence(self, start: int, item: Item, full_stop: bool = True) -> Span | None:
        """Write one sentence that began at `start`, be it with a heading or a bullet; the phrase marked in it."""
        known = len(self.draft.marks)
        self.draft.capitalise = True
        self.draft.facts.update(item.facts)
        self.draft.write(parse(item.template))
        if not full_stop:
            self.draft.drop_full_stop()
        self._keep(start, item.labels)
        return self.draft.marks[known] if len(self.draft.marks) > known else None

    def _keep(self, start: int, labels: frozenset[str]) -> None:
        self.sentences.append(Span(start, self.draft.length))
        self.labels.append(labels)

    def _end_line(self) -> None:
        if not self.draft.ends_line:
            self.draft.literal("\n")


def wrap(text: str, width: int) -> str:
    """Break every line longer than `width` at its last space that fits, one character for one character."""
    return "\n".join(_wrap_line(line, width) if len(line) > width else line for line in text.split("\n"))


def _wrap_line(line: str, width: int) -> str:
    start, pieces = 0, []
    # A bullet stays with its first word.
    first_break = len(line) - len(line.lstrip(" -*•0123456789.)"))
    while len(line) - start > width:
        # One space further than the width: that space becomes the line break.
        cut = line.rfind(" ", max(start, first_break) + 1, start + width + 1)
        if cut < 0:
            # A word longer than a line stands on its own.
            cut = line.find(" ", max(start + width, first_break) + 1)
        if cut < 0:
            break
        pieces.append(line[start:cut])
        start = cut + 1
    return "\n".join([*pieces, line[start:]])
