"""Pretraining: shards to span corruption to a T5 in a folder, or to masked words to another's encoder, taught.

Every process of the training (one without `torchrun`) learns from the same shards, which `pretrain.shards.tokenize` made.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pretrain import distributed, shards
from pretrain.budget import Budget, Settings
from pretrain.checkpoints import CheckpointError, Checkpoints
from pretrain.devices import best_device, compiled, use_all_cores
from pretrain.held_out import HeldOut
from pretrain.history import History, history
from pretrain.masked_language import MaskedLanguage, load_masked, save_masked
from pretrain.models import encoders
from pretrain.models.families import attention, load_t5, new_t5, save_t5
from pretrain.models.flops import six_p_t
from pretrain.objective import SpanCorruption, hashed
from pretrain.progress import StepReport
from pretrain.throughput import ceiling
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import train

__all__ = [
    "BATCH_TOKENS",
    "CONTINUED",
    "CONTINUED_MASKED",
    "DEV",
    "DEV_BATCHES",
    "NEW",
    "TRAIN",
    "PretrainingError",
    "PretrainingResult",
    "continue_masked",
    "follow",
    "history",
    "pretrain",
    "t5_to_teach",
]

logger = logging.getLogger(__name__)

TRAIN, DEV = Path("shards/train"), Path("shards/dev")
"""Where a training's folder holds its text."""
BATCH_TOKENS = {"cpu": 2048, "cuda": 65_536}
"""Encoder positions of one step. On a CPU, a short budget gains more from steps than from large ones."""
NEW = Settings(weight_decay=0.03)
"""How a T5 learns from random weights. Without the decay the first layer of its encoder comes to drown out all others."""
CONTINUED = Settings(learning_rate=1e-3)
"""How a trained T5 goes on: at the rate that T5's own schedule had come down to (Raffel et al. 2020)."""
CONTINUED_MASKED = Settings(learning_rate=5e-3)
"""How an encoder goes on that guesses masked words. A quarter of a new model's rate: what it knows is to be kept."""
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
    dev_loss_by_kind: Mapping[str, float] = field(default_factory=dict)
    """The same for each kind of note; empty where kinds are not known."""
    mfu: float | None = None
    """`flops` in `seconds` as a share of what the devices multiply at most, evaluations and checkpoints included; None where
    nobody measured that."""
    mfu_against: str = ""
    """What that is, and of how many devices."""


def pretrain(
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
    begin_from: Path | None = None,
    say: Callable[[str], None] = logger.warning,
) -> PretrainingResult:
    """Teach a T5 to fill in spans of the documents.

    Started by `torchrun`, it is called by the process of rank 0 alone; the others call `follow`.

    Args:
        tokenizer: its vocabulary becomes the model's.
        size: a key of `pretrain.models.families.SIZES`; with `begin_from`, only what to call it.
        folder: holds the shards `TRAIN`, to learn from, and `DEV`, of other patients, perhaps empty, as `shards.tokenize` made
            them; everything goes there too. Where several processes train, all must see it.
        budget: when to stop, earlier runs included.
        on_step: told of every step.
        resume: go on where an interrupted run in `folder` stopped; with another text, size or seed that is refused.
        seed: of weights, order and noise.
        batch_tokens: encoder positions of one batch; `BATCH_TOKENS` of the device where None.
        settings: learning rate and the like.
        begin_from: a folder with a T5 to go on from, in the layout of `transformers`; `tokenizer` must be its own. By default,
            a new one.
        say: told what is done otherwise than asked for, a line each.
    Raises:
        ShardError: a shard is missing or damaged.
        PretrainingError: no document to learn from, or `begin_from` cannot be gone on from.
        Interrupted, Diverged, CheckpointError: see `pretrain.trainer.train`.
    """
    settings = settings or (CONTINUED if begin_from else NEW)
    return _lead(_Task(folder, size, budget, resume, seed, batch_tokens, settings, begin_from), tokenizer, on_step, say)


def continue_masked(
    tokenizer: Tokenizer,
    encoder: Path,
    folder: Path,
    budget: Budget,
    on_step: Callable[[StepReport], None] = lambda report: None,
    *,
    resume: bool = False,
    seed: int = 0,
    batch_tokens: int | None = None,
    settings: Settings | None = None,
    say: Callable[[str], None] = logger.warning,
) -> PretrainingResult:
    """Go on teaching a BERT-like encoder to guess masked words; what is not said here is as for `pretrain`.

    Args:
        tokenizer: the encoder's own.
        encoder: folder of a BERT, RoBERTa or ModernBERT, with its output for masked tokens or without: then that begins fresh.
        folder: of shards made with `tokenizer`. `TokenTagger.from_pretrained` reads what is written there.
        budget: when to stop, earlier runs included.
        on_step: told of every step.
        resume: go on where an interrupted run in `folder` stopped; with another text, encoder or seed that is refused.
        seed: of order, noise and a fresh output.
        batch_tokens: positions of one batch.
        settings: learning rate and the like.
        say: told what is done otherwise than asked for, a line each.
    Raises:
        TokenizerError: the tokenizer has no mask.
    """
    settings = settings or CONTINUED_MASKED
    task = _Task(folder, None, budget, resume, seed, batch_tokens, settings, encoder, masks_words=True)
    return _lead(task, tokenizer, on_step, say)


def follow() -> None:
    """Help the process that calls `pretrain` or `continue_masked`, where `torchrun` started this one; return when it is done."""
    use_all_cores()
    with distributed.joined() as told:
        task = _Task.from_json(told)
        learned, held_out = shards.load(task.folder / TRAIN), shards.load(task.folder / DEV)
        _learn(task, Tokenizer.load(task.folder / _TOKENIZER), learned, held_out, lambda report: None, lambda line: None)


_TOKENIZER = Path("shards/tokenizer.json")


@dataclass(frozen=True)
class _Task:
    """What every process has to know."""

    folder: Path
    size: str | None
    """What to call it; None is what it is."""
    budget: Budget
    resume: bool
    seed: int
    batch_tokens: int | None
    settings: Settings
    begin_from: Path | None
    masks_words: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=lambda path: str(path.absolute()))

    @classmethod
    def from_json(cls, text: str) -> "_Task":
        fields = json.loads(text)
        settings = Settings(**fields["settings"] | {"betas": tuple(fields["settings"]["betas"])})
        begin_from = Path(fields["begin_from"]) if fields["begin_from"] else None
        own = {"folder": Path(fields["folder"]), "budget": Budget(**fields["budget"]), "settings": settings}
        return cls(**fields | own | {"begin_from": begin_from})


def _lead(
    task: _Task, tokenizer: Tokenizer, on_step: Callable[[StepReport], None], say: Callable[[str], None]
) -> PretrainingResult:
    use_all_cores()
    learned, held_out = shards.load(task.folder / TRAIN), shards.load(task.folder / DEV)
    if not len(learned):
        raise PretrainingError("no document holds a token to learn from; give more text")
    tokenizer.save(task.folder / _TOKENIZER)
    with distributed.joined(task.to_json()):
        return _learn(task, tokenizer, learned, held_out, on_step, say)


def _learn(
    task: _Task,
    tokenizer: Tokenizer,
    learned: shards.Shard,
    held_out: shards.Shard,
    on_step: Callable[[StepReport], None],
    say: Callable[[str], None],
) -> PretrainingResult:
    device = best_device()
    if torch.cuda.device_count() > distributed.world():
        say(f"{torch.cuda.device_count()} GPUs are here and {distributed.world()} is used; start it with torchrun to use all")
    batch_tokens = task.batch_tokens or BATCH_TOKENS[device.type]
    model, objective_over, write = (_encoder if task.masks_words else _t5)(task, tokenizer, learned, device)
    objective = objective_over(learned, tokenizer, model.config, batch_tokens, task.seed)
    if task.begin_from:
        objective.fingerprint = hashed([objective.fingerprint, _file_hash(task.begin_from / encoders.WEIGHTS)])
    dev = HeldOut(held_out, tokenizer, model.config, batch_tokens, 4 * DEV_BATCHES, objective_over)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    most = ceiling(device)
    most_flops_per_s = most.flops_per_s * distributed.world()
    log = History(task.folder / "history.jsonl", task.resume) if distributed.is_main() else None

    def note(report: StepReport) -> None:
        assert log is not None  # only the main process is told
        by_the_paper = float(six_p_t(parameters, 1)) * report.tokens_per_s
        report = replace(report, flops_6pt_per_s=by_the_paper, mfu=report.flops_per_s / most_flops_per_s)
        log.note(report)
        on_step(report)

    progress = train(
        model,
        objective,
        task.budget,
        task.settings,
        on_step=note,
        evaluate=(lambda model: dev.loss(model, DEV_BATCHES)) if dev else None,
        checkpoints=Checkpoints(task.folder / "checkpoints"),
        resume=task.resume,
        say=say,
    )
    _save(write, model, task.folder)
    look = dev.loss(model, 4 * DEV_BATCHES) if dev else None
    return PretrainingResult(
        folder=task.folder,
        size=task.size or model.config.model_type,
        parameters=parameters,
        steps=progress.step,
        seconds=progress.seconds,
        tokens=progress.tokens,
        flops=progress.flops,
        flops_6pt=six_p_t(parameters, progress.tokens),
        train_loss=progress.loss,
        dev_loss=look.mean if look else None,
        dev_loss_by_kind=look.by_kind if look else {},
        mfu=progress.flops / progress.seconds / most_flops_per_s,
        mfu_against=f"{distributed.world()} x {most.name}",
    )


_Way = tuple[Any, Callable[..., Any], Callable[[Any, Path], None]]
"""A model on its device, what it learns as `HeldOut` takes it, and how it is written."""


def _t5(task: _Task, tokenizer: Tokenizer, learned: shards.Shard, device: torch.device) -> _Way:
    if task.begin_from is None:
        assert task.size is not None  # only what is gone on from has one already
        model = new_t5(task.size, tokenizer.vocab_size, task.seed).to(device)
        model.set_attn_implementation(attention(device.type))
    else:
        model = t5_to_teach(task.begin_from, tokenizer, device.type)
    # One shape is what compiled code wants; narrow batches of short texts are what a CPU does.
    return compiled(model, device), partial(SpanCorruption, packed=device.type == "cuda"), save_t5


def t5_to_teach(folder: Path, tokenizer: Tokenizer, device: str = "cpu") -> Any:
    """The T5 in `folder`, on its device.

    Raises:
        PretrainingError: there is none, or `tokenizer` is not its own.
    """
    try:
        model = load_t5(folder, device)
    except ValueError as error:
        raise PretrainingError(str(error)) from error
    config = model.config
    has, needs = (tokenizer.pad_id, tokenizer.eos_id), (config.pad_token_id, config.eos_token_id)
    if has != needs or tokenizer.vocab_size > config.vocab_size:
        raise PretrainingError(
            f"a vocabulary of {tokenizer.vocab_size} ids is not that of {folder.name}, a model with {config.vocab_size};"
            " give the tokenizer.json that came with it"
        )
    return model


def _encoder(task: _Task, tokenizer: Tokenizer, learned: shards.Shard, device: torch.device) -> _Way:
    assert task.begin_from is not None  # none begins with random weights
    model = encoder_to_teach(task.begin_from, tokenizer, task.seed, learned.tokens).to(device)
    model.set_attn_implementation(attention(device.type))
    return model, MaskedLanguage, save_masked


def encoder_to_teach(encoder: Path, tokenizer: Tokenizer, seed: int = 0, text_N: NDArray[np.uint16] | None = None) -> Any:
    """As `load_masked`.

    Raises:
        PretrainingError: `encoder` holds no such encoder, or `tokenizer` is not its own.
    """
    try:
        known = encoders.read_config(encoder).vocab_size
        if tokenizer.vocab_size > known:
            raise ValueError(f"the tokenizer has {tokenizer.vocab_size} ids, the encoder {known}; give the encoder's own")
        return load_masked(encoder, seed, text_N)
    except ValueError as error:
        raise PretrainingError(str(error)) from error


def _save(write: Callable[[Any, Path], None], model: Any, folder: Path) -> None:
    from safetensors import SafetensorError

    try:
        write(model, folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the trained weights could not be written to {folder}; free disk space, then --resume") from error


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
