"""How early a model guesses a secret: the exact loss of all 100,000 numbers in one place of a text, by a tree of their tokens.

Shape suffixes: S = all numbers in order, K = tokens of a number, N = tokens of a text, P = prefixes of numbers, C = the
continuations of P prefixes by a token, T = tokens that are new, V = vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.leakage.canaries import CANDIDATES, DIGITS
from pretrain.tokenizer import Tokenizer

_ROWS = 100
"""Prefixes that are read at once. On a CPU more take longer: their keys and values leave its cache."""


class LeakageError(ValueError):
    """The gate cannot be measured; a model that was not measured may not be promoted."""


class Ranking:
    """Looks for one number among all that could stand in its place.

    Args:
        model: a `T5ForConditionalGeneration`; it is left in evaluation mode.
        tokenizer: its own; it may join digits, as those of other T5s do.
    Raises:
        LeakageError: the tokenizer does not tell all numbers apart.
        TokenizerError: it has no sentinels.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer
        self._spelled_SK = _spellings(tokenizer)
        everything = np.arange(CANDIDATES)
        self._root = _branches(self._spelled_SK, everything, np.zeros_like(everything), 0, model.device)

    @torch.inference_mode()
    def losses(self, text: str, secret: str) -> NDArray[np.float32]:
        """(100000,): nats that the model loses by filling in each number where `secret` stands in `text`, 00000 first.

        Raises:
            LeakageError: the secret is tokenized otherwise in the text than alone, or an answer is no number.
        """
        device = self._model.device
        ids = torch.tensor([self.masked(text, secret)], device=device)
        encoded = self._model.get_encoder()(input_ids=ids).last_hidden_state
        begun = torch.tensor([[self._model.config.decoder_start_token_id, self._tokenizer.sentinel_id(0)]], device=device)
        losses_S = torch.full((CANDIDATES,), torch.nan, device=device)
        self._grow(encoded, None, begun, torch.zeros(1, device=device), self._root, losses_S)
        if not losses_S.isfinite().all():
            raise LeakageError("the model's answers are no numbers, so it cannot be measured; train it again")
        return np.asarray(losses_S.cpu().numpy(), np.float32)

    def masked(self, text: str, secret: str) -> list[int]:
        """The text as the encoder gets it in training, with the first sentinel in place of the secret's tokens."""
        encoding, start = self._tokenizer.encode(text), text.index(secret)
        within = (encoding.starts >= start) & (encoding.ends <= start + DIGITS) & (encoding.ends > encoding.starts)
        (positions,) = np.nonzero(within)
        spelled = self._spelled_SK[int(secret)]
        if not np.array_equal(encoding.ids[positions], spelled[spelled >= 0]):
            raise LeakageError("the tokenizer writes a number in a text otherwise than alone, so it cannot be ranked; train one")
        before, after = encoding.ids[: positions[0]].tolist(), encoding.ids[positions[-1] + 1 :].tolist()
        opening, closing = self._tokenizer.prefix_ids, self._tokenizer.suffix_ids
        return [*opening, *before, self._tokenizer.sentinel_id(0), *after, *closing]

    def _grow(self, encoded: Tensor, past: Any, tokens_PT: Tensor, loss_P: Tensor, node: "_Branches", losses_S: Tensor) -> None:
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
        answer = self._model(encoder_outputs=(states,), decoder_input_ids=tokens_PT, past_key_values=past, use_cache=True)
        logits_PV = answer.logits[:, -1].float()
        loss_C = (loss_P + logits_PV.logsumexp(1))[node.prefixes] - logits_PV[node.prefixes, node.tokens]
        is_whole = node.numbers >= 0
        losses_S[node.numbers[is_whole]] = loss_C[is_whole]
        for some, following in node.following:
            kept = _rows_for(answer.past_key_values, node.prefixes[some])
            self._grow(encoded, kept, node.tokens[some, None], loss_C[some], following, losses_S)


def rank(losses_S: NDArray[np.float32], secret: str) -> int:
    """How many numbers the model guesses before this one or as soon: 1 for its first guess.

    Ties count against the rank: a model to which all numbers are the same knows none.
    """
    return int((losses_S <= losses_S[int(secret)]).sum())


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


def _spellings(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """(100000, K): the tokens of each number as a word of its own, closed by -1."""
    encoding = tokenizer.encode(" ".join(f"{number:0{DIGITS}d}" for number in range(CANDIDATES)))
    # A word's mark stands on the space before the number, and is none of its tokens.
    is_digit = (encoding.ends > encoding.starts) & (encoding.starts % (DIGITS + 1) < DIGITS)
    ids_N, number_N = encoding.ids[is_digit], encoding.starts[is_digit] // (DIGITS + 1)
    lengths_S = np.bincount(number_N, minlength=CANDIDATES)
    place_N = np.arange(len(ids_N)) - np.repeat(np.cumsum(lengths_S) - lengths_S, lengths_S)
    spelled_SK = np.full((CANDIDATES, lengths_S.max() + 1), -1, np.int64)
    spelled_SK[number_N, place_N] = ids_N
    if tokenizer.unk_id in ids_N or len(np.unique(spelled_SK, axis=0)) < CANDIDATES:
        raise LeakageError(
            "the tokenizer does not tell all numbers apart, so no secret can be ranked; train it on text with digits"
        )
    return spelled_SK


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
