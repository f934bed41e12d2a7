"""BERT's objective, to go on with another's encoder on the hospital's own text: words are masked, and the model guesses them.

A folder with an encoder -> batches of masked windows -> `pretrain.trainer` -> a folder with the same encoder, taught, in the
layout it came in. Whole words are masked (Cui et al. 2021), anew in every epoch (RoBERTa, Liu et al. 2019).

Shape suffixes: B = windows, T = tokens of a window, N = tokens of a text, M = masked tokens of a batch, V = vocabulary.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pretrain import distributed, fsdp
from pretrain.batching import IGNORED, Cursor, cut_into_pieces
from pretrain.layouts import Order, bucketed, rounded
from pretrain.models import encoders
from pretrain.objective import WINDOW, hashed
from pretrain.shards import Shard
from pretrain.span_corruption import rng
from pretrain.tokenizer import Tokenizer

MASKED = 0.15
"""Share of a text's tokens that is to be guessed. Of these 80 % become the mask, 10 % another token, 10 % stay (BERT)."""
COUNTED = 10_000_000
"""So many tokens tell how frequent each is."""


def load_masked(folder: Path, seed: int = 0, text_N: NDArray[np.uint16] | None = None) -> Any:
    """The encoder in `folder` with its output for masked tokens, or a fresh one where it has none; in float32, without dropout.

    Args:
        folder: of a BERT, RoBERTa or ModernBERT.
        seed: of a fresh output.
        text_N: tokens to be learned; a fresh output begins with how frequent each is.
    Raises:
        ValueError: `folder` holds no such encoder.
    """
    config = encoders.read_config(folder, dropout=0.0)
    weights = encoders.read_weights(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = encoders.masked_model(config)
    encoders.fill(model.base_model, encoders.of_encoder(weights, config), folder)
    output = {name: tensor for name, tensor in weights.items() if name in _own_names(model)}
    if _own_names(model) <= output.keys():
        model.load_state_dict(output, strict=False)
    elif text_N is not None:
        _begin_with_frequencies(model, text_N)
    return model


def _begin_with_frequencies(model: Any, text_N: NDArray[np.uint16]) -> None:
    """A bias learns in proportion to its size, so one of zeros hardly ever would."""
    bias_V = model.get_output_embeddings().bias.data
    counts_V = np.bincount(text_N[:COUNTED], minlength=len(bias_V)) + 1.0
    log_V = torch.from_numpy(np.log(counts_V).astype(np.float32))
    bias_V.copy_(log_V - log_V.mean())


def save_masked(model: Any, folder: Path) -> None:
    """Write `model.safetensors` and `config.json`; what is tied is written once.

    All processes of a training call it, and the main one writes.
    """
    from safetensors.torch import save_file

    names = _own_names(model)
    weights = {name: fsdp.gathered(tensor) for name, tensor in model.state_dict().items() if name in names}
    if not distributed.is_main():
        return
    save_file(weights, folder / encoders.WEIGHTS, metadata={"format": "pt"})
    # A sharded model is of a class of its own.
    model.config.architectures = [encoders.FAMILIES[model.config.model_type].masked]
    model.config.save_pretrained(folder)


def _own_names(model: Any) -> set[str]:
    return set(model.state_dict()) - set(model._tied_weights_keys)


@dataclass(frozen=True)
class MaskedBatch:
    """B windows with masked tokens, padded to the longest, rounded up."""

    input_ids: NDArray[np.int64]
    """(B, T)"""
    attention_mask: NDArray[np.int64]
    """(B, T)"""
    labels: NDArray[np.int64]
    """(B, T), the masked tokens' own ids, `IGNORED` elsewhere."""


class MaskedLanguage:
    """The objective over a shard, for `pretrain.trainer.train`: an order by seed and epoch, noise by document and window too."""

    def __init__(self, shard: Shard, tokenizer: Tokenizer, config: Any, batch_tokens: int, seed: int) -> None:
        self._shard, self._tokenizer, self._config = shard, tokenizer, config
        self._batch_tokens, self._seed = batch_tokens, seed
        self._window = min(WINDOW, encoders.longest_window(config) or WINDOW)
        self._noise = WordMasking(tokenizer)
        self._windows_W3 = cut_into_pieces(np.diff(shard.offsets), self._window - tokenizer.frame_tokens)
        # One epoch's order is kept at a time; it is drawn again when the cursor comes back to it.
        self._order = lru_cache(maxsize=1)(self._drawn_order)
        self.fingerprint = hashed([shard.sha256, config.to_json_string(), str(batch_tokens), str(seed)])

    def take(self, cursor: Cursor) -> tuple[MaskedBatch, Cursor]:
        """The batch at a cursor, and the cursor after it."""
        order = self._order(cursor.epoch)
        batch = self._batch(order[cursor.position], cursor.epoch)
        last = cursor.position + 1 == len(order)
        return batch, Cursor(cursor.epoch + 1) if last else Cursor(cursor.epoch, cursor.position + 1)

    def first(self, count: int) -> list[MaskedBatch]:
        """At most `count` batches of the first epoch."""
        order = self._order(0)
        return [self._batch(order[position], 0) for position in range(min(count, len(order)))]

    def weight(self, batch: MaskedBatch) -> int:
        """Masked tokens."""
        return int((batch.labels != IGNORED).sum())

    def loss(self, model: torch.nn.Module, batch: MaskedBatch) -> Tensor:
        """Mean over the batch's masked tokens, in nats."""
        device = next(model.parameters()).device
        ids, mask, labels = (torch.from_numpy(a).to(device) for a in (batch.input_ids, batch.attention_mask, batch.labels))
        hidden_BTD = cast(Any, model).base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        # The output is by far the widest product of a small encoder, and is needed at one position of seven.
        is_masked = labels != IGNORED
        return cross_entropy(encoders.masked_logits(model, hidden_BTD[is_masked]).float(), labels[is_masked])

    def cost(self, batch: MaskedBatch) -> tuple[int, int]:
        """Tokens read, and operations of the pass over them and of the output for the masked ones."""
        lengths_B = batch.attention_mask.sum(axis=1)
        width = self._config.hidden_size
        output = 6 * self.weight(batch) * width * (width + self._config.vocab_size)
        return int(lengths_B.sum()), encoders.encoder_flops(self._config, lengths_B) + output

    def _drawn_order(self, epoch: int) -> Order:
        # A stream that no document's noise has: documents and windows count from 0.
        random = rng(self._seed, epoch, 2**32 - 1, 2**32 - 1)
        raw_W = self._windows_W3[:, 2] - self._windows_W3[:, 1]
        read_R = np.arange(raw_W.max() + 1, dtype=np.int32) + self._tokenizer.frame_tokens
        return bucketed(raw_W, np.stack([read_R, np.zeros_like(read_R)], axis=1), self._batch_tokens, random)

    def _batch(self, rows: list[NDArray[np.int32]], epoch: int) -> MaskedBatch:
        windows = self._windows_W3[np.concatenate(rows)]
        longest = int((windows[:, 2] - windows[:, 1]).max()) + self._tokenizer.frame_tokens
        shape = len(windows), min(rounded(longest), self._window)
        input_ids, mask, labels = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
        opening = len(self._tokenizer.prefix_ids)
        for row, (document, start, end) in enumerate(windows.tolist()):
            tokens_N = self._shard.document(document)[start:end].astype(np.int64)
            noisy_N, masked_N = self._noise(tokens_N, rng(self._seed, epoch, document, start))
            framed = self._tokenizer.framed(noisy_N)
            input_ids[row, : len(framed)], mask[row, : len(framed)] = framed, 1
            labels[row, opening : opening + len(tokens_N)][masked_N] = tokens_N[masked_N]
        return MaskedBatch(input_ids, mask, labels)


class WordMasking:
    """Which tokens of a text are to be guessed, and what stands in their place."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._mask_id = tokenizer.mask_id
        self._opens_word_V = tokenizer.opens_word
        self._readable = tokenizer.readable_ids

    def __call__(self, tokens_N: NDArray[np.int64], random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The text with noise, and which of its tokens were chosen: whole words, about `MASKED` of all, at least one."""
        word_N = np.cumsum(self._opens_word_V[tokens_N]).astype(np.int64)
        word_N -= word_N[0]
        lengths = np.bincount(word_N)
        order = random.permutation(len(lengths))
        wanted = max(1, round(len(tokens_N) * MASKED))
        # Words in a random order until there are enough tokens; at least the first, however long.
        taken = np.cumsum(lengths[order]) <= max(wanted, lengths[order[0]])
        chosen = np.zeros(len(lengths), bool)
        chosen[order[taken]] = True
        masked_N = chosen[word_N]
        draw_N = random.random(len(tokens_N))
        noisy_N = np.where(masked_N & (draw_N < 0.8), self._mask_id, tokens_N)
        others_N = self._readable[random.integers(len(self._readable), size=len(tokens_N))]
        return np.where(masked_N & (draw_N >= 0.9), others_N, noisy_N), masked_N
