"""BERT's objective, to go on with another's encoder on the hospital's own text: words are masked, and the model guesses them.

A folder with an encoder -> batches of masked windows -> `pretrain.trainer` -> a folder with the same encoder, taught, in the
layout it came in. Whole words are masked (Cui et al. 2021), anew in every epoch (RoBERTa, Liu et al. 2019).

Shape suffixes: B = windows, T = tokens of a window, N = tokens of a text, M = masked tokens of a batch, V = vocabulary.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pretrain import shards
from pretrain.batching import IGNORED, Cursor, cut_into_pieces
from pretrain.budget import Budget, Settings
from pretrain.checkpoints import CheckpointError, Checkpoints
from pretrain.devices import best_device, use_all_cores
from pretrain.held_out import HeldOut
from pretrain.history import History
from pretrain.layouts import Order, bucketed, rounded
from pretrain.models import encoders
from pretrain.models.families import attention
from pretrain.models.flops import six_p_t
from pretrain.objective import WINDOW, hashed
from pretrain.pretraining import BATCH_TOKENS, DEV, DEV_BATCHES, TRAIN, PretrainingError, PretrainingResult, file_hash
from pretrain.progress import StepReport
from pretrain.shards import Shard
from pretrain.span_corruption import rng
from pretrain.throughput import ceiling
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import train

logger = logging.getLogger(__name__)

MASKED = 0.15
"""Share of a text's tokens that is to be guessed. Of these 80 % become the mask, 10 % another token, 10 % stay (BERT)."""
LEARNING_RATE = 5e-3
"""Relative to each tensor's size. A quarter of what a new model takes: what the encoder knows is to be kept."""
COUNTED = 10_000_000
"""So many tokens tell how frequent each is."""


def continue_masked(
    tokenizer: Tokenizer,
    encoder: Path,
    folder: Path,
    budget: Budget,
    on_step: Callable[[StepReport], None] = lambda report: None,
    *,
    resume: bool = False,
    seed: int = 0,
    batch_tokens: int | None = None,
    settings: Settings | None = None,
    say: Callable[[str], None] = logger.warning,
) -> PretrainingResult:
    """Go on teaching a BERT-like encoder to guess masked words, in one process.

    Args:
        tokenizer: the encoder's own.
        encoder: folder of a BERT, RoBERTa or ModernBERT, with its output for masked tokens or without: then that begins fresh.
        folder: holds the shards `TRAIN`, to learn from, and `DEV`, of other patients, perhaps empty, as `shards.tokenize` made
            them with `tokenizer`; everything goes there too. `TokenTagger.from_pretrained` reads it.
        budget: when to stop, earlier runs included.
        on_step: told of every step.
        resume: go on where an interrupted run in `folder` stopped; with another text, encoder or seed that is refused.
        seed: of order, noise and a fresh output.
        batch_tokens: positions of one step; `BATCH_TOKENS` of the device where None.
        settings: learning rate and the like; `LEARNING_RATE` where None.
        say: told what is done otherwise than asked for, a line each.
    Raises:
        ShardError: a shard is missing or damaged.
        PretrainingError: no document to learn from, or `encoder` cannot be gone on from.
        TokenizerError: the tokenizer has no mask.
        Interrupted, Diverged, CheckpointError: see `pretrain.trainer.train`.
    """
    use_all_cores()
    learned, held_out = shards.load(folder / TRAIN), shards.load(folder / DEV)
    if not len(learned):
        raise PretrainingError("no document holds a token to learn from; give more text")
    device = best_device()
    batch_tokens = batch_tokens or BATCH_TOKENS[device.type]
    model = encoder_to_teach(encoder, tokenizer, seed, learned.tokens).to(device)
    model.set_attn_implementation(attention(device.type))
    objective = MaskedLanguage(learned, tokenizer, model.config, batch_tokens, seed)
    objective.fingerprint = hashed([objective.fingerprint, file_hash(encoder / encoders.WEIGHTS)])
    dev = HeldOut(held_out, tokenizer, model.config, batch_tokens, 4 * DEV_BATCHES, MaskedLanguage)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    most = ceiling(device)
    log = History(folder / "history.jsonl", resume)

    def note(report: StepReport) -> None:
        by_the_paper = float(six_p_t(parameters, 1)) * report.tokens_per_s
        report = replace(report, flops_6pt_per_s=by_the_paper, mfu=report.flops_per_s / most.flops_per_s)
        log.note(report)
        on_step(report)

    progress = train(
        model,
        objective,
        budget,
        settings or Settings(learning_rate=LEARNING_RATE),
        on_step=note,
        evaluate=(lambda model: dev.loss(model, DEV_BATCHES)) if dev else None,
        checkpoints=Checkpoints(folder / "checkpoints"),
        resume=resume,
        say=say,
    )
    save_masked(model, folder)
    look = dev.loss(model, 4 * DEV_BATCHES) if dev else None
    return PretrainingResult(
        folder=folder,
        size=model.config.model_type,
        parameters=parameters,
        steps=progress.step,
        seconds=progress.seconds,
        tokens=progress.tokens,
        flops=progress.flops,
        flops_6pt=six_p_t(parameters, progress.tokens),
        train_loss=progress.loss,
        dev_loss=look.mean if look else None,
        dev_loss_by_kind=look.by_kind if look else {},
        mfu=progress.flops / progress.seconds / most.flops_per_s,
        mfu_against=most.name,
    )


def encoder_to_teach(encoder: Path, tokenizer: Tokenizer, seed: int = 0, text_N: NDArray[np.uint16] | None = None) -> Any:
    """As `load_masked`.

    Raises:
        PretrainingError: `encoder` holds no such encoder, or `tokenizer` is not its own.
    """
    try:
        known = encoders.read_config(encoder).vocab_size
        if tokenizer.vocab_size > known:
            raise ValueError(f"the tokenizer has {tokenizer.vocab_size} ids, the encoder {known}; give the encoder's own")
        return load_masked(encoder, seed, text_N)
    except ValueError as error:
        raise PretrainingError(str(error)) from error


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

    Raises:
        CheckpointError: the disk does not take it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    names = _own_names(model)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items() if name in names}
    try:
        save_file(weights, folder / encoders.WEIGHTS, metadata={"format": "pt"})
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the trained weights could not be written to {folder}; free disk space, then --resume") from error


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
