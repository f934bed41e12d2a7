"""The notes that a command was given to read: files, folders, or standard input."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integrations.records import Note


def notes_of(files: list[Path], faults: list[str], purpose: str) -> Iterator["Note"]:
    """The notes of all files. A file that gives none is one of the `faults`; what is left out of another is told on stderr."""
    from integrations.ehr_export import ExportError

    for file in files:
        drops: Counter[str] = Counter()
        remarks: Counter[str] = Counter()
        n_notes = 0
        try:
            for note in _notes_of(file, drops, remarks):
                n_notes += 1
                yield note
        except ExportError as error:
            faults.append(str(error))
            continue
        told = [f"{n} left out: {reason}" for reason, n in drops.items()] + [f"{n} kept: {how}" for how, n in remarks.items()]
        if not n_notes:
            faults.append(
                f"{file}: holds no note to {purpose} ({'; '.join(told) or 'it is empty'}); give .txt, .jsonl, .csv or .parquet"
            )
            continue
        for line in told:
            print(f"{file}: {line}", file=sys.stderr)


def _notes_of(file: Path, drops: Counter[str], remarks: Counter[str]) -> Iterator["Note"]:
    from integrations.ehr_export import read_notes, text_note

    if str(file) != "-":
        yield from read_notes(file, drops, remarks)
    elif note := text_note(sys.stdin.buffer.read(), "standard input", drops, remarks):
        yield note
