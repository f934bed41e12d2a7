"""The tagger: the base finetuned on labelled notes, measured on patients it has not seen, exported and registered."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from appliance.home import Home
from appliance.registry import Entry
from appliance.training.bundling import Write, add_bundle
from appliance.training.labels import divided
from appliance.training.request import TrainingError, Watch
from pretrain import bundle
from pretrain.budget import Budget
from pretrain.bundle import ModelBundle
from pretrain.evaluation import hold_out
from pretrain.judging import plain
from pretrain.splits import Labels
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote
from pretrain.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pretrain.finetuning.clip import FinetunedTagger

MEASURED_SHARE = 0.2
"""Of labelled patients, kept apart to measure on; of the rest, the same share chooses epoch and cut-offs."""
FEW_PATIENTS = 50
"""With no more, nobody is kept apart: all teach, and all measure taggers that have not seen them."""
FOLDS = 5
EPOCHS_OF_FEW = 2
"""So few passes leave most of what the encoder knows and what the rules say as it is. More gained nothing on 30 notes."""


@dataclass(frozen=True)
class _Taught:
    """A tagger, what is known of how good it is, and how it came about."""

    tagger: "FinetunedTagger"
    metrics: dict[str, Any]
    seen: Sequence[LabelledNote]
    taught_by: str


def make_tagger(
    home: Home,
    base: Entry,
    labels: Labels,
    add: Callable[[Write], Entry],
    budget: Budget,
    seed: int,
    watch: Watch,
    *,
    by_rules: bool = False,
) -> Entry:
    """Finetune the base on the labelled notes, measure it on others of them, and register it.

    The follow-up rules stand beside it: their evidence is added to what it says, and it learns what they do not know.

    Args:
        home: whose registry holds the base.
        base: to finetune.
        labels: by persons, or by the rules; divided as published, where they are.
        add: gives a function that writes a bundle its folder and number.
        budget: of all finetunings together.
        seed: of splits, order and dropout.
        watch: is told of phases and steps.
        by_rules: rules have labelled the notes. They measure nothing then: how like the rules a tagger is says little of how
            right it is.
    Raises:
        TrainingError: by Ctrl-C; the base is kept.
    """
    opened, labelled = bundle.load(base.folder), labels.examples
    teacher = _Teacher(opened, budget, seed, watch)
    few = labels.published is None and len({note.group for note in labelled}) <= FEW_PATIENTS
    watch.phase(f"Finetuning the tagger on {len(labelled)} labelled notes")
    taught = teacher.by_rules(labelled) if by_rules else teacher.of_few(labelled) if few else teacher.of_many(labels)
    tagger, judge = taught.tagger, taught.tagger.judge
    watch.phase("Exporting")
    return add_bundle(
        home,
        base,
        add,
        tagger.model,
        (note.text for note in taught.seen),
        taught.taught_by,
        tagger.flops,
        task="clip",
        labels=clip.LABELS,
        cutoffs=tuple(map(float, judge.cutoffs)),
        logit_scale=judge.model,
        rules=judge.rules,
        sure_from=judge.sure_from,
        biases=tuple(map(float, judge.biases)),
        window_tokens=_window_tokens(opened),
        metrics=taught.metrics,
    )


def _window_tokens(base: ModelBundle) -> int:
    return min(clip.WINDOW_TOKENS, base.manifest.window_tokens)


class _Teacher:
    """The three ways to a tagger."""

    def __init__(self, base: ModelBundle, budget: Budget, seed: int, watch: Watch) -> None:
        self._base, self._seed, self._watch = base, seed, watch
        self._tokenizer, self._window = Tokenizer.load(base.tokenizer), _window_tokens(base)
        self._ends_at = None if budget.seconds is None else time.monotonic() + budget.seconds

    def by_rules(self, labelled: Sequence[LabelledNote]) -> _Taught:
        """A tagger that has learnt what the rules say, to stand beside them."""
        taught, dev = hold_out(labelled, MEASURED_SHARE, self._seed + 1)
        tagger = self._finetune(taught, dev)
        # The rules' own evidence would leave nothing to learn from their labels; at the bedside it counts.
        beside = replace(tagger, judge=plain(tagger.judge.cutoffs, rules=True))
        said = f"{len(taught)} notes that follow-up rules labelled, no person, {len(dev)} more to choose epoch and cut-offs"
        return _Taught(beside, {}, labelled, said)

    def of_few(self, labelled: Sequence[LabelledNote]) -> _Taught:
        """All teach; each is measured by a tagger that has not seen it."""
        from pretrain.finetuning.cross_fitting import cross_fit

        folds = min(FOLDS, len({note.group for note in labelled}))
        left = folds + 1

        def finetune(notes: Sequence[LabelledNote]) -> "FinetunedTagger":
            nonlocal left
            tagger = self._finetune(notes, [], rules=True, epochs=EPOCHS_OF_FEW, share=1 / left)
            left -= 1
            return tagger

        said = f"{len(labelled)} labelled notes"
        if folds < 2:
            return _Taught(finetune(labelled), {}, labelled, f"{said}, none to choose cut-offs with")
        fitted = cross_fit(
            labelled,
            self._tokenizer,
            finetune,
            folds=folds,
            window_tokens=self._window,
            seed=self._seed,
            on_fold=lambda done, of: self._watch.phase(f"Finetuning {done + 1} of {of + 1}"),
        )
        tagger = replace(finetune(labelled), judge=fitted.judge)
        said += f"; cut-offs and figures by {folds} taggers like it, each about notes it had not seen"
        return _Taught(tagger, fitted.metrics, labelled, said)

    def of_many(self, labels: Labels) -> _Taught:
        """Some are kept apart to choose with, others to measure with."""
        from pretrain.evaluation import evaluate
        from pretrain.finetuning.cross_fitting import calibrated_on

        taught, dev, measured = divided(labels, MEASURED_SHARE, self._seed)
        tagger = calibrated_on(self._finetune(taught, dev, rules=True), dev, self._tokenizer, self._window)
        metrics = evaluate(tagger.run, self._tokenizer, tagger.judge, measured, self._window) if measured else {}
        said = f"{len(taught)} labelled notes, {len(dev)} more to choose epoch and cut-offs"
        return _Taught(tagger, metrics, [*taught, *dev], said)

    def _finetune(
        self,
        taught: Sequence[LabelledNote],
        dev: Sequence[LabelledNote],
        *,
        rules: bool = False,
        epochs: int | None = None,
        share: float = 1.0,
    ) -> "FinetunedTagger":
        from pretrain.finetuning.clip import finetune_clip

        tagger = finetune_clip(
            taught,
            dev,
            self._tokenizer,
            encoder=self._base.folder,
            window_tokens=self._window,
            epochs=epochs,
            budget=None if self._ends_at is None else Budget(seconds=max(1.0, share * (self._ends_at - time.monotonic()))),
            rules=rules,
            seed=self._seed,
            on_step=self._watch.step,
        )
        if tagger.interrupted:
            raise TrainingError("interrupted while finetuning; the base is kept, and it can be finetuned again")
        return tagger
