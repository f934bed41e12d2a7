"""`backfill`: an archive is tagged while the appliance goes on with the day's work, and taken up again where it was stopped.

    OUT/backfill.json       the model; results of two models never lie in one folder
    OUT/FILE/000000.jsonl   results of the first `BATCH` notes of one file of the archive, and so on; FILE is a hash of its name
    OUT/FILE.json           what became of the file's notes, once all of them are read

A batch appears whole or not at all, and the notes of a file come in the same order each time: whatever interrupts it, at most
one batch of each worker is read again, and no note has its results twice.
"""

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.config import load
from appliance.home import Home
from appliance.parallel import run
from appliance.publishing import tagger_of
from appliance.reading import as_json
from appliance.registry import Entry, Registry
from appliance.routing import TASKS
from appliance.storage import Storage
from integrations.ehr_export import Export, ExportError, ExportFile, OnBytes
from integrations.records import Note
from pretrain import bundle
from pretrain.bundle import BundleError
from serving import artifact
from serving.engine import EngineError

if TYPE_CHECKING:
    from serving.predictor import Tagger

BATCH = 16
MODEL = "backfill.json"
TASK = "clip"
STAND_BACK_S = 0.02
LONGEST_STAND_BACK_S = 10.0
"""A queue that does not empty for so long is not the backfill's doing: one more note is read."""


class BackfillError(RuntimeError):
    """The archive cannot be tagged into this folder; the message says why."""


@dataclass(frozen=True)
class Job:
    """One file of an archive to be tagged; may be sent to another process, or another host that sees the same paths."""

    export: Export
    """With this file alone."""
    folder: Path
    home: Path
    model: str
    """NAME@VERSION."""
    engine: str

    @property
    def file(self) -> ExportFile:
        """The export's only one."""
        return self.export.files[0]


def backfill(
    home: Home,
    export: Export,
    entry: Entry,
    folder: Path,
    *,
    engine: str = "auto",
    workers: int = 1,
    ray_address: str = "",
    on_bytes: OnBytes = lambda n: None,
) -> Counter[str]:
    """Tag every note of `export` that the task reads, into `folder`; what lies there whole is not read again.

    Args:
        home: whose live messages come first.
        export: the archive.
        entry: the model.
        folder: of the results.
        engine: as for `serving.engine.working`.
        workers: processes.
        ray_address: of a Ray cluster that does the work instead; it must see archive, home and folder under the same paths.
        on_bytes: told how many more bytes of the archive are done, as they are read where this process reads them.
    Returns:
        How many notes were read, how many findings they had, and what was left out, by reason.
    Raises:
        BackfillError: the folder holds results of another model.
        WorkError: a file could not be tagged; the message names it. What was done is kept.
    """
    _claim(folder, entry)
    jobs = [Job(replace(export, files=(file,)), folder, home.root, entry.reference, engine) for file in export.files]
    is_here = workers == 1 and not ray_address
    parts = run(
        partial(tag_file, on_bytes=on_bytes) if is_here else tag_file,
        jobs,
        lambda job: job.file.name,
        lambda job, counts: None if is_here else on_bytes(job.file.size),
        workers=workers,
        ray_address=ray_address,
        clear=(ExportError, BundleError, EngineError, OSError),
    )
    return sum(parts, Counter())


def tag_file(job: Job, on_bytes: OnBytes = lambda n: None) -> Counter[str]:
    """Tag what is not yet tagged of one file. Lowers this process to idle priority for the rest of its life."""
    _be_idle()
    name, source = _name(job.file), _source(job)
    whole, batches = job.folder / f"{name}.json", job.folder / name
    before = _read(whole)
    if before.get("source") == source:
        on_bytes(job.file.size)
        return Counter(before["counts"])
    if _read(batches / "source.json").get("source") != source:
        # The file is another one than it was: so are its notes.
        shutil.rmtree(batches, ignore_errors=True)
        batches.mkdir(parents=True)
        _write(batches / "source.json", json.dumps({"source": source}))
    counts: Counter[str] = Counter()
    drops: Counter[str] = Counter()
    home = Home(job.home)
    storage = Storage(load(home).database.place(home.database))
    try:
        notes = _readable(job.export.notes(job.file, drops, Counter(), on_bytes), counts)
        for number in range(2**63):
            if not (batch := list(islice(notes, BATCH))):
                break
            counts += _batch(job, batches / f"{number:06}.jsonl", batch, storage)
    finally:
        storage.close()
    counts += Counter({f"left out: {reason}": n for reason, n in drops.items()})
    _write(whole, json.dumps({"source": source, "counts": counts}))
    return counts


def _batch(job: Job, path: Path, batch: list[Note], storage: Storage) -> Counter[str]:
    if not path.exists():
        lines = []
        for note in batch:
            _stand_back(storage)
            tagger = _tagger(job.home, job.model, job.engine)
            (tagged,) = tagger.tag([note.text])
            lines.append(json.dumps(as_json(note.note_id, note.text, job.model, tagged, tagger.is_sure), ensure_ascii=False))
        _write(path, "".join(line + "\n" for line in lines))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return Counter(notes=len(rows), findings=sum(len(row["findings"]) for row in rows))


def _readable(notes: Iterator[Note], counts: Counter[str]) -> Iterator[Note]:
    for note in notes:
        if TASKS.get(note.kind) == TASK:
            yield note
        else:
            counts[f"left out: {TASK} does not read a {note.kind}"] += 1


def _stand_back(storage: Storage) -> None:
    """Wait while the appliance has messages to read: whoever waits for one is a clinician."""
    began = time.monotonic()
    while storage.inbox.has_work() and time.monotonic() - began < LONGEST_STAND_BACK_S:
        time.sleep(STAND_BACK_S)


def _be_idle() -> None:
    """Compute only when nobody else on this host wants to, and leave a core alone: a cache that is swept is slow for all."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) - 1)))
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # For what the other would not reach: disks, and hosts whose kernel schedules by sessions.
    os.setpriority(os.PRIO_PROCESS, 0, 19)


@lru_cache(1)
def _tagger(home: Path, model: str, engine: str) -> "Tagger":
    entry = Registry(Home(home).models).find(model, TASK)
    return tagger_of(Home(home), entry, engine)


def _claim(folder: Path, entry: Entry) -> None:
    """See that `folder` is new, or holds results of this very model."""
    wanted = {"model": entry.reference, "manifest": artifact.sha256(entry.folder / bundle.MANIFEST)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _read(folder / MODEL)
        if not found and any(folder.iterdir()):
            raise BackfillError(f"{folder} is not empty and holds no results of a backfill; name another folder")
        if found and found != wanted:
            raise BackfillError(f"{folder} holds results of {found.get('model')}, not of {entry.reference}; name another folder")
        _write(folder / MODEL, json.dumps(wanted))
    except OSError as error:
        raise BackfillError(f"cannot write {folder}: {error.strerror}; free space or mend its rights") from error


def _name(file: ExportFile) -> str:
    # A file may be called by its patient's number.
    return hashlib.sha256(file.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _source(job: Job) -> str:
    """Changes when the file does, or how it is read."""
    digest = hashlib.sha256(job.export.config.model_dump_json().encode())
    for name in job.file.names:
        with suppress(OSError):  # reading it will count it as left out
            status = os.stat(job.export.root / name)
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    artifact.sync(path.parent)
