"""A .txt file: one note."""

from collections.abc import Iterator

from integrations.ehr_export.columns import Columns
from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.notes import make_note
from integrations.ehr_export.opening import Source
from integrations.records import Note


def read(source: Source, name: str, columns: Columns, ledger: Ledger) -> Iterator[Note]:
    """The file's note, called `name`."""
    text = source.whole()
    note = None if text is None else make_note(text, name, ledger)
    if note:
        yield note
