"""One note in, its findings out: the only place where what a model says about a text becomes something about a patient."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from appliance.questions import without_indication
from integrations.records import Finding, ModelVersion, Note
from pretrain.tasks.base import TaggedSpan

if TYPE_CHECKING:
    from pretrain.tasks.radqa import Answer
    from serving import predictor
    from serving.predictor import Tagged, Tagger


@dataclass(frozen=True)
class Reading:
    """What was found in one note, in the order of its text, and by whom."""

    findings: list[Finding]
    model: ModelVersion


class Reader(Protocol):
    """Whatever reads a note."""

    @property
    def model(self) -> ModelVersion:
        """Who reads."""
        ...

    def read(self, note: Note) -> Reading:
        """What is to be found in the note.

        Raises:
            EngineError: the model did not answer; the note may be read later.
        """
        ...


def _now() -> datetime:
    return datetime.now(UTC)


class TaggerReader:
    """Reads with one tagger. Safe to call from one thread at a time."""

    def __init__(self, tagger: "Tagger", model: ModelVersion, now: Callable[[], datetime] = _now) -> None:
        self._tagger, self._model, self._now = tagger, model, now

    @property
    def model(self) -> ModelVersion:
        """Who reads."""
        return self._model

    def read(self, note: Note) -> Reading:
        """What the tagger finds in the note."""
        (tagged,) = self._tagger.tag([note.text])
        return Reading(findings(note, tagged.spans, str(self._model), self._now(), self._tagger.is_sure), self._model)


class ReportReader:
    """Asks a report one question after the other. Safe to call from one thread at a time."""

    def __init__(
        self,
        reader: "predictor.Reader",
        model: ModelVersion,
        questions_of: Callable[[Note], Sequence[str]],
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._reader, self._model, self._questions_of, self._now = reader, model, questions_of, now

    @property
    def model(self) -> ModelVersion:
        """Who reads."""
        return self._model

    def read(self, note: Note) -> Reading:
        """One finding per question, in the order in which they are asked, also where the report does not answer."""
        asked, at = self._questions_of(note), self._now()
        answers = self._reader.answers(asked, without_indication(note.text))
        return Reading([self._finding(note, q, said, at) for q, said in zip(asked, answers, strict=True)], self._model)

    def _finding(self, note: Note, question: str, said: "Answer", at: datetime) -> Finding:
        start, end = said.span or (0, 0)
        span = TaggedSpan(start, end, "", self._reader.confidence(said))
        is_sure = said.span is None or self._reader.is_sure(said.score)
        return _finding(note, span, str(self._model), at, question, not is_sure)


def findings(
    note: Note, spans: Iterable[TaggedSpan], model: str, at: datetime, is_sure: Callable[[float], bool] = lambda score: True
) -> list[Finding]:
    """What `spans` say about the patient of `note`, in the order of the text."""
    ordered = sorted(spans, key=lambda s: (s.start, s.end, s.label))
    return [_finding(note, span, model, at, unsure=not is_sure(span.score)) for span in ordered]


def _finding(note: Note, span: TaggedSpan, model: str, at: datetime, question: str = "", unsure: bool = False) -> Finding:
    return Finding(
        finding_id=finding_id(note.note_id, span, model, question),
        note_id=note.note_id,
        start=span.start,
        end=span.end,
        quote=note.text[span.start : span.end],
        label=span.label,
        score=span.score,
        model=model,
        at=at,
        question=question,
        unsure=unsure,
    )


def finding_id(note_id: str, span: TaggedSpan, model: str, question: str = "") -> str:
    """Names a finding by note, model, span and label or question, so that reading twice does not find twice."""
    named = (note_id, model, str(span.start), str(span.end), span.label, *([question] if question else []))
    return hashlib.sha256("\x1f".join(named).encode()).hexdigest()


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
