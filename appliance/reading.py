"""One note in, its findings out: the only place where what a model says about a text becomes something about a patient."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from integrations.records import Finding, ModelVersion, Note
from pretrain.tasks.base import TaggedSpan

if TYPE_CHECKING:
    from serving.predictor import Tagged, Tagger


@dataclass(frozen=True)
class Reading:
    """What was found in one note, in the order of its text, and by whom."""

    findings: list[Finding]
    model: ModelVersion


class Reader(Protocol):
    """Whatever reads a note."""

    def read(self, note: Note) -> Reading:
        """What is to be found in the note.

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

    def read(self, note: Note) -> Reading:
        """What the tagger finds in the note."""
        (tagged,) = self._tagger.tag([note.text])
        return Reading(findings(note, tagged.spans, str(self._model), self._now()), self._model)


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


def as_json(note_id: str, text: str, model: str, tagged: "Tagged", is_sure: Callable[[float], bool]) -> dict[str, Any]:
    """What a model found in one note: one finding per sentence, with every label it carries, marked where it is unsure."""
    by_sentence = groupby(sorted(tagged.spans, key=lambda s: (s.start, s.end)), key=lambda s: (s.start, s.end))
    findings = [
        {
            "start": start,
            "end": end,
            "text": text[start:end],
            "labels": [
                {"label": s.label, "score": round(s.score, 4)} | ({} if is_sure(s.score) else {"unsure": True})
                for s in sorted(spans, key=lambda s: -s.score)
            ],
        }
        for (start, end), spans in by_sentence
    ]
    return {"note": note_id, "model": model, "n_sentences": tagged.n_sentences, "findings": findings}
