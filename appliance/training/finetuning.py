"""`finetune`: a pretrained model and labels that came later, to a tagger in minutes."""

from pathlib import Path
from typing import Any

from appliance.home import Home
from appliance.lock import only_one
from appliance.measuring import not_kept_out
from appliance.registry import Registry
from appliance.training.labels import SEEN, keyed
from appliance.training.promoting import promote_first
from appliance.training.request import Watch
from pretrain import bundle
from pretrain.budget import Budget
from pretrain.tasks import clip_formats


def finetune(home: Home, model: str, data: Path, budget_s: float | None, seed: int, watch: Watch) -> dict[str, Any]:
    """Teach the base of `model` follow-up labels and register the tagger; promoted only where none reads yet.

    Args:
        home: holds the base.
        model: NAME or NAME@VERSION.
        data: labelled notes, in any layout that `train --clip` takes.
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
    labelled = keyed(home, clip_formats.read(data))
    read = not_kept_out(labelled, base.folder / SEEN)
    if read:
        watch.say(f"{read} of {len(labelled)} notes may have been read in pretraining: figures on them may flatter")
    # Loads torch: only now is it certain that there is something to learn from.
    from appliance.training.tagger import make_tagger

    with only_one(home.run / f"train-{base.name}.pid", f"trains {base.name}"):
        tagger = make_tagger(
            home, base, labelled, lambda write: registry.add(base.name, "clip", write), Budget(budget_s), seed, watch
        )
    manifest = bundle.load(tagger.folder).manifest
    return {
        "name": base.name,
        "registered": [f"{tagger.reference} (clip)"],
        "clip": manifest.metrics,
        "taught_by": manifest.taught_by,
        "notes_not_kept_out_of_pretraining": read,
        **promote_first(home, registry, tagger, watch),
    }
