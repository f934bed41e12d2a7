"""The judge of premise and hypothesis (MedNLI): the base taught with a table of facts, then with labelled pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appliance.home import Home
from appliance.registry import Entry
from appliance.training.bundling import Write, add_bundle
from appliance.training.labels import divided
from appliance.training.request import TrainingError, Watch
from pretrain import bundle
from pretrain.budget import Budget
from pretrain.evaluation import folds as by_group
from pretrain.splits import Labels
from pretrain.tasks import mednli
from pretrain.tasks.mednli import Pair
from pretrain.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pretrain.finetuning.mednli import FinetunedJudge

FEW_PAIRS = 1000
"""With no more, the encoder learns from the table alone and the pairs fit its head: 108 pairs taught an encoder nothing more."""
FOLDS = 5
MEASURED_SHARE = 0.2
TEACHING_SHARE = 0.7
"""Of a wall-clock budget, for the table."""
WINDOW_TOKENS = 256


def make_judge(
    home: Home,
    base: Entry,
    labels: Labels,
    add: Callable[[Write], Entry],
    budget: Budget,
    seed: int,
    watch: Watch,
) -> Entry:
    """Teach the base what follows from a premise, measure it on notes it has not seen, and register it.

    Args:
        home: whose registry holds the base.
        base: to finetune.
        labels: pairs; divided as published, where they are.
        add: gives a function that writes a bundle its folder and number.
        budget: of everything together.
        seed: of splits, order and dropout.
        watch: is told of phases and steps.
    Raises:
        TrainingError: by Ctrl-C; the base is kept.
    """
    teacher = _Teacher(base, budget.seconds, seed, watch)
    few = labels.published is None and len(labels.examples) <= FEW_PAIRS
    made = teacher.of_few(labels.examples) if few else teacher.of_many(labels)
    return add_bundle(
        home,
        base,
        add,
        made.judge.model,
        (pair.premise for pair in made.seen),
        made.taught_by,
        made.judge.flops,
        task="mednli",
        labels=mednli.LABELS,
        cutoffs=(0.0,) * len(mednli.LABELS),
        window_tokens=WINDOW_TOKENS,
        metrics=made.metrics,
    )


@dataclass(frozen=True)
class _Made:
    """A judge, what is known of how good it is, and how it came about."""

    judge: "FinetunedJudge"
    metrics: dict[str, Any]
    seen: Sequence[Pair]
    taught_by: str


class _Teacher:
    """The two ways to a judge, both from one that a table of facts has taught."""

    def __init__(self, base: Entry, seconds: float | None, seed: int, watch: Watch) -> None:
        from pretrain.finetuning.mednli import teach_mednli
        from pretrain.labelling import inference

        self._base, self._seconds, self._seed, self._watch = base, seconds, seed, watch
        self._tokenizer = Tokenizer.load(bundle.load(base.folder).tokenizer)
        table = inference.pairs(seed=seed)
        watch.phase(f"Teaching with {len(table):,} pairs of a table of facts")
        self._table = f"{len(table):,} pairs of a table of facts"
        self._taught = self._whole(teach_mednli(table, self._tokenizer, **self._settings(TEACHING_SHARE)))

    def of_few(self, pairs: Sequence[Pair]) -> _Made:
        """All fit its head; each is measured by a judge that has not seen its note."""
        self._watch.phase(f"Finetuning the judge on {len(pairs)} labelled pairs")
        judge, metrics, by = self._finetune(pairs, epochs=0), {}, f"{self._table}, {len(pairs)} labelled pairs"
        folds = min(FOLDS, len({pair.group for pair in pairs}))
        if folds > 1:
            predicted = [""] * len(pairs)
            for part in by_group(pairs, folds, self._seed):
                fitted = self._finetune([pair for i, pair in enumerate(pairs) if i not in set(part)], epochs=0)
                for i, label in zip(part, self._said(fitted, [pairs[i] for i in part]), strict=True):
                    predicted[i] = label
            metrics = mednli.score(pairs, predicted) | {"folds": folds}
            by += f"; figures by {folds} judges like it, each about notes it had not seen"
        return _Made(judge, metrics, pairs, by)

    def of_many(self, labels: Labels) -> _Made:
        """Some pairs teach encoder and head, others choose the weights, others measure."""
        train, dev, measured = divided(labels, MEASURED_SHARE, self._seed)
        self._watch.phase(f"Finetuning the judge on {len(train)} labelled pairs")
        judge = self._finetune(train, dev)
        metrics = mednli.score(measured, self._said(judge, measured)) if measured else {}
        by = f"{self._table}, {len(train)} labelled pairs, {len(dev)} more to choose weights"
        return _Made(judge, metrics, [*train, *dev], by)

    def _finetune(self, some: Sequence[Pair], dev: Sequence[Pair] = (), epochs: int | None = None) -> "FinetunedJudge":
        from pretrain.finetuning.mednli import finetune_mednli

        settings = self._settings(1 - TEACHING_SHARE)
        return self._whole(finetune_mednli(some, dev, self._tokenizer, taught=self._taught, epochs=epochs, **settings))

    def _settings(self, share: float) -> dict[str, Any]:
        return {
            "encoder": self._base.folder,
            "window_tokens": WINDOW_TOKENS,
            "budget": Budget(self._seconds * share) if self._seconds else None,
            "seed": self._seed,
            "on_step": self._watch.step,
        }

    def _whole(self, judge: "FinetunedJudge") -> "FinetunedJudge":
        if judge.interrupted:
            raise TrainingError(f"interrupted while finetuning; {self._base.reference} is kept, and it can be finetuned again")
        return judge

    def _said(self, judge: "FinetunedJudge", pairs: Sequence[Pair]) -> list[str]:
        return mednli.decode(mednli.predict(judge.run, self._tokenizer, pairs, WINDOW_TOKENS))
