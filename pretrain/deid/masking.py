"""The de-identifier: text -> identifiers -> the same text with tags, under a stamp that names what it went through."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path

from pretrain.corpus import Document
from pretrain.deid.identifiers import DeidError, Identifier, disjoint
from pretrain.deid.institutions import Institutions
from pretrain.deid.lexicon import lexicon
from pretrain.deid.numbers import numbers
from pretrain.deid.people import People
from pretrain.deid.places import Places
from pretrain.deid.tags import TAGS, Replacement, marks

NAME, VERSION = "clinappliance-deid", "1"
_WINDOW, _MARGIN = 200_000, 1_000
"""Characters looked at together, so that memory does not grow with a text; and how far windows overlap, so that nothing on
a seam is missed."""


class Deidentifier:
    """Finds what tells who somebody is, and puts tags in its place. Made by `deidentifier`."""

    def __init__(self, words: dict[str, int], stamp: str) -> None:
        self.stamp = stamp
        """Name, version and a hash of the rules and lists: equal stamps, equal results."""
        self._people, self._places, self._institutions = People(words), Places(words), Institutions(words)

    def find(self, text: str) -> list[Identifier]:
        """Identifiers of `text`, sorted and disjoint. Takes time linear in the length of any text."""
        known: set[str] = set()
        found = [one for start, end in _windows(text) for one in self._look(text[start:end], start, known)]
        if known:
            found += self._people.again(text, known)
        return disjoint(found)

    def __call__(self, document: Document) -> Document:
        """The document with tags in the place of identifiers, stamped. One that bears this stamp is returned as it is."""
        if document.deidentified_by == self.stamp:
            return document
        text = _replaced(document.text, list(marks(document.text)))
        text = _replaced(text, [Replacement(one.start, one.end, TAGS[one.kind]) for one in self.find(text)])
        return replace(document, text=text, deidentified_by=self.stamp)

    def _look(self, window: str, offset: int, known: set[str]) -> Iterator[Identifier]:
        for one in chain(
            numbers(window), self._places.find(window), self._institutions.find(window), self._people.find(window, known)
        ):
            yield Identifier(one.start + offset, one.end + offset, one.kind)


def deidentifier() -> Deidentifier:
    """A de-identifier that works, or none at all.

    Raises:
        DeidError: its word lists are missing or damaged, or it misses identifiers it must find.
    """
    words, digest = lexicon()
    made = Deidentifier(words, f"{NAME}-{VERSION}-{_digest(digest)}")
    if [one.kind.value for one in made.find(_PROBE)] != ["name", "record_number", "date", "phone", "email"]:
        raise DeidError("the de-identifier does not find the identifiers of its own probe; install clinappliance again")
    return made


_PROBE = "Dr. Testdoctor-Probe, MRN: SYN0000000, seen on 1/2/2003, phone 000-555-0100, probe@example.org"


@cache
def _digest(lists: str) -> str:
    digest = hashlib.sha256(lists.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _windows(text: str) -> Iterator[tuple[int, int]]:
    if len(text) <= _WINDOW + 2 * _MARGIN:
        yield 0, len(text)
        return
    for start in range(0, len(text), _WINDOW):
        yield max(0, start - _MARGIN), min(len(text), start + _WINDOW + _MARGIN)


def _replaced(text: str, replacements: list[Replacement]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end, tag in replacements:
        pieces += text[at:start], tag
        at = end
    return "".join([*pieces, text[at:]])
