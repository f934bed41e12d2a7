"""An export of the hospital's records, a folder of .txt, .jsonl and .csv or one such file, as a stream of notes.

Files are walked in the order of their names and read line by line, so that memory stays small whatever lies there.
What cannot be read is left out and counted under its reason; the rest goes on.
"""

import csv
import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from integrations.records import Identifier, Note, NoteKind

MAX_BYTES = 64 * 1024 * 1024
"""A longer .txt file, or line of a .jsonl or .csv, is not a note; it is left out without being loaded."""

_TOO_LARGE = "larger than 64 MB without a line end"
_ENDINGS = (".txt", ".jsonl", ".csv")
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "note_id": ("note_id", "id", "row_id", "document_id", "doc_id"),
    "patient": ("patient_id", "subject_id", "patient", "mrn"),
    "encounter": ("encounter_id", "hadm_id", "visit_id"),
    "text": ("text", "note_text", "note", "report_text", "report"),
    "kind": ("kind", "category", "note_type", "document_type", "type"),
    "time": ("charttime", "written_at", "note_date", "chartdate", "date"),
}
"""What a column may be called; the first that a record has counts. Names are compared in lower case, `_` for space and dash."""


class ExportError(Exception):
    """There is nothing to read where the export should be; the message says why."""


def read_notes(path: Path, drops: Counter[str], remarks: Counter[str] | None = None) -> Iterator[Note]:
    """The notes of an export, one at a time.

    A note that has no id gets its place: the file's path in the export, and the line. One whose id holds the
    patient's number gets a hash instead. A time without a zone is taken as UTC: good to order notes by, no more.

    Args:
        path: folder, searched with its sub-folders, or one file.
        drops: what is left out is counted here, by reason, while the stream is read.
        remarks: what was kept with an assumption is counted here, by what was assumed.
    Raises:
        ExportError: nothing is there, it may not be read, or no file of it is .txt, .jsonl or .csv.
    """
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        files = list(_walk(path, drops)) if is_folder else [path]
        if not is_folder:
            path.open("rb").close()
    except FileNotFoundError:
        raise ExportError(f"{path}: there is no such file or folder") from None
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    usable = [file for file in files if file.suffix.lower() in _ENDINGS]
    if not usable:
        found = f"{len(files)} of another kind" if files else "none at all"
        raise ExportError(f"{path}: a .txt, .jsonl or .csv file is needed, and there is {found}")
    if len(files) > len(usable):
        drops["a file that is not .txt, .jsonl or .csv"] += len(files) - len(usable)
    return _notes(path if is_folder else path.parent, usable, drops, Counter() if remarks is None else remarks)


def _walk(folder: Path, drops: Counter[str]) -> Iterator[Path]:
    """Every regular file below, by name; links are followed, each file and folder is taken once."""
    top = os.stat(folder)
    seen, folders = {(top.st_dev, top.st_ino)}, [folder]
    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda e: e.name)
        except OSError:
            if here == folder:
                raise
            drops["a folder that cannot be read"] += 1
            continue
        below = []
        for entry in entries:
            try:
                status = entry.stat()
            except OSError:
                drops["a file that cannot be read"] += 1
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if stat.S_ISDIR(status.st_mode):
                below.append(Path(entry.path))
            elif stat.S_ISREG(status.st_mode):
                yield Path(entry.path)
            else:
                # Opening a pipe would wait for ever.
                drops["not a regular file"] += 1
        folders += reversed(below)


def _notes(root: Path, files: list[Path], drops: Counter[str], remarks: Counter[str]) -> Iterator[Note]:
    readers: dict[str, Callable[[BinaryIO, str, Counter[str], Counter[str]], Iterator[Note]]]
    readers = {".txt": _text_file, ".jsonl": _jsonl_file, ".csv": _csv_file}
    for file in files:
        try:
            with file.open("rb") as stream:
                if stream.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    drops["a file in UTF-16; save it as UTF-8"] += 1
                    continue
                yield from readers[file.suffix.lower()](stream, file.relative_to(root).as_posix(), drops, remarks)
        except OSError:
            drops["a file that cannot be read"] += 1


def _text_file(stream: BinaryIO, name: str, drops: Counter[str], remarks: Counter[str]) -> Iterator[Note]:
    content = stream.read(MAX_BYTES + 1) if os.fstat(stream.fileno()).st_size <= MAX_BYTES else None
    if content is None or len(content) > MAX_BYTES:
        drops["a .txt file larger than 64 MB"] += 1
        return
    note = text_note(content, name, drops, remarks)
    if note:
        yield note


def text_note(content: bytes, name: str, drops: Counter[str], remarks: Counter[str]) -> Note | None:
    """A whole .txt file as a note called `name`; None, and counted, where it holds none. Counts as `read_notes` does."""
    return _note({"text": _decode(content, remarks)}, name, drops)


def _jsonl_file(stream: BinaryIO, name: str, drops: Counter[str], remarks: Counter[str]) -> Iterator[Note]:
    for number, line in _lines(stream, drops):
        if not line.strip():
            continue
        try:
            record = json.loads(_decode(line, remarks))
        except (ValueError, RecursionError):
            drops["a line that is not JSON"] += 1
            continue
        if not isinstance(record, dict):
            drops["a line that is not a JSON object"] += 1
            continue
        note = _note({_column(key): value for key, value in record.items()}, f"{name}:{number}", drops)
        if note:
            yield note


def _csv_file(stream: BinaryIO, name: str, drops: Counter[str], remarks: Counter[str]) -> Iterator[Note]:
    lines = (_decode(line, remarks) for _, line in _lines(stream, drops))
    csv.field_size_limit(MAX_BYTES)  # The default refuses a field of more than 128 KB, which a long stay's notes can be.
    head = next(lines, "")
    rows = csv.reader(lines, delimiter=max(",;\t|", key=head.count))
    columns = [_column(c) for c in next(csv.reader([head], delimiter=max(",;\t|", key=head.count)), [])]
    if not set(columns) & set(_COLUMNS["text"]):
        drops["a .csv file without a column named text or note_text"] += 1
        return
    try:
        for row in rows:
            if not row:
                continue
            if len(row) != len(columns):
                drops["a .csv row with more or fewer fields than columns"] += 1
                continue
            note = _note(dict(zip(columns, row, strict=True)), f"{name}:{rows.line_num + 1}", drops)
            if note:
                yield note
    except csv.Error:
        # After this nobody knows where a row begins.
        drops["the rest of a .csv file after a field that does not end"] += 1


def _lines(stream: BinaryIO, drops: Counter[str]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, none longer than the limit; a longer one is read past in small pieces and counted."""
    number = 0
    while line := stream.readline(MAX_BYTES + 1):
        number += 1
        if len(line) <= MAX_BYTES:
            yield number, line
            continue
        drops[_TOO_LARGE] += 1
        while line and not line.endswith(b"\n"):
            line = stream.readline(1 << 20)


def _decode(content: bytes, remarks: Counter[str]) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    remarks["not UTF-8, read as Windows-1252"] += 1
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _note(record: Mapping[str, Any], place: str, drops: Counter[str]) -> Note | None:
    text = _pick(record, "text")
    reason = _why_not(text)
    if reason:
        drops[reason] += 1
        return None
    patient, encounter = (_word(_pick(record, what)) for what in ("patient", "encounter"))
    note_id = _word(_pick(record, "note_id")) or place
    if len(patient) >= 4 and patient in note_id:
        note_id = hashlib.sha256(note_id.encode(errors="replace")).hexdigest()[:16]
    kind = _word(_pick(record, "kind"))
    return Note(
        note_id=note_id,
        kind=_kind(kind),
        text=text,
        patient=Identifier(patient) if patient else None,
        encounter=Identifier(encounter) if encounter else None,
        document_type=kind,
        written_at=_time(_word(_pick(record, "time"))),
    )


def _why_not(text: Any) -> str | None:
    if text is None:
        return "no text"
    if not isinstance(text, str):
        return "text that is not a string"
    if not text.strip():
        return "empty text"
    if "\0" in text:
        return "text with NUL bytes, as a binary file has"
    # JSON can spell half a surrogate pair, which no file and no tokenizer takes.
    return "text with characters that do not exist" if re.search("[\ud800-\udfff]", text) else None


def _pick(record: Mapping[str, Any], what: str) -> Any:
    return next((record[name] for name in _COLUMNS[what] if record.get(name) is not None), None)


def _word(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _column(name: str) -> str:
    return re.sub(r"[ -]+", "_", name.strip().lower())


def _kind(name: str) -> NoteKind:
    name = _column(name)
    if "discharge" in name and "summar" in name:
        return NoteKind.DISCHARGE_SUMMARY
    return NoteKind.RADIOLOGY_REPORT if name.startswith(("radiolog", "imaging")) else NoteKind.OTHER


def _time(value: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
