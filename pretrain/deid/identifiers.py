"""What an identifier is, and how found ones become a sorted, disjoint list."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class DeidError(RuntimeError):
    """The de-identifier cannot be trusted to work; nothing may be trained on."""


class Kind(StrEnum):
    """What an identifier identifies: the 18 kinds of HIPAA's Safe Harbor (45 CFR 164.514(b)(2)) that stand in text."""

    NAME = "name"
    DATE = "date"
    RECORD_NUMBER = "record_number"
    PHONE = "phone"
    EMAIL = "email"
    ADDRESS = "address"
    HOSPITAL = "hospital"
    AGE = "age"
    SOCIAL_SECURITY = "social_security"
    URL = "url"
    IP_ADDRESS = "ip_address"


class Identifier(NamedTuple):
    """Characters `start:end` of a text that tell who somebody is."""

    start: int
    end: int
    kind: Kind


def disjoint(found: Iterable[Identifier]) -> list[Identifier]:
    """Every character of `found` once, in order: of two that overlap, the longer keeps its kind and takes what it lacked."""
    merged: list[Identifier] = []
    for one in sorted(found):
        if one.start >= one.end:
            continue
        if merged and one.start < merged[-1].end:
            last = merged.pop()
            longer = one if one.end - one.start > last.end - last.start else last
            merged.append(Identifier(last.start, max(last.end, one.end), longer.kind))
        else:
            merged.append(one)
    return merged
