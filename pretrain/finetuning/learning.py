"""What finetuning is whatever the task: an encoder with a fresh head, steps, looks at the dev examples, the best weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.batching import Cursor
from pretrain.budget import Budget
from pretrain.devices import best_device, computes_bf16
from pretrain.models.encoders import encoder_flops
from pretrain.models.families import t5_config
from pretrain.models.flops import six_p_t
from pretrain.models.heads import TokenTagger
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Interrupted, Settings, StepReport
from pretrain.trainer import train as run_steps

LOOKS = 20
"""How often the dev examples are looked at."""
DROPOUT = 0.1
PACE_OF_BERT = 0.1
"""What others have trained for long learns so much more slowly than its new head, or it forgets."""

Run = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""A model: `input_ids` and `attention_mask` (B, T) -> `token_logits` (B, T, C)."""


@dataclass(frozen=True)
class Look:
    """What the dev examples said at one moment."""

    loss: float
    score: float
    """The task's own figure, by which the best weights are chosen; higher is better."""


@dataclass(frozen=True)
class Learned:
    """What the steps came to; the model they ran on has its best weights by then, in eval mode, on the CPU."""

    history: tuple[Look, ...]
    steps: int
    flops: dict[str, float]
    """Spent on it: every product counted, and the paper's 6PT."""
    interrupted: bool
    """Whether Ctrl-C ended it; the weights are the best until then."""


@dataclass(frozen=True)
class Finetuned:
    """A model that has learnt a task."""

    model: TokenTagger
    """In eval mode, on the CPU."""
    dev_metrics: dict[str, Any]
    """The task's `score` of the dev examples. Flattering, as weights and cut-offs were chosen on them; empty without any."""
    history: tuple[Look, ...]
    """What the dev examples said while it learnt."""
    steps: int
    flops: dict[str, float]
    """Spent on training, what it went on from included: every product counted, and the paper's 6PT."""
    interrupted: bool
    """Whether Ctrl-C ended it; weights and cut-offs are the best until then."""

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """The model as the tasks' `predict` and `answer` want it."""
        return as_run(self.model)(input_ids, attention_mask)


def summed(flops: dict[str, float], before: Finetuned | None) -> dict[str, float]:
    """Operations, with those of what was gone on from."""
    return {rule: value + (before.flops.get(rule, 0.0) if before else 0.0) for rule, value in flops.items()}


def new_model(encoder: Path | None, size: str, channels: int, tokenizer: Tokenizer, window_tokens: int) -> TokenTagger:
    """An encoder with a head of random weights, on the device it is to learn on.

    Args:
        encoder: folder of a pretrained one; None for a T5's random weights.
        size: of the latter.
        channels: of the head.
        tokenizer: the encoder's.
        window_tokens: positions of the longest window it will be asked with.
    Raises:
        ValueError: `encoder` holds no such encoder, one of another tokenizer, or one that sees no such window.
    """
    if encoder is not None:
        model = TokenTagger.from_pretrained(encoder, channels, DROPOUT)
    else:
        model = TokenTagger(t5_config(size, tokenizer.vocab_size, DROPOUT), channels)
    longest = model.longest_window
    if longest is not None and window_tokens > longest:
        raise ValueError(f"the encoder has {longest} positions, {window_tokens=}; choose a window of at most {longest}")
    if tokenizer.vocab_size > (known := model.config.vocab_size):
        raise ValueError(f"the tokenizer has {tokenizer.vocab_size} ids, the encoder {known}; give the encoder's own")
    model.to(best_device())
    if model.config.model_type != "t5":
        for parameter in model.encoder.parameters():
            parameter.pace = PACE_OF_BERT
    return model


class Example(Protocol):
    """The least that a batch can take."""

    @property
    def windows(self) -> tuple[NDArray[np.int64], ...]:
        """Ids (T,) of each window that it is read in, at least one."""
        ...


E = TypeVar("E", bound=Example)


class Examples(ABC, Generic[E]):
    """An objective: batches of whole examples up to a token budget, in an order keyed by seed and epoch, and their loss."""

    fingerprint = ""  # finetuning is short and never resumed

    def __init__(self, examples: Sequence[E], batch_tokens: int, seed: int, config: Any) -> None:
        self.examples, self._batch_tokens, self._seed, self._config = examples, batch_tokens, seed, config

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Sequence[E]) -> Tensor:
        """Mean over what `weight` counts."""

    @abstractmethod
    def weight(self, batch: Sequence[E]) -> int:
        """How many things `loss` is the mean over."""

    def epoch(self, number: int) -> list[list[E]]:
        """The batches of one pass, each of neighbours in its order."""
        batches: list[list[E]] = []
        room = 0
        for i in np.random.default_rng([self._seed, number]).permutation(len(self.examples)):
            windows = self.examples[i].windows
            if (tokens := len(windows) * max(map(len, windows))) > room:
                batches.append([])
                room = self._batch_tokens
            batches[-1].append(self.examples[i])
            room -= tokens
        return batches

    def take(self, cursor: Cursor) -> tuple[list[E], Cursor]:
        """The batch at a cursor, and the cursor after it."""
        batches = self.epoch(cursor.epoch)
        is_last = cursor.position + 1 == len(batches)
        return batches[cursor.position], Cursor(cursor.epoch + 1) if is_last else Cursor(cursor.epoch, cursor.position + 1)

    def cost(self, batch: Sequence[E]) -> tuple[int, int]:
        """Tokens without padding, and floating-point operations of the encoder for them."""
        lengths = [len(window) for example in batch for window in example.windows]
        return sum(lengths), encoder_flops(self._config, lengths)

    def flops(self, steps: int, parameters: int) -> dict[str, float]:
        """What the first `steps` batches cost by both rules: every product counted, and the paper's 6PT."""
        costs = [self.cost(batch) for batch in islice(self._walk(), steps)]
        tokens, exact = (sum(column) for column in zip(*costs, strict=True)) if costs else (0, 0)
        return {"finetuning, exact": float(exact), "finetuning, 6PT": float(six_p_t(parameters, tokens))}

    def _walk(self) -> Iterator[list[E]]:
        for number in count():
            yield from self.epoch(number)


def learn(
    model: TokenTagger,
    examples: Examples[E],
    steps: int,
    budget: Budget | None,
    learning_rate: float,
    look: Callable[[TokenTagger], Look] | None,
    on_step: Callable[[StepReport], None],
) -> Learned:
    """Run the steps and leave the model with the weights that did best on the dev examples.

    Args:
        model: as `new_model` gives it.
        examples: what to learn from.
        steps: at most so many.
        budget: ends it earlier; the learning rate falls along with it.
        learning_rate: as `pretrain.trainer` takes it.
        look: at the dev examples; None keeps the last weights.
        on_step: told of every step.
    Raises:
        Diverged: the loss is no number any more.
    """
    best: dict[str, Tensor] | None = None
    history: list[Look] = []
    done = 0

    def step(report: StepReport) -> None:
        nonlocal done
        done = report.step
        on_step(report)

    def evaluate(learning: torch.nn.Module) -> float:
        nonlocal best
        assert isinstance(learning, TokenTagger)
        assert look is not None
        device = learning.head.weight.device
        # As a training step computes.
        with torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
            seen = look(learning)
        # Of equally good weights the later ones are taken: they have seen more.
        if seen.score >= max((before.score for before in history), default=0.0):
            best = {name: tensor.detach().clone() for name, tensor in learning.state_dict().items()}
        history.append(seen)
        return seen.loss

    interrupted = False
    try:
        run_steps(
            model,
            examples,
            Budget(budget.seconds, min(steps, budget.steps or steps)) if budget else Budget(steps=steps),
            Settings(learning_rate=learning_rate, warm_up=0.1, weight_decay=0.01, evaluations=LOOKS),
            on_step=step,
            evaluate=evaluate if look else None,
        )
    except Interrupted:
        interrupted = True
    model.load_state_dict(best or model.state_dict())
    model.cpu().eval()
    cost = examples.flops(done, sum(parameter.numel() for parameter in model.parameters()))
    return Learned(tuple(history), done, cost, interrupted)


def as_run(model: TokenTagger) -> Run:
    """A torch module as a function of arrays, in eval mode and float32."""

    def run(input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        device, was_training = model.head.weight.device, model.training
        model.eval()
        with torch.inference_mode():
            logits = model(torch.from_numpy(input_ids).to(device), torch.from_numpy(attention_mask).to(device))
        model.train(was_training)
        return np.asarray(logits.cpu().numpy(), np.float32)

    return run
