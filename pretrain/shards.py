"""Token shards: documents as one flat array of 16-bit ids on disk, with where each begins and what kind of note it was."""

import array
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretrain.corpus.documents import Document, require_stamp
from pretrain.tokenizer import Tokenizer

_FORMAT = "clinappliance-shard-2"
_TOKENS, _OFFSETS, _KINDS, _MANIFEST = "tokens.u16", "offsets.i64", "kinds.u8", "shard.json"


class ShardError(ValueError):
    """A shard that cannot be written or read."""


@dataclass(frozen=True)
class Shard:
    """D documents of together N tokens, read from disk as they are needed."""

    tokens: NDArray[np.uint16]
    """(N,), memory-mapped."""
    offsets: NDArray[np.int64]
    """(D + 1,): document i is `tokens[offsets[i]:offsets[i + 1]]`."""
    vocab_size: int
    source: str
    """Names what the shard was made of: the same source need not be tokenized again."""
    sha256: str
    """Of the tokens."""
    kinds: tuple[str, ...] = ()
    """Names of the kinds of note; empty where kinds are not known."""
    kind_of: NDArray[np.uint8] | None = None
    """(D,): document i is of the kind `kinds[kind_of[i]]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> NDArray[np.uint16]:
        """Tokens of one document."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def by_kind(self) -> dict[str, NDArray[np.int64]]:
        """Indexes of the documents of each kind of note that there is; all under no name where kinds are not known."""
        if self.kind_of is None:
            return {"": np.arange(len(self))} if len(self) else {}
        return {name: np.flatnonzero(self.kind_of == number) for number, name in enumerate(self.kinds)}


def tokenize(folder: Path, documents: Iterable[Document], tokenizer: Tokenizer, stamp: str, source: str) -> Shard:
    """Write the documents as a shard, one after the other; the one in `folder` stays where `source` and tokenizer are the same.

    Args:
        folder: appears whole or not at all.
        documents: gone through once; one without a token is left out.
        tokenizer: of at most 65,536 ids.
        stamp: of the de-identifier that every document went through.
        source: names the documents, as `pretrain.corpus.Corpus` does by `train.fingerprint`.
    Raises:
        NotDeidentified: a document carries no stamp, or another one.
        ShardError: the vocabulary needs more than 16 bits, or the disk is full.
    """
    require_stamp(stamp, stamp)
    source = hashlib.sha256(f"{tokenizer.fingerprint} {stamp} {source}".encode()).hexdigest()
    with suppress(ShardError):
        shard = load(folder)
        if shard.source == source:
            return shard
    # Whoever reads the ids has read no further in the kinds.
    texts, kinds = tee(_stamped(documents, stamp))
    return write(
        folder,
        tokenizer.ids(document.text for document in texts),
        tokenizer.vocab_size,
        source,
        kinds=(document.kind for document in kinds),
    )


def write(
    folder: Path,
    documents: Iterable[NDArray[np.int32]],
    vocab_size: int,
    source: str = "",
    kinds: Iterable[str] | None = None,
) -> Shard:
    """Write tokenized documents as a shard, replacing the one in `folder`; documents without a token are left out.

    The folder appears whole or not at all. `kinds` says of each document what it is.

    Raises:
        ShardError: an id does not belong to the vocabulary, the vocabulary needs more than 16 bits, or the disk is full.
    """
    require_16_bits(vocab_size)
    partial = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(partial, documents, vocab_size, source, kinds)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise ShardError(f"{folder.name} cannot be written ({error.strerror}); free disk space and start again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load(folder)


def require_16_bits(vocab_size: int) -> None:
    """Refuse a vocabulary whose ids a shard cannot hold.

    Raises:
        ShardError: it needs more than 16 bits.
    """
    if vocab_size > 2**16:
        raise ShardError(f"a vocabulary of {vocab_size} does not fit 16-bit shards; train one of at most 65536")


def load(folder: Path) -> Shard:
    """Open a shard after checking its hashes.

    Raises:
        ShardError: it is missing, of another format, or not what its manifest says.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT:
            raise ShardError(f"{folder.name} is a shard of another version ({manifest['format']}); write it again")
        for name, sha256 in manifest["sha256"].items():
            if _sha256(folder / name) != sha256:
                raise ShardError(f"{folder.name}/{name} is not what was written; delete the folder and start again")
        # Nothing can be mapped of an empty file.
        empty = manifest["tokens"] == 0
        return Shard(
            tokens=np.empty(0, np.uint16) if empty else np.memmap(folder / _TOKENS, "<u2", mode="r"),
            offsets=np.frombuffer((folder / _OFFSETS).read_bytes(), "<i8"),
            vocab_size=int(manifest["vocab_size"]),
            source=str(manifest["source"]),
            sha256=str(manifest["sha256"][_TOKENS]),
            kinds=tuple(manifest["kinds"]),
            kind_of=np.frombuffer((folder / _KINDS).read_bytes(), np.uint8) if manifest["kinds"] else None,
        )
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ShardError(f"{folder.name} holds no shard ({type(error).__name__}); delete the folder and start again") from error


def _write(
    folder: Path, documents: Iterable[NDArray[np.int32]], vocab_size: int, source: str, kinds: Iterable[str] | None
) -> None:
    # Eight bytes and one per document: ten million take 90 MB.
    offsets, kind_of = array.array("q", [0]), bytearray()
    names: dict[str, int] = {}
    labels = iter(kinds) if kinds is not None else None
    with (folder / _TOKENS).open("wb") as file:
        for ids in documents:
            kind = next(labels) if labels else None
            if not len(ids):
                continue
            if ids.min() < 0 or ids.max() >= vocab_size:
                raise ShardError(
                    f"document {len(offsets) - 1} has ids outside the vocabulary of {vocab_size}; was it another tokenizer?"
                )
            file.write(ids.astype("<u2").tobytes())
            offsets.append(offsets[-1] + len(ids))
            if kind is not None:
                kind_of.append(names.setdefault(kind, len(names)))
    contents = {_OFFSETS: np.frombuffer(offsets, np.int64).astype("<i8").tobytes(), _KINDS: bytes(kind_of)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    manifest = {
        "format": _FORMAT,
        "documents": len(offsets) - 1,
        "tokens": offsets[-1],
        "vocab_size": vocab_size,
        "source": source,
        "kinds": list(names),
        "sha256": {name: _sha256(folder / name) for name in (_TOKENS, *contents)},
    }
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as written:
            os.fsync(written.fileno())


def _stamped(documents: Iterable[Document], stamp: str) -> Iterator[Document]:
    for document in documents:
        require_stamp(document.deidentified_by, stamp)
        yield document


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
