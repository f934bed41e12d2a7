"""Documents to train on: what cannot be used is dropped and counted, and a patient is on one side of a split only."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LEAST_WORDS = 20
"""A shorter document teaches a language model nothing but boilerplate."""
SHINGLE_WORDS = 8
NEAR = 0.5
"""Share of a document's shingles found in one text, from which on it is that text again."""

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


def clean(documents: Iterable[Document], drops: Drops) -> Iterator[Document]:
    """Pass on what can be trained on; count the rest in `drops` by reason.

    Reasons: "empty", "not text" (control characters, or less than half letters), "too short" (fewer than 20 words),
    "exact duplicate" (of an earlier document, but for case and white space).
    """
    seen: set[bytes] = set()
    for document in documents:
        reason = unusable(document.text)
        if reason is None:
            digest = hashlib.blake2b(
                " ".join(document.text.split()).casefold().encode("utf-8", "replace"), digest_size=16
            ).digest()
            if digest not in seen:
                seen.add(digest)
                yield document
                continue
            reason = "exact duplicate"
        drops[reason] += 1


def without(documents: Iterable[Document], texts: Iterable[str], drops: Drops) -> Iterator[Document]:
    """Pass on documents that are not, or nearly, one of `texts`: what is evaluated must never be trained on.

    A document is dropped as "evaluated on" where at least half of its runs of 8 words occur in one of `texts`, or at least
    half of a text's runs occur in it. Case, digits' formatting and punctuation do not count.
    """
    kept_out = _Shingled(texts)
    for document in documents:
        if kept_out.nearly_contains(document.text):
            drops["evaluated on"] += 1
        else:
            yield document


def split(documents: Iterable[Document], held_out: float = 0.05) -> tuple[list[Document], list[Document]]:
    """Training and held-out documents, by group.

    A group's side depends on its name alone, so that it stays where it is when the corpus grows. Only where that would
    leave a side of a small corpus empty, the group nearest to it goes there; a single group is trained on.

    Raises:
        ValueError: `held_out` is not a share below one half.
    """
    check_share(held_out)
    everyone = list(documents)
    nearest = sorted({document.group for document in everyone}, key=_position)
    chosen = sum(_position(group) < held_out for group in nearest)
    dev = set(nearest[: max(0, min(max(1, chosen), len(nearest) - 1))])
    return [d for d in everyone if d.group not in dev], [d for d in everyone if d.group in dev]


def check_share(held_out: float) -> None:
    """Raise a ValueError unless so much can be held out."""
    if not 0 < held_out < 0.5:
        raise ValueError(f"{held_out=} is no share to hold out; choose a number between 0 and 0.5")


def unusable(text: str) -> str | None:
    """Why a text cannot be trained on; None where it can."""
    body = text.strip()
    if not body:
        return "empty"
    if not _is_text(body[:100_000]):
        return "not text"
    try:
        body.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell and no file can hold
        return "not text"
    return "too short" if len(body.split(maxsplit=LEAST_WORDS)) < LEAST_WORDS else None


_WORD = re.compile(r"\w+")
_ASCII = [chr(code) for code in range(128)]
_LETTERS = "".join(filter(str.isalpha, _ASCII)).encode()
_SPACES = "".join(filter(str.isspace, _ASCII)).encode()
_CONTROLS = bytes(code for code in range(128) if code == 0x7F or (code < 0x20 and code not in b"\t\n\v\f\r"))
_ASCII_RUN = re.compile(r"[\x00-\x7f]+")


def _is_text(sample: str) -> bool:
    """Neither control characters nor a row of undecodable ones, and at least half letters."""
    # ASCII is nearly all there is and counted by the thousand; the rest one by one.
    content, others = sample.encode("ascii", "ignore"), "" if sample.isascii() else _ASCII_RUN.sub("", sample)
    if len(content.translate(None, _CONTROLS)) < len(content) or "\ufffd" * 3 in sample:
        return False
    letters = len(content) - len(content.translate(None, _LETTERS)) + sum(map(str.isalpha, others))
    solid = len(content.translate(None, _SPACES)) + len(others) - sum(map(str.isspace, others))
    return letters >= solid / 2


def _position(group: str) -> float:
    """Where a group stands between 0 and 1, the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(group.encode("utf-8", "replace")).digest()[:8], "big") / 2**64


class _Shingled:
    """Texts as sets of hashed runs of words, with an index from a run to the texts it stands in."""

    def __init__(self, texts: Iterable[str]) -> None:
        sets = [np.unique(_shingles(text)) for text in texts]
        self._sizes = np.array([len(hashes) for hashes in sets], np.int64)
        owners = np.repeat(np.arange(len(sets)), self._sizes)
        hashes = np.concatenate([np.empty(0, np.uint64), *sets])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owners = hashes[order], owners[order]

    def nearly_contains(self, text: str) -> bool:
        hashes = np.unique(_shingles(text))
        first = np.searchsorted(self._hashes, hashes, "left")
        last = np.searchsorted(self._hashes, hashes, "right")
        hits = [self._owners[a:b] for a, b in zip(first[last > first], last[last > first], strict=True)]
        if not hits:
            return False
        shared = np.bincount(np.concatenate(hits), minlength=len(self._sizes))
        return bool((shared >= NEAR * np.minimum(self._sizes, len(hashes)).clip(1)).any())


def _shingles(text: str) -> NDArray[np.uint64]:
    """Hashes of every run of 8 words; a shorter text is one run."""
    words: list[str] = _WORD.findall(text.casefold())
    runs = (" ".join(words[at : at + SHINGLE_WORDS]) for at in range(max(1, len(words) - SHINGLE_WORDS + 1)) if words)
    digests = b"".join(hashlib.blake2b(run.encode("utf-8", "replace"), digest_size=8).digest() for run in runs)
    return np.frombuffer(digests, np.uint64)
