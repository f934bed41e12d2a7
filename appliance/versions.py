"""Versions of a document: which one stands, and what becomes of its findings when another one comes.

Senders correct, replace and withdraw what they have sent, and messages overtake each other. Findings follow the document:
a sentence that is still there keeps its own, one that is gone has its findings withdrawn, and a late draft changes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from integrations.records import Finding, Note, NoteStatus
from pretrain.text import sentences

_RANK = {NoteStatus.PRELIMINARY: 0, NoteStatus.FINAL: 1, NoteStatus.CORRECTED: 2}


class VersionError(RuntimeError):
    """Whether a message belongs to the document that it names could only be guessed; a person has to look at it."""


@dataclass(frozen=True)
class Standing:
    """The version of a document that stands."""

    reading_id: int
    message_id: int
    status: NoteStatus
    patient_key: str
    text_sha256: str
    findings: tuple[Finding, ...] = field(repr=False)
    is_replaced: bool = False
    """By another document, whose reading this is."""


@dataclass(frozen=True)
class Change:
    """What a version does to the findings of its document. Without an earlier version all are added."""

    added: tuple[Finding, ...] = ()
    kept: tuple[Finding, ...] = ()
    """With the identity, score and model that they had, and where they are in the new text."""
    withdrawn: tuple[Finding, ...] = ()
    """As they were."""

    @property
    def standing(self) -> list[Finding]:
        """What holds of the new version, in the order of its text."""
        return sorted((*self.kept, *self.added), key=lambda f: (f.start, f.end, f.label, f.question))


def why_not_read(note: Note, text_sha256: str, message_id: int, standing: Standing | None) -> str:
    """Why a message changes nothing; empty where it is to be read.

    Lower never replaces higher: preliminary, final, corrected, withdrawn. What was withdrawn comes back only corrected. Of two
    versions of like status the one that was received later stands. Of a document that was replaced none stands any more.

    Raises:
        VersionError: an earlier version of the document is another patient's.
    """
    if standing is None or standing.message_id == message_id:
        return ""
    if standing.patient_key != note.patient_key:
        raise VersionError(f"message {standing.message_id} gave this document to another patient; see which one is right")
    if standing.is_replaced:
        return f"late: another document has taken its place (message {standing.message_id})"
    stands = f"its {standing.status} version stands (message {standing.message_id})"
    if note.status.is_withdrawn:
        return f"{stands} already" if standing.status is note.status else ""
    if standing.status.is_withdrawn:
        return "" if note.status is NoteStatus.CORRECTED else f"late: {stands}"
    was, now = _RANK[standing.status], _RANK[note.status]
    if now < was or (now == was and message_id < standing.message_id):
        return f"late: {stands}"
    return f"the same text as message {standing.message_id}" if now == was and text_sha256 == standing.text_sha256 else ""


def refuse_another_patients(note: Note, replaced: Standing | None) -> None:
    """See that a note takes the place of a document of its own patient only.

    Raises:
        VersionError: that one is another patient's.
    """
    if replaced and replaced.patient_key != note.patient_key:
        raise VersionError(f"it replaces message {replaced.message_id}, which is another patient's; see which one is right")


def change(note: Note, found: Sequence[Finding], earlier: Sequence[Finding]) -> Change:
    """What of `earlier` stays in the new version `note`, what goes, and what of `found` in it is new."""
    if note.status.is_withdrawn:
        return Change(withdrawn=tuple(earlier))
    answers = {f.question: f for f in found if f.question}
    kept = [*_tags_kept(note, [f for f in earlier if not f.question]), *_answers_kept(note, earlier, answers)]
    ids = {f.finding_id for f in kept}
    places = {_place(f) for f in kept}
    return Change(
        added=tuple(f for f in found if _place(f) not in places),
        kept=tuple(kept),
        withdrawn=tuple(f for f in earlier if f.finding_id not in ids),
    )


def _tags_kept(note: Note, earlier: Sequence[Finding]) -> Iterator[Finding]:
    """A sentence that stands several times in a text is matched in the order of the text."""
    now = _places((note.text[s.start : s.end], s.start) for s in sentences(note.text)) if earlier else {}
    before = _places((f.quote, f.start) for f in earlier)
    for finding in earlier:
        places, nth = now.get(finding.quote, ()), before[finding.quote].index(finding.start)
        if nth < len(places):
            yield replace(finding, note_id=note.note_id, start=places[nth], end=places[nth] + len(finding.quote))


def _answers_kept(note: Note, earlier: Iterable[Finding], answers: Mapping[str, Finding]) -> Iterator[Finding]:
    """An answer stands on the whole report: it stays only where the report is understood as before."""
    for finding in earlier:
        again = answers.get(finding.question)
        if again and again.quote == finding.quote:
            yield replace(finding, note_id=note.note_id, start=again.start, end=again.end)


def _places(quotes: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    """Where each quote begins, in the order of the text."""
    places: dict[str, set[int]] = {}
    for quote, start in quotes:
        places.setdefault(quote, set()).add(start)
    return {quote: sorted(starts) for quote, starts in places.items()}


def _place(finding: Finding) -> tuple[object, ...]:
    return (finding.question,) if finding.question else (finding.start, finding.end, finding.label)
