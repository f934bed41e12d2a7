"""The training loop: batches in, a trained model out, within a budget; Ctrl-C and crashes lose little.

`train` takes any `Objective`. A step is some batches, the mean loss of all that they ask together, clipped gradients and one
AdamW update at the rate that the budget's progress and the tensor's own size give. It is the same step however many
processes (`pretrain.distributed`) share its batches.
"""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pretrain import distributed, fsdp
from pretrain.batching import Cursor
from pretrain.budget import Budget, Settings
from pretrain.checkpoints import CheckpointError, Checkpoints
from pretrain.devices import computes_bf16, give_back_freed_memory
from pretrain.optimizer import new_optimizer, update
from pretrain.progress import DevLoss, Diverged, Losses, Progress, StepReport

__all__ = ["Budget", "DevLoss", "Diverged", "Interrupted", "Objective", "Progress", "Settings", "StepReport", "train"]

logger = logging.getLogger(__name__)
_DEFAULTS = Settings()


class Interrupted(Exception):  # noqa: N818 - an event, as KeyboardInterrupt is, not an error
    """Somebody asked to stop; the last step is in a checkpoint."""


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

    def weight(self, batch: Any) -> int:
        """How many things `loss` is the mean over."""
        ...

    def cost(self, batch: Any) -> tuple[int, int]:
        """Tokens the model reads and writes, and floating-point operations."""
        ...


def train(
    model: torch.nn.Module,
    objective: Objective,
    budget: Budget,
    settings: Settings = _DEFAULTS,
    *,
    on_step: Callable[[StepReport], None] = lambda report: None,
    evaluate: Callable[[torch.nn.Module], float | DevLoss] | None = None,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    say: Callable[[str], None] = logger.warning,
) -> Progress:
    """Train a model in place until the budget is used.

    With a budget of steps, stopping and resuming gives the very weights that one go gives, bit by bit on a CPU.

    Args:
        model: on the device to train on, in float32; bfloat16 is used for products where the hardware computes it. Where several
            processes train one of `settings.shard_from_parameters` and more, it is sharded afterwards: see `pretrain.fsdp`.
        objective: batches and loss.
        budget: when to stop.
        settings: learning rate and the like.
        on_step: told of every step, in the main process.
        evaluate: dev loss of the model; asked `settings.evaluations` times, of all processes at once.
        checkpoints: where to keep the training; none are written without. Every process must see the folder.
        resume: go on from the newest checkpoint, or begin where there is none. Otherwise, older ones are forgotten.
        say: told what is done otherwise than asked for, a line each.
    Raises:
        Interrupted: SIGINT or SIGTERM came; a checkpoint of the last step is kept.
        Diverged: the loss is infinite or no number; checkpoints are those from before.
        CheckpointError: no checkpoint is whole, or they belong to another training, or one could not be written.
        ValueError: the budget has no bound.
    """
    if not budget.is_bounded:
        raise ValueError("the budget has no bound; give seconds, steps or tokens")
    if distributed.world() > 1 and sum(one.numel() for one in model.parameters()) >= settings.shard_from_parameters:
        fsdp.shard(model)
    optimizer = new_optimizer(model, settings.betas, settings.weight_decay)
    progress = Progress(micro_batches=settings.micro_batches)
    if checkpoints and resume:
        progress = _resumed(model, optimizer, objective, checkpoints, say) or progress
    elif checkpoints and distributed.is_main():
        checkpoints.clear()
    progress = _shared(progress, say)
    step = _Step(model, optimizer, objective, progress.micro_batches, settings.clip_norm)
    # A look at the loss of the step just begun would leave a GPU idle until the next one is there.
    losses = Losses(progress.smoothed, lag=1 if step.device.type == "cuda" else 0)
    begin, saved_s = time.monotonic() - progress.seconds, progress.seconds

    def used() -> float:
        return budget.progress(progress.seconds, progress.step, progress.tokens)

    def tell(*, all_of_them: bool) -> None:
        nonlocal progress
        for report in losses.read(all_of_them=all_of_them):
            if distributed.is_main():
                on_step(report)
        progress = replace(progress, smoothed=losses.smoothed)

    def save() -> None:
        tell(all_of_them=True)
        if checkpoints:
            checkpoints.save(progress.step, model, optimizer, asdict(progress) | {"fingerprint": objective.fingerprint})

    model.train()
    with _stop_on_signal() as stop_is_asked:
        while (before := used()) < 1:
            rate, previous = settings.rate(before), progress
            following, tokens, flops, loss_and_norm = step(progress.cursor, rate)
            seconds, stops = distributed.agree(time.monotonic() - begin, stop_is_asked())
            progress = progress.after(following, tokens, flops, seconds)
            report = _report(previous, progress, budget, rate)
            is_due = int(used() * settings.evaluations) > int(before * settings.evaluations)
            is_far = progress.step - progress.evaluated_step >= settings.evaluation_gap_steps
            if evaluate and (used() == 1 or (is_due and is_far)):
                report, progress = _looked(model, evaluate, report, progress)
                progress = replace(progress, seconds=distributed.agree(time.monotonic() - begin)[0])
            losses.note(report, loss_and_norm)
            tell(all_of_them=used() == 1)
            # Alone, it need not wait for the others to hear of it.
            if stops or (distributed.world() == 1 and stop_is_asked()):
                save()
                raise Interrupted(f"stopped after step {progress.step}; --resume goes on from there")
            if progress.seconds - saved_s >= settings.save_every_s:
                save()
                saved_s = progress.seconds
    save()
    model.eval()
    give_back_freed_memory()
    return progress


class _Step:
    """One update from the next batches, of which this process takes its share."""

    def __init__(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, objective: Objective, batches: int, clip_norm: float
    ) -> None:
        self._optimizer, self._objective, self._batches, self._clip_norm = optimizer, objective, batches, clip_norm
        loss = _Loss(model, objective)
        self._loss = loss if fsdp.is_sharded(model) else distributed.replica(loss)
        self.device = next(model.parameters()).device

    def __call__(self, cursor: Cursor, rate: float) -> tuple[Cursor, int, int, Tensor]:
        """Returns the cursor after it, tokens and operations of all processes; loss before it and norm of its gradient, (2,)."""
        # Every process cuts all batches: it needs their cursors and weights, and cutting is cheap beside a step.
        batches = []
        for _ in range(self._batches):
            batch, cursor = self._objective.take(cursor)
            batches.append(batch)
        weights = [self._objective.weight(batch) for batch in batches]
        own = range(distributed.rank(), len(batches), distributed.world())
        loss = torch.zeros((), device=self.device)
        for number in own:
            share = weights[number] / sum(weights)
            with distributed.gradients_kept(self._loss, number != own[-1]):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=computes_bf16(self.device)):
                    mean: Tensor = self._loss(batches[number])
                if number == own[0]:
                    self._optimizer.zero_grad(set_to_none=True)
                # The processes' gradients are averaged, and are meant to be added up.
                (mean * (share * distributed.world())).backward()  # type: ignore[no-untyped-call]
            loss += mean.detach() * share
        norm = update(self._optimizer, rate, self._clip_norm)
        tokens, flops = (sum(column) for column in zip(*map(self._objective.cost, batches), strict=True))
        return cursor, tokens, flops, torch.stack([distributed.total(loss), norm])


class _Loss(torch.nn.Module):
    """Model and objective as one module, so that all an objective does with the model is seen by whoever averages gradients."""

    def __init__(self, model: torch.nn.Module, objective: Objective) -> None:
        super().__init__()
        self._model, self._objective = model, objective

    def forward(self, batch: Any) -> Tensor:
        """Mean loss of the batch."""
        return fsdp.run(self._objective.loss, self._model, batch)


def _looked(
    model: torch.nn.Module,
    evaluate: Callable[[torch.nn.Module], float | DevLoss],
    report: StepReport,
    progress: Progress,
) -> tuple[StepReport, Progress]:
    found = evaluate(model)
    model.train()
    look = found if isinstance(found, DevLoss) else DevLoss(found)
    report = replace(report, dev_loss=look.mean, dev_loss_by_kind=look.by_kind)
    return report, replace(progress, dev_loss=look.mean, evaluated_step=progress.step)


def _report(before: Progress, now: Progress, budget: Budget, rate: float) -> StepReport:
    took_s = max(now.seconds - before.seconds, 1e-9)
    return StepReport(
        step=now.step,
        loss=math.nan,
        tokens_per_s=(now.tokens - before.tokens) / took_s,
        eta_s=budget.left_s(now.seconds, now.step, now.tokens),
        flops_per_s=(now.flops - before.flops) / took_s,
        learning_rate=rate,
        epoch=before.cursor.epoch,
        tokens=now.tokens,
    )


def _shared(progress: Progress, say: Callable[[str], None]) -> Progress:
    """With as many batches a step as give every process the same share; a resumed training keeps its own number else."""
    processes = distributed.world()
    batches = processes * math.ceil(progress.micro_batches / processes)
    if batches != progress.micro_batches and distributed.is_main():
        say(f"a step takes {batches} batches instead of {progress.micro_batches}, the same for each of {processes} processes")
    return replace(progress, micro_batches=batches)


def _resumed(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    checkpoints: Checkpoints,
    say: Callable[[str], None],
) -> Progress | None:
    saved = checkpoints.restore(model, optimizer, say if distributed.is_main() else lambda line: None)
    if saved is None:
        return None
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
