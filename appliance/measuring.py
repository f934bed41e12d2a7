"""How good a model is on notes it has not seen: a registered tagger as it is, or its base finetuned anew per fold."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.home import Home
from appliance.publishing import artifact_of
from appliance.registry import Registry
from appliance.training.labels import KEPT_OUT, SEEN, digest
from appliance.training.request import TrainingError, Watch
from appliance.training.tagger import EPOCHS_OF_FEW, FEW_PATIENTS
from pretrain import bundle
from pretrain.tasks import clip_formats
from pretrain.tasks.base import LabelledNote
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget


def evaluate(home: Home, model: str, data: Path, watch: Watch) -> dict[str, Any]:
    """Measure a registered tagger, as served by ONNX Runtime, on the notes of patients that `data` names no taught note of."""
    from pretrain.evaluation import evaluate as measure

    entry = Registry(home.models).find(model, "clip")
    opened = bundle.load(entry.folder)
    notes = clip_formats.read(data)
    seen = set(json.loads((opened.folder / SEEN).read_text()))
    taught = {note.group for note in notes if digest(note.text) in seen}
    unseen = [note for note in notes if note.group not in taught]
    if not unseen:
        raise TrainingError(
            f"{model} was taught with notes of every patient of {data}; give others, or finetune anew with --folds"
        )
    watch.phase(f"Measuring {entry.reference} on {len(unseen)} notes")
    engine = artifact_of(home, entry, "onnxruntime").open()
    try:
        scores = measure(
            lambda ids, mask: engine.run({"input_ids": ids, "attention_mask": mask})["token_logits"],
            Tokenizer.load(opened.tokenizer),
            opened.judge,
            unseen,
            opened.manifest.window_tokens,
        )
    finally:
        engine.close()
    read = not_kept_out(unseen, opened.folder / KEPT_OUT)
    return scores | {"left_out_as_seen": len(notes) - len(unseen), "notes_not_kept_out_of_pretraining": read}


def cross_validate(
    home: Home, model: str, data: Path, folds: int, pretrained: bool, budget_s: float | None, seed: int, watch: Watch
) -> dict[str, Any]:
    """Finetune the base of `model` once per fold, each measured on the notes it has not seen; one score over all.

    Args:
        home: holds the base.
        model: NAME or NAME@VERSION.
        data: labelled notes.
        folds: how many.
        pretrained: False starts from random weights with the same tokenizer, to show what pretraining gives.
        budget_s: wall-clock seconds for all folds together; None finetunes each to its end.
        seed: of folds, weights and order.
        watch: is told of folds and steps.
    """
    from pretrain.evaluation import cross_validate as by_folds
    from pretrain.finetuning.clip import FinetunedTagger, finetune_clip
    from pretrain.finetuning.cross_fitting import cross_fit

    base = Registry(home.models).get(model, "base")
    tokenizer, window = Tokenizer.load(base.tokenizer), base.manifest.window_tokens
    notes = clip_formats.read(data)
    read = not_kept_out(notes, base.folder / SEEN) if pretrained else 0
    few = len({note.group for note in notes}) <= FEW_PATIENTS

    def finetune(train: Sequence[LabelledNote], dev: Sequence[LabelledNote] = ()) -> FinetunedTagger:
        return finetune_clip(
            train,
            dev,
            tokenizer,
            size=base.manifest.size,
            encoder=base.folder if pretrained else None,
            window_tokens=window,
            epochs=EPOCHS_OF_FEW if few else None,
            budget=Budget(seconds=budget_s / folds if budget_s else None),
            rules=True,
            seed=seed,
            on_step=watch.step,
        )

    def on_fold(done: int, of: int) -> None:
        if done < of:
            watch.phase(f"Fold {done + 1} of {of}")

    # As `train` does it.
    if few:
        fitted = cross_fit(notes, tokenizer, finetune, folds=folds, window_tokens=window, seed=seed, on_fold=on_fold)
        scores = fitted.metrics
    else:
        scores = by_folds(notes, folds, tokenizer, finetune, window_tokens=window, seed=seed, on_fold=on_fold)
    return scores | {"pretrained": pretrained, "notes_not_kept_out_of_pretraining": read}


def not_kept_out(notes: Sequence[LabelledNote], kept_out: Path) -> int:
    """How many of the notes pretraining may have read: a score on them may flatter."""
    hashes = set(json.loads(kept_out.read_text()))
    return sum(digest(note.text) not in hashes for note in notes)
