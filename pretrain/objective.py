"""What pretraining teaches: span corruption over a shard, as `pretrain.trainer.train` takes it."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pretrain.batching import IGNORED, Batch, CorruptedBatches, Cursor
from pretrain.models import t5_on_cpu
from pretrain.models.flops import encoder_decoder_flops
from pretrain.models.kernels import summed_cross_entropy
from pretrain.models.t5_on_cpu import MASKED, Masks
from pretrain.shards import Shard
from pretrain.tokenizer import Tokenizer

WINDOW = 512
"""Encoder positions, as in the paper."""


class SpanCorruption:
    """T5's objective over a shard, for `pretrain.trainer.train`.

    Args:
        shard: the documents.
        tokenizer: of the shard.
        config: of the model, a `T5Config`.
        batch_tokens: encoder positions of a batch.
        seed: of order and noise.
        packed: whether all batches have one shape, for a GPU; see `pretrain.batching.CorruptedBatches`.
    """

    def __init__(
        self, shard: Shard, tokenizer: Tokenizer, config: Any, batch_tokens: int, seed: int, *, packed: bool = False
    ) -> None:
        self._batches = CorruptedBatches(shard, WINDOW, batch_tokens, tokenizer.sentinel_id(0), seed, packed=packed)
        self._config = config
        self.fingerprint = hashed([shard.sha256, config.to_json_string(), str(batch_tokens), str(seed), str(packed)])

    def take(self, cursor: Cursor) -> tuple[Batch, Cursor]:
        """The batch at a cursor, and the cursor after it."""
        return self._batches.take(cursor)

    def first(self, count: int) -> list[Batch]:
        """At most `count` batches of the first epoch."""
        return self._batches.first(count)

    def loss(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """Mean over the batch's target tokens, in nats."""
        return total_loss(model, batch) / self.weight(batch)

    def weight(self, batch: Batch) -> int:
        """Target tokens, which the loss is the mean over."""
        return int(batch.decoder_lengths.sum())

    def cost(self, batch: Batch) -> tuple[int, int]:
        """Tokens read and written, and operations of the pass over them."""
        source, target = batch.encoder_lengths, batch.decoder_lengths
        return int(source.sum() + target.sum()), encoder_decoder_flops(self._config, source, target)


def total_loss(model: Any, batch: Batch) -> Tensor:
    """Summed over the batch's target tokens, in nats; for any `T5ForConditionalGeneration`."""
    states, labels = target_states(model, batch), _on(model.device, batch.labels)
    if states.is_cuda:
        # In float32: the library's own loss would be taken of bfloat16 logits.
        logits = model.lm_head(states).float()
        return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    # Padding is not asked for. A GPU would wait for the count of what is.
    real, dtype = labels != IGNORED, t5_on_cpu.computing_dtype()
    with torch.autocast("cpu", enabled=False):
        return summed_cross_entropy(states[real].to(dtype), model.lm_head.weight.to(dtype), labels[real])


def target_states(model: Any, batch: Batch) -> Tensor:
    """What the decoder says of each target token, (B, T, D), as `model.lm_head` takes it; texts in one row are kept apart."""
    ids, begun = (_on(model.device, array) for array in (batch.input_ids, batch.begun))
    masks = _masks(batch, model.device)
    if t5_on_cpu.fits(model):
        states = t5_on_cpu.decoder_states(model, ids, begun, masks)
    else:
        read = model.encoder(ids, attention_mask=masks.encoder).last_hidden_state
        states = model.decoder(
            begun,
            attention_mask=masks.decoder,
            encoder_hidden_states=read,
            encoder_attention_mask=masks.cross,
            use_cache=False,
        ).last_hidden_state
    if model.config.scale_decoder_outputs:
        states = states * model.config.d_model**-0.5
    return states


def _on(device: torch.device, array: NDArray[np.int64]) -> Tensor:
    """The array as a tensor there; a GPU's step before is not waited for."""
    return torch.from_numpy(array).to(device, non_blocking=True)


def _masks(batch: Batch, device: torch.device) -> Masks:
    """Float masks, added to scores: a boolean one would be added as 0 and 1 by the library's eager attention."""
    steps = torch.arange(batch.labels.shape[1], device=device)
    causal = steps[:, None] >= steps
    if batch.pieces is None:
        # Behind a text's end is only padding, which a causal mask hides from it.
        is_text = _on(device, batch.attention_mask)[:, None, None, :] > 0
        seen = is_text, causal[None, None], is_text
    else:
        # T5's bias depends on distance alone, so that a mask is all that keeps texts in one row apart.
        source_BL, target_BT = (_on(device, piece) for piece in batch.pieces)
        pairs = (source_BL, source_BL), (target_BT, target_BT), (target_BT, source_BL)
        encoder, decoder, cross = (asking[:, None, :, None] == answering[:, None, None, :] for asking, answering in pairs)
        seen = encoder, decoder & causal, cross
    return Masks(*((~one).to(torch.float32) * MASKED for one in seen))


def hashed(parts: Iterable[str]) -> str:
    """One hash of several texts and where each ends."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()
