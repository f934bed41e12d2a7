"""What the hospital sends and what it is told: notes, their references, and findings."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class NoteKind(StrEnum):
    """The kinds of note that routing tells apart."""

    DISCHARGE_SUMMARY = "discharge_summary"
    RADIOLOGY_REPORT = "radiology_report"
    OTHER = "other"


@dataclass(frozen=True)
class Identifier:
    """A value in its assigning authority's namespace (HL7 v2 CX, FHIR Identifier).

    Never shown by `repr`: it names a patient, a stay or a document.
    """

    value: str = field(repr=False)
    system: str = ""


@dataclass(frozen=True)
class Source:
    """The message a note came in: who sent it and which one it was."""

    sender: str
    control_id: str = field(repr=False)
    sha256: str
    """Of the message's bytes as received."""


@dataclass(frozen=True)
class Note:
    """One report as the hospital sent it. `start:end` of every finding count characters of `text`."""

    note_id: str
    """Names the note in logs and findings; carries no record number of the patient."""
    kind: NoteKind
    text: str = field(repr=False)
    patient: Identifier | None = None
    encounter: Identifier | None = None
    document: Identifier | None = None
    """The document's own identifier at the sender: TXA-12, or OBR-3 of a report."""
    document_type: str = ""
    """LOINC code where the message carries one, else the sender's local code."""
    written_at: datetime | None = None
    source: Source | None = None


@dataclass(frozen=True)
class Finding:
    """What the hospital is told about one patient: a stretch of a note, what it means, and who says so."""

    finding_id: str
    """Hash of note, model, span and label: the same reading twice gives the same finding."""
    note_id: str
    start: int
    end: int
    quote: str = field(repr=False)
    """`text[start:end]` of the note, character for character."""
    label: str
    score: float
    """Calibrated or not, between 0 and 1; the model card says which."""
    model: str
    """`NAME@VERSION` of the bundle."""
    at: datetime
    """When it was read, UTC."""


@dataclass(frozen=True)
class ModelVersion:
    """The model that stands behind findings, as the hospital is told about it."""

    name: str
    version: str
    sha256: str
    """Of the bundle's manifest: a model trained again under the same version is another one."""

    def __str__(self) -> str:
        """`NAME@VERSION`, as `Finding.model` has it."""
        return f"{self.name}@{self.version}"
