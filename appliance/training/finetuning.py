"""`finetune`: a pretrained model and labels that came later, to a model of a task in minutes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from appliance.home import Home
from appliance.lock import only_one
from appliance.measuring import not_kept_out, text_of
from appliance.registry import Entry, Registry
from appliance.training.labels import SEEN, read
from appliance.training.promoting import promote_first
from appliance.training.request import Watch
from pretrain import bundle
from pretrain.budget import Budget


def finetune(home: Home, task: str, model: str, data: Path, budget_s: float | None, seed: int, watch: Watch) -> dict[str, Any]:
    """Teach the base of `model` a task and register what came of it; promoted only where none reads for the task yet.

    Args:
        home: holds the base.
        task: clip, radqa or mednli.
        model: NAME or NAME@VERSION.
        data: labels, in any layout that `train` takes for the task.
        budget_s: wall-clock seconds of all finetunings together; None takes them to their end.
        seed: of splits, order and dropout.
        watch: is told of phases and steps.
    Returns:
        What `finetune --json` prints.
    Raises:
        RegistryError: there is no such base.
        DataError: the labels cannot be used.
        LockError: another process trains a model of this name.
        TrainingError: by Ctrl-C.
    """
    home.require()
    registry = Registry(home.models)
    base = registry.find(model, bundle.BASE)
    labels = read(home, task, data)
    make = _maker(task)
    # A premise is a sentence: whether its note was read cannot be told from it.
    texts = sorted({text_of(example) for example in labels.examples}) if task != "mednli" else []
    unknown = not_kept_out(texts, base.folder / SEEN)
    if unknown:
        watch.say(f"{unknown} of {len(texts)} texts may have been read in pretraining: figures on them may flatter")
    if labels.left_out:
        watch.say(f"{labels.left_out} pairs left out: their premise is measured")
    with only_one(home.run / f"train-{base.name}.pid", f"trains {base.name}"):
        add = partial(registry.add, base.name, task)
        made = make(home, base, labels, add=add, budget=Budget(budget_s), seed=seed, watch=watch)
    manifest = bundle.load(made.folder).manifest
    promoted = promote_first(home, registry, made, watch)
    return {
        "name": base.name,
        "registered": [f"{made.reference} ({task})"],
        task: manifest.metrics,
        "taught_by": manifest.taught_by,
        "notes_not_kept_out_of_pretraining": unknown,
        **promoted,
    }


def _maker(task: str) -> Callable[..., Entry]:
    # With torch behind them: only now is it certain that there is something to learn from.
    if task == "clip":
        from appliance.training.tagger import make_tagger

        return make_tagger
    if task == "radqa":
        from appliance.training.reader import make_reader

        return make_reader
    from appliance.training.judge import make_judge

    return make_judge
