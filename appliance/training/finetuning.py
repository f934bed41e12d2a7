"""`finetune`: a pretrained model and labels that came later, to a model of a task in minutes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from appliance.home import Home
from appliance.lock import only_one
from appliance.measuring import not_kept_out
from appliance.registry import Entry, Registry
from appliance.training.labels import SEEN, keyed
from appliance.training.promoting import promote_first
from appliance.training.request import Watch
from pretrain import bundle
from pretrain.budget import Budget
from pretrain.tasks import clip_formats, mednli, radqa


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
    texts, make = _LABELS[task](home, base, data)
    read = not_kept_out(texts, base.folder / SEEN)
    if read:
        watch.say(f"{read} of {len(texts)} texts may have been read in pretraining: figures on them may flatter")
    with only_one(home.run / f"train-{base.name}.pid", f"trains {base.name}"):
        made = make(add=partial(registry.add, base.name, task), budget=Budget(budget_s), seed=seed, watch=watch)
    manifest = bundle.load(made.folder).manifest
    promoted = promote_first(home, registry, made, watch) if task == "clip" else {}
    return {
        "name": base.name,
        "registered": [f"{made.reference} ({task})"],
        task: manifest.metrics,
        "taught_by": manifest.taught_by,
        "notes_not_kept_out_of_pretraining": read,
        **promoted,
    }


# Each loads torch only once it is certain that there is something to learn from.


def _clip(home: Home, base: Entry, data: Path) -> tuple[list[str], Callable[..., Entry]]:
    labelled = keyed(home, clip_formats.read(data))
    from appliance.training.tagger import make_tagger

    return [note.text for note in labelled], partial(make_tagger, home, base, labelled)


def _radqa(home: Home, base: Entry, data: Path) -> tuple[list[str], Callable[..., Entry]]:
    questions = radqa.read(data)
    from appliance.training.reader import make_reader

    return sorted({question.context for question in questions}), partial(make_reader, home, base, questions)


def _mednli(home: Home, base: Entry, data: Path) -> tuple[list[str], Callable[..., Entry]]:
    pairs = mednli.read(data)
    from appliance.training.judge import make_judge

    # A premise is a sentence: whether its note was read cannot be told from it.
    return [], partial(make_judge, home, base, pairs)


_LABELS: dict[str, Callable[[Home, Entry, Path], tuple[list[str], Callable[..., Entry]]]] = {
    "clip": _clip,
    "radqa": _radqa,
    "mednli": _mednli,
}
