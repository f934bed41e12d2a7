"""The reader of reports (RadQA): the base taught with questions made from sentences, then with labelled ones."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.home import Home
from appliance.registry import Entry
from appliance.training.bundling import Write, add_bundle
from appliance.training.labels import divided
from appliance.training.request import TrainingError, Watch
from pretrain import bundle
from pretrain.budget import Budget
from pretrain.bundle import ModelBundle
from pretrain.evaluation import folds as by_group
from pretrain.judging import sure_from
from pretrain.labelling.questions import Report, make_questions
from pretrain.splits import Labels
from pretrain.tasks import radqa
from pretrain.tasks.radqa import Question
from pretrain.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pretrain.finetuning.radqa import FinetunedReader

FEW_QUESTIONS = 500
"""With no more, and reports to ask about, the questions made by rule teach it alone: what a few add was not measured."""
FOLDS = 5
MEASURED_SHARE = 0.2
"""Of reports, kept apart to measure on; of the rest, the same share chooses weights and the cut-off."""
TEACHING_SHARE = 0.5
"""Of a wall-clock budget, for questions made by rule."""
CHANNELS = ("start", "end")


def make_reader(
    home: Home,
    base: Entry,
    labels: Labels,
    add: Callable[[Write], Entry],
    budget: Budget,
    seed: int,
    watch: Watch,
    reports: Sequence[Report] = (),
) -> Entry:
    """Teach the base where a report answers a question, measure it on reports it has not seen, and register it.

    Args:
        home: whose registry holds the base.
        base: to finetune.
        labels: questions; divided as published, where they are.
        add: gives a function that writes a bundle its folder and number.
        budget: of everything together.
        seed: of splits, order and dropout.
        watch: is told of phases and steps.
        reports: of nobody who is measured, to make questions about; without any, those that the labelled questions are about.
    Raises:
        TrainingError: by Ctrl-C; the base is kept.
    """
    opened = bundle.load(base.folder)
    teacher = _Teacher(opened, budget, seed, watch)
    questions = labels.examples
    few = reports and labels.published is None and len(questions) <= FEW_QUESTIONS
    made = teacher.of_few(questions, reports) if few else teacher.of_many(labels, reports)
    return add_bundle(
        home,
        base,
        add,
        made.reader.model,
        made.seen,
        made.taught_by,
        made.reader.flops,
        task="radqa",
        labels=CHANNELS,
        cutoffs=(0.0,) * len(CHANNELS),
        no_answer_cutoff=made.reader.no_answer_cutoff,
        sure_from=made.sure_from,
        cuts_by_kind=made.reader.cuts_by_kind,
        window_tokens=radqa.WINDOW_TOKENS,
        metrics=made.metrics,
    )


@dataclass(frozen=True)
class _Made:
    """A reader, what is known of how good it is, and how it came about."""

    reader: "FinetunedReader"
    metrics: dict[str, Any]
    seen: list[str]
    taught_by: str
    sure_from: float | None
    """As `judging.sure_from` has it, of answers to questions that it was not taught with."""


class _Teacher:
    """The two ways to a reader."""

    def __init__(self, base: ModelBundle, budget: Budget, seed: int, watch: Watch) -> None:
        self._base, self._seconds, self._seed, self._watch = base, budget.seconds, seed, watch
        self._tokenizer = Tokenizer.load(base.tokenizer)

    def of_few(self, questions: Sequence[Question], reports: Sequence[Report]) -> _Made:
        """Questions made by rule teach it; the labelled ones choose the cut-off and measure it."""
        made = make_questions(reports, seed=self._seed)
        reader = self._taught_by_rule(made, 1.0)
        best = radqa.answer(reader.run, self._tokenizer, questions, -math.inf, cuts_by_kind=True)
        folds = min(FOLDS, len({question.group for question in questions}))
        metrics = {}
        if folds > 1:
            said = [""] * len(questions)
            for part in by_group(questions, folds, self._seed):
                others = sorted(set(range(len(questions))) - set(part))
                cutoff = radqa.best_no_answer_cutoff([questions[i] for i in others], [best[i] for i in others])
                for i in part:
                    said[i] = best[i].text(questions[i].context) if best[i].score > cutoff else ""
            metrics = radqa.score(questions, said)
        reader = replace(reader, no_answer_cutoff=radqa.best_no_answer_cutoff(questions, best))
        by = f"{len(made):,} questions made by rule about {len(reports):,} reports; {len(questions)} labelled chose the cut-off"
        sure = _sure_from(questions, best, reader.no_answer_cutoff)
        return _Made(reader, metrics, [question.context for question in questions], by, sure)

    def of_many(self, labels: Labels, reports: Sequence[Report]) -> _Made:
        """Questions made by rule teach it first, then labelled ones; others choose, and others measure."""
        taught, dev, measured = divided(labels, MEASURED_SHARE, self._seed)
        own = [Report(f"labelled-{n}", text, text) for n, text in enumerate(sorted({question.context for question in taught}))]
        made = make_questions(reports or own, seed=self._seed)
        begin: dict[str, Any] = {"encoder": self._base.folder}
        if made:
            begin = {"start": self._taught_by_rule(made, TEACHING_SHARE)}
        self._watch.phase(f"Finetuning the reader on {len(taught)} labelled questions")
        reader = self._finetune(taught, dev, 1 - TEACHING_SHARE, **begin)
        metrics = {}
        if measured:
            said = radqa.answer(reader.run, self._tokenizer, measured, reader.no_answer_cutoff, cuts_by_kind=reader.cuts_by_kind)
            metrics = radqa.score(measured, [one.text(asked.context) for one, asked in zip(said, measured, strict=True)])
        by = f"{len(made):,} questions made by rule, {len(taught)} labelled ones; {len(dev)} more chose weights and cut-off"
        shown = radqa.answer(reader.run, self._tokenizer, dev, reader.no_answer_cutoff, cuts_by_kind=reader.cuts_by_kind)
        sure = _sure_from(dev, shown, reader.no_answer_cutoff)
        return _Made(reader, metrics, [question.context for question in (*taught, *dev)], by, sure)

    def _taught_by_rule(self, made: Sequence[Question], share: float) -> "FinetunedReader":
        self._watch.phase(f"Teaching with {len(made):,} questions made from sentences")
        return self._finetune(made, [], share, encoder=self._base.folder, epochs=1)

    def _finetune(self, taught: Sequence[Question], dev: Sequence[Question], share: float, **more: Any) -> "FinetunedReader":
        from pretrain.finetuning.radqa import finetune_radqa

        budget = Budget(self._seconds * share) if self._seconds else None
        reader = finetune_radqa(taught, dev, self._tokenizer, budget=budget, seed=self._seed, on_step=self._watch.step, **more)
        if reader.interrupted:
            raise TrainingError("interrupted while finetuning; the base is kept, and it can be finetuned again")
        return reader


RIGHT_FROM = 0.5
"""F1 of an answer that tells a reader what was asked: the annotators' own differ by a word or two."""


def _sure_from(questions: Sequence[Question], answers: Sequence[radqa.Answer], cutoff: float) -> float | None:
    shown = [(asked, said) for asked, said in zip(questions, answers, strict=True) if said.span and said.score > cutoff]
    right = [radqa.exact_and_f1(asked, said.text(asked.context))[1] >= RIGHT_FROM for asked, said in shown]
    return sure_from(np.array(right, bool), np.array([said.score for _, said in shown]))
