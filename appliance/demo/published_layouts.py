"""Synthetic examples in the very layouts in which the three data sets are published, for a study's dry run."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.demo.note_writer import SyntheticNote, write_notes
from pretrain.labelling import inference
from pretrain.tasks.clip_formats.files import LONG_NAMES
from pretrain.tasks.clip_formats.physionet import COLUMNS, SENTENCES
from pretrain.tasks.clip_formats.physionet import SPLITS as IDS

SPLITS = {"train": 0.6, "dev": 0.2, "test": 0.2}
_TOKEN = re.compile(r"\w+|[^\w\s]")


def write_all(folder: Path, seed: int = 0, notes: int = 30, pairs: int = 30) -> dict[str, Path]:
    """Write `mednli`, `radqa` and `clip` into `folder`, each as its data set is published; their folders by task.

    Args:
        folder: gets a folder per task.
        seed: of everything that is drawn.
        notes: to write, of which summaries get labels and reports get questions.
        pairs: of premise and hypothesis.
    """
    written = list(write_notes(notes, seed))
    summaries = [note for note in written if not note.questions]
    reports = [note for note in written if note.questions]
    made = {task: folder / task for task in ("mednli", "radqa", "clip")}
    for path in made.values():
        path.mkdir(parents=True, exist_ok=True)
    _mednli(made["mednli"], pairs, seed)
    _radqa(made["radqa"], reports)
    _clip(made["clip"], summaries)
    return made


def _parts(things: Sequence[Any]) -> dict[str, Sequence[Any]]:
    begin, parts = 0, {}
    for split, share in SPLITS.items():
        end = len(things) if split == "test" else begin + max(1, round(share * len(things)))
        parts[split] = things[begin:end]
        begin = end
    return parts


def _mednli(folder: Path, count: int, seed: int) -> None:
    by_premise: dict[str, list[Any]] = {}
    for pair in inference.pairs(draws=1, seed=seed):
        by_premise.setdefault(pair.group, []).append(pair)
    groups = list(by_premise.values())[: max(3, count // 3)]
    for split, part in _parts(groups).items():
        with (folder / f"mli_{split}_v1.jsonl").open("w", encoding="utf-8") as file:
            for pair in (pair for group in part for pair in group):
                premises = {"sentence1": pair.premise, "sentence2": pair.hypothesis}
                parses = {f"{name}_{kind}": "(ROOT)" for name in premises for kind in ("parse", "binary_parse")}
                # The data set names no notes: its premises are what pairs have in common.
                file.write(json.dumps({"pairID": pair.pair_id, "gold_label": pair.label} | premises | parses) + "\n")


def _radqa(folder: Path, reports: Sequence[SyntheticNote]) -> None:
    for split, part in _parts(reports).items():
        data = [{"title": str(800_000 + reports.index(note)), "paragraphs": _paragraphs(note)} for note in part]
        (folder / f"{split}.json").write_text(json.dumps({"version": "synthetic", "data": data}, indent=1), encoding="utf-8")


def _paragraphs(note: SyntheticNote) -> list[dict[str, Any]]:
    sections: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for question in note.questions:
        start, end = question.context
        answers = []
        if question.answer:
            answers = [
                {
                    "text": note.note.text[question.answer.start : question.answer.end],
                    "answer_start": question.answer.start - start,
                }
            ]
        asked = {"id": question.question_id, "question": question.text, "answers": answers, "is_impossible": not answers}
        sections.setdefault((start, end), []).append(asked)
    return [{"context": note.note.text[start:end], "qas": asked} for (start, end), asked in sections.items()]


def _clip(folder: Path, summaries: Sequence[SyntheticNote]) -> None:
    ids = {note.note.note_id: str(900_000 + number) for number, note in enumerate(summaries)}
    with (folder / SENTENCES).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for note in summaries:
            for number, (span, labels) in enumerate(zip(note.sentences, note.labels, strict=True)):
                tokens = _TOKEN.findall(note.note.text[span.start : span.end])
                named = sorted(f"I-{LONG_NAMES[label]}" for label in labels)
                rows.writerow([ids[note.note.note_id], number, repr(tokens), repr(named)])
    for split, part in _parts(summaries).items():
        (folder / IDS[split]).write_text("".join(f"{ids[note.note.note_id]}\n" for note in part), encoding="utf-8")
