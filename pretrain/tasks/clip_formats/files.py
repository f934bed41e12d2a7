"""What the layouts of labelled notes share: a file's text and lines, what labels are called, and where something is wrong."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pretrain.tasks import clip
from pretrain.tasks.clip import DataError

LONG_NAMES = {
    "Patient instructions": "Case-specific instructions for patient",
    "Appointment": "Appointment-related followup",
    "Medication": "Medication-related followups",
    "Lab": "Lab-related followup",
    "Procedure": "Procedure-related followup",
    "Imaging": "Imaging-related followup",
    "Other": "Other helpful contextual information",
}
"""What the published data set calls each of `clip.LABELS`; in its CSV with `I-` before it."""

MAX_FILE_BYTES = 512 * 1024 * 1024
"""The published set has some 20 MB; a larger file is refused before it fills the memory."""


def text_of(path: Path) -> str:
    """The whole file; its line breaks stay as they are, because offsets count them."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path}: is larger than {MAX_FILE_BYTES >> 20} MB; divide it")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; check the path and its rights") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8; convert it (iconv -f LATIN1 -t UTF-8)") from None


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that hold something, with their numbers.

    Ended by a line feed alone: text may hold what `str.splitlines` takes for an end.
    """
    for number, line in enumerate(text_of(path).removeprefix("\ufeff").split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _plain(name: str) -> str:
    """A label's name without `I-`, case, and what stands for a blank where names may hold none."""
    return " ".join(re.sub(r"[\s_-]+", " ", re.sub(r"^\s*I[-_]", "", name, flags=re.IGNORECASE)).split()).casefold()


_KNOWN = {_plain(name): label for label, long in LONG_NAMES.items() for name in (label, long)}


def labels_named(names: Sequence[str]) -> frozenset[str]:
    """The `clip.LABELS` that are meant.

    Raises:
        DataError: one is unknown.
    """
    for number, name in enumerate(names, 1):
        if _plain(name) not in _KNOWN:
            raise DataError(f"label {number} is unknown; known are {', '.join(clip.LABELS)}, and CLIP's own long names for them")
    return frozenset(_KNOWN[_plain(name)] for name in names)


@contextmanager
def at(place: str) -> Iterator[None]:
    """Say where it was that something is wrong."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}: {error}") from None


_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def check(text: str, name: str) -> None:
    """Refuse what only looks like text.

    Raises:
        DataError: it holds half a surrogate pair.
    """
    if _HALF_A_PAIR.search(text):
        raise DataError(f"{name} holds half a surrogate pair, which is no text; write the file again as UTF-8")
