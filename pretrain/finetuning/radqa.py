"""From an encoder and questions about reports to a reader with a cut-off.

Every report is cut into windows behind its question, a window is taught the first and last token of the answer, or position 0
where it holds none, and the loss is the mean over windows of the cross-entropy of both. What the words of the question say by
themselves (`radqa.hints`) is added to the logits while it learns as when it answers, so that it learns only the rest. Now
and then the dev questions are looked at, and the weights with the best dev F1 are kept.

Source: Devlin et al. 2019 (BERT), section 4.3; of several annotated spans any will do (Clark and Gardner 2018).
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from pretrain.budget import Budget
from pretrain.devices import best_device, computes_bf16, use_all_cores
from pretrain.finetuning.learning import PACE_OF_BERT, Examples, Finetuned, Look, as_run, learn, new_model, summed
from pretrain.models.heads import TokenTagger
from pretrain.tasks import radqa
from pretrain.tasks.clip import DataError, pad
from pretrain.tasks.radqa import EncodedQuestion, Question
from pretrain.text import Span
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import StepReport

CHANNELS = 2
"""Start and end."""
EPOCHS = 3
LEAST_STEPS = 100
"""Few questions give few steps a pass; stopping early for that makes finetuning on small data fail (Mosbach et al. 2021)."""
HEAD_WINDOWS = 512
"""At most so many windows fit the head while the encoder is as it is; as many again change little."""
HEAD_PENALTY = 50.0
"""Of the head's weights then, in windows: so many weigh as much as weights of 1."""
OUT = -1e9
"""The logit of a position that no answer can begin or end at."""


@dataclass(frozen=True)
class FinetunedReader(Finetuned):
    """A reader, and from which score on its answer is shown."""

    no_answer_cutoff: float
    """As `radqa.decode` takes it, tuned on the dev questions; 0 without any."""
    cuts_by_kind: bool
    """As `radqa.answer` takes it: whether that is better on the dev questions, or there are none."""


def finetune_radqa(
    train: Sequence[Question],
    dev: Sequence[Question],
    tokenizer: Tokenizer,
    *,
    size: str = "small",
    encoder: Path | None = None,
    start: FinetunedReader | None = None,
    window_tokens: int = radqa.WINDOW_TOKENS,
    stride_tokens: int = radqa.STRIDE_TOKENS,
    batch_tokens: int = 1024,
    learning_rate: float = 2e-2,
    epochs: int | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    on_step: Callable[[StepReport], None] = lambda report: None,
) -> FinetunedReader:
    """Teach an encoder where a report answers a question, and that it may not.

    Where few questions are labelled, teach it first with those that `pretrain.labelling.questions` makes, and `start` from there.
    Without seconds in the budget the same seed gives the same weights.

    Args:
        train: questions to learn from.
        dev: questions about other reports, to choose weights and the cut-off with. Without any, the last weights and 0 are taken.
        tokenizer: the encoder's.
        size: of the encoder that starts from random weights; unused with `encoder` or `start`.
        encoder: folder of a pretrained T5 or BERT-like encoder; None for a T5's random weights ("without pretraining").
        start: a reader to go on from, with its head; it stays as it is. Not together with `encoder`.
        window_tokens: positions of a window, its frame included, while learning and where the reader is used.
        stride_tokens: of the context that a window shares with the one before it.
        batch_tokens: positions of a batch, padding included.
        learning_rate: the highest one, relative to the size of each tensor as `pretrain.trainer` takes it. A BERT-like
            encoder's own is `PACE_OF_BERT` times that.
        epochs: at most so many passes; by default 3, or as many as make `LEAST_STEPS`.
        budget: ends it earlier; the learning rate falls along with it.
        seed: of initial weights, dropout and order.
        on_step: told of every step.
    Raises:
        DataError: no question to learn from has a context with a token.
        Diverged: the loss is no number any more.
        ValueError: windows that `radqa.encode` refuses, `encoder` holds no such encoder, one of another tokenizer, or one that
            sees no such window, or both `encoder` and `start` are given.
    """
    if encoder is not None and start is not None:
        raise ValueError("both an encoder and a reader to start from; give one of them")
    use_all_cores()
    pieces = [piece for question in train for piece in _pieces(question, tokenizer, window_tokens, stride_tokens)]
    if not pieces:
        raise DataError(f"the {len(train)} questions to learn from have no context to read; label at least one")
    dev_set = _DevSet(dev, tokenizer, window_tokens, stride_tokens)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _copied(start.model) if start else new_model(encoder, size, CHANNELS, tokenizer, window_tokens)
        objective = Reading(pieces, batch_tokens, seed, model.config)
        if start is None:
            objective.fit_head(model)
        steps_an_epoch = len(objective.epoch(0))
        steps = steps_an_epoch * (epochs or max(EPOCHS, math.ceil(LEAST_STEPS / steps_an_epoch)))
        learned = learn(model, objective, steps, budget, learning_rate, dev_set.look if dev else None, on_step)
    cutoff, cuts_by_kind, metrics = dev_set.measure(model) if dev else (0.0, True, {})
    learned = replace(learned, flops=summed(learned.flops, start))
    return FinetunedReader(model=model, dev_metrics=metrics, no_answer_cutoff=cutoff, cuts_by_kind=cuts_by_kind, **vars(learned))


@dataclass(frozen=True)
class _Piece:
    """A window, and where the answer begins and ends in it."""

    windows: tuple[NDArray[np.int64]] = field(repr=False)
    """Its ids (T,)."""
    hints: NDArray[np.float32] = field(repr=False)
    """(T, 2), `OUT` where no answer can begin or end."""
    truth: NDArray[np.bool_] = field(repr=False)
    """(T, 2) starts and ends; position 0 is both where this window holds no whole answer."""


def _pieces(question: Question, tokenizer: Tokenizer, window_tokens: int, stride_tokens: int) -> Iterator[_Piece]:
    """The windows of a question that are worth teaching: those with an answer, and of the others the one most like it.

    The other windows are told from the answer's by their words alone, and there would be three or four of them for each.
    """
    encoded = radqa.encode(question.question, question.context, tokenizer, window_tokens, stride_tokens)
    made = []
    for w, hints_T2 in enumerate(radqa.hints(question.question, question.context, encoded)):
        is_word_T = encoded.starts[w] < encoded.ends[w]
        is_word_T[0] = True
        truth_T2 = _truth(encoded, w, question.answers)
        made.append(_Piece((encoded.windows[w],), np.where(is_word_T[:, None], hints_T2, OUT).astype(np.float32), truth_T2))
    yield from (piece for piece in made if not piece.truth[0].any())
    yield from sorted((piece for piece in made if piece.truth[0].any()), key=lambda piece: -piece.hints.max())[:1]


def _truth(encoded: EncodedQuestion, window: int, answers: Sequence[Span]) -> NDArray[np.bool_]:
    """First and last positions (T, 2) of the answers that stand whole in a window; position 0 where none does."""
    starts_T, ends_T = encoded.starts[window], encoded.ends[window]
    truth_T2 = np.zeros((len(starts_T), 2), bool)
    for start, end in answers:
        inside = np.flatnonzero((starts_T < ends_T) & (ends_T > start) & (starts_T < end) & (starts_T >= 0))
        # A token that holds an answer's first character may begin before it: an answer never begins within a word.
        if len(inside) and starts_T[inside[0]] <= start and ends_T[inside[-1]] >= end:
            truth_T2[inside[0], 0] = truth_T2[inside[-1], 1] = True
    truth_T2[0] = not truth_T2.any()
    return truth_T2


class Reading(Examples[_Piece]):
    """What the windows of questions teach."""

    def loss(self, model: torch.nn.Module, batch: Sequence[_Piece]) -> Tensor:
        """Mean over windows of the cross-entropy of starts and of ends."""
        device = next(model.parameters()).device
        input_ids, attention_mask, hints_BT2, truth_BT2 = (one.to(device) for one in _join(batch))
        return _cross_entropy(model(input_ids, attention_mask) + hints_BT2, truth_BT2)

    def weight(self, batch: Sequence[_Piece]) -> int:
        """Windows, which the loss is the mean over."""
        return len(batch)

    def fit_head(self, model: TokenTagger) -> None:
        """Give the head the weights that do best while the encoder is as it is, as `finetuning.clip` does and why."""
        hidden_ND, row_N, hints_N2, truth_N2 = self._read(model)
        scale = hidden_ND.square().mean().sqrt()
        hidden_ND = hidden_ND / scale
        windows = int(row_N[-1]) + 1
        # A bias is the same for all positions of a window, so that it changes nothing.
        weight_2D = torch.zeros(CHANNELS, hidden_ND.shape[1], device=hidden_ND.device, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight_2D], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> float:
            optimizer.zero_grad()
            logits_N2 = linear(hidden_ND, weight_2D) + hints_N2
            error = (_log_sums(logits_N2, row_N, windows) - _log_sums(logits_N2 + _out(truth_N2), row_N, windows)).mean()
            total = error + HEAD_PENALTY / windows * weight_2D.square().sum(1).mean()
            total.backward()  # type: ignore[no-untyped-call]
            return total.item()

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            model.head.weight.copy_(weight_2D / scale)
            model.head.bias.zero_()

    def _read(self, model: TokenTagger) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of every position an answer can begin at: its hidden state (N, D), window (N,), hints (N, 2) and truth (N, 2)."""
        parts: list[tuple[Tensor, ...]] = []
        device, was_training = model.head.weight.device, model.training
        model.eval()
        windows = 0
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
            for batch in self.epoch(0):
                input_ids, attention_mask, hints_BT2, truth_BT2 = (one.to(device) for one in _join(batch))
                hidden_BTD = model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
                inside_BT = hints_BT2[:, :, 0] > OUT
                row_N = inside_BT.nonzero()[:, 0] + windows
                parts.append((hidden_BTD.float()[inside_BT], row_N, hints_BT2[inside_BT], truth_BT2[inside_BT]))
                windows += len(batch)
                if windows >= HEAD_WINDOWS:
                    break
        model.train(was_training)
        hidden_ND, row_N, hints_N2, truth_N2 = (torch.cat(one) for one in zip(*parts, strict=True))
        return hidden_ND, row_N, hints_N2, truth_N2


def _cross_entropy(logits_BT2: Tensor, truth_BT2: Tensor) -> Tensor:
    """Of a start and an end that is any of the true ones; mean over windows and both."""
    return (logits_BT2.logsumexp(1) - (logits_BT2 + _out(truth_BT2)).logsumexp(1)).mean()


def _out(truth: Tensor) -> Tensor:
    return torch.where(truth, 0.0, OUT)


def _log_sums(logits_N2: Tensor, row_N: Tensor, windows: int) -> Tensor:
    """`logsumexp` over the positions of each window (W, 2)."""
    index_N2 = row_N[:, None].expand(-1, CHANNELS)
    most_W2 = logits_N2.new_full((windows, CHANNELS), OUT).scatter_reduce(0, index_N2, logits_N2.detach(), "amax")
    sums_W2 = logits_N2.new_zeros(windows, CHANNELS).index_add(0, row_N, (logits_N2 - most_W2[row_N]).exp())
    return sums_W2.log() + most_W2


def _join(batch: Sequence[_Piece]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids and mask (B, T), hints and truth (B, T, 2)."""
    input_ids, attention_mask = pad([piece.windows[0] for piece in batch])
    hints_BT2 = np.full((*input_ids.shape, CHANNELS), OUT, np.float32)
    truth_BT2 = np.zeros((*input_ids.shape, CHANNELS), bool)
    for row, piece in enumerate(batch):
        hints_BT2[row, : len(piece.hints)] = piece.hints
        truth_BT2[row, : len(piece.truth)] = piece.truth
    return torch.from_numpy(input_ids), torch.from_numpy(attention_mask), torch.from_numpy(hints_BT2), torch.from_numpy(truth_BT2)


def _copied(start: TokenTagger) -> TokenTagger:
    """A reader to be changed, on the device it is to learn on, with the pace that `new_model` gives it."""
    model = copy.deepcopy(start).to(best_device())
    if model.config.model_type != "t5":
        for parameter in model.encoder.parameters():
            parameter.pace = PACE_OF_BERT
    return model


class _DevSet:
    """Dev questions, cut into windows as the training questions are."""

    def __init__(self, questions: Sequence[Question], tokenizer: Tokenizer, window_tokens: int, stride_tokens: int) -> None:
        self._questions, self._tokenizer = questions, tokenizer
        self._windows = {"window_tokens": window_tokens, "stride_tokens": stride_tokens}
        self._pieces = [piece for one in questions for piece in _pieces(one, tokenizer, window_tokens, stride_tokens)]

    def _said(self, model: TokenTagger) -> tuple[float, float, bool, list[str]]:
        """F1, the cut-off and the way to trim that give the best one, and what is answered so."""
        found = radqa.answer(as_run(model), self._tokenizer, self._questions, -math.inf, cuts_by_kind=False, **self._windows)
        ways = []
        # Of equals the rules: they do not depend on what few questions taught.
        for cuts_by_kind in (True, False):
            answers = [self._trimmed(question, one) for question, one in self._pairs(found)] if cuts_by_kind else found
            cutoff = radqa.best_no_answer_cutoff(self._questions, answers)
            said = [one.text(question.context) if one.score > cutoff else "" for question, one in self._pairs(answers)]
            points = [radqa.exact_and_f1(question, text)[1] for question, text in zip(self._questions, said, strict=True)]
            ways.append((float(np.mean(points)), cutoff, cuts_by_kind, said))
        return max(ways, key=lambda way: way[0])

    def _pairs(self, answers: Sequence[radqa.Answer]) -> Iterator[tuple[Question, radqa.Answer]]:
        return zip(self._questions, answers, strict=True)

    @staticmethod
    def _trimmed(question: Question, said: radqa.Answer) -> radqa.Answer:
        return radqa.cut_by_kind(question.question, question.context, said)

    def measure(self, model: TokenTagger) -> tuple[float, bool, dict[str, Any]]:
        """The cut-off and the way to trim with the best F1, and `radqa.score` with them."""
        _, cutoff, cuts_by_kind, said = self._said(model)
        return cutoff, cuts_by_kind, radqa.score(self._questions, said)

    def look(self, model: TokenTagger) -> Look:
        """Mean cross-entropy over windows, and F1 at the best cut-off."""
        return Look(self._loss(model), self._said(model)[0])

    def _loss(self, model: TokenTagger) -> float:
        if not self._pieces:
            return 0.0
        total = 0.0
        device, was_training = model.head.weight.device, model.training
        model.eval()
        with torch.inference_mode():
            for at in range(0, len(self._pieces), 16):
                batch = self._pieces[at : at + 16]
                input_ids, attention_mask, hints_BT2, truth_BT2 = (one.to(device) for one in _join(batch))
                error = _cross_entropy(model(input_ids, attention_mask) + hints_BT2, truth_BT2)
                total += error.item() * len(batch)
        model.train(was_training)
        return total / len(self._pieces)
