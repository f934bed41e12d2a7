"""BERT's objective, to go on with another's encoder on the hospital's own text: words are masked, and the model guesses them.

A folder with an encoder -> batches of masked windows -> `pretrain.trainer` -> a folder with the same encoder, taught, in the
layout it came in. Whole words are masked (Cui et al. 2021), anew in every epoch (RoBERTa, Liu et al. 2019).

Shape suffixes: B = windows, T = tokens of a window, N = tokens of a text, M = masked tokens of a batch, V = vocabulary.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pretrain.batching import IGNORED, WIDTH_STEP, Cursor
from pretrain.checkpoints import CheckpointError, Checkpoints
from pretrain.devices import best_device, computes_bf16, use_all_cores
from pretrain.models import encoders
from pretrain.models.families import attention
from pretrain.models.flops import six_p_t
from pretrain.objective import WINDOW, hashed
from pretrain.pretraining import BATCH_TOKENS, DEV_BATCHES, PretrainingError, PretrainingResult, _History
from pretrain.shards import Shard
from pretrain.span_corruption import rng
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget, Settings, StepReport, train

MASKED = 0.15
"""Share of a text's tokens that is to be guessed. Of these 80 % become the mask, 10 % another token, 10 % stay (BERT)."""
LEARNING_RATE = 2e-3
"""Relative to each tensor's size. A tenth of what a new model takes: what the encoder knows is to be kept."""


def continue_masked(
    train_shard: Shard,
    dev_shard: Shard | None,
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
) -> PretrainingResult:
    """Go on teaching a BERT-like encoder to guess masked words.

    Args:
        train_shard: to learn from, tokenized by `tokenizer`.
        dev_shard: of other patients; None without any.
        tokenizer: the encoder's own.
        encoder: folder of a BERT, RoBERTa or ModernBERT, with its output for masked tokens or without: then that begins fresh.
        folder: where everything goes; made if need be. `TokenTagger.from_pretrained` reads it.
        budget: when to stop, earlier runs included.
        on_step: told of every step.
        resume: go on where an interrupted run in `folder` stopped; with another text, encoder or seed that is refused.
        seed: of order, noise and a fresh output.
        batch_tokens: positions of one step; `BATCH_TOKENS` of the device where None.
        settings: learning rate and the like; `LEARNING_RATE` where None.
    Raises:
        PretrainingError: no document to learn from.
        ValueError: `encoder` holds no such encoder, or one with fewer ids than the tokenizer.
        TokenizerError: the tokenizer has no mask.
        Interrupted, Diverged, CheckpointError: see `pretrain.trainer.train`.
    """
    use_all_cores()
    if not len(train_shard):
        raise PretrainingError("no document holds a token to learn from; give more text")
    device = best_device()
    batch_tokens = batch_tokens or BATCH_TOKENS[device.type]
    model = load_masked(encoder, seed).to(device)
    model.set_attn_implementation(attention(device.type))
    if tokenizer.vocab_size > (known := encoders.vocabulary_of(model)):
        raise ValueError(f"the tokenizer has {tokenizer.vocab_size} ids, the encoder {known}; give the encoder's own")
    begin = _sha256(encoder / encoders.WEIGHTS)
    objective = MaskedLanguage(train_shard, tokenizer, model.config, batch_tokens, seed, begin)
    dev: list[MaskedBatch] = []
    if dev_shard is not None and len(dev_shard):
        dev = MaskedLanguage(dev_shard, tokenizer, model.config, batch_tokens, 0).first(4 * DEV_BATCHES)
    folder.mkdir(parents=True, exist_ok=True)
    log = _History(folder / "history.jsonl", resume)

    def note(report: StepReport) -> None:
        log.note(report)
        on_step(report)

    progress = train(
        model,
        objective,
        budget,
        settings or Settings(learning_rate=LEARNING_RATE),
        on_step=note,
        evaluate=(lambda model: mean_loss(model, dev[:DEV_BATCHES])) if dev else None,
        checkpoints=Checkpoints(folder / "checkpoints"),
        resume=resume,
    )
    save_masked(model, folder)
    parameters = sum(parameter.numel() for parameter in model.parameters())
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
        dev_loss=mean_loss(model, dev) if dev else None,
    )


def load_masked(folder: Path, seed: int = 0) -> Any:
    """The encoder in `folder` with its output for masked tokens, or a fresh one where it has none; in float32, without dropout.

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
    return model


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

    def __init__(self, shard: Shard, tokenizer: Tokenizer, config: Any, batch_tokens: int, seed: int, begin: str = "") -> None:
        self._shard, self._tokenizer, self._config = shard, tokenizer, config
        self._batch_tokens, self._seed = batch_tokens, seed
        window = min(WINDOW, encoders.longest_window(config) or WINDOW)
        self._noise = WordMasking(tokenizer)
        self._windows_W3 = _windows(np.diff(shard.offsets), window - tokenizer.frame_tokens)
        lengths_W = self._windows_W3[:, 2] - self._windows_W3[:, 1] + tokenizer.frame_tokens
        self._widths_W = np.minimum(-(-lengths_W // WIDTH_STEP) * WIDTH_STEP, window)
        # One epoch's order is kept at a time; it is drawn again when the cursor comes back to it.
        self._order = lru_cache(maxsize=1)(self._drawn_order)
        self.fingerprint = hashed([shard.sha256, config.to_json_string(), str(batch_tokens), str(seed), begin])

    def take(self, cursor: Cursor) -> tuple[MaskedBatch, Cursor]:
        """The batch at a cursor, and the cursor after it."""
        order = self._order(cursor.epoch)
        batch = self._batch(order[cursor.position], cursor.epoch)
        last = cursor.position + 1 == len(order)
        return batch, Cursor(cursor.epoch + 1) if last else Cursor(cursor.epoch, cursor.position + 1)

    def first(self, count: int) -> list[MaskedBatch]:
        """At most `count` batches of the first epoch."""
        return [self._batch(windows, 0) for windows in islice(self._order(0), count)]

    def weight(self, batch: MaskedBatch) -> int:
        """Masked tokens."""
        return int((batch.labels != IGNORED).sum())

    def loss(self, model: torch.nn.Module, batch: MaskedBatch) -> Tensor:
        """Mean over the batch's masked tokens, in nats."""
        return _total_loss(model, batch) / self.weight(batch)

    def cost(self, batch: MaskedBatch) -> tuple[int, int]:
        """Tokens read, and operations of the pass over them and of the output for the masked ones."""
        lengths_B = batch.attention_mask.sum(axis=1)
        width = self._config.hidden_size
        output = 6 * self.weight(batch) * width * (width + self._config.vocab_size)
        return int(lengths_B.sum()), encoders.encoder_flops(self._config, lengths_B) + output

    def _drawn_order(self, epoch: int) -> list[NDArray[np.int64]]:
        # A stream that no document's noise has: documents and windows count from 0.
        random = rng(self._seed, epoch, 2**32 - 1, 2**32 - 1)
        shuffled = random.permutation(len(self._windows_W3))
        by_width = shuffled[np.argsort(self._widths_W[shuffled], kind="stable")]
        batches = list(_filled(by_width, self._widths_W[by_width], self._batch_tokens))
        return [batches[at] for at in random.permutation(len(batches))]

    def _batch(self, windows: NDArray[np.int64], epoch: int) -> MaskedBatch:
        shape = len(windows), int(self._widths_W[windows].max())
        input_ids, mask, labels = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
        opening = len(self._tokenizer.prefix_ids)
        for row, (document, start, end) in enumerate(self._windows_W3[windows].tolist()):
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


def mean_loss(model: torch.nn.Module, batches: Sequence[MaskedBatch]) -> float:
    """Mean over all masked tokens of the batches, in nats, computed as in training."""
    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
        total = sum(_total_loss(model, batch).item() for batch in batches)
    return total / sum(int((batch.labels != IGNORED).sum()) for batch in batches)


def _total_loss(model: Any, batch: MaskedBatch) -> Tensor:
    ids, mask, labels = (torch.from_numpy(a).to(model.device) for a in (batch.input_ids, batch.attention_mask, batch.labels))
    hidden_BTD = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    # The output is by far the widest product of a small encoder, and is needed at one position of seven.
    is_masked = labels != IGNORED
    logits_MV = encoders.masked_logits(model, hidden_BTD[is_masked])
    return cross_entropy(logits_MV.float(), labels[is_masked], reduction="sum")


def _windows(lengths_D: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
    """Rows of (document, start, end), none longer than `longest`, those of a document of nearly the same length."""
    count_D = -(-lengths_D // longest)
    document_W = np.repeat(np.arange(len(lengths_D)), count_D)
    number_W = np.arange(len(document_W)) - np.repeat(np.cumsum(count_D) - count_D, count_D)
    length_W, count_W = lengths_D[document_W], count_D[document_W]
    return np.stack([document_W, number_W * length_W // count_W, (number_W + 1) * length_W // count_W], axis=1)


def _filled(windows: NDArray[np.int64], widths: NDArray[np.int64], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Runs of windows, sorted by width, of at most `batch_tokens` positions each; a wider window goes alone."""
    begin = 0
    while begin < len(windows):
        ahead = widths[begin : begin + batch_tokens]
        # Sorted, so a batch is as wide as its last row.
        rows = max(1, int(np.searchsorted(np.arange(1, len(ahead) + 1) * ahead, batch_tokens, side="right")))
        yield windows[begin : begin + rows]
        begin += rows


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
