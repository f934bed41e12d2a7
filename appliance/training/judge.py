"""The judge of premise and hypothesis (MedNLI): the base taught with a table of facts, then with labelled pairs."""

from collections.abc import Callable, Sequence
from typing import Any

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
    from pretrain.finetuning.mednli import finetune_mednli, teach_mednli
    from pretrain.labelling import inference

    tokenizer = Tokenizer.load(bundle.load(base.folder).tokenizer)
    pairs, seconds = labels.examples, budget.seconds
    table = inference.pairs(seed=seed)
    watch.phase(f"Teaching with {len(table):,} pairs of a table of facts")
    taught = teach_mednli(
        table,
        tokenizer,
        encoder=base.folder,
        window_tokens=WINDOW_TOKENS,
        budget=Budget(seconds * TEACHING_SHARE) if seconds else None,
        seed=seed,
        on_step=watch.step,
    )
    _not_interrupted(taught, base)

    def finetune(some: Sequence[Pair], dev: Sequence[Pair] = (), epochs: int | None = None) -> Any:
        made = finetune_mednli(
            some,
            dev,
            tokenizer,
            encoder=base.folder,
            taught=taught,
            window_tokens=WINDOW_TOKENS,
            epochs=epochs,
            budget=Budget(seconds * (1 - TEACHING_SHARE)) if seconds else None,
            seed=seed,
            on_step=watch.step,
        )
        _not_interrupted(made, base)
        return made

    def said(made: Any, some: Sequence[Pair]) -> list[str]:
        return mednli.decode(mednli.predict(made.run, tokenizer, some, WINDOW_TOKENS))

    watch.phase(f"Finetuning the judge on {len(pairs)} labelled pairs")
    folds = min(FOLDS, len({pair.group for pair in pairs}))
    seen, metrics = pairs, {}
    by = f"{len(table):,} pairs of a table of facts, {len(pairs)} labelled pairs"
    if labels.published is None and len(pairs) <= FEW_PAIRS:
        judge = finetune(pairs, epochs=0)
        if folds > 1:
            predicted = [""] * len(pairs)
            for part in by_group(pairs, folds, seed):
                fitted = finetune([pair for i, pair in enumerate(pairs) if i not in set(part)], epochs=0)
                for i, label in zip(part, said(fitted, [pairs[i] for i in part]), strict=True):
                    predicted[i] = label
            metrics = mednli.score(pairs, predicted) | {"folds": folds}
            by += f"; figures by {folds} judges like it, each about notes it had not seen"
    else:
        train, dev, measured = divided(labels, MEASURED_SHARE, seed)
        judge, seen = finetune(train, dev), [*train, *dev]
        metrics = mednli.score(measured, said(judge, measured))
        by = f"{len(table):,} pairs of a table of facts, {len(train)} labelled pairs, {len(dev)} more to choose weights"
    return add_bundle(
        home,
        base,
        add,
        judge.model,
        (text_of(pair) for pair in seen),
        by,
        judge.flops,
        task="mednli",
        labels=mednli.LABELS,
        cutoffs=(0.0,) * len(mednli.LABELS),
        window_tokens=WINDOW_TOKENS,
        metrics=metrics,
    )


def _not_interrupted(judge: Any, base: Entry) -> None:
    if judge.interrupted:
        raise TrainingError(f"interrupted while finetuning; {base.reference} is kept, and it can be finetuned again")


def text_of(pair: Pair) -> str:
    """What a bundle remembers of a pair that taught it: the premise, in which pairs of a note are alike."""
    return pair.premise
