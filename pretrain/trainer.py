"""The training loop: batches in, a trained model out, within a budget; Ctrl-C and crashes lose little.

`train` takes any `Objective`; each step is a batch, its loss, clipped gradients and one AdamW update at the rate that the
budget's progress and the tensor's own size give.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pretrain.batching import Cursor
from pretrain.checkpoints import CheckpointError, Checkpoints
from pretrain.devices import computes_bf16

SMOOTHING = 0.98
"""Weight of the past in a smoothed loss: about the last 50 steps."""


class Interrupted(Exception):  # noqa: N818 - an event, as KeyboardInterrupt is, not an error
    """Somebody asked to stop; the last step is in a checkpoint."""


class Diverged(RuntimeError):  # noqa: N818 - names what happened
    """The loss is no number any more."""


@dataclass(frozen=True)
class Budget:
    """How long to train: until the first bound that is given is reached."""

    seconds: float | None = None
    """Of wall-clock time, earlier runs included."""
    steps: int | None = None

    def __post_init__(self) -> None:
        for name, bound in (("seconds", self.seconds), ("steps", self.steps)):
            if bound is not None and not 0 < bound < math.inf:
                raise ValueError(f"a budget of {bound} {name} ends before it begins or never; give a positive number")

    @property
    def is_bounded(self) -> bool:
        """Whether it ever ends."""
        return self.seconds is not None or self.steps is not None

    def progress(self, seconds: float, steps: int) -> float:
        """Share of the budget that is used, 0 to 1: the larger of its shares of time and steps."""
        return min(1.0, max(seconds / (self.seconds or math.inf), steps / (self.steps or math.inf)))

    def left_s(self, seconds: float, steps: int) -> float:
        """Seconds to go at the pace so far; infinite without a bound."""
        by_steps = (self.steps - steps) * seconds / max(steps, 1) if self.steps is not None else math.inf
        return max(0.0, min(by_steps, self.seconds - seconds if self.seconds is not None else math.inf))


@dataclass(frozen=True)
class StepReport:
    """What one step tells whoever watches."""

    step: int
    loss: float
    """Smoothed over about the last 50 steps."""
    tokens_per_s: float
    """Of this step."""
    eta_s: float
    flops_per_s: float = 0.0
    learning_rate: float = 0.0
    epoch: int = 0
    batch_loss: float = math.nan
    """Of this step's batch alone."""
    dev_loss: float | None = None
    """Where this step was followed by an evaluation."""
    tokens: int = 0
    """Seen since the training began."""


@dataclass(frozen=True)
class Settings:
    """How a model is trained."""

    learning_rate: float = 2e-2
    """Highest one, in units of a tensor's own size (its root mean square, at least 0.001); it rises linearly over
    `warm_up` and falls along a cosine to `lowest`."""
    warm_up: float = 0.05
    """Share of the budget."""
    lowest: float = 0.02
    """Share of the learning rate that is left at the end."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    save_every_s: float = 600.0
    """Seconds between checkpoints."""
    evaluations: int = 8
    """How often the budget is interrupted for a look at the dev loss, the end included."""
    evaluation_gap_steps: int = 25
    """Looks are at least so far apart, so that they cost little of a short budget too."""

    def rate(self, progress: float) -> float:
        """Learning rate where `progress` (0 to 1) of the budget is used."""
        if progress < self.warm_up:
            # Never 0, or the first step of a budget in seconds would be lost.
            return self.learning_rate * max(progress / self.warm_up, 0.01)
        falling = 0.5 * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up)))
        return self.learning_rate * (self.lowest + (1 - self.lowest) * falling)


class Objective(Protocol):
    """What is learned: an endless sequence of batches, and how wrong a model is on one."""

    @property
    def fingerprint(self) -> str:
        """Names data, order and model: only a training with the same one can be resumed."""
        ...

    def take(self, cursor: Cursor) -> tuple[Any, Cursor]:
        """The batch at a cursor, and the cursor after it."""
        ...

    def loss(self, model: torch.nn.Module, batch: Any) -> Tensor:
        """Mean over all that the batch asks the model to guess, so that every token counts the same."""
        ...

    def cost(self, batch: Any) -> tuple[int, int]:
        """Tokens the model reads and writes, and floating-point operations."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where a training stands."""

    step: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    seconds: float = 0.0
    tokens: int = 0
    flops: int = 0
    smoothed: tuple[float, float] = (0.0, 0.0)
    """Weighted sum of losses, and the sum of their weights."""
    dev_loss: float | None = None
    evaluated_step: int = 0

    @property
    def loss(self) -> float:
        """Smoothed training loss; no number before the first step."""
        return self.smoothed[0] / self.smoothed[1] if self.smoothed[1] else math.nan

    def after(self, loss: float, following: Cursor, tokens: int, flops: int, seconds: float) -> "Progress":
        """Where it stands one step later, `seconds` after the beginning."""
        return replace(
            self,
            step=self.step + 1,
            cursor=following,
            seconds=seconds,
            tokens=self.tokens + tokens,
            flops=self.flops + flops,
            smoothed=(SMOOTHING * self.smoothed[0] + loss, SMOOTHING * self.smoothed[1] + 1),
        )


def train(
    model: torch.nn.Module,
    objective: Objective,
    budget: Budget,
    settings: Settings = Settings(),
    *,
    on_step: Callable[[StepReport], None] = lambda report: None,
    evaluate: Callable[[torch.nn.Module], float] | None = None,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
) -> Progress:
    """Train a model in place until the budget is used.

    With a budget of steps, stopping and resuming gives the very weights that one go gives, bit by bit on a CPU.

    Args:
        model: on the device to train on, in float32; bfloat16 is used for products where the hardware computes it.
        objective: batches and loss.
        budget: when to stop.
        settings: learning rate and the like.
        on_step: told of every step.
        evaluate: dev loss of the model; asked `settings.evaluations` times.
        checkpoints: where to keep the training; none are written without.
        resume: go on from the newest checkpoint, or begin where there is none. Otherwise, older ones are forgotten.
    Raises:
        Interrupted: SIGINT or SIGTERM came; a checkpoint of the last step is kept.
        Diverged: the loss is infinite or no number; checkpoints are those from before.
        CheckpointError: the newest checkpoint is damaged or belongs to another training, or one could not be written.
        ValueError: the budget has no bound.
    """
    if not budget.is_bounded:
        raise ValueError("the budget has no bound; give seconds or steps")
    # A group per tensor, for each has a rate of its own.
    groups = [{"params": [parameter]} for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(groups, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)
    progress = _resumed(model, optimizer, objective, checkpoints) if resume and checkpoints else Progress()
    if checkpoints and not resume:
        checkpoints.clear()

    def save() -> None:
        if checkpoints:
            checkpoints.save(progress.step, model, optimizer, asdict(progress) | {"fingerprint": objective.fingerprint})

    begin = time.monotonic() - progress.seconds
    saved_s = progress.seconds
    model.train()
    with _stop_on_signal() as stop_is_asked:
        while (before := budget.progress(progress.seconds, progress.step)) < 1:
            batch, following = objective.take(progress.cursor)
            rate = settings.rate(before)
            loss = _update(model, optimizer, objective.loss, batch, rate, settings.clip_norm)
            tokens, flops = objective.cost(batch)
            previous, progress = progress, progress.after(loss, following, tokens, flops, time.monotonic() - begin)
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss} at step {progress.step}; start again with a lower learning rate")
            report = _report(previous, progress, budget, loss, rate)
            after = budget.progress(progress.seconds, progress.step)
            is_due = int(after * settings.evaluations) > int(before * settings.evaluations)
            is_far = progress.step - progress.evaluated_step >= settings.evaluation_gap_steps
            if evaluate and (after == 1 or (is_due and is_far)):
                report = replace(report, dev_loss=evaluate(model))
                model.train()
                seconds = time.monotonic() - begin
                progress = replace(progress, dev_loss=report.dev_loss, evaluated_step=progress.step, seconds=seconds)
            on_step(report)
            if stop_is_asked():
                save()
                raise Interrupted(f"stopped after step {progress.step}; --resume goes on from there")
            if progress.seconds - saved_s >= settings.save_every_s:
                save()
                saved_s = progress.seconds
    save()
    model.eval()
    return progress


def _update(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[torch.nn.Module, Any], Tensor],
    batch: Any,
    rate: float,
    clip_norm: float,
) -> float:
    """One step; returns the batch's loss before it. Nothing is updated where that is no number."""
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
        loss = loss_of(model, batch)
    value = loss.item()
    if math.isfinite(value):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        for group, size in zip(optimizer.param_groups, _sizes(optimizer), strict=True):
            group["lr"] = rate * size
        optimizer.step()
    return value


def _sizes(optimizer: torch.optim.Optimizer) -> list[float]:
    """Root mean square of each tensor, at least 0.001.

    T5's embedding is some twenty times larger than its other matrices, and learns by steps in proportion. Source: Adafactor's
    relative step (Shazeer and Stern 2018), with AdamW as in nanoT5 (Nawrot 2023).
    """
    tensors = [group["params"][0].detach() for group in optimizer.param_groups]
    norms = torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]).tolist()
    return [max(norm / math.sqrt(tensor.numel()), 1e-3) for norm, tensor in zip(norms, tensors, strict=True)]


def _report(before: Progress, now: Progress, budget: Budget, loss: float, rate: float) -> StepReport:
    took_s = max(now.seconds - before.seconds, 1e-9)
    return StepReport(
        step=now.step,
        loss=now.loss,
        tokens_per_s=(now.tokens - before.tokens) / took_s,
        eta_s=budget.left_s(now.seconds, now.step),
        flops_per_s=(now.flops - before.flops) / took_s,
        learning_rate=rate,
        epoch=before.cursor.epoch,
        batch_loss=loss,
        tokens=now.tokens,
    )


def _resumed(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, objective: Objective, checkpoints: Checkpoints
) -> Progress:
    saved = checkpoints.restore(model, optimizer)
    if saved is None:
        return Progress()
    if saved.pop("fingerprint") != objective.fingerprint:
        raise CheckpointError("the checkpoint is of another training (text, size or seed differ); start again without --resume")
    return Progress(**saved | {"cursor": Cursor(*saved["cursor"]), "smoothed": tuple(saved["smoothed"])})


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a question to ask between steps; a second one acts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: object) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
