"""CSV and its kin: a header, then one note per row, separated by what the header has most of."""

import csv
import io
from collections.abc import Iterator
from itertools import chain

from integrations.ehr_export import opening
from integrations.ehr_export.columns import Columns, Layout
from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.notes import note_of
from integrations.ehr_export.opening import Source
from integrations.records import Note

_END = "\0end of the file"
"""Read as a last line: inside of a quoted field it shows that the quote was never closed."""
UNCLOSED = "a line of a .csv file after a quote that is never closed"


def read(source: Source, name: str, columns: Columns, ledger: Ledger) -> Iterator[Note]:
    """The notes of the file's rows; one without an id is called `name` and the line it ends in."""
    lines = chain.from_iterable(map(_lines, source.lines()))
    head = next((line for line in lines if not line.isspace()), "")
    if not head:
        return
    # The default refuses a field of more than 128 KB, which a long stay's notes can be.
    csv.field_size_limit(opening.MAX_BYTES + opening.BLOCK_BYTES)
    rows = csv.reader(chain([head], lines, [_END]), delimiter=max(",;\t|", key=head.count))
    n_whole = 0
    try:
        names = next(rows)
        if not names[-1].endswith(_END):
            layout = columns.of_table(tuple(names), ledger)
            if layout is None:
                return
            n_whole = rows.line_num
            for row in rows:
                if row and row[-1].endswith(_END):
                    break
                n_whole = rows.line_num
                note = _note(row, len(names), layout, f"{name}:{n_whole}", ledger) if row else None
                if note:
                    yield note
        n_left = rows.line_num - 1 - n_whole
    except csv.Error:
        # The field is longer than any note; after this nobody knows where a row begins.
        n_left = rows.line_num - n_whole + sum(1 for _ in lines)
    if n_left and not source.ends_early:
        ledger.drop(UNCLOSED, n_left)


def _note(row: list[str], n_columns: int, layout: Layout, place: str, ledger: Ledger) -> Note | None:
    if len(row) != n_columns:
        ledger.drop("a .csv row with more or fewer fields than columns")
        return None
    return note_of(row, layout, place, ledger)


def _lines(block: str) -> list[str]:
    """The lines of a block, each with its line feed."""
    if block.count("\r") == block.count("\r\n"):
        return [line + "\n" for line in block.removesuffix("\n").split("\n")]
    # A carriage return alone ends a line too; the csv module would stop at one that is not quoted.
    return list(io.StringIO(block, newline=""))
