"""Token shards: documents as one flat array of 16-bit ids on disk, with where each begins."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FORMAT = "clinappliance-shard-1"
_TOKENS, _OFFSETS, _MANIFEST = "tokens.u16", "offsets.i64", "shard.json"


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

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> NDArray[np.uint16]:
        """Tokens of one document."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def write(folder: Path, documents: Iterable[NDArray[np.int32]], vocab_size: int, source: str = "") -> Shard:
    """Write tokenized documents as a shard, replacing the one in `folder`; documents without a token are left out.

    The folder appears whole or not at all.

    Raises:
        ShardError: an id does not belong to the vocabulary, or the vocabulary needs more than 16 bits.
    """
    if vocab_size > 2**16:
        raise ShardError(f"a vocabulary of {vocab_size} does not fit 16-bit shards; train one of at most 65536")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    offsets = [0]
    digest = hashlib.sha256()
    with (partial / _TOKENS).open("wb") as file:
        for ids in documents:
            if not len(ids):
                continue
            if ids.min() < 0 or ids.max() >= vocab_size:
                raise ShardError(
                    f"document {len(offsets) - 1} has ids outside the vocabulary of {vocab_size}; was it another tokenizer?"
                )
            data = ids.astype("<u2").tobytes()
            digest.update(data)
            file.write(data)
            offsets.append(offsets[-1] + len(ids))
        file.flush()
        os.fsync(file.fileno())
    (partial / _OFFSETS).write_bytes(np.array(offsets, "<i8").tobytes())
    manifest = {
        "format": _FORMAT,
        "documents": len(offsets) - 1,
        "tokens": offsets[-1],
        "vocab_size": vocab_size,
        "source": source,
        "sha256": {_TOKENS: digest.hexdigest(), _OFFSETS: _sha256(partial / _OFFSETS)},
    }
    (partial / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return load(folder)


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
        offsets = np.frombuffer((folder / _OFFSETS).read_bytes(), "<i8")
        # Nothing can be mapped of an empty file.
        empty = manifest["tokens"] == 0
        tokens = np.empty(0, np.uint16) if empty else np.memmap(folder / _TOKENS, "<u2", mode="r")
        return Shard(tokens, offsets, int(manifest["vocab_size"]), str(manifest["source"]), str(manifest["sha256"][_TOKENS]))
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ShardError(f"{folder.name} holds no shard ({type(error).__name__}); delete the folder and start again") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
