"""From an encoder and labelled pairs to a judge of whether a hypothesis follows from its premise.

Every pair is one window, a batch takes pairs up to a token budget, and the loss is the mean cross-entropy over pairs. First the
head is fitted while the encoder is as it is; then encoder and head learn together, and the weights with the best accuracy on
the dev pairs are kept, those before the first step among them.

A hundred pairs are too few to tell a small encoder what follows from what, so it is taught with pairs that cost nothing before
(`teach_mednli`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pretrain.devices import computes_bf16, use_all_cores
from pretrain.finetuning.learning import Examples, Finetuned, Learned, Look, as_run, learn, new_model, summed
from pretrain.models.heads import TokenTagger, pool
from pretrain.tasks import mednli
from pretrain.tasks.clip import DataError, pad
from pretrain.tasks.mednli import CHANNELS, LABELS, Pair
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget, StepReport

EPOCHS = 10
LEAST_STEPS = 100
"""Few pairs give few steps a pass, and stopping early for that fails on small data (Mosbach et al. 2021)."""
HEAD_PENALTY = 2000.0
"""Of a change of the head while the encoder is as it is, in pairs: so many weigh as much as weights of 1. It has two numbers for
each of the encoder's hundreds, and a hundred pairs do not say much about them."""
FIRST_PAIRS = 500
"""Of many to be taught with, enough to give a new head a direction."""


@dataclass(frozen=True)
class FinetunedJudge(Finetuned):
    """A model of `mednli.CHANNELS` channels that says of a pair what its hypothesis is to its premise."""


def teach_mednli(
    pairs: Sequence[Pair],
    tokenizer: Tokenizer,
    *,
    size: str = "small",
    encoder: Path | None = None,
    window_tokens: int = 256,
    batch_tokens: int = 512,
    learning_rate: float = 2e-2,
    budget: Budget | None = None,
    seed: int = 0,
    on_step: Callable[[StepReport], None] = lambda report: None,
) -> FinetunedJudge:
    """A judge that has gone once through pairs that cost nothing, such as `pretrain.labelling.inference.pairs`.

    For `finetune_mednli` to go on from, which says what the arguments are.

    Raises:
        DataError: there is no pair.
        Diverged: the loss is no number any more.
        ValueError: `encoder` holds no such encoder, one of another tokenizer, or one that sees no such window.
    """
    use_all_cores()
    lessons = _lessons(pairs, tokenizer, window_tokens)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _new_model(encoder, size, tokenizer, window_tokens)
        Inference(lessons[:FIRST_PAIRS], batch_tokens, seed, model.config).fit_head(model)
        objective = Inference(lessons, batch_tokens, seed, model.config)
        learned = learn(model, objective, len(objective.epoch(0)), budget, learning_rate, None, on_step)
    return FinetunedJudge(model=model, dev_metrics={}, **vars(learned))


def finetune_mednli(
    train: Sequence[Pair],
    dev: Sequence[Pair],
    tokenizer: Tokenizer,
    *,
    size: str = "small",
    encoder: Path | None = None,
    taught: FinetunedJudge | None = None,
    window_tokens: int = 256,
    batch_tokens: int = 512,
    learning_rate: float = 2e-2,
    epochs: int | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    on_step: Callable[[StepReport], None] = lambda report: None,
) -> FinetunedJudge:
    """Teach an encoder what follows from a premise.

    Without seconds in the budget the same seed gives the same weights.

    Args:
        train: pairs to learn from.
        dev: pairs of other notes, to choose weights with. Without any, the last weights are taken.
        tokenizer: the encoder's.
        size: of the encoder that starts from random weights; unused with `encoder`.
        encoder: folder of a pretrained T5 or BERT-like encoder; None for a T5's random weights ("without pretraining").
        taught: what `teach_mednli` made of the same encoder, to go on from; it stays as it is.
        window_tokens: positions of the longest window, its frame included, while learning and in use.
        batch_tokens: positions of a batch, padding included.
        learning_rate: the highest one, relative to the size of each tensor as `pretrain.trainer` takes it. A BERT-like
            encoder's own is `PACE_OF_BERT` times that.
        epochs: at most so many passes; by default 10, or as many as make `LEAST_STEPS`. With 0 the encoder stays as it is, and
            only the head is fitted: seconds instead of minutes.
        budget: ends it earlier; the learning rate falls along with it.
        seed: of initial weights, dropout and order.
        on_step: told of every step.
    Raises:
        DataError: there is no pair to learn from.
        Diverged: the loss is no number any more.
        ValueError: `encoder` holds no such encoder, one of another tokenizer, or one that sees no such window.
    """
    use_all_cores()
    lessons = _lessons(train, tokenizer, window_tokens)
    dev_set = _DevSet(dev, tokenizer, window_tokens)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _new_model(encoder, size, tokenizer, window_tokens)
        if taught is not None:
            model.load_state_dict(taught.model.state_dict())
        objective = Inference(lessons, batch_tokens, seed, model.config)
        objective.fit_head(model)
        steps_an_epoch = len(objective.epoch(0))
        passes = max(EPOCHS, math.ceil(LEAST_STEPS / steps_an_epoch)) if epochs is None else epochs
        learned = Learned((), 0, objective.flops(0, 0), interrupted=False)
        if passes:
            fitted = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
            first = dev_set.look(model) if dev else None
            look = dev_set.look if dev else None
            learned = learn(model, objective, steps_an_epoch * passes, budget, learning_rate, look, on_step)
            # A few pairs can make worse what many have taught.
            if first and first.score > max((seen.score for seen in learned.history), default=0.0):
                model.load_state_dict(fitted)
    model.cpu().eval()
    metrics = dev_set.metrics(model) if dev else {}
    learned = replace(learned, flops=summed(learned.flops, taught))
    return FinetunedJudge(model=model, dev_metrics=metrics, **vars(learned))


def _new_model(encoder: Path | None, size: str, tokenizer: Tokenizer, window_tokens: int) -> TokenTagger:
    """With a head that says nothing: what it comes to say is fitted."""
    model = new_model(encoder, size, CHANNELS, tokenizer, window_tokens)
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    return model


@dataclass(frozen=True)
class _Lesson:
    """A pair and the index of its label."""

    pair: mednli.EncodedPair = field(repr=False)
    label: int

    @property
    def windows(self) -> tuple[NDArray[np.int64], ...]:
        return (self.pair.window,)


def _lessons(pairs: Sequence[Pair], tokenizer: Tokenizer, window_tokens: int) -> list[_Lesson]:
    if not pairs:
        raise DataError("there is no pair to learn from; label at least one of each kind")
    encoded = (mednli.encode(pair.premise, pair.hypothesis, tokenizer, window_tokens) for pair in pairs)
    return [_Lesson(one, LABELS.index(pair.label)) for one, pair in zip(encoded, pairs, strict=True)]


class Inference(Examples[_Lesson]):
    """What labelled pairs teach."""

    def loss(self, model: torch.nn.Module, batch: Sequence[_Lesson]) -> Tensor:
        """Mean cross-entropy over the batch's pairs."""
        device = next(model.parameters()).device
        input_ids, attention_mask, owner_BT, label_B = (one.to(device) for one in _join(batch))
        said_BTC = pool(model(input_ids, attention_mask), owner_BT, 2 * len(batch)).view(len(batch), 2, CHANNELS)
        return cross_entropy(said_BTC[:, 0, : len(LABELS)] + said_BTC[:, 1, len(LABELS) :], label_B)

    def weight(self, batch: Sequence[_Lesson]) -> int:
        """Pairs, which the loss is the mean over."""
        return len(batch)

    def fit_head(self, model: TokenTagger) -> None:
        """Give the head the weights that do best while the encoder is as it is, at a price for leaving what the head says.

        As in `pretrain.finetuning.clip`: a head of random weights would cost the encoder what it knows (Kumar et al. 2022).
        """
        hidden_N2D, label_N = self._read(model)
        scale = hidden_N2D.square().mean().sqrt()
        # (2, L, D): what either text's tokens say of each label.
        before = model.head.weight.detach().view(2, len(LABELS), -1) * scale
        bias_before_L = model.head.bias.detach().view(2, -1).sum(0)
        weight, bias_L = before.clone().requires_grad_(), bias_before_L.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([weight, bias_L], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> float:
            optimizer.zero_grad()
            error = cross_entropy(torch.einsum("ntd,tld->nl", hidden_N2D / scale, weight) + bias_L, label_N)
            change = HEAD_PENALTY * (weight - before).square().sum() + (bias_L - bias_before_L).square().sum()
            total = error + change / 2 / len(label_N)
            total.backward()  # type: ignore[no-untyped-call]
            return total.item()

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            model.head.weight.copy_(weight.flatten(0, 1) / scale)
            model.head.bias.copy_(torch.cat([bias_L, torch.zeros_like(bias_L)]))

    def _read(self, model: TokenTagger) -> tuple[Tensor, Tensor]:
        """What the encoder says of premise and hypothesis (N, 2, D), and labels (N,), on the model's device."""
        hidden, labels = [], []
        device, was_training = model.head.weight.device, model.training
        model.eval()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
            for batch in self.epoch(0):
                input_ids, attention_mask, owner_BT, label_B = (one.to(device) for one in _join(batch))
                hidden_BTD = model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
                hidden.append(pool(hidden_BTD.float(), owner_BT, 2 * len(batch)).view(len(batch), 2, -1))
                labels.append(label_B)
        model.train(was_training)
        return torch.cat(hidden), torch.cat(labels)


def _join(batch: Sequence[_Lesson]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids and mask (B, T), whose every position is, counting the batch's texts (B, T), and labels (B,)."""
    input_ids, attention_mask = pad([lesson.pair.window for lesson in batch])
    owner_BT = np.full(input_ids.shape, -1, np.int64)
    for row, lesson in enumerate(batch):
        owner_T = lesson.pair.owner
        owner_BT[row, : len(owner_T)] = np.where(owner_T >= 0, owner_T + 2 * row, -1)
    label_B = torch.tensor([lesson.label for lesson in batch])
    return torch.from_numpy(input_ids), torch.from_numpy(attention_mask), torch.from_numpy(owner_BT), label_B


class _DevSet:
    """Dev pairs, encoded once."""

    def __init__(self, pairs: Sequence[Pair], tokenizer: Tokenizer, window_tokens: int) -> None:
        self._pairs = pairs
        self._encoded = [mednli.encode(pair.premise, pair.hypothesis, tokenizer, window_tokens) for pair in pairs]
        self._label_N = np.array([LABELS.index(pair.label) for pair in pairs], np.int64)

    def logits(self, model: TokenTagger) -> NDArray[np.float32]:
        """(N, L)."""
        return mednli.logits(as_run(model), self._encoded)

    def look(self, model: TokenTagger) -> Look:
        """Mean cross-entropy, and accuracy."""
        logits_NL = self.logits(model)
        loss = cross_entropy(torch.from_numpy(logits_NL), torch.from_numpy(self._label_N)).item()
        return Look(loss, float((logits_NL.argmax(1) == self._label_N).mean()))

    def metrics(self, model: TokenTagger) -> dict[str, Any]:
        """`mednli.score`."""
        return mednli.score(self._pairs, mednli.decode(self.logits(model)))
