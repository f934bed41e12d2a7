"""From an export to the corpus that is trained on: a part per file, in as many processes as there are cores, then the selection.

file -> `Note`s -> `Document`s without patients -> de-identified -> part on disk -> what is kept apart, duplicates, split.
"""

import hashlib
import hmac
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path

from appliance.parallel import run
from integrations.ehr_export import Export, ExportError, ExportFile
from pretrain.corpus import Corpus, CorpusError, Document, Drops, Part, Source, prepare, select
from pretrain.deid import Deidentifier, DeidError, deidentifier

WORTH_A_WORKER_BYTES = 8_000_000
"""A process takes some seconds to start, which is what it takes to read so much."""


def patient_key(value: str) -> str:
    """The one spelling of a patient's number: "00123", "123" and "123.0" (a table's idea of a number) are one patient.

    Two patients taken for one lose nothing but a note that both have; one taken for two could be trained on and measured with.
    """
    key = unicodedata.normalize("NFKC", value).strip().casefold()
    number = re.fullmatch(r"0*(\d+?)(?:\.0*)?", key)
    return number[1] if number else key


@lru_cache(4096)  # a patient's notes mostly stand together
def group_of(key: bytes, patient: str) -> str:
    """A keyed hash: the same patient gives the same group under this key, and nobody can guess back."""
    return hmac.new(key, patient_key(patient).encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]


@dataclass(frozen=True)
class Job:
    """One file of an export to be made into a part; may be sent to another process."""

    export: Export
    """With this file alone."""
    folder: Path
    """The corpus'."""
    stamp: str
    """Of the de-identifier; a process with another one is refused."""
    key: bytes = field(repr=False)
    """Of groups."""

    @property
    def file(self) -> ExportFile:
        """The export's only one."""
        return self.export.files[0]


def build(
    export: Export,
    folder: Path,
    key: bytes,
    *,
    groups: Collection[str] = (),
    evaluated: Iterable[str] = (),
    drops: Mapping[str, int] | None = None,
    on_file: Callable[[ExportFile, Part], None] = lambda file, part: None,
    workers: int = 0,
    ray_address: str = "",
) -> Corpus:
    """Read an export into `folder`, or go on where that was interrupted: what is there, intact, is not made again.

    Args:
        export: what to read.
        folder: of the corpus; parts of files that the export no longer has are removed.
        key: of groups; see `group_of`.
        groups: never to be trained on.
        evaluated: texts never to be trained on, as they are; they are de-identified here, as the corpus is.
        drops: what was left out of the export before any file was opened.
        on_file: told of each file as it is done.
        workers: processes; 0 for as many as there are cores and work for them.
        ray_address: of a Ray cluster that does the work instead; it must see the export and `folder` under the same paths.
    Raises:
        DeidError: texts cannot be de-identified; nothing is read then.
        WorkError: a file could not be made into a part; the message names it.
        CorpusError: the disk is full.
    """
    mask = _deidentifier()
    # The largest first, so that no worker is left alone with it at the end.
    files = sorted(export.files, key=lambda file: (-file.size, file.name))
    jobs = [Job(replace(export, files=(file,)), folder, mask.stamp, key) for file in files]
    parts = run(
        prepare_file,
        jobs,
        lambda job: job.file.name,
        lambda job, part: on_file(job.file, part),
        workers=workers or min(os.cpu_count() or 1, 1 + sum(file.size for file in files) // WORTH_A_WORKER_BYTES),
        ray_address=ray_address,
        clear=(CorpusError, DeidError, ExportError),
    )
    _remove_others(folder, parts)
    texts = [mask(Document(str(n), text, "")).text for n, text in enumerate(evaluated)]
    return select(folder, parts, mask.stamp, groups=groups, evaluated=texts, drops=drops or {})


def prepare_file(job: Job) -> Part:
    """Make one file's part, unless it is there."""
    return prepare(job.folder, _part_name(job.file), _source(job), job.stamp, lambda *counts: _documents(job, *counts))


def _documents(job: Job, drops: Drops, remarks: Counter[str]) -> Iterator[Document]:
    mask = _deidentifier()
    for note in job.export.notes(job.file, drops, remarks):
        group = group_of(job.key, note.patient.value if note.patient else note.note_id)
        at = note.written_at.isoformat() if note.written_at else ""
        yield mask(Document(note.note_id, note.text, group, note.kind.value, at))


@cache
def _deidentifier() -> Deidentifier:
    """Once in each process: its lists take a while to load."""
    return deidentifier()


def _part_name(file: ExportFile) -> str:
    # A file may be called by its patient's number.
    return hashlib.sha256(file.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _source(job: Job) -> Source:
    """Names, sizes and times of its files, and all else that decides what a document is."""
    digest = hmac.new(job.key, job.export.config.model_dump_json().encode(), hashlib.sha256)
    size = 0
    for name in job.file.names:
        try:
            status = os.stat(job.export.root / name)
        except OSError:
            continue  # reading it will count it as dropped
        size += status.st_size
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return Source(len(job.file.names), size, digest.hexdigest())


def _remove_others(folder: Path, parts: Iterable[Part]) -> None:
    kept = {path for part in parts for path in (part.path, part.path.with_suffix(".json"))}
    for path in (folder / "parts").glob("*"):
        if path not in kept:
            path.unlink(missing_ok=True)
