"""Notes as files: what a hospital's export looks like, and the truth about it beside it.

notes.jsonl         {note_id, patient_id, kind, text, written_at}                         every note
clip.jsonl          {note_id, patient_id, name, text, sentences: [{start, end, text, labels}]}  some discharge summaries
radqa.json          SQuAD v2 as RadQA nests it, a paragraph per section                   every radiology report
identifiers.jsonl   {note_id, identifiers: [{start, end, kind}]}                          every note
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from appliance.demo.note_writer.records import Question, SyntheticNote
from appliance.demo.note_writer.writer import write_notes
from integrations.records import NoteKind


@dataclass(frozen=True)
class Export:
    """Where the files lie, and how much is in them."""

    notes: Path
    clip: Path
    radqa: Path
    identifiers: Path
    n_notes: int
    n_labelled: int
    n_questions: int


def write_export(folder: Path, n: int, seed: int = 0, labelled: int = 200) -> Export:
    """Write `n` notes to `folder`, which is made where it is missing; files of these names are overwritten.

    Args:
        folder: where to; the other parts read `notes.jsonl` from it, so it may hold nothing else that ends in `.jsonl`.
        n: notes in the export.
        seed: names the population.
        labelled: how many of its discharge summaries an annotator has read.
    Raises:
        ValueError: the export holds fewer than `labelled` discharge summaries.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "notes.jsonl", folder / "clip.jsonl", folder / "radqa.json", folder / "identifiers.jsonl"
    reports, n_labelled, n_questions = [], 0, 0
    with ExitStack() as files:
        notes, clip, radqa, identifiers = (files.enter_context(path.open("w", encoding="utf-8", newline="\n")) for path in paths)
        for note in write_notes(n, seed):
            _write_line(notes, _row(note))
            _write_line(identifiers, _identifiers(note))
            if note.note.kind is NoteKind.RADIOLOGY_REPORT:
                reports.append(_squad(note))
                n_questions += len(note.questions)
            elif n_labelled < labelled:
                _write_line(clip, _clip(note))
                n_labelled += 1
        json.dump({"version": "synthetic", "data": reports}, radqa, ensure_ascii=False)
    if n_labelled < labelled:
        raise ValueError(f"{n} notes hold {n_labelled} discharge summaries, {labelled} were to be labelled; ask for more notes")
    return Export(*paths, n, n_labelled, n_questions)


def _write_line(file: TextIO, row: dict[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _row(note: SyntheticNote) -> dict[str, Any]:
    return {
        "note_id": note.note.note_id,
        "patient_id": note.patient.record_number,
        "kind": note.note.kind.value,
        "text": note.note.text,
        "written_at": note.written_at.isoformat(),
    }


def _identifiers(note: SyntheticNote) -> dict[str, Any]:
    spans = [{"start": i.start, "end": i.end, "kind": i.kind.value} for i in note.identifiers]
    return {"note_id": note.note.note_id, "identifiers": spans}


def _clip(note: SyntheticNote) -> dict[str, Any]:
    text = note.note.text
    sentences = [
        {"start": s.start, "end": s.end, "text": text[s.start : s.end], "labels": sorted(labels)}
        for s, labels in zip(note.sentences, note.labels, strict=True)
    ]
    return {
        "note_id": note.note.note_id,
        "patient_id": note.patient.record_number,
        "name": note.title,
        "text": text,
        "sentences": sentences,
    }


def _squad(note: SyntheticNote) -> dict[str, Any]:
    return {"title": note.note.note_id, "paragraphs": list(_paragraphs(note))}


def _paragraphs(note: SyntheticNote) -> Iterator[dict[str, Any]]:
    asked = sorted(note.questions, key=lambda question: question.context)
    for context, questions in groupby(asked, key=lambda question: question.context):
        text = note.note.text[context.start : context.end]
        yield {"context": text, "qas": [_answered(question, text) for question in questions]}


def _answered(question: Question, context: str) -> dict[str, Any]:
    answers = []
    if question.answer is not None:
        start = question.answer.start - question.context.start
        answers = [{"text": context[start : question.answer.end - question.context.start], "answer_start": start}]
    return {"id": question.question_id, "question": question.text, "answers": answers, "is_impossible": not answers}
