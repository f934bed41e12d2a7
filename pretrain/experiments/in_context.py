"""In-context learning: a task told in words, to a model that is not taught it.

A local model and several templates per task -> the template that does best on dev items -> greedy answers on the test items ->
parsed into the task's own answers -> scored. The authors' scripts lose most of what such a model says (a comma, an option never
offered, a quarter of the test set), so that their in-context figures are no fair comparison; each of those faults has a test
here that names it. All demonstrations are invented: theirs quote patients, and may not leave their data set.
Source: Lehman et al. 2023, and its repository elehman16/do-we-still-need-clinical-lms.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from pretrain.experiments.text_to_text import score_pairs, tagged
from pretrain.tasks import clip, radqa
from pretrain.tasks.base import LabelledNote, Question, TaggedSpan
from pretrain.tasks.clip_formats.files import LONG_NAMES
from pretrain.tasks.mednli import Pair
from pretrain.text import Span

DEV_ITEMS = 200
"""How many dev items a template is tried on, as in the paper."""
UNREAD = "\ufffd"
"""Stands for an answer that counts as wrong, where a score wants text: no answer is like it, and it is not "no answer"."""

Item = TypeVar("Item")
Said = TypeVar("Said")


class Answers(Protocol):
    """Whatever goes on with prompts."""

    def __call__(self, prompts: Sequence[str], most_tokens: int) -> list[str | None]:
        """What follows each prompt, of at most so many tokens; None where a prompt is longer than the model can read."""
        ...


@dataclass(frozen=True)
class Template:
    """One way of putting a task into words."""

    name: str
    text: str
    """With the item's own texts in braces, and `{demonstrations}`."""
    demonstration: str = ""
    """One of the solved examples in front, with the same braces and `{answer}`; none without it."""
    answers: dict[str, str] = field(default_factory=dict)
    """How the model is to say each of the task's labels; itself where not given."""

    def prompt(self, texts: dict[str, str], demonstrations: Sequence[tuple[dict[str, str], str]]) -> str:
        """The item's prompt, behind the task's demonstrations where the template shows any."""
        shown = [
            _filled(self.demonstration, {**own, "answer": self.answers.get(answer, answer)}) for own, answer in demonstrations
        ]
        return _filled(self.text, {**texts, "demonstrations": "".join(shown) if self.demonstration else ""})


def _filled(template: str, texts: dict[str, str]) -> str:
    # Not str.format: it would read on in a note's own braces.
    return re.sub(r"\{(\w+)\}", lambda found: texts[found[1]], template)


@dataclass(frozen=True)
class Prompted(Generic[Item, Said]):
    """A task as it is asked in words."""

    name: str
    templates: tuple[Template, ...]
    demonstrations: tuple[tuple[dict[str, str], str], ...]
    """Texts and answer of invented items."""
    answer_tokens: int
    figure: str
    """Of `score`: by which the template is chosen."""
    texts: Callable[[Item], list[dict[str, str]]]
    """What is asked about an item, a prompt each."""
    read: Callable[[Item, Sequence[str | None]], Said]
    """The answers to an item's prompts, as the task's own."""
    score: Callable[[Sequence[Item], Sequence[Said]], dict[str, Any]]
    units: Callable[[Item], Sequence[Item]] = lambda item: [item]
    """An item in parts that can be asked about alone, of which a template's dev items are drawn."""


# MedNLI

_VERBALISERS = {
    "entailment": r"yes|true|always|entailment|entails|entailed",
    "contradiction": r"no|false|never|contradiction|contradicts|contradicted",
    "neutral": r"maybe|inconclusive|sometimes|neither|impossible|neutral|undetermined|unclear|not possible",
}
# "not true" and "not entailed" say what the answer is not.
_ANY_VERBALISER = re.compile(
    rf"\b(?<!not )(?:{'|'.join(f'(?P<{label}>{words})' for label, words in _VERBALISERS.items())})\b", re.IGNORECASE
)


def read_label(text: str | None) -> str | None:
    """The label that an answer says first, in whole words: "not" and "know" say no "no"; None where it says none."""
    found = _ANY_VERBALISER.search(text or "")
    return found.lastgroup if found else None


_YES_NO = {"entailment": "Yes", "contradiction": "No", "neutral": "It's impossible to say"}
_OPTIONS = "Options:\n- Yes\n- No\n- It's impossible to say\n"

MEDNLI: Prompted[Pair, str | None] = Prompted(
    "mednli",
    templates=(
        Template("does-mean", f'Does "{{premise}}" mean that "{{hypothesis}}"?\n\n{_OPTIONS}', answers=_YES_NO),
        Template(
            "does-mean-shown",
            f'{{demonstrations}}Does "{{premise}}" mean that "{{hypothesis}}"?\n{_OPTIONS}Answer:',
            f'Does "{{premise}}" mean that "{{hypothesis}}"?\n{_OPTIONS}Answer: {{answer}}\n\n',
            _YES_NO,
        ),
        Template(
            "three-words-shown",
            "Answer entailment, contradiction or neutral.\n\n"
            "{demonstrations}Premise: {premise}\nHypothesis: {hypothesis}\nAnswer:",
            "Premise: {premise}\nHypothesis: {hypothesis}\nAnswer: {answer}\n\n",
        ),
        Template(
            "does-it-follow",
            'Given that "{premise}", does it follow that "{hypothesis}"? Yes, no, or maybe?\nAnswer:',
            answers={"entailment": "Yes", "contradiction": "No", "neutral": "Maybe"},
        ),
    ),
    demonstrations=(
        ({"premise": "She takes metformin twice daily.", "hypothesis": "She is treated for diabetes."}, "entailment"),
        ({"premise": "No fever since admission.", "hypothesis": "The patient was febrile overnight."}, "contradiction"),
        ({"premise": "He was seen in clinic in May.", "hypothesis": "He has a history of gout."}, "neutral"),
    ),
    answer_tokens=16,
    figure="accuracy",
    texts=lambda pair: [{"premise": pair.premise.strip(), "hypothesis": pair.hypothesis.strip()}],
    read=lambda pair, answers: read_label(_answer_only(answers[0])),
    score=score_pairs,
)


# RadQA

_NO_ANSWER = re.compile(r"\W*(?:n\s*/\s*a\b.*|(?:none|no answer|not answered|unanswerable)\W*)", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w+")


def read_quote(text: str | None) -> str:
    """The answer's text; "" where it says that there is none, `UNREAD` where nothing was said at all."""
    answer = (_answer_only(text) or "").strip().strip("\"'“”").strip()
    if not answer:
        return UNREAD
    return "" if _NO_ANSWER.fullmatch(answer) else answer


def found_again(answer: str, context: str) -> Span | None:
    """Where an answer stands in its context: literally, or word by word whatever case, punctuation and white space are.

    The first place; None where it is nowhere, so that no clinician could check it.
    """
    if (at := context.find(answer)) >= 0 and answer:
        return Span(at, at + len(answer))
    said = _WORD.findall(answer.casefold())
    words = list(_WORD.finditer(context))
    there = [word.group().casefold() for word in words]
    for first in range(len(there) - len(said) + 1) if said else ():
        if there[first : first + len(said)] == said:
            return Span(words[first].start(), words[first + len(said) - 1].end())
    return None


def quoted(question: Question, answer: str) -> str:
    """An answer as its context has it: "" stays, and what is nowhere in there becomes `UNREAD`."""
    span = found_again(answer, question.context)
    return answer if not answer else question.context[span.start : span.end] if span else UNREAD


def score_quotes(questions: Sequence[Question], said: Sequence[str]) -> dict[str, Any]:
    """`radqa.score` of what can be found again in the context, all else being wrong; `as_said` is that of the answers as given.

    The authors blank what is not in the context, which makes an invented answer right wherever there is none to give.
    """
    quotes = [quoted(question, answer) for question, answer in zip(questions, said, strict=True)]
    literal = sum(bool(answer) and answer in question.context for answer, question in zip(said, questions, strict=True))
    found, unread = sum(bool(quote) and quote != UNREAD for quote in quotes), sum(answer == UNREAD for answer in said)
    elsewhere = sum(map(bool, said)) - found - unread
    counts = {"n_literal": literal, "n_found_again": found - literal, "n_not_in_context": elsewhere, "n_unread": unread}
    return radqa.score(questions, quotes) | {"as_said": radqa.score(questions, said), **counts}


RADQA: Prompted[Question, str] = Prompted(
    "radqa",
    templates=(
        Template(
            "given-the-above",
            "Context: {context}\nGiven the above context, {question} Answer N/A if there is no answer or give a quote from the"
            " context: ",
        ),
        Template(
            "given-the-above-shown",
            "{demonstrations}Context: {context}\nQuestion: {question}\n"
            "Give a quote from the context, or N/A if it does not say.\nQuote:",
            "Context: {context}\nQuestion: {question}\nGive a quote from the context, or N/A if it does not say.\n"
            "Quote: {answer}\n\n",
        ),
        Template(
            "extract",
            "Copy the words of the report that answer the question. Write N/A if no words do.\n\nReport: {context}\n"
            "Question: {question}\nWords:",
        ),
    ),
    demonstrations=(
        (
            {"context": "FINDINGS: The heart is mildly enlarged. Lungs are clear.", "question": "How large is the heart?"},
            "mildly enlarged",
        ),
        ({"context": "IMPRESSION: No acute fracture of the wrist.", "question": "Is there a pleural effusion?"}, "N/A"),
    ),
    answer_tokens=256,
    figure="f1",
    texts=lambda question: [{"context": question.context.strip(), "question": question.question.strip()}],
    read=lambda question, answers: read_quote(answers[0]),
    score=score_quotes,
)


# CLIP

NOTHING = "None of the above"
_ALSO_CALLED = {name: label for label, name in LONG_NAMES.items()}
"""CLIP's own names. They tell a model more than the short ones, so they are what is offered; both are understood."""
_NAMES = {name.casefold(): label for name, label in (_ALSO_CALLED | {label: label for label in clip.LABELS}).items()}
_NAMES |= {f"{name}s": label for name, label in _NAMES.items()}
_SAYS_NOTHING = frozenset({NOTHING.casefold(), "none", "n/a", "no label", "nothing"})
_PARTS = re.compile(r"[,;\n|]|\s+and\s+|\s*&\s*", re.I)
_AROUND = re.compile(r"^(?:[-*•]+|\(?\d{1,2}[.)])?\s*|[\s.:\"']+$")


def read_follow_up(text: str | None) -> frozenset[str] | None:
    """The labels in an answer: a list by commas or lines, with or without bullets; "None of the above" is the empty set.

    Every part counts by itself. The authors compare the whole of "Lab-related followup, Imaging-related followup" with each
    label, so that whatever names two of them is scored as if it named none. None where no part can be read.
    """
    answer = _answer_only(text) or ""
    parts = {_AROUND.sub("", part.strip()).casefold() for part in _PARTS.split(answer)}
    labels = frozenset(_NAMES[part] for part in parts if part in _NAMES)
    return labels if labels or parts & _SAYS_NOTHING else None


BEFORE_CHARACTERS = 200
"""How much of the text before a sentence is told with it."""


def _sentences(note: LabelledNote) -> list[dict[str, str]]:
    """Each sentence in one line, with the words before it."""
    made = []
    for start, end in note.sentences:
        # The first word may be cut in two.
        before = note.text[max(0, start - BEFORE_CHARACTERS) : start].split()[start > BEFORE_CHARACTERS :]
        made.append({"sentence": " ".join(note.text[start:end].split()), "before": " ".join(before)})
    return made


def _one_by_one(note: LabelledNote) -> list[LabelledNote]:
    """The note once for each of its sentences: 200 whole notes would be as many prompts as a test set."""
    return [replace(note, sentences=(span,), labels=(own,)) for span, own in zip(note.sentences, note.labels, strict=True)]


@dataclass(frozen=True)
class SentenceLabels:
    """What was said of a note's sentences."""

    labels: tuple[frozenset[str] | None, ...]
    """None where it could not be read."""


def as_spans(note: LabelledNote, said: SentenceLabels) -> list[TaggedSpan]:
    """The sentences with labels; one whose answer could not be read has none."""
    return tagged(note.sentences, [labels or frozenset() for labels in said.labels])


def score_follow_up(notes: Sequence[LabelledNote], said: Sequence[SentenceLabels]) -> dict[str, Any]:
    """`clip.score`, with `n_unread`: sentences whose answer could not be read, which have no label then."""
    predicted = [as_spans(note, one) for note, one in zip(notes, said, strict=True)]
    return clip.score(notes, predicted) | {"n_unread": sum(labels is None for one in said for labels in one.labels)}


_CHOICES = "Options:\n" + "".join(f"- {name}\n" for name in (*_ALSO_CALLED, NOTHING))
_CLIP_NAMES = {label: name for name, label in _ALSO_CALLED.items()}

CLIP: Prompted[LabelledNote, SentenceLabels] = Prompted(
    "clip",
    templates=(
        Template(
            "label-the-above",
            "Context: {sentence}\nLabel the above sentence as one or more of the following, delimited by comma:\n\n" + _CHOICES,
        ),
        Template(
            "label-the-above-shown",
            "Label each sentence as one or more of the following, delimited by comma.\n"
            + _CHOICES
            + "\n{demonstrations}Sentence: {sentence}\nLabels:",
            "Sentence: {sentence}\nLabels: {answer}\n\n",
        ),
        Template(
            "with-the-one-before",
            "A discharge summary says: {before} {sentence}\n\nWhich kinds of follow-up does its last sentence ask for? Name all"
            " that apply, delimited by comma.\n" + _CHOICES + "Answer:",
        ),
    ),
    demonstrations=(
        ({"sentence": "Please call Dr. Sample for a visit in two weeks.", "before": ""}, _CLIP_NAMES["Appointment"]),
        ({"sentence": "The abdomen was soft.", "before": ""}, NOTHING),
        (
            {"sentence": "Repeat a chest film and a blood count at the visit.", "before": ""},
            f"{_CLIP_NAMES['Imaging']}, {_CLIP_NAMES['Lab']}",
        ),
    ),
    answer_tokens=50,
    figure="macro_f1",
    texts=_sentences,
    read=lambda note, answers: SentenceLabels(tuple(map(read_follow_up, answers))),
    score=score_follow_up,
    units=_one_by_one,
)

TASKS: dict[str, Prompted[Any, Any]] = {"mednli": MEDNLI, "radqa": RADQA, "clip": CLIP}


def _answer_only(text: str | None) -> str | None:
    """Up to the first empty line: a model that was shown examples goes on with more of them."""
    return None if text is None else re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0]


# Choosing and measuring


def ask(answers: Answers, task: Prompted[Item, Said], template: Template, items: Sequence[Item]) -> list[Said]:
    """What a model says about each item, asked with one template."""
    prompts = [[template.prompt(texts, task.demonstrations) for texts in task.texts(item)] for item in items]
    said = iter(answers([prompt for own in prompts for prompt in own], task.answer_tokens))
    return [task.read(item, [next(said) for _ in own]) for item, own in zip(items, prompts, strict=True)]


def choose(
    answers: Answers, task: Prompted[Item, Said], dev: Sequence[Item], most: int = DEV_ITEMS, seed: int = 0
) -> tuple[Template, dict[str, float]]:
    """The template that does best on dev items, and what each came to there.

    Args:
        answers: the model.
        task: which.
        dev: never those that are measured on.
        most: so many of them are drawn, by chance: in the order of the file, neighbours are from one note. Of CLIP, sentences.
        seed: of the draw.
    Raises:
        ValueError: no dev items.
    """
    units = [unit for item in dev for unit in task.units(item)]
    if not units:
        raise ValueError(f"{task.name}: no dev items to choose a template with; give at least one")
    drawn = [units[i] for i in np.random.default_rng(seed).permutation(len(units))[:most]]
    figures = {
        template.name: float(task.score(drawn, ask(answers, task, template, drawn))[task.figure]) for template in task.templates
    }
    # The first of equally good ones.
    return max(task.templates, key=lambda template: figures[template.name]), figures


def measure(
    answers: Answers, task: Prompted[Item, Said], dev: Sequence[Item], test: Sequence[Item], most: int = DEV_ITEMS, seed: int = 0
) -> dict[str, Any]:
    """The task's score on all test items, asked with the template chosen on dev items, its name and the `dev` figures.

    Raises:
        ValueError: no items of either kind.
    """
    template, figures = choose(answers, task, dev, most, seed)
    return task.score(test, ask(answers, task, template, test)) | {"template": template.name, "dev": figures}
