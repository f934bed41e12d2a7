"""Synthetic notes of random words: two of them share nothing but what a test gives them to share."""

import random
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pretrain.corpus import Document, Drops, Part, Source, prepare

STAMP = "masker 1"
SOURCE = Source(1, 100, "of May")
WORDS = [f"{a}{b}{c}" for a in ("car", "nep", "hep", "oss", "der") for b in ("di", "hro", "at", "eo", "ma") for c in range(40)]


def text(seed: int, words: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def note(seed: int, group: str = "", **other: str) -> Document:
    return replace(Document(f"d{seed}", text(seed), group or f"patient {seed}", deidentified_by=STAMP), **other)


def part(folder: Path, documents: Sequence[Document], name: str = "may", source: Source = SOURCE) -> Part:
    return prepare(folder, name, source, STAMP, reading(documents))


def reading(documents: Sequence[Document]) -> Callable[[Drops, Drops], Iterator[Document]]:
    return lambda drops, remarks: iter(documents)


@contextmanager
def at_most(size_bytes: int) -> Iterator[None]:
    """No file can be written that is larger: to the writer, a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
