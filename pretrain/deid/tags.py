"""Tags in the place of identifiers, and MIMIC's own marks mapped onto the same.

The tags are those of Clinical-T5 (Lehman et al. 2023): telephones are `[#]`, e-mail addresses `[CI]` (contact information),
`[DR]` is a range of dates. One is added, `[Date]`: MIMIC's dates are shifted and stayed in the paper's text, a hospital's are
real. Bare years, states and countries stay, as Safe Harbor allows; times of day stay.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pretrain.deid.identifiers import Kind

TAGS = {
    Kind.NAME: "[Name]",
    Kind.DATE: "[Date]",
    Kind.RECORD_NUMBER: "[Reg#]",
    Kind.PHONE: "[#]",
    Kind.EMAIL: "[CI]",
    Kind.ADDRESS: "[LOC]",
    Kind.HOSPITAL: "[Company]",
    Kind.AGE: "[Age]",
    Kind.SOCIAL_SECURITY: "[#]",
    Kind.URL: "[URL]",
    Kind.IP_ADDRESS: "[#]",
}
_THREE = re.compile(r"\[\*\*(?P<content>[^\n*]{0,80}(?:\n[^\n*]{0,80})?)\*\*\]|(?<!_)___(?!_)")
# In the paper's order: the first that occurs decides.
_CONTENT = tuple(
    (re.compile(pattern, re.I), tag)
    for pattern, tag in (
        (r"clip number|numeric identifier|medical record number|md number|job number|unit number", "[Reg#]"),
        (r"telephone|fax|serial number|social security|pager|provider number", "[#]"),
        (r"e-mail|contact info|attending info|dictator info", "[CI]"),
        (r"hospital|company|college|university", "[Company]"),
        (r"wardname|location|address|po box|street", "[LOC]"),
        (r"name|initials", "[Name]"),
        (r"age over", "[Age]"),
        (r"date range", "[DR]"),
        (r"state", "[State]"),
        (r"country", "[Country]"),
        (r"\burl\b", "[URL]"),
        (
            r"month/|day/|/\d|\d-\d|month day|january|february|march|april|\bmay\b|june|july|august|september"
            r"|october|november|december",
            "[Date]",
        ),
        (r"year", "[YR]"),
        (r"month", "[MO]"),
        (r"\bday\b|holiday", "[DAY]"),
        (r"^\s*(?:19|20|21)\d\d\s*\Z", "[YR]"),
        (r"^\s*\d+\s*\Z", "[Reg#]"),
    )
)
# MIMIC-IV says nothing about what it took away; the words before it often do.
_BEFORE = tuple(
    (re.compile(pattern + r"\W{0,6}\Z", re.I), tag)
    for pattern, tag in (
        (r"\b(?:name|dr|drs|mr|mrs|ms|attending|by|pcp|md|physician|signed)\.?", "[Name]"),
        (r"\b(?:unit no|mrn|record number|account|accession|number|id|no)\.?", "[Reg#]"),
        (r"\b(?:phone|telephone|fax|pager|call|ext)\.?", "[#]"),
        (r"\b(?:date|birth|dob|on|since|until|dated|from|of \w{3,9}day)", "[Date]"),
    )
)
_AGE = re.compile(r"[\s-]?(?:year|yr|y/?o\b|yo\b)", re.I)


class Replacement(NamedTuple):
    """Characters `start:end` of a text, to give way to `tag`."""

    start: int
    end: int
    tag: str


def marks(text: str) -> Iterator[Replacement]:
    """MIMIC-III's `[**...**]` and MIMIC-IV's `___`, in order, each with its tag.

    Exactly three underscores: more of them rule a line or leave a blank to fill in, which takes nothing away.
    """
    for mark in _THREE.finditer(text):
        content = mark["content"]
        yield Replacement(*mark.span(), _by_context(text, mark) if content is None else _by_content(content))


def _by_content(content: str) -> str:
    return next((tag for pattern, tag in _CONTENT if pattern.search(content)), "[MISC]")


def _by_context(text: str, mark: re.Match[str]) -> str:
    if _AGE.match(text, mark.end()):
        return "[Age]"
    before = text[max(0, mark.start() - 24) : mark.start()]
    return next((tag for pattern, tag in _BEFORE if pattern.search(before)), "[MISC]")
