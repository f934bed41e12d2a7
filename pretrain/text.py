"""Stretches of a text, always as character offsets: from lines to paragraphs to sentences."""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Characters `start:end` of a text, end excluded."""

    start: int
    end: int


def sentences(text: str) -> list[Span]:
    """Cut a clinical note into sentences, in order, by rules alone.

    A sentence ends at a blank line, before a list item, after a heading on its own line, and at `.`, `?` or `!` where
    what follows opens another one. A wrapped line goes on in the same sentence. Spans are trimmed, never
    overlap, and hold every character that is not white space exactly once. Takes time linear in the length of `text`.
    """
    return [
        sentence
        for paragraph in _paragraphs(text)
        for block in _unwrapped(text, paragraph)
        for sentence in _closed_by_punctuation(text, block)
    ]


def _words(table: str) -> frozenset[str]:
    return frozenset(table.split())


# Never the last word of a sentence: something always follows.
_OPEN = _words("""
    dr drs mr mrs ms mx prof rev hon st sgt lt col capt vs cf approx e.g i.e eg ie viz fig figs ref
""")
# Dosing shorthand, which may stand within a sentence or end it: the next word decides.
_SHORTHAND = _words("""
    a.c a.m ad a.d a.s a.u b.d bid b.i.d d.o.b h.s hs i.d i.m im i.v iv n.p.o npo o.d o.s o.u p.c p.m p.o po p.r p.r.n prn
    q q.a.c q.a.m q.d qd q.h.s qhs q.i.d qid q.o.d qod q.p.m s.c s.l s.q stat subq t.i.d tid u.d
""")
# Words that hardly ever stand inside a sentence with a capital.
_OPENERS = _words("""
    A After All Also An And Any As At Because Before But By Call Continue Do During Each Follow Following For From Given
    He Her Here His However I If In It Its May My Next No Not On Once Our Otherwise Over Patient Please Pt Return See Seen
    She Since So Status Take The Then There Therefore These They This Those Though Throughout To Today Under Upon Was We
    When While Will With You Your
""")
_BULLET = re.compile(r"[-*•·●▪◦‣–—>+#]+(?=\s|$)|[•●▪◦‣]")
_NUMBER = re.compile(r"\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})[.)]$")
_FIRST_NUMBERS = frozenset({"1.", "1)", "(1)", "A.", "a.", "I.", "i."})
_INITIALS = re.compile(r"(?:[A-Z]\.)*[A-Z]|Jr|Sr")
_LABEL = re.compile(r"[A-Z][\w/&()' -]{0,48}:(?=\s|$)")
_CLOSERS = "\"'”’)]}»"
_OPENING = "\"'“‘([{«"
_NARROWEST_WRAP = 40
"""Characters: a paragraph narrower than this is a list of lines, not a wrapped text."""


def _paragraphs(text: str) -> Iterator[list[Span]]:
    """Runs of lines without a blank line between them; every line trimmed."""
    lines: list[Span] = []
    start = 0
    for line in text.splitlines(keepends=True):
        if inner := line.strip():
            begin = start + len(line) - len(line.lstrip())
            lines.append(Span(begin, begin + len(inner)))
        elif lines:
            yield lines
            lines = []
        start += len(line)
    if lines:
        yield lines


def _unwrapped(text: str, lines: list[Span]) -> Iterator[Span]:
    """Join lines that only a line width parted."""
    width = max(end - start for start, end in lines)
    begin = lines[0].start
    for number, (this, following) in enumerate(itertools.pairwise(lines)):
        if not _is_wrapped(text, this, following, width, is_first=number == 0):
            yield Span(begin, this.end)
            begin = following.start
    yield Span(begin, lines[-1].end)


def _is_wrapped(text: str, this: Span, following: Span, width: int, is_first: bool) -> bool:
    # As much of the next line as any rule looks at: a line may be the whole 10 MB of a text.
    ahead = text[following.start : min(following.end, following.start + 64)]
    word = ahead.split(maxsplit=1)[0]
    if _BULLET.match(ahead) or _NUMBER.match(word) or _LABEL.match(ahead) or text[this.end - 1] == ":":
        return False
    if is_first and _is_heading(text, this) and not _is_heading(text, following):
        return False
    if ahead[0].islower():
        return True
    # A line was wrapped where the next word had no room on it.
    return width >= _NARROWEST_WRAP and this.end - this.start + 1 + len(word) > width


def _is_heading(text: str, line: Span) -> bool:
    """A short line in capitals that no punctuation ends."""
    if line.end - line.start > 80:
        return False
    words = text[line.start : line.end]
    return words.isupper() and words[-1] not in ".,;?!"


def _closed_by_punctuation(text: str, block: Span) -> Iterator[Span]:
    """Cut a block at the ends of its sentences."""
    words = re.compile(r"\S+").finditer(text, block.start, block.end)
    begin = last = next(words)
    before = ""
    for word in words:
        if _is_end(before, last.group(), word.group(), opens=last is begin):
            yield Span(begin.start(), last.end())
            begin, before = word, ""
        else:
            before = last.group()
        last = word
    yield Span(begin.start(), last.end())


def _is_end(before: str, last: str, following: str, opens: bool) -> bool:
    """Does a sentence end with the word `last`? `opens`: it is also its sentence's first word."""
    bare = last.rstrip(_CLOSERS)
    if not bare.endswith((".", "?", "!", "…")):
        return False
    first = following.lstrip(_OPENING)[:1]
    if not (first.isupper() or first.isdigit() or _BULLET.match(following)):
        return False
    if not bare.endswith("."):
        return len(bare.strip("?!")) > 0  # "? PE": a query mark, not an end
    if _NUMBER.match(last) and (opens or before.endswith((",", ";")) or (before.endswith(":") and bare in _FIRST_NUMBERS)):
        return False
    stem = bare.rstrip(".").lstrip(_OPENING)
    if stem.lower() in ("no", "nos") and first.isdigit():
        return False
    if stem.lower() in _OPEN or following.rstrip(".,;").lower() in _SHORTHAND:
        return False
    if stem.lower() in _SHORTHAND or _INITIALS.fullmatch(stem):
        return following.rstrip(",:") in _OPENERS
    return True
