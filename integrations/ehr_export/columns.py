"""Which column of a table, or key of a JSON object, holds what: as the hospital says in `[export]`, else by its usual names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from integrations.ehr_export.ledger import Ledger

FieldName = Literal["note_id", "patient", "encounter", "text", "kind", "time"]

GUESSES: Mapping[str, tuple[str, ...]] = {
    "note_id": (
        "note_id", "id", "row_id", "document_id", "doc_id",
        "note_csn_id", "hno_note_id",  # Epic Clarity
        "clinical_event_id", "event_id",  # Cerner
        "report_id", "study_id",
    ),
    "patient": (
        "patient_id", "subject_id", "patient", "mrn",
        "pat_id", "pat_mrn_id",  # Epic Clarity
        "person_id",  # Cerner, OMOP
        "patient_num",  # i2b2
        "patientid", "patient_mrn", "patient_key", "patientdurablekey",
    ),
    "encounter": (
        "encounter_id", "hadm_id", "visit_id",
        "pat_enc_csn_id", "csn_id", "csn",  # Epic Clarity
        "encntr_id",  # Cerner
        "visit_occurrence_id",  # OMOP
        "encounter_num",  # i2b2
        "encounterid", "encounter_key", "encounterkey",
    ),
    "text": (
        "text", "note_text", "note", "report_text", "report",
        "notetext", "document_text", "full_text", "narrative",
        "blob_contents", "blob_content",  # Cerner, once uncompressed
        "observation_blob",  # i2b2
        "result_text", "text_content",
    ),
    "kind": (
        "kind", "category", "note_type", "document_type", "type",
        "ip_note_type", "note_type_name", "note_type_c_name", "notetype",  # Epic Clarity, Caboodle
        "event_title_text", "event_cd_display", "event_class",  # Cerner
        "note_title", "note_class", "note_source_value",  # OMOP
        "doc_type", "report_type",
    ),
    "time": (
        "storetime",  # MIMIC; before charttime, because a note saved again keeps that
        "upd_aut_local_dttm", "note_file_dttm", "note_file_time_dttm", "lst_filed_inst_dttm",  # Epic Clarity
        "updt_dt_tm", "verified_dt_tm",  # Cerner
        "charttime", "written_at", "note_datetime", "note_date",
        "create_instant_dttm", "spec_note_time_dttm", "event_end_dt_tm", "performed_dt_tm",
        "chartdate", "start_date", "datetime", "date",
    ),
    "line": ("line",),  # Epic Clarity: a note lies in several rows
    "error": ("iserror",),  # MIMIC-III: 1 where a physician has found the note to be wrong
}  # fmt: skip
"""What a column may be called, the likeliest first; the first that is filled counts. Compared as `canonical` has them."""


WITHOUT_TEXT = 'a table without a column of text; name it in appliance.toml: [export] columns = { text = "..." }'
IN_LINES = "a table with a column LINE, each row taken as a note; put the lines of a note together in the query that exports them"


class ExportConfig(BaseModel):
    """`[export]`: what the hospital's own columns are called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[FieldName, str] = Field(default_factory=dict)
    """Column by field, e.g. `{ text = "BODY", patient = "KIS_NR" }`; case does not matter. Others go by their usual names."""


@dataclass(frozen=True)
class Layout:
    """Where a record's values stand, by field: positions, of which the first that is filled counts."""

    note_id: tuple[int, ...]
    patient: tuple[int, ...]
    encounter: tuple[int, ...]
    text: tuple[int, ...]
    kind: tuple[int, ...]
    time: tuple[int, ...]
    line: tuple[int, ...]
    error: tuple[int, ...]

    @property
    def positions(self) -> list[int]:
        """Everything that is looked at, in order."""
        return sorted({position for positions in astuple(self) for position in positions})


class Columns:
    """Finds layouts; keeps those found, because records of an export look alike."""

    def __init__(self, config: ExportConfig) -> None:
        self._own: dict[str, str] = {field: canonical(name) for field, name in config.columns.items()}
        self._names = {field: ((self._own[field],) if field in self._own else ()) + guesses for field, guesses in GUESSES.items()}
        self._found: dict[tuple[str, ...], Layout] = {}

    def layout(self, names: tuple[str, ...]) -> Layout:
        """The layout of records with columns of these names, in this order."""
        found = self._found.get(names)
        if found is None:
            if len(self._found) >= 1000:
                self._found.clear()
            found = self._found[names] = self._find([canonical(name) for name in names])
        return found

    def of_table(self, names: tuple[str, ...], ledger: Ledger) -> Layout | None:
        """The layout of a whole table; None, and counted, where it has no column of text. What looks wrong is remarked."""
        layout, there = self.layout(names), {canonical(name) for name in names}
        if not layout.text:
            ledger.drop(WITHOUT_TEXT)
            return None
        for field in sorted(field for field, name in self._own.items() if name not in there):
            ledger.remark(f"a table without the column that [export] columns names for {field}, read by the usual names")
        if layout.line and layout.note_id:
            ledger.remark(IN_LINES)
        return layout

    def _find(self, names: list[str]) -> Layout:
        positions: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            positions.setdefault(name, []).append(position)
        return Layout(**{
            field: tuple(position for guess in dict.fromkeys(guesses) for position in positions.get(guess, ()))
            for field, guesses in self._names.items()
        })  # fmt: skip


def canonical(name: str) -> str:
    """Lower case, and `_` for space and dash: how names of columns and of kinds are compared."""
    return re.sub(r"[ -]+", "_", name.strip().lower())


def first_filled(values: Sequence[Any], positions: tuple[int, ...]) -> Any:
    """The first value that is neither null nor an empty string; an empty string where there is no better, else None."""
    found = None
    for position in positions:
        value = values[position]
        if value is not None and value != "":
            return value
        if found is None:
            found = value
    return found
