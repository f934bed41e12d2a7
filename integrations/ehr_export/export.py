"""An export: what files it has, and the notes of each.

path -> files (walking) -> source (opening) -> the reader of its format -> `Note`s.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from integrations.ehr_export import delimited, hl7_archive, json_lines, parquet, text
from integrations.ehr_export.columns import Columns, ExportConfig
from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.opening import OnBytes, Source, in_memory, open_source
from integrations.ehr_export.walking import ExportFile, format_of, together, walk
from integrations.records import Note

Reader = Callable[[Source, str, Columns, Ledger], Iterator[Note]]
_READERS: dict[str, Reader] = {
    "text": text.read,
    "delimited": delimited.read,
    "json_lines": json_lines.read,
    "parquet": parquet.read,
    "hl7_archive": hl7_archive.read,
}
ENDINGS = ".parquet, .hl7, .ndjson, .tsv, .txt, .jsonl or .csv"


class ExportError(Exception):
    """There is nothing to read where the export should be; the message says why."""


@dataclass(frozen=True)
class Export:
    """Where an export lies and what of it can be read; may be sent to another process."""

    root: Path
    files: tuple[ExportFile, ...]
    config: ExportConfig

    def notes(
        self, file: ExportFile, drops: Counter[str], remarks: Counter[str], on_bytes: OnBytes | None = None
    ) -> Iterator[Note]:
        """The notes of one of `files`, one at a time, always in the same order.

        A note that has no id gets its place: the file's path in the export, and the line. One whose id holds the
        patient's number gets a hash instead. A time without a zone is taken as UTC: good to order notes by, no more.

        Args:
            file: of this export.
            drops: what is left out is counted here, by reason, while the stream is read; nothing else is left out.
            remarks: what was kept with an assumption is counted here, by what was assumed.
            on_bytes: told how many more bytes have been read; `file.size` altogether.
        """
        ledger, columns = Ledger(drops, remarks), Columns(self.config)
        for name in file.names:
            yield from _notes(self.root / name, name, _READERS[file.format], columns, ledger, on_bytes)


def open_export(path: Path, drops: Counter[str], config: ExportConfig | None = None) -> Export:
    """Look at what is there, without reading it.

    Args:
        path: folder, searched with its sub-folders, or one file.
        drops: files that cannot be read or are of no format are counted here, by reason.
        config: what the columns are called.
    Raises:
        ExportError: nothing is there, it may not be read, or no file of it is of a format that is read.
    """
    ledger, n_others = Ledger(drops, Counter()), 0

    def usable(found: Iterator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        nonlocal n_others
        for name, size in found:
            if format_of(name):
                yield name, size
            else:
                n_others += 1

    try:
        status = os.stat(path)
        is_folder = stat.S_ISDIR(status.st_mode)
        if not is_folder:
            path.open("rb").close()
        files = tuple(together(usable(walk(path, ledger) if is_folder else iter([(path.name, status.st_size)]))))
    except FileNotFoundError:
        raise ExportError(f"{path}: there is no such file or folder") from None
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    if not files:
        there = f"{n_others} of another kind" if n_others else "none at all"
        raise ExportError(f"{path}: a {ENDINGS} file is needed, also as .gz or .zst, and there is {there}")
    if n_others:
        ledger.drop(f"a file that is not {ENDINGS}", n_others)
    return Export(path if is_folder else path.parent, files, config or ExportConfig())


def read_notes(
    path: Path, drops: Counter[str], remarks: Counter[str] | None = None, config: ExportConfig | None = None
) -> Iterator[Note]:
    """The notes of an export, one at a time: `Export.notes` of all its files.

    Raises:
        ExportError: as `open_export`, before anything is read.
    """
    export = open_export(path, drops, config)
    remarks = Counter() if remarks is None else remarks
    return (note for file in export.files for note in export.notes(file, drops, remarks))


def text_note(content: bytes, name: str, drops: Counter[str], remarks: Counter[str]) -> Note | None:
    """A whole .txt file as a note called `name`; None, and counted, where it holds none."""
    ledger = Ledger(drops, remarks)
    with in_memory(content, ledger) as source:
        return next(text.read(source, name, Columns(ExportConfig()), ledger), None)


def _notes(path: Path, name: str, read: Reader, columns: Columns, ledger: Ledger, on_bytes: OnBytes | None) -> Iterator[Note]:
    n_notes, n_dropped = 0, ledger.n_dropped
    try:
        with open_source(path, ledger, on_bytes) as source:
            size = os.fstat(source.file.fileno()).st_size
            for note in read(source, name, columns, ledger):
                n_notes += 1
                yield note
            source.advance(size)
    except OSError:
        ledger.drop("a file that cannot be read")
    if not n_notes and ledger.n_dropped == n_dropped:
        ledger.drop("a file that holds nothing")
