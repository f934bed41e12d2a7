"""How good a model is on notes it has not seen: a registered tagger as it is, or its base finetuned anew per fold."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.home import Home
from appliance.publishing import artifact_of
from appliance.registry import Registry
from appliance.training.labels import KEPT_OUT, SEEN, digest
from appliance.training.request import TrainingError, Watch
from appliance.training.tagger import EPOCHS_OF_FEW, FEW_PATIENTS
from pretrain import bundle, splits
from pretrain.budget import Budget
from pretrain.bundle import ModelBundle
from pretrain.tasks import clip, clip_formats, mednli, radqa
from pretrain.tasks.base import LabelledNote, Question
from pretrain.tasks.clip import Run
from pretrain.tasks.mednli import Pair
from pretrain.tokenizer import Tokenizer


def evaluate(home: Home, task: str, model: str, data: Path, watch: Watch) -> dict[str, Any]:
    """Measure a registered model, as served by ONNX Runtime, on those of `data` whose patients or reports did not teach it.

    Raises:
        TrainingError: it was taught with all of them.
    """
    entry = Registry(home.models).find(model, task)
    opened = bundle.load(entry.folder)
    labels = splits.read(task, data)
    # A published folder says itself what is to be measured on.
    examples = labels.published.test if labels.published else labels.examples
    seen = set(json.loads((opened.folder / SEEN).read_text()))
    taught = {example.group for example in examples if digest(text_of(example)) in seen}
    unseen = [example for example in examples if example.group not in taught]
    if not unseen:
        raise TrainingError(
            f"{model} was taught with notes of every patient of {data}; give others, or finetune anew with --folds"
        )
    watch.phase(f"Measuring {entry.reference} on {len(unseen)} of {len(examples)}")
    engine = artifact_of(home, entry, "onnxruntime").open()

    def run(input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return engine.run({"input_ids": input_ids, "attention_mask": attention_mask})["token_logits"]

    try:
        scores = _SCORE[task](run, opened, unseen)
    finally:
        engine.close()
    read = 0 if task == "mednli" else not_kept_out([text_of(example) for example in unseen], opened.folder / KEPT_OUT)
    return scores | {"left_out_as_seen": len(examples) - len(unseen), "notes_not_kept_out_of_pretraining": read}


def _clip(run: Run, opened: ModelBundle, notes: list[LabelledNote]) -> dict[str, Any]:
    from pretrain.evaluation import evaluate as measure

    return measure(run, Tokenizer.load(opened.tokenizer), opened.judge, notes, opened.manifest.window_tokens)


def _radqa(run: Run, opened: ModelBundle, questions: list[Question]) -> dict[str, Any]:
    m = opened.manifest
    said = radqa.answer(
        run,
        Tokenizer.load(opened.tokenizer),
        questions,
        m.no_answer_cutoff,
        cuts_by_kind=m.cuts_by_kind,
        window_tokens=m.window_tokens,
    )
    return radqa.score(questions, [answer.text(asked.context) for answer, asked in zip(said, questions, strict=True)])


def _mednli(run: Run, opened: ModelBundle, pairs: list[Pair]) -> dict[str, Any]:
    likely_NL = mednli.predict(run, Tokenizer.load(opened.tokenizer), pairs, opened.manifest.window_tokens)
    return mednli.score(pairs, mednli.decode(likely_NL))


_SCORE: dict[str, Callable[[Run, ModelBundle, list[Any]], dict[str, Any]]] = {"clip": _clip, "radqa": _radqa, "mednli": _mednli}


def text_of(example: LabelledNote | Question | Pair) -> str:
    """What a bundle remembers of an example that taught it."""
    if isinstance(example, Pair):
        return example.premise
    return example.context if isinstance(example, Question) else example.text


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
    tokenizer, window = Tokenizer.load(base.tokenizer), min(clip.WINDOW_TOKENS, base.manifest.window_tokens)
    notes = clip_formats.read(data)
    read = not_kept_out([note.text for note in notes], base.folder / SEEN) if pretrained else 0
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


def not_kept_out(texts: Sequence[str], kept_out: Path) -> int:
    """How many of the texts pretraining may have read: a score on them may flatter."""
    hashes = set(json.loads(kept_out.read_text()))
    return sum(digest(text) not in hashes for text in texts)
