"""The published data set's `sentence_level.csv`, alone or in PhysioNet's folder with the ids of its three splits.

Source: Mullenbach et al. 2021, and its code at github.com/asappresearch/clip.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pretrain.tasks.base import LabelledNote
from pretrain.tasks.clip import DataError
from pretrain.tasks.clip_formats.files import at, check, labels_named, lines_of
from pretrain.text import Span

SENTENCES = "sentence_level.csv"
"""Of PhysioNet's folder: every sentence of every note, with its labels."""
SPLITS = {"train": "train_ids.csv", "dev": "val_ids.csv", "test": "test_ids.csv"}
"""Of PhysioNet's folder: the notes of each split, one id a line without a header."""
COLUMNS = ("doc_id", "sent_index", "sentence", "labels")

MAX_CELL_CHARACTERS = 1_000_000
"""Of a list of tokens or labels; a longer one is no sentence's, and parsing it takes many times its size in memory."""


def splits(folder: Path) -> dict[str, list[LabelledNote]]:
    """PhysioNet's folder as "train", "dev" and "test", each in the order of its ids.

    Raises:
        DataError: a file of the folder cannot be read or is not what it should be; an id is in two splits, twice in one,
            in none, or without a note.
    """
    rows = _rows(folder / SENTENCES)
    places: dict[str, str] = {}
    parts: dict[str, list[LabelledNote]] = {}
    for split, name in SPLITS.items():
        parts[split] = []
        for number, note_id in _ids(folder / name):
            place = f"{folder / name}:{number}"
            if note_id in places:
                raise DataError(f"{place}: the id of {places[note_id]} again; a note belongs to one split, once")
            if note_id not in rows:
                raise DataError(f"{place}: names a note that {SENTENCES} lacks; copy both files again, the ids have no header")
            places[note_id] = f"{name}:{number}"
            parts[split].append(_of_rows(folder / SENTENCES, note_id, rows[note_id]))
    for note_id, [first, *_] in rows.items():
        if note_id not in places:
            raise DataError(f"{folder / SENTENCES}:{first.line}: begins a note that no *_ids.csv names; add its id to one")
    return parts


class _Row(NamedTuple):
    line: int
    sent_index: int
    sentence: str
    labels: frozenset[str]


_CELL = re.compile(r'"((?:[^"]++|"")*+)"|([^",\r]*+)')
_ESCAPE = r"\\(?:[\\'\"nrtabfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})"
_STRING = rf"""[uU]?(?:'(?:[^'\\\n\r\0]++|{_ESCAPE})*+'|"(?:[^"\\\n\r\0]++|{_ESCAPE})*+")"""
_LIST = re.compile(rf"\[[ \t]*+(?:{_STRING}(?:[ \t]*+,[ \t]*+{_STRING})*+[ \t]*+)?\]")
"""A list of strings as Python prints it. Two strings without a comma, as NumPy prints them, are none: Python joins them."""


def read(path: Path) -> list[LabelledNote]:
    """The notes of a `sentence_level.csv`, in its order.

    Raises:
        DataError: as `splits`.
    """
    return [_of_rows(path, note_id, rows) for note_id, rows in _rows(path).items()]


def _rows(path: Path) -> dict[str, list[_Row]]:
    """The rows of every note, in the file's order."""
    lines = lines_of(path)
    number, head = next(lines, (1, ""))
    with at(f"{path}:{number}"):
        columns = [name.strip() for name in _cells(head)]
        # pandas writes its index as a column without a name.
        if sorted(filter(None, columns)) != sorted(COLUMNS):
            raise DataError(f"does not name the columns {','.join(COLUMNS)} and no other; write them into the first line")
    places = [columns.index(name) for name in COLUMNS]
    rows: dict[str, list[_Row]] = {}
    for number, line in lines:
        with at(f"{path}:{number}"):
            cells = _cells(line)
            if len(cells) != len(columns):
                raise DataError(f"has {len(cells)} cells, its header {len(columns)}; put lists in double quotes, on one line")
            doc_id, index, sentence, labels = (cells[place].strip() for place in places)
            if not doc_id:
                raise DataError("has no doc_id; give every sentence that of its note")
            if not re.fullmatch("[0-9]{1,9}", index):
                raise DataError("sent_index is no number; count the sentences of every note from 0")
            row = _Row(number, int(index), " ".join(_strings(sentence, "sentence")), labels_named(_strings(labels, "labels")))
            rows.setdefault(doc_id, []).append(row)
    if not rows:
        raise DataError(f"{path}: holds no notes; write one sentence per line")
    return rows


def _cells(line: str) -> list[str]:
    """The cells of one line of a CSV file.

    Not by the csv module: it refuses a cell of more than 131072 characters, which can be lifted only for the whole process,
    and it takes a quote that is never closed for a cell with the rest of the file in it.
    """
    cells: list[str] = []
    at = 0
    while True:
        match = _CELL.match(line, at)
        assert match is not None  # an empty cell matches too
        cells.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        at = match.end()
        if at == len(line):
            return cells
        if line[at] != ",":
            raise DataError("has a cell with a quote or carriage return amiss; double the quotes in it and quote it as a whole")
        at += 1


def _strings(cell: str, column: str) -> list[str]:
    if len(cell) > MAX_CELL_CHARACTERS:
        raise DataError(f"{column} has {len(cell):,} characters, more than {MAX_CELL_CHARACTERS:,}; write one sentence per line")
    if not _LIST.fullmatch(cell):
        raise DataError(f"{column} is no list of strings; write it as Python prints one, with commas")
    strings: list[str] = ast.literal_eval(cell)
    check(" ".join(strings), column)
    return strings


def _of_rows(path: Path, note_id: str, rows: Sequence[_Row]) -> LabelledNote:
    """A note of its sentences, a line each; a row without text is no sentence."""
    spans: list[Span] = []
    labels: list[frozenset[str]] = []
    text, before = [], _Row(0, -1, "", frozenset())
    start = 0
    for row in sorted(rows, key=lambda row: row.sent_index):
        with at(f"{path}:{row.line}"):
            if row.sent_index == before.sent_index:
                raise DataError(f"the sent_index of line {before.line} again; give every sentence of a note its own")
            if row.sent_index != before.sent_index + 1:
                raise DataError(
                    f"sent_index {row.sent_index} where {before.sent_index + 1} is due: a row is missing; copy the file again"
                )
            if row.labels and not row.sentence.strip():
                raise DataError("labels a sentence without text; remove its labels")
        before = row
        if row.sentence:
            text.append(row.sentence)
            spans.append(Span(start, start + len(row.sentence)))
            labels.append(row.labels)
            start += len(row.sentence) + 1
    if not "".join(text).strip():
        raise DataError(f"{path}:{rows[0].line}: begins a note without text; remove it")
    return LabelledNote(note_id, "\n".join(text), tuple(spans), tuple(labels), note_id)


def _ids(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in lines_of(path):
        with at(f"{path}:{number}"):
            cells = _cells(line)
        if len(cells) != 1:
            raise DataError(f"{path}:{number}: has {len(cells)} cells; write one id per line")
        yield number, cells[0].strip()
