"""`finetune`: a pretrained model and labels that came later, to a model of a task in minutes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
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


def finetune(
    home: Home,
    task: str,
    model: str,
    data: Path,
    budget_s: float | None,
    seeds: Sequence[int],
    watch: Watch,
    fraction: float = 1.0,
) -> dict[str, Any]:
    """Teach the base of `model` a task and register what came of it; promoted only where none reads for the task yet.

    Of several seeds the first one's model is kept, whatever the others come to: the best of them would flatter.

    Args:
        home: holds the base.
        task: clip, radqa or mednli.
        model: NAME or NAME@VERSION.
        data: labels, in any layout that `train` takes for the task.
        budget_s: wall-clock seconds of all finetunings together; None takes them to their end.
        seeds: of the share, splits, order and dropout, at least one; a model is made with each.
        watch: is told of phases and steps.
        fraction: of the patients to learn from.
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
        budget = Budget(budget_s and budget_s / len(seeds))

        def make_with(seed: int, into: Registry) -> Entry:
            add = partial(into.add, base.name, task)
            return make(home, base, labels.thinned(fraction, seed), add=add, budget=budget, seed=seed, watch=watch)

        made = make_with(seeds[0], registry)
        manifest = bundle.load(made.folder).manifest
        scores = [manifest.metrics]
        for seed in seeds[1:]:
            with TemporaryDirectory(dir=home.run) as folder:
                scores.append(bundle.load(make_with(seed, Registry(Path(folder))).folder).manifest.metrics)
    promoted = promote_first(home, registry, made, texts, watch)
    return {
        "name": base.name,
        "registered": [f"{made.reference} ({task})"],
        task: manifest.metrics,
        "taught_by": manifest.taught_by,
        "notes_not_kept_out_of_pretraining": unknown,
        **({"between_seeds": {"seeds": list(seeds)} | _spread(scores)} if len(seeds) > 1 else {}),
        **promoted,
    }


def _spread(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure that has an interval: its mean over seeds, the lowest and the highest."""
    names = [name for name in scores[0].get("ci95", {}) if all(name in one for one in scores)]
    columns = {name: [float(one[name]) for one in scores] for name in names}
    return {name: {"mean": mean(column), "lowest": min(column), "highest": max(column)} for name, column in columns.items()}


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
