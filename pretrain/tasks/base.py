"""What every task shares: what a model says about a text, and the examples it is taught and measured with."""

from dataclasses import dataclass, field

from pretrain.text import Span


@dataclass(frozen=True)
class TaggedSpan:
    """What a model says about characters `start:end` of a text."""

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True)
class LabelledNote:
    """A note whose sentences carry labels, as an annotator gave them."""

    note_id: str
    text: str = field(repr=False)
    sentences: tuple[Span, ...]
    labels: tuple[frozenset[str], ...]
    """One set per sentence, empty where nothing is to follow up."""
    group: str
    """Whose note it is: notes of one group are never on both sides of a split. The note's own id where unknown."""


@dataclass(frozen=True)
class Question:
    """A question about a section of a report, and where that answers it."""

    question_id: str
    question: str = field(repr=False)
    context: str = field(repr=False)
    """The section, as the report has it."""
    answers: tuple[Span, ...]
    """Characters of `context`, one span per annotator; empty where the context does not answer the question."""
    group: str
    """The report's title: questions of one report are never on both sides of a split, and are drawn together."""
