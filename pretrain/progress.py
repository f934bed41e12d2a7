"""Where a training stands, and what each step tells whoever watches."""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pretrain.batching import Cursor

SMOOTHING = 0.98
"""Weight of the past in a smoothed loss: about the last 50 steps."""


class Diverged(RuntimeError):  # noqa: N818 - names what happened
    """The loss is no number any more."""


@dataclass(frozen=True)
class StepReport:
    """What one step tells whoever watches."""

    step: int
    loss: float
    """Smoothed over about the last 50 steps."""
    tokens_per_s: float
    """Of this step, of all processes together."""
    eta_s: float
    flops_per_s: float = 0.0
    """Of this step, of all processes together: every product counted."""
    learning_rate: float = 0.0
    epoch: int = 0
    batch_loss: float = math.nan
    """Of this step's batches alone."""
    dev_loss: float | None = None
    """Where this step was followed by an evaluation."""
    tokens: int = 0
    """Seen since the training began."""
    dev_loss_by_kind: Mapping[str, float] = field(default_factory=dict)
    """`dev_loss` for each kind of note; empty where there is none, or no kinds are known."""
    gradient_norm: float = math.nan
    """Before it was clipped."""
    flops_6pt_per_s: float = 0.0
    """`flops_per_s` by the paper's rule of thumb; 0 where nobody counts so."""
    mfu: float | None = None
    """`flops_per_s` as a share of what the devices multiply at most; None where that is not known."""


@dataclass(frozen=True)
class DevLoss:
    """What a model loses on held-out documents, in nats per target token."""

    mean: float
    by_kind: Mapping[str, float] = field(default_factory=dict)


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
    micro_batches: int = 1
    """Of every step so far."""

    @property
    def loss(self) -> float:
        """Smoothed training loss; no number before the first step."""
        return self.smoothed[0] / self.smoothed[1] if self.smoothed[1] else math.nan

    def after(self, following: Cursor, tokens: int, flops: int, seconds: float) -> "Progress":
        """Where it stands one step later, `seconds` after the beginning; its loss is told later."""
        return replace(
            self,
            step=self.step + 1,
            cursor=following,
            seconds=seconds,
            tokens=self.tokens + tokens,
            flops=self.flops + flops,
        )


class Losses:
    """Reads what steps lost, `lag` steps after they were taken: a GPU need not wait until somebody has looked."""

    def __init__(self, smoothed: tuple[float, float], lag: int) -> None:
        self.smoothed = smoothed
        self._lag = lag
        self._unread: deque[tuple[StepReport, _Copy]] = deque()

    def note(self, report: StepReport, loss_and_norm: Tensor) -> None:
        """Keep a step's report until its loss is read; `loss_and_norm` is (2,)."""
        self._unread.append((report, _Copy(loss_and_norm)))

    def read(self, *, all_of_them: bool) -> Iterator[StepReport]:
        """Reports with their losses, oldest first.

        Raises:
            Diverged: a loss or its gradient is infinite or no number. No later report is read.
        """
        while len(self._unread) > (0 if all_of_them else self._lag):
            report, copy = self._unread.popleft()
            loss, norm = copy.read()
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise Diverged(
                    f"the loss is {loss}, its gradient {norm}, at step {report.step}; start again with a lower learning rate"
                )
            self.smoothed = SMOOTHING * self.smoothed[0] + loss, SMOOTHING * self.smoothed[1] + 1
            yield replace(report, loss=self.smoothed[0] / self.smoothed[1], batch_loss=loss, gradient_norm=norm)


class _Copy:
    """Numbers on their way from a GPU: asked for right behind what makes them, or they would come behind the next step too."""

    def __init__(self, numbers: Tensor) -> None:
        self._numbers = numbers.to("cpu", non_blocking=True)
        self._arrival = torch.cuda.Event() if numbers.is_cuda else None  # type: ignore[no-untyped-call]
        if self._arrival:
            self._arrival.record()

    def read(self) -> list[float]:
        """The numbers, once they are here."""
        if self._arrival:
            self._arrival.synchronize()
        numbers: list[float] = self._numbers.tolist()
        return numbers
