"""A part: what one input gave, as Parquet with its fingerprints, beside a JSON that says what it was made of.

The JSON is written last and holds the Parquet file's hash, so a part is whole or is not there. An intact one, made of the
same input in the same way, is not made again: a run that was cut short goes on where it stopped.
"""

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pretrain import shingles
from pretrain.corpus.documents import CorpusError, Document, Drops, require_stamp, unusable

FORMAT = f"clinappliance-part-1, {shingles.METHOD}"
ROW_GROUP_BYTES = 8_000_000
"""Of text: what is in memory at a time."""
PARTS = "parts"
"""Folder of the parts within the corpus' own."""


@dataclass(frozen=True)
class Source:
    """What a part is made of. Made of the same, it need not be made again."""

    files: int
    size_bytes: int
    fingerprint: str
    """Hash of names, sizes and times: names themselves may tell a patient's number."""


@dataclass(frozen=True)
class Part:
    """Documents of one input, on disk."""

    path: Path
    """Parquet: a row per document, in row groups of about 8 MB of text."""
    documents: int
    characters: int
    drops: dict[str, int]
    remarks: dict[str, int]
    stamp: str
    """The de-identifier's; every text in here went through it."""
    source: Source
    sha256: str
    """Of the Parquet file."""

    @classmethod
    def load(cls, folder: Path, name: str) -> "Part":
        """Open a part after checking its hash.

        Raises:
            CorpusError: it is missing, cut short, altered or of another version.
        """
        path, manifest = folder / PARTS / f"{name}.parquet", folder / PARTS / f"{name}.json"
        try:
            said = json.loads(manifest.read_text(encoding="utf-8"))
            if said.pop("format") != FORMAT:
                raise CorpusError(f"{manifest.name} was made by another version; read the export again")
            part = cls(path=path, **{**said, "source": Source(**said["source"])})
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{path.name}: no part can be read here ({type(error).__name__}); read the export again") from error
        if found != part.sha256:
            raise CorpusError(f"{path.name} is not what was written; read the export again")
        return part

    def row_groups(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of the documents, a row group at a time.

        Raises:
            CorpusError: the file has gone or was altered since it was opened.
        """
        for _, table in self._read(columns, lambda at, rows: True):
            yield from table.combine_chunks().to_batches()

    def documents_where(self, wanted_D: NDArray[np.bool_]) -> Iterator[Document]:
        """The documents that are wanted; row groups without one are not read. Raises as `row_groups` does."""
        for at, table in self._read(_DOCUMENT, lambda at, rows: bool(wanted_D[at : at + rows].any())):
            for row in table.filter(pa.array(wanted_D[at : at + table.num_rows])).to_pylist():
                yield Document(**row, deidentified_by=self.stamp)

    def _read(self, columns: list[str], is_wanted: Callable[[int, int], bool]) -> Iterator[tuple[int, pa.Table]]:
        """Row groups, each with how many documents come before it."""
        try:
            with pq.ParquetFile(self.path) as file:
                at = 0
                for number in range(file.num_row_groups):
                    rows = file.metadata.row_group(number).num_rows
                    if is_wanted(at, rows):
                        yield at, file.read_row_group(number, columns, use_threads=False)
                    at += rows
        except (OSError, pa.ArrowException) as error:
            raise CorpusError(f"{self.path.name} is gone or altered ({type(error).__name__}); read the export again") from error


def prepare(
    folder: Path, name: str, source: Source, stamp: str, documents: Callable[[Drops, Counter[str]], Iterator[Document]]
) -> Part:
    """Write the documents of one input as the part `name` of `folder`; one that is there, intact, stays.

    Documents are dropped as "empty", "not text" (control characters, or less than half letters) or "too short" (fewer than 20
    words).

    Args:
        folder: the corpus'; made if need be.
        name: of the files, without ending.
        source: what the input is.
        stamp: of the de-identifier, which every document has to carry.
        documents: reads the input; called only where there is something to do. Counts what it drops and what it assumes.
    Raises:
        NotDeidentified: a document carries no stamp, or another one.
        CorpusError: the disk is full or cannot be written.
    """
    require_stamp(stamp, stamp)
    with suppress(CorpusError):
        part = Part.load(folder, name)
        if (part.source, part.stamp) == (source, stamp):
            return part
    drops: Drops = Counter()
    remarks: Counter[str] = Counter()
    path = folder / PARTS / f"{name}.parquet"
    # A name of its own: a process that was thought dead may still be writing.
    partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows, characters, sha256 = _write(partial, _usable(documents(drops, remarks), stamp, drops))
        part = Part(path, rows, characters, dict(drops), dict(remarks), stamp, source, sha256)
        partial.rename(path)
        said = {"format": FORMAT} | {key: value for key, value in asdict(part).items() if key != "path"}
        write_durably(path.with_suffix(".json"), (json.dumps(said, indent=2) + "\n").encode())
    except OSError as error:
        raise CorpusError(f"{path.name} cannot be written ({error.strerror}); free disk space and start again") from error
    finally:
        partial.unlink(missing_ok=True)
    return part


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file by another at once, on disk before it is there."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


_SCHEMA = pa.schema(
    {
        "document_id": pa.string(),
        "group": pa.string(),
        "group_key": pa.uint64(),
        "kind": pa.string(),
        "written_at": pa.string(),
        "written_us": pa.int64(),
        "text": pa.string(),
        "characters": pa.uint32(),
        "words": pa.uint32(),
        "runs": pa.uint32(),
        "digest": pa.binary(16),
        "signature": pa.binary(shingles.SLOTS),
    }
)


_DOCUMENT = ["document_id", "text", "group", "kind", "written_at"]


def group_key(group: str) -> int:
    """A group as 64 bits, the same in every process and on every machine: it also says on which side of a split it is."""
    return int.from_bytes(hashlib.sha256(group.encode("utf-8", "replace")).digest()[:8], "big")


def _usable(documents: Iterator[Document], stamp: str, drops: Drops) -> Iterator[Document]:
    for document in documents:
        require_stamp(document.deidentified_by, stamp)
        reason = unusable(document.text)
        if reason is None:
            yield document
        else:
            drops[reason] += 1


def _write(path: Path, documents: Iterator[Document]) -> tuple[int, int, str]:
    """Documents, characters, and the hash of the file."""
    rows = characters = 0
    with path.open("wb") as file, pq.ParquetWriter(file, _SCHEMA, compression="zstd", compression_level=1) as writer:
        for batch in _batches(documents):
            writer.write_batch(_record_batch(batch), row_group_size=len(batch))
            rows += len(batch)
            characters += sum(len(document.text) for document in batch)
    with path.open("rb+") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
        os.fsync(written.fileno())
    return rows, characters, sha256


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        if size + len(document.text) > ROW_GROUP_BYTES and batch:
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document.text)
    if batch:
        yield batch


def _record_batch(batch: list[Document]) -> pa.RecordBatch:
    found = shingles.fingerprints(document.text for document in batch)
    columns: dict[str, Any] = {
        # A file's name, which may be an id, need not be UTF-8.
        "document_id": [document.document_id.encode("utf-8", "replace").decode() for document in batch],
        "group": [document.group for document in batch],
        "group_key": [group_key(document.group) for document in batch],
        "kind": [document.kind for document in batch],
        "written_at": [document.written_at for document in batch],
        "written_us": [_microseconds(document.written_at) for document in batch],
        "text": [document.text for document in batch],
        "characters": [len(document.text) for document in batch],
        "words": found.words,
        "runs": found.runs,
        "digest": found.digests,
        "signature": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(shingles.SLOTS), len(batch), [None, pa.py_buffer(np.ascontiguousarray(found.signatures))]
        ),
    }
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in _SCHEMA], schema=_SCHEMA)


def _microseconds(written_at: str) -> int:
    try:
        at = datetime.fromisoformat(written_at)
    except ValueError:
        return -(2**62)  # before all others
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // datetime.resolution
