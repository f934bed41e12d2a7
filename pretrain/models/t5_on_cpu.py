"""The forward pass of transformers' T5 for training on CPUs: its modules and weights, other arithmetic.

Against the library's own under autocast it reads and writes about half the memory: queries, keys and values are one product, so
are gate and input of the feed-forward layer; a layer norm's weight is multiplied into the matrix behind it; residuals stay
float32, everything else is in the type that autocast asks for. `pretrain.models.kernels` has the operations.

Shape suffixes: B = rows, L and T = encoder and decoder positions, D = channels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from pretrain import fsdp
from pretrain.models.kernels import attention, gated_gelu, normed, spread

MASKED = -1e9
"""Added to a score that must not count."""


class Masks(NamedTuple):
    """What is added to scores: 0, or `MASKED`; float, broadcast to (B, H, positions that ask, positions that answer)."""

    encoder: Tensor
    decoder: Tensor
    """Causal."""
    cross: Tensor


def fits(model: Any) -> bool:
    """Whether this is the model written down here: a T5 v1.1 that drops nothing, on a CPU, and with all its weights."""
    config = model.config
    is_v1_1 = config.is_gated_act and config.dense_act_fn == "gelu_new" and not config.dropout_rate
    return bool(model.device.type == "cpu" and is_v1_1 and not fsdp.is_sharded(model))


def computing_dtype() -> torch.dtype:
    """What autocast asks for here and now; float32 without."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32


def decoder_states(model: Any, input_ids_BL: Tensor, begun_BT: Tensor, masks: Masks) -> Tensor:
    """What T5's decoder says at each position, (B, T, D), as `model.lm_head` takes it.

    Args:
        model: a `T5ForConditionalGeneration` that `fits`.
        input_ids_BL: corrupted texts.
        begun_BT: what the decoder has written before each position.
        masks: who sees whom.
    """
    dtype = computing_dtype()
    masks = Masks(*(mask.to(dtype) for mask in masks))
    with torch.autocast("cpu", enabled=False):
        # One look-up, one gradient of the embedding's size.
        states = embedding(torch.cat([input_ids_BL.flatten(), begun_BT.flatten()]), model.shared.weight)
        source = states[: input_ids_BL.numel()].view(*input_ids_BL.shape, -1)
        target = states[input_ids_BL.numel() :].view(*begun_BT.shape, -1)
        read_BLD = _stack(model.encoder, source, masks.encoder, dtype)
        memory = _memory(model.decoder, read_BLD, model.encoder.final_layer_norm, masks.cross)
        written_BTD = _stack(model.decoder, target, masks.decoder, dtype, memory)
        weight: Tensor = model.decoder.final_layer_norm.weight
        return written_BTD * weight.to(dtype)


def _stack(
    stack: Any,
    states: Tensor,
    mask: Tensor,
    dtype: torch.dtype,
    memory: Sequence[tuple[Tensor, Tensor, Tensor]] = (),
) -> Tensor:
    """Normed states after the last layer, but for the last norm's weight; the decoder also asks each layer's `memory`."""
    bias = _bias(stack.block[0].layer[0].SelfAttention, states.shape[1])
    added = bias.detach().to(dtype) + mask
    for number, block in enumerate(stack.block):
        own, norm = block.layer[0].SelfAttention, block.layer[0].layer_norm
        query, key, value = _normed_linear(states, norm, dtype, own.q, own.k, own.v).chunk(3, -1)
        states = states + _attended(own, query, key, value, added, bias)
        if memory:
            cross, norm = block.layer[1].EncDecAttention, block.layer[1].layer_norm
            query = _normed_linear(states, norm, dtype, cross.q)
            states = states + _attended(cross, query, *memory[number])
        dense = block.layer[-1].DenseReluDense
        hidden = gated_gelu(_normed_linear(states, block.layer[-1].layer_norm, dtype, dense.wi_0, dense.wi_1))
        states = states + linear(hidden, dense.wo.weight.to(dtype))
    return normed(states, stack.final_layer_norm.variance_epsilon, dtype)


def _memory(decoder: Any, read_BLD: Tensor, norm: Any, mask: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Keys and values of what the encoder read, for every layer of the decoder in one product, and who sees them."""
    layers = [block.layer[1].EncDecAttention for block in decoder.block]
    matrix = torch.cat([half.weight for layer in layers for half in (layer.k, layer.v)]) * norm.weight
    halves = linear(read_BLD, matrix.to(read_BLD.dtype)).chunk(2 * len(layers), -1)
    return [(key, value, mask) for key, value in zip(halves[0::2], halves[1::2], strict=True)]


def _normed_linear(states: Tensor, norm: Any, dtype: torch.dtype, *layers: Any) -> Tensor:
    matrix = torch.cat([layer.weight for layer in layers]) * norm.weight
    return linear(normed(states, norm.variance_epsilon, dtype), matrix.to(dtype))


def _attended(layer: Any, query: Tensor, key: Tensor, value: Tensor, added: Tensor, bias: Tensor | None = None) -> Tensor:
    query, key, value = (tensor.view(*tensor.shape[:2], layer.n_heads, -1).transpose(1, 2) for tensor in (query, key, value))
    mixed = attention(query, key, value, added, bias).transpose(1, 2).flatten(2)
    return linear(mixed, layer.o.weight.to(mixed.dtype))


def _bias(layer: Any, positions: int) -> Tensor:
    """T5's bias by relative position, (1, H, positions, positions)."""
    buckets = layer._relative_position_bucket(
        torch.arange(1 - positions, positions),
        bidirectional=not layer.is_decoder,
        num_buckets=layer.relative_attention_num_buckets,
        max_distance=layer.relative_attention_max_distance,
    )
    by_distance = embedding(buckets, layer.relative_attention_bias.weight).t()
    return spread(by_distance, positions)
