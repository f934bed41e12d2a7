"""What pretraining teaches: span corruption over a shard, as `pretrain.trainer.train` takes it."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pretrain.batching import IGNORED, Batch, CorruptedBatches, Cursor
from pretrain.devices import computes_bf16
from pretrain.models.flops import encoder_decoder_flops
from pretrain.shards import Shard
from pretrain.tokenizer import Tokenizer

WINDOW = 512
"""Encoder positions, as in the paper."""


class SpanCorruption:
    """T5's objective over a shard, for `pretrain.trainer.train`."""

    def __init__(self, shard: Shard, tokenizer: Tokenizer, config: Any, batch_tokens: int, seed: int) -> None:
        self._batches = CorruptedBatches(shard, WINDOW, batch_tokens, tokenizer.sentinel_id(0), seed)
        self._config = config
        self.fingerprint = hashed([shard.sha256, config.to_json_string(), str(batch_tokens), str(seed)])

    def take(self, cursor: Cursor) -> tuple[Batch, Cursor]:
        """The batch at a cursor, and the cursor after it."""
        return self._batches.take(cursor)

    def first(self, count: int) -> list[Batch]:
        """At most `count` batches of the first epoch."""
        return list(islice(self._batches.one_epoch(), count))

    def loss(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """Mean over the batch's target tokens, in nats."""
        return _total_loss(model, batch) / self.weight(batch)

    def weight(self, batch: Batch) -> int:
        """Target tokens, which the loss is the mean over."""
        return int(batch.decoder_lengths.sum())

    def cost(self, batch: Batch) -> tuple[int, int]:
        """Tokens read and written, and operations of the pass over them."""
        source, target = batch.encoder_lengths, batch.decoder_lengths
        return int(source.sum() + target.sum()), encoder_decoder_flops(self._config, source, target)


def mean_loss(model: torch.nn.Module, batches: Sequence[Batch]) -> float:
    """Mean over all target tokens of the batches, in nats, computed as in training."""
    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
        total = sum(_total_loss(model, batch).item() for batch in batches)
    return total / sum(int(batch.decoder_lengths.sum()) for batch in batches)


def _total_loss(model: Any, batch: Batch) -> Tensor:
    # The decoder reads what it has written so far, behind a padding token.
    begun = np.pad(np.where(batch.labels == IGNORED, 0, batch.labels)[:, :-1], ((0, 0), (1, 0)))
    ids, mask, labels, begun_ids = (
        torch.from_numpy(array).to(model.device) for array in (batch.input_ids, batch.attention_mask, batch.labels, begun)
    )
    logits = model(input_ids=ids, attention_mask=mask, decoder_input_ids=begun_ids, use_cache=False).logits
    # In float32: the library's own loss would be taken of bfloat16 logits.
    return cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")


def hashed(parts: Iterable[str]) -> str:
    """One hash of several texts and where each ends."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()
