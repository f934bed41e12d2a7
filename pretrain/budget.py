"""How long a model is trained, and how fast it learns on the way."""

import math
from dataclasses import dataclass
from typing import Literal

Schedule = Literal["cosine", "inverse_square_root"]
"""How a learning rate falls once it is up."""


@dataclass(frozen=True)
class Budget:
    """How long to train: until the first bound that is given is reached."""

    seconds: float | None = None
    """Of wall-clock time, earlier runs included."""
    steps: int | None = None
    tokens: int | None = None
    """That the model reads and writes, padding not counted."""

    def __post_init__(self) -> None:
        for name, bound in (("seconds", self.seconds), ("steps", self.steps), ("tokens", self.tokens)):
            if bound is not None and not 0 < bound < math.inf:
                raise ValueError(f"a budget of {bound} {name} ends before it begins or never; give a positive number")

    @property
    def is_bounded(self) -> bool:
        """Whether it ever ends."""
        return not self.seconds is self.steps is self.tokens is None

    def progress(self, seconds: float, steps: int, tokens: int = 0) -> float:
        """Share of the budget that is used, 0 to 1: the largest of its shares of time, steps and tokens."""
        used = (seconds / (self.seconds or math.inf), self._counted(steps, tokens))
        return min(1.0, max(used))

    def left_s(self, seconds: float, steps: int, tokens: int = 0) -> float:
        """Seconds to go at the pace so far; infinite before a first step without a bound in seconds."""
        counted = self._counted(steps, tokens)
        at_this_pace = seconds * (1 - counted) / counted if counted else math.inf
        return max(0.0, min(at_this_pace, self.seconds - seconds if self.seconds is not None else math.inf))

    def _counted(self, steps: int, tokens: int) -> float:
        return max(steps / (self.steps or math.inf), tokens / (self.tokens or math.inf))


@dataclass(frozen=True)
class Settings:
    """How a model is trained."""

    learning_rate: float = 2e-2
    """Highest one, in units of a tensor's own size (its root mean square, at least 0.001)."""
    schedule: Schedule = "cosine"
    """How it falls after it has risen linearly over `warm_up`: along a cosine to `lowest`, or with the root of the budget
    that is used, as T5 was trained (Raffel et al. 2020)."""
    warm_up: float = 0.05
    """Share of the budget."""
    lowest: float = 0.02
    """Share of the learning rate that is left at the end of a cosine."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    """See `pretrain.optimizer.new_optimizer`."""
    clip_norm: float = 1.0
    micro_batches: int = 1
    """Batches of one step. Several processes share them; the step is the same."""
    shard_from_parameters: int = 500_000_000
    """A model of so many is divided among the processes of its training (`pretrain.fsdp`), a smaller one is whole in each. So
    many take 8 GB with their gradients and optimizer; of the sizes here, only `large` has more."""
    save_every_s: float = 600.0
    """Seconds between checkpoints."""
    evaluations: int = 8
    """How often the budget is interrupted for a look at the dev loss, the end included."""
    evaluation_gap_steps: int = 25
    """Looks are at least so far apart, so that they cost little of a short budget too."""

    def __post_init__(self) -> None:
        if self.schedule == "inverse_square_root" and not self.warm_up > 0:
            raise ValueError("an inverse square root falls from where the warm-up ends; give a warm_up above 0")
        if self.micro_batches < 1:
            raise ValueError(f"a step of {self.micro_batches} batches teaches nothing; give at least 1")

    def rate(self, progress: float) -> float:
        """Learning rate where `progress` (0 to 1) of the budget is used."""
        if progress < self.warm_up:
            # Never 0, or the first step of a budget in seconds would be lost.
            return self.learning_rate * max(progress / self.warm_up, 0.01)
        if self.schedule == "inverse_square_root":
            return self.learning_rate * math.sqrt(self.warm_up / progress)
        falling = 0.5 * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up)))
        return self.learning_rate * (self.lowest + (1 - self.lowest) * falling)
