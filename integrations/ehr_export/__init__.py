"""An export of the hospital's records, whatever it comes as, as a stream of notes.

Text, CSV and TSV, JSON lines, Parquet, FHIR Bulk Data (NDJSON) and HL7 v2 archives, a folder of them or one file, as they
are or as .gz and .zst. Everything is streamed: memory stays small whatever lies there. What cannot be read is left out and
counted under its reason; the rest goes on.
"""

from integrations.ehr_export.columns import ExportConfig
from integrations.ehr_export.export import Export, ExportError, open_export, read_notes, text_note
from integrations.ehr_export.opening import OnBytes
from integrations.ehr_export.walking import ExportFile

__all__ = ["Export", "ExportConfig", "ExportError", "ExportFile", "OnBytes", "open_export", "read_notes", "text_note"]
