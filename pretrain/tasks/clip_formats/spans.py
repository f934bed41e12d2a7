"""Layouts that mark spans, Label Studio's and brat's: the sentences that the bedside finds get the labels of what covers them.

Sources: Label Studio's task format (labelstud.io/guide/task_format), brat's standoff format (brat.nlplab.org/standoff.html).
"""

import json
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pretrain.tasks.base import LabelledNote
from pretrain.tasks.clip import DataError, sentences_of
from pretrain.tasks.clip_formats.files import at, check, labels_named, lines_of, text_of
from pretrain.text import Span


class _Sentences:
    """A note's sentences, as `clip.encode` finds them at the bedside, which marked spans give their labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans = sentences_of(text)
        self.labels: list[set[str]] = [set() for _ in self.spans]
        self._ends = [span.end for span in self.spans]

    def mark(self, spans: Sequence[Span], labels: frozenset[str]) -> None:
        """Give `labels` to every sentence of which a span covers a letter or digit."""
        touched = {s for span in spans for s in self._touched(span)}
        if not touched:
            raise DataError("covers no letter or digit; mark at least a word of its sentence, or remove it")
        for s in touched:
            self.labels[s] |= labels

    def note(self, note_id: str, group: str) -> LabelledNote:
        return LabelledNote(note_id, self.text, self.spans, tuple(map(frozenset, self.labels)), group)

    def _touched(self, span: Span) -> Iterator[int]:
        for s in range(bisect_right(self._ends, span.start), len(self.spans)):
            start, end = self.spans[s]
            if start >= span.end:
                return
            if self._is_worded(max(start, span.start), min(end, span.end)):
                yield s

    def _is_worded(self, start: int, end: int) -> bool:
        return any(map(str.isalnum, self.text[start:end]))


def label_studio(path: Path, text: str) -> list[LabelledNote]:
    """The tasks of an export as JSON, whose text is given.

    Raises:
        DataError: a task is not what it should be.
    """
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{path}: is not JSON; export the project again, as JSON") from None
    notes: list[LabelledNote] = []
    first_task: dict[str, int] = {}
    for number, task in enumerate(tasks, 1):
        with at(f"{path}: task {number}"):
            note = _task(task)
            if note.note_id in first_task:
                raise DataError(f"the id of task {first_task[note.note_id]} again; give every note its own")
        first_task[note.note_id] = number
        notes.append(note)
    if not notes:
        raise DataError(f"{path}: holds no tasks; export the annotated ones")
    return notes


def _task(task: Any) -> LabelledNote:
    """A task as a note, called by `data.note_id` or else the task's id.

    What several annotators marked is taken together; an annotation that was skipped is not looked at.
    """
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict) or not isinstance(task.get("annotations"), list):
        raise DataError("is not an object of data and annotations; export the project as JSON, not as JSON-MIN or CSV")
    data = task["data"]
    note_id = _named(data, "note_id") if "note_id" in data else _named(task, "id")
    text = data.get("text")
    if not isinstance(text, str) or not text.strip():
        raise DataError("data.text is missing, empty or no string; name the note's field text")
    check(text, "data.text")
    sentences = _Sentences(text)
    n_finished = 0
    for number, annotation in enumerate(task["annotations"], 1):
        with at(f"annotation {number}"):
            if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
                raise DataError("is not an object with a list named result; export the project again, as JSON")
            if annotation.get("was_cancelled"):
                continue
            n_finished += 1
            for place, result in enumerate(annotation["result"], 1):
                with at(f"result {place}"):
                    _result(result, sentences)
    if not n_finished:
        # Not the same as a note that asks for nothing, which is an annotation with an empty result.
        raise DataError("was not annotated; annotate it, or export the annotated tasks only")
    return sentences.note(note_id, _named(data, "patient_id") if "patient_id" in data else note_id)


def _named(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if type(value) not in (int, str) or not str(value).strip():
        raise DataError(f"{key} is missing, empty or neither string nor number")
    check(str(value), key)
    return str(value)


def _result(result: Any, sentences: _Sentences) -> None:
    kind = result.get("type") if isinstance(result, dict) else None
    if not isinstance(kind, str):
        raise DataError("is not an object with a type; export the project again, as JSON")
    if kind != "labels":
        if kind.endswith("labels"):
            raise DataError("marks something else than plain text; use <Labels> on <Text> in the labelling configuration")
        return  # choices, ratings, relations: nothing that is asked of a sentence
    value = result.get("value")
    if not isinstance(value, dict) or not isinstance(value.get("labels"), list):
        raise DataError("value is not an object of start, end and labels; export the project again, as JSON")
    if not value["labels"] or not all(isinstance(label, str) for label in value["labels"]):
        raise DataError("labels is empty or no list of strings; label the span, or remove it")
    sentences.mark([_span(sentences.text, value)], labels_named(value["labels"]))


def _span(text: str, value: dict[str, Any]) -> Span:
    """Where in `text` it is: Label Studio counts characters; until 2021 it counted UTF-16 units, as browsers do.

    The two differ only after an emoji or the like, and the span's own words tell which it is. Without them it is taken
    for characters. Source: github.com/HumanSignal/label-studio/pull/1559.
    """
    start, end, quoted = value.get("start"), value.get("end"), value.get("text")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= 2 * len(text):
        raise DataError(f"start and end do not name characters of the text's {len(text)}; export the project again")
    if isinstance(quoted, str):
        units = text.encode("utf-16-le")
        by_units = Span(*(len(units[: 2 * offset].decode("utf-16-le", "replace")) for offset in (start, end)))
        for span in (Span(start, end), by_units):
            if span.start < span.end <= len(text) and _bare(text[span.start : span.end]) == _bare(quoted):
                return span
    if end > len(text):
        raise DataError(f"start and end do not name characters of the text's {len(text)}; export the project again")
    if quoted is not None:
        raise DataError(f"its text is not characters {start}:{end} of data.text; mark it again, or remove it")
    return Span(start, end)


def _bare(text: str) -> str:
    """Without white space, which browsers and Label Studio write in several ways."""
    return "".join(text.replace("\\n", " ").split())


_MARK = re.compile(r"T[0-9]+\t(\S+) ([0-9]{1,9} [0-9]{1,9}(?:;[0-9]{1,9} [0-9]{1,9})*)\t(.*)", re.DOTALL)
_OTHER_MARKS = tuple("REAMN#*")
"""What a line of a brat file begins with that says something about a mark or joins some."""


def brat(folder: Path) -> list[LabelledNote]:
    """The notes of a folder and those below it, each called by its path in there, in the order of these names.

    Raises:
        DataError: the folder holds none, or a file is not what it should be.
    """
    paths = _brat_files(folder)
    for path in sorted(paths):
        other = path.with_suffix({".txt": ".ann", ".ann": ".txt"}[path.suffix])
        if other not in paths:
            # Not the same as a note that asks for nothing, whose .ann file is empty.
            raise DataError(f"{path}: has no {other.name} beside it; copy it too, or take this file out")
    notes = [_brat_note(folder, path) for path in sorted(paths) if path.suffix == ".txt"]
    if not notes:
        raise DataError(
            f"{folder}: holds neither sentence_level.csv, as CLIP's folder does, nor pairs of .txt and .ann, as brat's; give one"
        )
    return notes


def _brat_files(folder: Path) -> set[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror}; check the path and its rights")

    paths = (Path(root, name) for root, _, names in os.walk(folder, onerror=refuse) for name in names)
    # Hidden ones are what editors and file managers keep beside a file.
    return {
        path
        for path in paths
        if path.suffix in (".txt", ".ann") and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def _brat_note(folder: Path, path: Path) -> LabelledNote:
    text = text_of(path)
    if not text.strip():
        raise DataError(f"{path}: holds no text; remove it and its .ann file")
    sentences = _Sentences(text)
    marks = path.with_suffix(".ann")
    for number, line in lines_of(marks):
        if not line.startswith(_OTHER_MARKS):
            with at(f"{marks}:{number}"):
                _mark(line, sentences)
    note_id = path.relative_to(folder).with_suffix("").as_posix()
    return sentences.note(note_id, note_id)


def _mark(line: str, sentences: _Sentences) -> None:
    match = _MARK.fullmatch(line)
    if match is None:
        raise DataError("is no line of brat's; write T1, a tab, the label without blanks, start and end, a tab, the marked text")
    spans = [Span(*map(int, pair.split(" "))) for pair in match[2].split(";")]
    text = sentences.text
    if not all(start < end <= len(text) for start, end in spans):
        raise DataError(f"start and end do not name characters of the text's {len(text)}; copy both files again")
    marked = " ".join(text[start:end] for start, end in spans)
    # brat writes a line break as a blank, because its own lines end there.
    if re.sub("[\r\n]", " ", marked) != re.sub("[\r\n]", " ", match[3]):
        raise DataError("its text is not what stands there in the .txt file; offsets count characters and line breaks, not bytes")
    sentences.mark(spans, labels_named([match[1]]))
