"""One trial: a system learns a task, or is asked in words, from one seed and a share of what is labelled, and is measured.

A system's folder + `Labelled` -> what it says about every test example -> `Trial`, a line of a file that a study goes on from.
All systems are measured alike: an answer is scored by the task's own `score`, whichever way it was come by.
"""

import hashlib
import json
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.budget import Budget
from pretrain.experiments import in_context, text_to_text
from pretrain.experiments.local_model import LocalModel
from pretrain.finetuning.learning import Finetuned
from pretrain.models import encoders
from pretrain.models.systems import System, fits
from pretrain.splits import Labelled, Split
from pretrain.tasks import clip, radqa
from pretrain.tokenizer import Tokenizer

FIGURE = {"mednli": "accuracy", "radqa": "f1", "clip": "macro_f1"}
"""Of each task's `score`: the one that the paper draws."""
FIGURES = {"mednli": ("accuracy",), "radqa": ("em", "f1"), "clip": ("micro_f1", "macro_f1", "binary_f1")}
"""What is tabled of each task's `score`."""
WINDOW_TOKENS = {"mednli": 256, "radqa": radqa.WINDOW_TOKENS, "clip": clip.WINDOW_TOKENS}


@dataclass(frozen=True)
class Effort:
    """How much work a trial is."""

    window_tokens: int | None = None
    """Of an encoder's longest window; the task's own by default."""
    steps: int | None = None
    """Of learning; a pass for what learns in text. As the field does it by default."""
    answer_tokens: int | None = None
    """Of an answer in text; the task's own by default."""

    @property
    def is_full(self) -> bool:
        """Whether figures mean anything."""
        return self == Effort()


FULL = Effort()
TASTE = Effort(window_tokens=64, steps=2, answer_tokens=12)
"""So little that every way is gone from end to end, and no more: figures mean nothing."""


@dataclass(frozen=True)
class Trial:
    """What came of it."""

    system: str
    model: str
    """Fingerprint of the folder."""
    task: str
    data: str
    """Fingerprint of the labelled examples and how they are split."""
    seed: int
    share: float
    """Of the groups to learn from."""
    is_full: bool
    """As the `Effort` was."""
    learnt_from: int
    """Examples, the mean over folds."""
    scores: dict[str, Any]
    """The task's `FIGURES`, `ci95` of those it has intervals for, the counts `n_...`, and a prompt's `template`."""
    parameters: int
    """Of the model in the folder."""
    finetuning_tokens: int
    """Of all folds together."""
    finetuning_flops: float
    """Every matrix product."""
    seconds: float
    sums: list[list[float]]
    """A row per patient or report that was measured, in the order of the examples: what its figure adds up from, so that two
    systems can be compared on the same ones. Right answers (or points of F1) and answers; of CLIP `clip.counts_of`, flattened."""

    def of(self, figure: str) -> float:
        """One of its figures."""
        return float(self.scores[figure])


def run(
    system: System,
    folder: Path,
    labelled: Labelled,
    *,
    seed: int,
    share: float = 1.0,
    effort: Effort = FULL,
    on_part: Callable[[int, int], None] = lambda done, parts: None,
) -> Trial:
    """Teach (or ask) a system and measure it on every test example.

    Heads are finetuned as the product does it without its rules, text-to-text as the paper did; a prompted system learns
    nothing: dev examples choose its template, and `share` thins them out too.

    Args:
        system: which.
        folder: of its model; nothing in it is changed.
        labelled: what to learn from and to measure on.
        seed: of weights, order and which share.
        share: of the groups to learn from.
        effort: how much work.
        on_part: told how many of the folds are done.
    Raises:
        ValueError: the folder holds no such system.
        Diverged: its loss is no number any more.
        KeyboardInterrupt: by Ctrl-C; half a trial is none.
    """
    fits(system, folder)
    began = time.monotonic()
    way = _WAYS[system.learns]
    parameters = parameters_of(folder)
    gold: list[Any] = []
    said: list[Any] = []
    told: dict[str, Any] = {}
    learnt_from, exact, by_6pt = 0, 0.0, 0.0
    for done, split in enumerate(labelled.splits):
        on_part(done, len(labelled.splits))
        part = split.thinned(share, seed)
        found = way(labelled.task, folder, part, seed, effort)
        gold += part.test
        said += found.said
        told |= found.told
        learnt_from += len(part.train)
        exact += found.flops.get("finetuning, exact", 0.0)
        by_6pt += found.flops.get("finetuning, 6PT", 0.0)
    on_part(len(labelled.splits), len(labelled.splits))
    return Trial(
        system.name,
        fingerprint(folder),
        labelled.task,
        labelled.fingerprint,
        seed,
        share,
        effort.is_full,
        round(learnt_from / len(labelled.splits)),
        _shortened(labelled.task, text_to_text.TASKS[labelled.task].score(gold, said)) | told,
        parameters,
        # The rule counts six operations for each parameter of what learns, its head among them.
        round(by_6pt / (6 * parameters)),
        exact,
        time.monotonic() - began,
        _sums(labelled.task, gold, said),
    )


def written(path: Path) -> list[Trial]:
    """The trials of a file that `append` wrote; a line that was cut short is none."""
    trials = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            trials.append(Trial(**json.loads(line)))
        except (ValueError, TypeError):  # the machine stopped while it was written, or another version wrote it
            continue
    return trials


def append(path: Path, trial: Trial) -> None:
    """Write a trial behind the others."""
    # A line that was cut short must not take this one with it.
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(asdict(trial))}\n" if path.stat().st_size == 0 else f"\n{json.dumps(asdict(trial))}\n")


def parameters_of(folder: Path) -> int:
    """How many numbers the safetensors files of a folder hold; they are not read for it.

    Raises:
        ValueError: there is no such file, or one is cut short.
    """
    files = sorted(folder.glob("*.safetensors"))
    try:
        headers = [_header(file) for file in files]
        shapes = [tensor["shape"] for header in headers for name, tensor in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"{folder.name}: its weights cannot be read ({type(error).__name__}); copy the folder again") from error
    if not shapes:
        raise ValueError(f"{folder.name}: holds no {encoders.WEIGHTS}; convert the model to safetensors")
    return sum(_product(shape) for shape in shapes)


def fingerprint(folder: Path) -> str:
    """Tells one model's folder from another's, and from itself after a change: sizes, beginnings and ends, not every weight."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".json"):
            digest.update(f"{file.name} {file.stat().st_size} ".encode())
            with file.open("rb") as opened:
                digest.update(opened.read(1 << 20))
                # The last weights too: another step changes all of them.
                opened.seek(max(0, file.stat().st_size - (1 << 20)))
                digest.update(opened.read())
    return digest.hexdigest()[:16]


def _header(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header: dict[str, Any] = json.loads(opened.read(min(length, 100_000_000)))
    return header


def _product(shape: Sequence[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def _shortened(task: str, scores: dict[str, Any]) -> dict[str, Any]:
    counts = {key: value for key, value in scores.items() if key.startswith("n_")}
    return {name: scores[name] for name in FIGURES[task]} | {"ci95": scores["ci95"]} | counts


def _sums(task: str, gold: Sequence[Any], said: Sequence[Any]) -> list[list[float]]:
    rows: dict[str, NDArray[np.float64]] = {}
    for example, one in zip(gold, said, strict=True):
        row = np.asarray(_ROWS[task](example, one), np.float64)
        rows[example.group] = rows.get(example.group, 0) + row
    return [row.tolist() for row in rows.values()]


_ROWS: dict[str, Callable[[Any, Any], Any]] = {
    "mednli": lambda pair, label: (pair.label == label, 1),
    "radqa": lambda question, text: (radqa.exact_and_f1(question, text)[1], 1),
    "clip": lambda note, spans: clip.counts_of(note, spans).ravel(),
}
"""What an example and what was said of it add to its group's row."""


def figure_of(task: str, sums_RK: NDArray[np.float64]) -> NDArray[np.float64]:
    """The task's `FIGURE` of R sums of rows (R,)."""
    if task != "clip":
        return np.asarray(sums_RK[:, 0] / sums_RK[:, 1])
    return clip.f1s_of(sums_RK.reshape(len(sums_RK), -1, 3))[FIGURE["clip"]]


# The ways to learn


@dataclass(frozen=True)
class _Found:
    """What was said of every test example, and what it took."""

    said: list[Any]
    flops: dict[str, float]
    told: dict[str, Any]


def _with_heads(task: str, folder: Path, split: Split, seed: int, effort: Effort) -> _Found:
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    longest = encoders.longest_window(encoders.read_config(folder))
    window = min(effort.window_tokens or WINDOW_TOKENS[task], longest or WINDOW_TOKENS[task])
    budget = Budget(steps=effort.steps) if effort.steps else None
    made, said = _HEADS[task](split, tokenizer, window, {"encoder": folder, "budget": budget, "seed": seed})
    if made.interrupted:
        raise KeyboardInterrupt
    return _Found(said, made.flops, {})


def _clip_head(split: Split, tokenizer: Tokenizer, window: int, settings: dict[str, Any]) -> tuple[Finetuned, list[Any]]:
    from pretrain.evaluation import tag
    from pretrain.finetuning.clip import finetune_clip

    made = finetune_clip(split.train, split.dev, tokenizer, window_tokens=window, **settings)
    return made, list(tag(made.run, tokenizer, made.judge, split.test, window))


def _radqa_head(split: Split, tokenizer: Tokenizer, window: int, settings: dict[str, Any]) -> tuple[Finetuned, list[Any]]:
    from pretrain.finetuning.radqa import finetune_radqa

    stride = radqa.stride_of(window)
    made = finetune_radqa(split.train, split.dev, tokenizer, window_tokens=window, stride_tokens=stride, **settings)
    said = radqa.answer(
        made.run,
        tokenizer,
        split.test,
        made.no_answer_cutoff,
        cuts_by_kind=made.cuts_by_kind,
        window_tokens=window,
        stride_tokens=stride,
    )
    return made, [one.text(asked.context) for one, asked in zip(said, split.test, strict=True)]


def _mednli_head(split: Split, tokenizer: Tokenizer, window: int, settings: dict[str, Any]) -> tuple[Finetuned, list[Any]]:
    from pretrain.finetuning.mednli import finetune_mednli
    from pretrain.tasks.mednli import decode, predict

    made = finetune_mednli(split.train, split.dev, tokenizer, window_tokens=window, **settings)
    return made, list(decode(predict(made.run, tokenizer, split.test, window)))


_HEADS: dict[str, Callable[[Split, Tokenizer, int, dict[str, Any]], tuple[Finetuned, list[Any]]]] = {
    "clip": _clip_head,
    "radqa": _radqa_head,
    "mednli": _mednli_head,
}


def _in_text(task: str, folder: Path, split: Split, seed: int, effort: Effort) -> _Found:
    asked = text_to_text.TASKS[task]
    if not effort.is_full:
        asked = replace(asked, epochs=1, input_tokens=96, target_tokens=effort.answer_tokens or asked.target_tokens, beams=1)
    made = text_to_text.finetune(asked, folder, Tokenizer.load(folder / "tokenizer.json"), split.train, split.dev, seed=seed)
    return _Found(made.predict(split.test), made.flops, {})


def _by_prompting(task: str, folder: Path, split: Split, seed: int, effort: Effort) -> _Found:
    asked = in_context.TASKS[task]
    if effort.answer_tokens:
        asked = replace(asked, answer_tokens=min(asked.answer_tokens, effort.answer_tokens))
    model = LocalModel(folder)
    most = in_context.DEV_ITEMS if effort.is_full else 4
    template, figures = in_context.choose(model, asked, split.dev or split.train, most, seed)
    said = in_context.ask(model, asked, template, split.test)
    return _Found(
        [_CANONICAL[task](item, one) for item, one in zip(split.test, said, strict=True)],
        {},
        {"template": template.name, "dev": figures},
    )


_CANONICAL: dict[str, Callable[[Any, Any], Any]] = {
    "clip": in_context.as_spans,
    "radqa": in_context.quoted,
    "mednli": lambda pair, said: said,
}
"""What a prompted model says, as the task's `score` takes it."""

_WAYS: dict[str, Callable[[str, Path, Split, int, Effort], _Found]] = {
    "heads": _with_heads,
    "text-to-text": _in_text,
    "prompting": _by_prompting,
}
