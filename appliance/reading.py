"""One note in, its findings out: the only place where what a model says about a text becomes something about a patient."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from integrations.records import Finding, ModelVersion, Note
from pretrain.tasks.base import TaggedSpan

if TYPE_CHECKING:
    from serving.predictor import Tagger


class Reader(Protocol):
    """Whatever reads a note."""

    @property
    def model(self) -> ModelVersion:
        """Who reads."""
        ...

    def read(self, note: Note) -> list[Finding]:
        """What is to be found in the note, in the order of its text.

        Raises:
            EngineError: the model did not answer; the note may be read later.
        """
        ...


class TaggerReader:
    """Reads with one tagger. Safe to call from one thread at a time."""

    def __init__(self, tagger: "Tagger", model: ModelVersion, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._tagger, self._model, self._now = tagger, model, now

    @property
    def model(self) -> ModelVersion:
        """Who reads."""
        return self._model

    def read(self, note: Note) -> list[Finding]:
        """What the tagger finds in the note."""
        (tagged,) = self._tagger.tag([note.text])
        return findings(note, tagged.spans, str(self._model), self._now())


def findings(note: Note, spans: Iterable[TaggedSpan], model: str, at: datetime) -> list[Finding]:
    """What `spans` say about the patient of `note`, in the order of the text."""
    return [
        Finding(
            finding_id=finding_id(note.note_id, span, model),
            note_id=note.note_id,
            start=span.start,
            end=span.end,
            quote=note.text[span.start : span.end],
            label=span.label,
            score=span.score,
            model=model,
            at=at,
        )
        for span in sorted(spans, key=lambda s: (s.start, s.end, s.label))
    ]


def finding_id(note_id: str, span: TaggedSpan, model: str) -> str:
    """Names a finding by note, model, span and label, so that reading twice does not find twice."""
    named = "\x1f".join((note_id, model, str(span.start), str(span.end), span.label))
    return hashlib.sha256(named.encode()).hexdigest()
