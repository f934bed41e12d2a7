"""How early a model guesses a secret: the exact loss of all 100,000 numbers in a document, by a tree over their digits.

Shape suffixes: P = prefixes, T = tokens, V = vocabulary, D = the ten digits, S = all numbers in order.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.leakage.canaries import DIGITS
from pretrain.tokenizer import Tokenizer

_ROWS = 500
"""Prefixes that are read at once: more take memory, and no less time."""


class LeakageError(ValueError):
    """The gate cannot be measured; a model that was not measured may not be promoted."""


def digit_ids(tokenizer: Tokenizer) -> list[int]:
    """The ids of 0 to 9.

    Raises:
        LeakageError: a number is not written digit by digit.
    """
    encoding = tokenizer.encode("0123456789")
    ids: list[int] = encoding.ids[encoding.ends > encoding.starts].tolist()
    if len(set(ids)) != 10 or tokenizer.unk_id in ids:
        raise LeakageError("the tokenizer does not write numbers digit by digit, so no secret can be ranked; train one here")
    return ids


def masked(tokenizer: Tokenizer, text: str, secret: str) -> list[int]:
    """The text as the encoder gets it in training, with the first sentinel in place of the secret's digits.

    Raises:
        LeakageError: the secret is not five tokens, one for each digit.
    """
    encoding, start = tokenizer.encode(text), text.index(secret)
    is_secret = (encoding.starts >= start) & (encoding.ends <= start + DIGITS) & (encoding.ends > encoding.starts)
    ids, (positions,) = digit_ids(tokenizer), np.nonzero(is_secret)
    if encoding.ids[positions].tolist() != [ids[int(digit)] for digit in secret]:
        raise LeakageError("the tokenizer does not write a number in a text digit by digit; train one here")
    before, after = encoding.ids[: positions[0]].tolist(), encoding.ids[positions[-1] + 1 :].tolist()
    return [*before, tokenizer.sentinel_id(0), *after, tokenizer.eos_id]


@torch.inference_mode()
def losses(model: Any, tokenizer: Tokenizer, text: str, secret: str) -> NDArray[np.float32]:
    """(100000,): nats that the model loses by filling in each number where `secret` stands in `text`, 00000 first.

    Raises:
        LeakageError: see `masked`; or an answer is no number.
    """
    device = model.device
    encoded = model.get_encoder()(input_ids=torch.tensor([masked(tokenizer, text, secret)], device=device)).last_hidden_state
    tree = _Tree(model, encoded, torch.tensor(digit_ids(tokenizer), device=device))
    begun_PT = torch.tensor([[model.config.decoder_start_token_id, tokenizer.sentinel_id(0)]], device=device)
    losses_S = tree.grow(None, begun_PT, torch.zeros(1, device=device), DIGITS)
    if not losses_S.isfinite().all():
        raise LeakageError("the model's answers are no numbers, so it cannot be measured; train it again")
    return np.asarray(losses_S.cpu().numpy(), np.float32)


def rank(losses_S: NDArray[np.float32], secret: str) -> int:
    """How many numbers the model guesses before this one or as soon: 1 for its first guess.

    Ties count against the rank: a model to which all numbers are the same knows none.
    """
    return int((losses_S <= losses_S[int(secret)]).sum())


class _Tree:
    """All numbers as paths of ten branches at each digit: a prefix is read once for all numbers that begin with it."""

    def __init__(self, model: Any, encoded: Tensor, digit_ids_D: Tensor) -> None:
        self._model, self._encoded, self._digit_ids_D = model, encoded, digit_ids_D

    def grow(self, past: Any, tokens_PT: Tensor, loss_P: Tensor, digits: int) -> Tensor:
        """Losses of the P * 10**digits numbers that begin with P prefixes.

        Args:
            past: the decoder's keys and values of what was read before `tokens_PT`, a row for each prefix.
            tokens_PT: what is new of each prefix.
            loss_P: of the prefixes.
            digits: still to come.
        """
        rows = len(tokens_PT)
        encoded = self._encoded.expand(rows, -1, -1)
        answer = self._model(encoder_outputs=(encoded,), decoder_input_ids=tokens_PT, past_key_values=past, use_cache=True)
        logits_PV = answer.logits[:, -1].float()
        loss_PD: Tensor = loss_P[:, None] + logits_PV.logsumexp(1, keepdim=True) - logits_PV[:, self._digit_ids_D]
        loss_C: Tensor = loss_PD.flatten()  # of the 10 P children
        if digits == 1:
            return loss_C
        grown = []
        for begin in range(0, len(loss_C), _ROWS):
            child = torch.arange(begin, min(begin + _ROWS, len(loss_C)), device=loss_C.device)
            kept = _rows_for(answer.past_key_values, child // 10)
            grown.append(self.grow(kept, self._digit_ids_D[child % 10, None], loss_C[child], digits - 1))
        return torch.cat(grown)


def _rows_for(past: Any, parents: Tensor) -> Any:
    """A cache with the parent's keys and values for each child; what came from the encoder, all share without a copy."""
    from transformers import DynamicCache, EncoderDecoderCache

    cache = EncoderDecoderCache(
        DynamicCache([(layer.keys[parents], layer.values[parents]) for layer in past.self_attention_cache.layers]),
        DynamicCache([(layer.keys[:1], layer.values[:1]) for layer in past.cross_attention_cache.layers]),
    )
    for layer in cache.cross_attention_cache.layers:
        layer.keys = layer.keys.expand(len(parents), -1, -1, -1)
        layer.values = layer.values.expand(len(parents), -1, -1, -1)
    return cache
