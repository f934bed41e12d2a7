"""Files of questions in the layout of SQuAD 2.0, which RadQA has: strictly read, and every fault told with its line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrain.tasks.base import Question
from pretrain.tasks.clip import DataError
from pretrain.text import Span

MAX_FILE_BYTES = 512 * 1024 * 1024
"""Of a file of questions; a larger one is none of RadQA, and is refused before it fills the memory."""


def read(path: Path) -> list[Question]:
    """The questions of a file in the layout of SQuAD 2.0, as RadQA has it, in its order.

    `{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text", "answer_start"}],
    "is_impossible"}]}]}]}`, where `answer_start` counts characters of the context. Other keys are not looked at.

    Raises:
        DataError: the file cannot be read, is larger than `MAX_FILE_BYTES` or is none of that layout; an id stands there
            twice; an answer is not where it says, or crosses another; a question has answers and is impossible, or neither.
    """
    raw = _raw(path)
    try:
        root = json.loads(raw)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{path}:{line}: is not JSON; give the file as RadQA ships it, or copy it again") from None
    try:
        questions = _questions(root, raw)
    except _WrongError as error:
        raise DataError(f"{path}:{_line(raw, error.place)}: {error}") from None
    if not questions:
        raise DataError(f"{path}: holds no questions; give a file with data, paragraphs and qas")
    return questions


def line_of(path: Path, question_id: str) -> int:
    """On which line of a file that `read` takes a question's id stands."""
    raw = _raw(path)
    place = next(place for place, entry, _, _ in _entries(json.loads(raw)) if entry["id"] == question_id)
    return _line(raw, (*place, "id"))


Place = tuple[str | int, ...]
"""The keys and indices that lead to a value of a JSON file."""


class _WrongError(Exception):
    """Something is wrong with an entry of the file: the key at `place` says on which line that is told."""

    def __init__(self, place: Place, found: str) -> None:
        entry = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place[:-1]).lstrip(".")
        super().__init__(f"{entry or 'the file'}: {found}")
        self.place = place


def _raw(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path}: is larger than {MAX_FILE_BYTES >> 20} MB; split it by reports")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; check the path and its rights") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: is not UTF-8; convert it (iconv -f LATIN1 -t UTF-8)") from None


def _questions(root: Any, raw: str) -> list[Question]:
    questions: list[Question] = []
    first_place: dict[str, Place] = {}
    for place, entry, title, context in _entries(root):
        question = _question(place, entry, title, context)
        if question.question_id in first_place:
            line = _line(raw, (*first_place[question.question_id], "id"))
            raise _WrongError((*place, "id"), f"the id of line {line} again; give every question its own")
        first_place[question.question_id] = place
        questions.append(question)
    return questions


def _entries(root: Any) -> Iterator[tuple[Place, dict[str, Any], str, str]]:
    """Every question with its place, its report's title and its context."""
    for report_place, report in _members((), root, "data"):
        title = _text(report_place, report, "title")
        for section_place, section in _members(report_place, report, "paragraphs"):
            context = _text(section_place, section, "context")
            for place, entry in _members(section_place, section, "qas"):
                yield place, entry, title, context


def _members(place: Place, record: Any, key: str) -> Iterator[tuple[Place, dict[str, Any]]]:
    if not isinstance(record, dict) or not isinstance(record.get(key), list):
        raise _WrongError((*place, key), f"{key} is missing or no list; give the file as RadQA ships it")
    for number, member in enumerate(record[key]):
        if not isinstance(member, dict):
            raise _WrongError((*place, key, number), f"entry {number} of {key} is no object; give the file as RadQA ships it")
        yield (*place, key, number), member


def _question(place: Place, entry: dict[str, Any], title: str, context: str) -> Question:
    question_id, question = _text(place, entry, "id"), _text(place, entry, "question")
    place = (*place, "id")
    answers, is_impossible = entry.get("answers"), entry.get("is_impossible")
    if not isinstance(is_impossible, bool):
        raise _WrongError(place, "is_impossible is missing or neither true nor false; say whether the context answers it")
    if not isinstance(answers, list):
        raise _WrongError(place, "answers is missing or no list; give one, empty where the context does not answer it")
    if is_impossible and answers:
        raise _WrongError(place, "has answers although is_impossible is true; take them out or set it to false")
    if not is_impossible and not answers:
        raise _WrongError(place, "has no answers although is_impossible is false; give one or set it to true")
    spans = tuple(_answer(place, number, answer, context) for number, answer in enumerate(answers))
    for number, span in enumerate(spans):
        # One annotator's answer may lie in another's; two that cross are one of them misplaced.
        if any(
            other.start < span.start < other.end < span.end or span.start < other.start < span.end < other.end for other in spans
        ):
            raise _WrongError(
                place,
                f"answer {number} crosses another: each holds characters that the other lacks; keep one, or one in the other",
            )
    return Question(question_id, question, context, spans, title)


def _answer(place: Place, number: int, answer: Any, context: str) -> Span:
    text, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, dict) else (None, None)
    if not isinstance(text, str) or not text.strip() or type(start) is not int:
        raise _WrongError(place, f"answer {number} is no object of a text that is not empty and a whole answer_start")
    if start < 0 or context[start : start + len(text)] != text:
        raise _WrongError(
            place,
            f"answer {number}: its text does not stand at answer_start; offsets count characters of the context, not bytes",
        )
    return Span(start, start + len(text))


def _text(place: Place, record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    told_at = (*place, "id" if "id" in record else key)
    if not isinstance(value, str) or not value.strip():
        raise _WrongError(told_at, f"{key} is missing, empty or no string; give a text")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise _WrongError(told_at, f"{key} holds half a surrogate pair, which is no text; write the file again as UTF-8")
    return value


def _line(raw: str, place: Place) -> int:
    """The line on which the value at a place begins, or the innermost one around it where it is missing."""
    at = _after_space(raw, 0)
    for step in place:
        inner = _begins(raw, at).get(step)
        if inner is None:
            break
        at = inner
    return raw.count("\n", 0, at) + 1


def _begins(raw: str, at: int) -> dict[str | int, int]:
    """Where each member of the object or list at `at` begins, by key or index."""
    # The library tells no positions; text that is known to be JSON is quickly walked once more.
    read_value = json.JSONDecoder().raw_decode
    found: dict[str | int, int] = {}
    is_object, is_list = raw[at] == "{", raw[at] == "["
    while (is_object or is_list) and raw[at := _after_space(raw, at + 1)] not in "]}":
        key: str | int = len(found)
        if is_object:
            key, at = read_value(raw, at)
            at = _after_space(raw, _after_space(raw, at) + 1)
        found[key] = at
        at = _after_space(raw, read_value(raw, at)[1])
        if raw[at] != ",":
            break
    return found


def _after_space(raw: str, at: int) -> int:
    while raw[at] in " \t\n\r":
        at += 1
    return at
