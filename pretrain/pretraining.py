"""Pretraining: documents to shards to span corruption to a T5 in a folder."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain import shards
from pretrain.checkpoints import CheckpointError, Checkpoints
from pretrain.corpus import Document
from pretrain.devices import best_device, use_all_cores
from pretrain.models.families import attention, new_t5, save_t5
from pretrain.models.flops import six_p_t
from pretrain.objective import SpanCorruption, hashed, mean_loss
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget, Settings, StepReport, train

BATCH_TOKENS = {"cpu": 2048, "cuda": 65_536}
"""Encoder positions of one step. On a CPU, a short budget gains more from steps than from large ones."""
DEV_BATCHES = 4
"""Of the held-out documents, so many batches are looked at on the way; four times as many at the end."""


class PretrainingError(ValueError):
    """Pretraining cannot begin with what it was given."""


@dataclass(frozen=True)
class PretrainingResult:
    """What came of it; the weights are in `folder`."""

    folder: Path
    """`model.safetensors` and `config.json`, and `history.jsonl` with a line per step."""
    size: str
    parameters: int
    steps: int
    seconds: float
    tokens: int
    """Read and written by the model, `</s>` and sentinels included, padding not."""
    flops: int
    """Matrix products, forward and backward."""
    flops_6pt: int
    """The paper's rule of thumb."""
    train_loss: float
    """Smoothed over the last 50 steps; nats per target token."""
    dev_loss: float | None
    """On held-out documents; None without any."""


def pretrain(
    train_documents: Sequence[Document],
    dev_documents: Sequence[Document],
    tokenizer: Tokenizer,
    size: str,
    folder: Path,
    budget: Budget,
    on_step: Callable[[StepReport], None] = lambda report: None,
    *,
    resume: bool = False,
    seed: int = 0,
    batch_tokens: int | None = None,
    settings: Settings | None = None,
) -> PretrainingResult:
    """Teach a new T5 to fill in spans of the documents.

    Args:
        train_documents: to learn from.
        dev_documents: of other patients; may be empty.
        tokenizer: its vocabulary becomes the model's.
        size: a key of `pretrain.models.families.SIZES`.
        folder: where everything goes; made if need be.
        budget: when to stop, earlier runs included.
        on_step: told of every step.
        resume: go on where an interrupted run in `folder` stopped; with another text, size or seed that is refused.
        seed: of weights, order and noise.
        batch_tokens: encoder positions of one step; `BATCH_TOKENS` of the device where None.
        settings: learning rate and the like.
    Raises:
        PretrainingError: no document to learn from.
        Interrupted, Diverged, CheckpointError: see `pretrain.trainer.train`.
    """
    use_all_cores()
    folder.mkdir(parents=True, exist_ok=True)
    learned = _shard(folder / "shards" / "train", train_documents, tokenizer)
    if not len(learned):
        raise PretrainingError(f"{len(train_documents)} documents hold no token to learn from; give more text")
    held_out = _shard(folder / "shards" / "dev", dev_documents, tokenizer)
    device = best_device()
    batch_tokens = batch_tokens or BATCH_TOKENS[device.type]
    model = new_t5(size, tokenizer.vocab_size, seed).to(device)
    model.set_attn_implementation(attention(device.type))
    objective = SpanCorruption(learned, tokenizer, model.config, batch_tokens, seed)
    dev = SpanCorruption(held_out, tokenizer, model.config, batch_tokens, 0).first(4 * DEV_BATCHES) if len(held_out) else []
    log = _History(folder / "history.jsonl", resume)

    def note(report: StepReport) -> None:
        log.note(report)
        on_step(report)

    progress = train(
        model,
        objective,
        budget,
        settings or Settings(),
        on_step=note,
        evaluate=(lambda model: mean_loss(model, dev[:DEV_BATCHES])) if dev else None,
        checkpoints=Checkpoints(folder / "checkpoints"),
        resume=resume,
    )
    _save(model, folder)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return PretrainingResult(
        folder=folder,
        size=size,
        parameters=parameters,
        steps=progress.step,
        seconds=progress.seconds,
        tokens=progress.tokens,
        flops=progress.flops,
        flops_6pt=six_p_t(parameters, progress.tokens),
        train_loss=progress.loss,
        dev_loss=mean_loss(model, dev) if dev else None,
    )


def _save(model: Any, folder: Path) -> None:
    from safetensors import SafetensorError

    try:
        save_t5(model, folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the trained weights could not be written to {folder}; free disk space, then --resume") from error


class _History:
    """A line of JSON per step. A resumed run writes over what came after its checkpoint."""

    def __init__(self, path: Path, resume: bool) -> None:
        self._path, self._begun = path, False
        if not resume:
            path.unlink(missing_ok=True)

    def note(self, report: StepReport) -> None:
        if not self._begun and self._path.exists():
            kept = [line for line in history(self._path.parent) if line["step"] < report.step]
            self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._begun = True
        line = {
            "step": report.step,
            "loss": report.batch_loss,
            "smoothed_loss": report.loss,
            "learning_rate": report.learning_rate,
            "tokens": report.tokens,
            "tokens_per_s": round(report.tokens_per_s),
        }
        if report.dev_loss is not None:
            line["dev_loss"] = report.dev_loss
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def history(folder: Path) -> list[dict[str, Any]]:
    """The lines of a pretraining's `history.jsonl`; one that a crash cut off is left out."""
    lines = []
    for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return lines


def _shard(folder: Path, documents: Sequence[Document], tokenizer: Tokenizer) -> shards.Shard:
    """The documents as tokens; those of an earlier run where text and tokenizer are the same."""
    source = hashed([tokenizer.fingerprint, *(document.text for document in documents)])
    with suppress(shards.ShardError):
        shard = shards.load(folder)
        if shard.source == source:
            return shard
    return shards.write(folder, (tokenizer.encode(document.text).ids for document in documents), tokenizer.vocab_size, source)
