"""What the hospital sends and what it is told: notes, their references, and findings."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class NoteKind(StrEnum):
    """The kinds of note that routing tells apart."""

    DISCHARGE_SUMMARY = "discharge_summary"
    RADIOLOGY_REPORT = "radiology_report"
    OTHER = "other"


class NoteStatus(StrEnum):
    """What its sender says of this version of a document (HL7 v2 tables 0271, 0273, 0123; FHIR's status and docStatus)."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    CORRECTED = "corrected"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"

    @property
    def is_withdrawn(self) -> bool:
        """Nobody should act on the document any more."""
        return self in (NoteStatus.CANCELLED, NoteStatus.ENTERED_IN_ERROR)


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
    carrier: str = ""
    """What carried the note: the type of the message or resource, such as `MDM`, `ORU`, `DocumentReference`."""


@dataclass(frozen=True)
class Note:
    """One report as the hospital sent it. `start:end` of every finding count characters of `text`."""

    note_id: str
    """Names the note in logs and findings; carries no record number of the patient."""
    kind: NoteKind
    text: str = field(repr=False)
    """Empty where a document is withdrawn by a message that has no text."""
    patient: Identifier | None = None
    encounter: Identifier | None = None
    document: Identifier | None = None
    """The document's own identifier at the sender: TXA-12, or of a report OBR-3, ORC-3, OBR-2 or ORC-2."""
    document_type: str = ""
    """LOINC code where the message carries one, else the sender's local code."""
    codes: tuple[str, ...] = field(default=(), repr=False)
    """Every code that says what it is, of document, order and section, LOINC and local; questions go by them."""
    written_at: datetime | None = None
    source: Source | None = None
    status: NoteStatus = NoteStatus.FINAL
    replaces: Identifier | None = None
    """The other document whose place this one takes: TXA-13 of a replacement, `relatesTo` of code `replaces`."""
    appends: Identifier | None = None
    """The document that this one adds to, which stays valid: TXA-13 of an addendum, `relatesTo` of code `appends`."""
    indication: str = field(default="", repr=False)
    """Why a study was ordered: OBR-31, OBR-13, or a ServiceRequest's reason. It may be asked of the report as a question."""
    unread: str = ""
    """Which parts of the message hold no text or are not of the report, and why; quotes nothing of them."""

    @property
    def patient_key(self) -> str:
        """Names the patient in queues and indexes without the record number; empty where there is none."""
        return _key(self.patient.system, self.patient.value) if self.patient else ""

    @property
    def document_key(self) -> str:
        """The same for every version of a document; a note that names no document is one of its own."""
        return self.key_of(self.document) or _key("note", self.note_id)

    def key_of(self, document: Identifier | None) -> str:
        """The `document_key` of another document of the same sender; empty where there is none."""
        # A number without an authority is the sender's own.
        sender = self.source.sender if self.source else ""
        return _key(document.system or sender, document.value) if document else ""


def _key(*names: str) -> str:
    return hashlib.sha256("\x1f".join(names).encode()).hexdigest()


@dataclass(frozen=True)
class Finding:
    """What the hospital is told about one patient: a stretch of a note, what it means, and who says so."""

    finding_id: str
    """Hash of note, model, span, label and question: the same reading twice gives the same finding."""
    note_id: str
    start: int
    end: int
    quote: str = field(repr=False)
    """`text[start:end]` of the note, character for character."""
    label: str
    """The follow-up label; empty for an answer."""
    score: float
    """Calibrated or not, between 0 and 1; the model card says which."""
    model: str
    """`NAME@VERSION` of the bundle."""
    at: datetime
    """When it was read, UTC."""
    question: str = field(default="", repr=False)
    """What was asked of the report; empty for a follow-up label. With an empty quote the report does not answer it."""
    unsure: bool = False
    """Of what scores so, fewer than nine in ten were right, or nobody knows how many."""


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
