"""What the note writer hands out: a note and everything that is true of it."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from integrations.records import Note
from pretrain.tasks.base import LabelledNote
from pretrain.text import Span


class IdentifierKind(StrEnum):
    """What an identifier identifies. Titles, ages, weekdays and bare years are not marked."""

    NAME = "name"
    DATE = "date"
    RECORD_NUMBER = "record_number"
    PHONE = "phone"
    EMAIL = "email"
    ADDRESS = "address"
    HOSPITAL = "hospital"


@dataclass(frozen=True)
class IdentifierSpan:
    """Characters `start:end` of a note that name somebody or something; may hold a line break where the note is wrapped."""

    start: int
    end: int
    kind: IdentifierKind


@dataclass(frozen=True)
class Question:
    """One question asked of one section of a radiology report, the way RadQA asks it."""

    question_id: str
    text: str
    context: Span
    """The section, heading included, as characters of the note."""
    answer: Span | None
    """The shortest phrase that answers, as characters of the note; None where the section does not say."""


@dataclass(frozen=True)
class Person:
    """An invented patient."""

    given: str = field(repr=False)
    family: str = field(repr=False)
    sex: str
    """`F` or `M`."""
    born: date = field(repr=False)
    record_number: str = field(repr=False)
    address: str = field(repr=False)
    phone: str = field(repr=False)
    email: str = field(repr=False)

    @property
    def name(self) -> str:
        """Given name, family name."""
        return f"{self.given} {self.family}"


@dataclass(frozen=True)
class SyntheticNote:
    """A note nobody wrote about a patient who does not exist, with its truth. All offsets count characters of `note.text`."""

    note: Note
    title: str
    """What kind of document or study it is, in words: `Discharge summary`, `CT of the chest`."""
    written_at: datetime
    patient: Person
    author: str = field(repr=False)
    """The clinician who signs: given name, family name."""
    sentences: tuple[Span, ...]
    """In reading order, trimmed, never overlapping; a heading on a line of its own is one, a bullet belongs to its sentence."""
    labels: tuple[frozenset[str], ...]
    """The follow-up labels of each sentence, empty where nothing is to be done."""
    questions: tuple[Question, ...]
    """Empty for discharge summaries."""
    identifiers: tuple[IdentifierSpan, ...]
    """In reading order, never overlapping, and complete: the text holds no other."""

    @property
    def patient_name(self) -> str:
        """Given name, family name."""
        return self.patient.name

    def labelled(self) -> LabelledNote:
        """The note as an annotator would hand it over, grouped by its patient's record number."""
        return LabelledNote(self.note.note_id, self.note.text, self.sentences, self.labels, self.patient.record_number)
