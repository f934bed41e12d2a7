"""Documents to train on: what cannot be used is dropped and counted, and a patient is on one side of a split only."""

from collections import Counter
from dataclasses import dataclass, field

LEAST_WORDS = 20
"""A shorter document teaches a language model nothing but boilerplate."""

Drops = Counter[str]
"""How many documents were dropped, by reason."""


@dataclass(frozen=True)
class Document:
    """Text to train on; it has no patient."""

    document_id: str
    text: str = field(repr=False)
    group: str
    """Whose it is, as a keyed hash: documents of one group are never on both sides of a split."""
    kind: str = "other"
    """What kind of note it was, to tell losses apart by."""
    written_at: str = ""
    """ISO 8601; empty where unknown. Of a note saved again, the latest is kept."""
    deidentified_by: str = ""
    """Stamp of the de-identifier that its text went through; empty where none has."""


class CorpusError(RuntimeError):
    """Documents on disk that cannot be written, or are not what was written."""


class NotDeidentified(CorpusError):  # noqa: N818 - it names what was found, as the others do what failed
    """A text without the stamp that was asked for; nothing is made of it."""


def require_stamp(found: str, stamp: str) -> None:
    """Let nothing through but what the de-identifier `stamp` has seen.

    Raises:
        NotDeidentified: no stamp, another one, or none was asked for.
    """
    if not stamp:
        raise NotDeidentified("no de-identifier was named, and texts are used only with its stamp; name one")
    if found != stamp:
        raise NotDeidentified(f"a document carries the stamp {found or 'none'} and not {stamp}; de-identify it first")


def check_share(held_out: float) -> None:
    """Raise a ValueError unless so much can be held out."""
    if not 0 < held_out < 0.5:
        raise ValueError(f"{held_out=} is no share to hold out; choose a number between 0 and 0.5")


def unusable(text: str) -> str | None:
    """Why a text cannot be trained on; None where it can."""
    body = text.strip()
    if not body:
        return "empty"
    try:
        content = body.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell and no file can hold
        return "not text"
    if not _is_text(content[:100_000]):
        return "not text"
    return "too short" if len(body.split(maxsplit=LEAST_WORDS)) < LEAST_WORDS else None


_ASCII = [chr(code) for code in range(128)]
_LETTERS = "".join(filter(str.isalpha, _ASCII)).encode()
_CONTROLS = bytes(code for code in range(128) if code == 0x7F or (code < 0x20 and code not in b"\t\n\v\f\r"))
_NO_SIGNS = "".join(filter(str.isspace, _ASCII)).encode() + bytes(range(128, 256))


def _is_text(sample: bytes) -> bool:
    """Neither control characters nor a row of undecodable ones, and at least half letters. `sample` is UTF-8."""
    # ASCII is nearly all there is and counted by the thousand; the rest one by one.
    others = sample.translate(None, bytes(range(128))).decode(errors="ignore")
    rest = sample.translate(None, _LETTERS)
    if len(rest.translate(None, _CONTROLS)) < len(rest) or "\ufffd".encode() * 3 in rest:
        return False
    letters = len(sample) - len(rest)
    solid = letters + len(rest.translate(None, _NO_SIGNS)) + len(others) - sum(map(str.isspace, others))
    return letters + sum(map(str.isalpha, others)) >= solid / 2
