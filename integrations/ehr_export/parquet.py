"""Parquet: one note per row, read in small batches of the columns that count."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from integrations.ehr_export.columns import Columns
from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.notes import note_of
from integrations.ehr_export.opening import Source
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
    layout = columns.of_table(names, ledger)
    if layout is None:
        return
    wanted = sorted({names[position] for position in layout.positions})
    n_bytes, row = os.fstat(source.file.fileno()).st_size, 0
    for group in range(file.num_row_groups):
        last = row + file.metadata.row_group(group).num_rows
        with contextlib.suppress(pa.ArrowException, OSError, ValueError):
            for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=wanted, use_threads=False):
                table = [_values(column, source) for column in batch.columns]
                layout = columns.layout(tuple(batch.schema.names))
                for row, values in enumerate(zip(*table, strict=True), row + 1):  # noqa: B020
                    note = note_of(values, layout, f"{name}:{row}", ledger)
                    if note:
                        yield note
                source.advance(n_bytes * row // max(file.metadata.num_rows, row))
        if row < last:
            # Nobody knows where in this group the next row that can be read begins.
            ledger.drop("a row of a Parquet file where it is damaged", last - row)
        row = last


def _values(column: Any, source: Source) -> list[Any]:
    """As Python values: text and bytes as text, lists and structs as they are, the rest as Arrow writes it (ISO 8601)."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.dictionary_decode(), source)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if value is None else source.decode(value) for value in column.to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:  # Other programs write Latin-1 into columns that should be UTF-8.
            return _values(column.cast(pa.large_binary()), source)
    if pa.types.is_nested(kind):
        return list(column.to_pylist())
    if pa.types.is_timestamp(kind) and kind.tz:
        # To UTC, which needs no table of time zones on this machine.
        column = column.cast(pa.timestamp(kind.unit))
    try:
        return list(column.cast(pa.string()).to_pylist())
    except pa.ArrowException:
        return [None] * len(column)
