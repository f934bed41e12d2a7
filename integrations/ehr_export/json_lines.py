"""JSON lines: one note per object, or one FHIR resource, as Bulk Data writes them."""

import json
from collections.abc import Iterator

from integrations.ehr_export import fhir
from integrations.ehr_export.columns import Columns
from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.notes import note_of
from integrations.ehr_export.opening import Source
from integrations.records import Note


def read(source: Source, name: str, columns: Columns, ledger: Ledger) -> Iterator[Note]:
    """The notes of the file's lines; one without an id is called `name` and its line."""
    number = 0
    for block in source.lines():
        for line in block.split("\n"):
            number += 1
            if line and not line.isspace():
                note = _note(line, f"{name}:{number}", columns, ledger)
                if note:
                    yield note
        number -= 1  # What follows the last line feed is no line.


def _note(line: str, place: str, columns: Columns, ledger: Ledger) -> Note | None:
    try:
        record = json.loads(line.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        ledger.drop("a line that is not JSON")
        return None
    if not isinstance(record, dict):
        ledger.drop("a line that is not a JSON object")
        return None
    if "resourceType" in record:
        return fhir.note(record, place, ledger)
    return note_of(list(record.values()), columns.layout(tuple(record)), place, ledger)
