"""Parquet: one note per row, read in small batches of the columns that count."""

from collections.abc import Iterator
from typing import Any

from integrations.ehr_export.columns import Columns
from integrations.ehr_export.delimited import WITHOUT_TEXT
from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.notes import note_of
from integrations.ehr_export.opening import Source, windows_1252
from integrations.records import Note

ROWS_AT_ONCE = 256
_BUFFER_BYTES = 1 << 20


def read(source: Source, name: str, columns: Columns, ledger: Ledger) -> Iterator[Note]:
    """The notes of the file's rows; one without an id is called `name` and its row, counted from 1."""
    import pyarrow as pa  # 0.1 s, and much address space
    import pyarrow.parquet as pq

    try:
        # Buffered, because a row group's text is loaded at once otherwise, and that can be all of the file.
        file = pq.ParquetFile(source.file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError):
        ledger.drop("a Parquet file that is damaged or encrypted")
        return
    names = tuple(file.schema_arrow.names)
    layout = columns.layout(names)
    if not layout.text:
        ledger.drop(WITHOUT_TEXT)
        return
    wanted = sorted({names[position] for position in layout.positions})
    row, n_rows = 0, file.metadata.num_rows
    try:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=wanted, use_threads=False):
            layout = columns.layout(tuple(batch.schema.names))
            for row, values in enumerate(zip(*map(_values, batch.columns), strict=True), row + 1):  # noqa: B020
                note = note_of(values, layout, f"{name}:{row}", ledger)
                if note:
                    yield note
    except (pa.ArrowException, OSError, ValueError):
        # Nobody knows where the next row that can be read begins.
        ledger.drop("a row of a Parquet file after where it is damaged", max(1, n_rows - row))


def _values(column: Any) -> list[Any]:
    """As Python values: text as it is, bytes decoded, the rest as Arrow writes it (times in ISO 8601)."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.dictionary_decode())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if value is None else _text(value) for value in column.to_pylist()]
    if pa.types.is_nested(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return list(column.to_pylist())
    try:
        return list(column.cast(pa.string()).to_pylist())
    except pa.ArrowException:
        return [None] * len(column)


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return windows_1252(content)
