"""The loss of all numbers by a tree of their tokens: a prefix is read once for all numbers that begin with it.

Shape suffixes: S = all numbers in order, K = tokens of a number, P = prefixes of numbers, C = the continuations of P prefixes
by a token, T = tokens that are new, V = vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ROWS = 100
"""Prefixes that are read at once. On a CPU more take longer: their keys and values leave its cache."""


class Tree:
    """How a decoder spells numbers.

    Args:
        spelled_SK: the tokens of each number, closed by -1; no two alike.
        device: the model's.
    """

    def __init__(self, spelled_SK: NDArray[np.int64], device: torch.device) -> None:
        everything = np.arange(len(spelled_SK))
        self._count = len(everything)
        self._root = _branches(spelled_SK, everything, np.zeros_like(everything), 0, device)

    def losses(self, model: Any, input_ids: Tensor, begun: Tensor) -> Tensor:
        """(S,): nats that the model loses by each number.

        Args:
            model: an encoder-decoder.
            input_ids: (1, L), what the encoder reads.
            begun: (1, T), what the decoder has written when the number begins.
        """
        encoded = model.get_encoder()(input_ids=input_ids).last_hidden_state
        losses_S = torch.full((self._count,), torch.nan, device=input_ids.device)
        _grow(model, encoded, None, begun, torch.zeros(1, device=input_ids.device), self._root, losses_S)
        return losses_S


@dataclass(frozen=True)
class _Branches:
    """How P prefixes, at most `_ROWS`, go on: a prefix is read once for all numbers that begin with it."""

    prefixes: Tensor
    """(C,): which of the P each continues."""
    tokens: Tensor
    """(C,): by what."""
    numbers: Tensor
    """(C,): the number that this completes; -1 where there is more to come."""
    following: "list[tuple[Tensor, _Branches]]"
    """Continuations that go on, some at a time, and how."""


def _branches(
    spelled_SK: NDArray[np.int64], numbers: NDArray[np.int64], prefixes: NDArray[np.int64], depth: int, device: torch.device
) -> _Branches:
    """How numbers go on from the prefix that each begins with, which takes `depth` tokens."""
    pairs, first_C, pair = np.unique(prefixes << 32 | spelled_SK[numbers, depth], return_index=True, return_inverse=True)
    is_whole = spelled_SK[numbers[first_C], depth + 1] < 0
    (goes_on,) = np.nonzero(~is_whole)
    following = []
    for begin in range(0, len(goes_on), _ROWS):
        some = goes_on[begin : begin + _ROWS]
        theirs = np.isin(pair, some)
        deeper = _branches(spelled_SK, numbers[theirs], np.searchsorted(some, pair[theirs]), depth + 1, device)
        following.append((torch.from_numpy(some).to(device), deeper))
    prefix_C, token_C, number_C = (
        torch.from_numpy(column).to(device)
        for column in (pairs >> 32, pairs & 0xFFFFFFFF, np.where(is_whole, numbers[first_C], -1))
    )
    return _Branches(prefix_C, token_C, number_C, following)


def _grow(model: Any, encoded: Tensor, past: Any, tokens_PT: Tensor, loss_P: Tensor, node: _Branches, losses_S: Tensor) -> None:
    """Fill in the losses of all numbers that begin with P prefixes.

    Args:
        encoded: what the encoder made of the text.
        past: the decoder's keys and values of what was read before `tokens_PT`, a row for each prefix.
        tokens_PT: what is new of each prefix.
        loss_P: of the prefixes.
        node: how they go on.
        losses_S: where the losses go.
    """
    states = encoded.expand(len(tokens_PT), -1, -1)
    answer = model(encoder_outputs=(states,), decoder_input_ids=tokens_PT, past_key_values=past, use_cache=True)
    logits_PV = answer.logits[:, -1].float()
    loss_C = (loss_P + logits_PV.logsumexp(1))[node.prefixes] - logits_PV[node.prefixes, node.tokens]
    is_whole = node.numbers >= 0
    losses_S[node.numbers[is_whole]] = loss_C[is_whole]
    for some, following in node.following:
        kept = _rows_for(answer.past_key_values, node.prefixes[some])
        _grow(model, encoded, kept, node.tokens[some, None], loss_C[some], following, losses_S)


def _rows_for(past: Any, parents: Tensor) -> Any:
    """A cache with the parent's keys and values for each row; what came from the encoder, all share without a copy."""
    from transformers import DynamicCache, EncoderDecoderCache

    cache = EncoderDecoderCache(
        DynamicCache([(layer.keys[parents], layer.values[parents]) for layer in past.self_attention_cache.layers]),
        DynamicCache([(layer.keys[:1], layer.values[:1]) for layer in past.cross_attention_cache.layers]),
    )
    for layer in cache.cross_attention_cache.layers:
        layer.keys = layer.keys.expand(len(parents), -1, -1, -1)
        layer.values = layer.values.expand(len(parents), -1, -1, -1)
    return cache
