"""Held-out documents, and what a model loses on them: for each kind of note, and for all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pretrain import distributed, fsdp
from pretrain.devices import computes_bf16
from pretrain.objective import SpanCorruption
from pretrain.progress import DevLoss
from pretrain.shards import Shard
from pretrain.span_corruption import rng
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Objective


class Sampled(Objective, Protocol):
    """An objective over a shard, such as `SpanCorruption`, that can be looked at without training."""

    def first(self, count: int) -> Sequence[Any]:
        """At most `count` batches of the first epoch."""
        ...


@dataclass(frozen=True)
class _Kind:
    name: str
    share: float
    """Of the held-out tokens."""
    objective: Sampled
    batches: Sequence[Any]


class HeldOut:
    """Some batches of each kind of note, the same ones every time.

    A kind's loss is the mean over the tokens to be guessed in its batches. That of all documents is the mean of the kinds', each
    weighted by its share of the held-out tokens: a rare kind has a loss of its own, and no more than its part in the whole.

    Args:
        shard: documents of patients who are not learned from.
        tokenizer: of the shard.
        config: of the model.
        batch_tokens: encoder positions of a batch.
        batches: as many as are ever looked at, and at least one of each kind.
        objective: of a shard, tokenizer, config, batch_tokens and seed.
    """

    def __init__(
        self,
        shard: Shard,
        tokenizer: Tokenizer,
        config: Any,
        batch_tokens: int,
        batches: int,
        objective: Callable[[Shard, Tokenizer, Any, int, int], Sampled] = SpanCorruption,
    ) -> None:
        self._kinds = []
        for name, documents in shard.by_kind().items():
            share = int(np.diff(shard.offsets)[documents].sum()) / int(shard.offsets[-1])
            count = _count(share, batches)
            some = _some(shard, documents, 2 * count * batch_tokens)
            of_kind = objective(some, tokenizer, config, batch_tokens, 0)
            self._kinds.append(_Kind(name, share, of_kind, of_kind.first(count)))

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def loss(self, model: torch.nn.Module, batches: int) -> DevLoss:
        """Nats per token to be guessed, over about `batches` of them, computed as in training; processes share the work."""
        model.eval()
        device = next(model.parameters()).device
        looks = [
            (k, batch, kind.objective.weight(batch))
            for k, kind in enumerate(self._kinds)
            for batch in kind.batches[: _count(kind.share, batches)]
        ]
        # Everyone looks equally often, if for nothing: a sharded model computes for all of them or for none.
        looks += [(*looks[0][:2], 0)] * (-len(looks) % distributed.world())
        sums_K2 = torch.zeros(len(self._kinds), 2, device=device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
            for k, batch, weight in looks[distributed.rank() :: distributed.world()]:
                sums_K2[k, 0] += fsdp.run(self._kinds[k].objective.loss, model, batch) * weight
                sums_K2[k, 1] += weight
        totals, weights = distributed.total(sums_K2).T.tolist()
        losses = [total / weight for total, weight in zip(totals, weights, strict=True)]
        mean = sum(kind.share * loss for kind, loss in zip(self._kinds, losses, strict=True))
        return DevLoss(mean, {kind.name: loss for kind, loss in zip(self._kinds, losses, strict=True) if kind.name})


def _count(share: float, batches: int) -> int:
    return max(1, round(share * batches))


def _some(shard: Shard, documents: NDArray[np.int64], tokens: int) -> Shard:
    """Documents drawn at random, until they have so many tokens."""
    drawn = rng(0, 0, 2**32 - 1).permutation(documents)
    drawn = drawn[: 1 + int(np.searchsorted(np.cumsum(np.diff(shard.offsets)[drawn]), tokens))]
    texts = [shard.document(int(number)) for number in drawn]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    return Shard(np.concatenate(texts), offsets, shard.vocab_size, shard.source, shard.sha256)
