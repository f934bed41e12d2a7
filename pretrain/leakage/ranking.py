"""How early a model guesses a secret: its loss by each of the 100,000 numbers that could stand in one place of a text.

A T5 writes the number out, token by token (`Tree`). A BERT-like encoder fills a mask for each token, all at once, as it learnt
to when a word was masked whole. Shape suffixes: S = all numbers in order, K = tokens of a number, N = tokens of a text,
V = vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.leakage.canaries import CANDIDATES, DIGITS
from pretrain.leakage.tree import Tree
from pretrain.tokenizer import Tokenizer


class LeakageError(ValueError):
    """The gate cannot be measured; a model that was not measured may not be promoted."""


class Ranking:
    """Looks for one number among all that could stand in its place.

    Args:
        model: a `T5ForConditionalGeneration`, or an encoder with its output for masked tokens; it is left in evaluation mode.
        tokenizer: its own; it may join digits, as those of others do.
    Raises:
        LeakageError: the tokenizer does not tell all numbers apart.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer
        self._spelled_SK = _spellings(tokenizer)
        self._tree = Tree(self._spelled_SK, model.device) if model.config.is_encoder_decoder else None

    @torch.inference_mode()
    def losses(self, text: str, secret: str) -> NDArray[np.float32]:
        """(100000,): nats that the model loses by filling in each number where `secret` stands in `text`, 00000 first.

        Raises:
            LeakageError: the secret is tokenized otherwise in the text than alone, or an answer is no number.
            TokenizerError: the vocabulary has no sentinels or no mask, so it is not the model's.
        """
        losses_S = self._unmasked(text, secret) if self._tree is None else self._written(self._tree, text, secret)
        if not losses_S.isfinite().all():
            raise LeakageError("the model's answers are no numbers, so it cannot be measured; train it again")
        return np.asarray(losses_S.cpu().numpy(), np.float32)

    def masked(self, text: str, secret: str, blanks: Sequence[int]) -> list[int]:
        """The text as the model reads it in training, with `blanks` in place of the secret's tokens."""
        encoding, start = self._tokenizer.encode(text), text.index(secret)
        within = (encoding.starts >= start) & (encoding.ends <= start + DIGITS) & (encoding.ends > encoding.starts)
        (positions,) = np.nonzero(within)
        spelled = self._spelled_SK[int(secret)]
        if not np.array_equal(encoding.ids[positions], spelled[spelled >= 0]):
            raise LeakageError("the tokenizer writes a number in a text otherwise than alone, so it cannot be ranked; train one")
        before, after = encoding.ids[: positions[0]].tolist(), encoding.ids[positions[-1] + 1 :].tolist()
        return [*self._tokenizer.prefix_ids, *before, *blanks, *after, *self._tokenizer.suffix_ids]

    def _written(self, tree: Tree, text: str, secret: str) -> Tensor:
        device, sentinel = self._model.device, self._tokenizer.sentinel_id(0)
        ids = torch.tensor([self.masked(text, secret, [sentinel])], device=device)
        begun = torch.tensor([[self._model.config.decoder_start_token_id, sentinel]], device=device)
        return tree.losses(self._model, ids, begun)

    def _unmasked(self, text: str, secret: str) -> Tensor:
        """Numbers of as many tokens share one reading."""
        mask, lengths_S = self._tokenizer.mask_id, (self._spelled_SK >= 0).sum(1)
        losses_S = torch.full((CANDIDATES,), torch.nan)
        for length in np.unique(lengths_S).tolist():
            ids = torch.tensor([self.masked(text, secret, [mask] * length)])
            logits_NV = self._model(input_ids=ids.to(self._model.device)).logits[0].float().cpu()
            log_p_KV = logits_NV[ids[0] == mask].log_softmax(1)
            (numbers,) = np.nonzero(lengths_S == length)
            spelled = torch.from_numpy(self._spelled_SK[numbers, :length])
            losses_S[torch.from_numpy(numbers)] = -log_p_KV[torch.arange(length), spelled].sum(1)
        return losses_S


def rank(losses_S: NDArray[np.float32], secret: str) -> int:
    """How many numbers the model guesses before this one or as soon: 1 for its first guess.

    Ties count against the rank: a model to which all numbers are the same knows none.
    """
    return int((losses_S <= losses_S[int(secret)]).sum())


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
