"""From an encoder and labelled notes to a tagger with cut-offs.

Every note is cut into windows once, a batch takes whole windows up to a token budget, and the loss is the mean over sentences
of the binary cross-entropy of all labels. Now and then the dev notes are looked at, and the weights with the best dev micro-F1
are kept.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, linear

from pretrain.devices import computes_bf16, use_all_cores
from pretrain.evaluation import evaluate
from pretrain.finetuning.learning import Examples, Finetuned, Look, as_run, learn, new_model
from pretrain.judging import Judge, best_cutoff, plain, tune_cutoffs
from pretrain.labelling import evidence
from pretrain.models.heads import TokenTagger, pool
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget, StepReport

LARGEST_POSITIVE_WEIGHT = 8.0

EPOCHS = 20
LEAST_STEPS = 600
"""Few notes give few steps a pass; stopping early for that is what makes finetuning on small data fail (Mosbach et al. 2021)."""
TAUGHT_WINDOW = 256
"""Positions of a window while learning. At the bedside windows may be longer: attention then costs more and sees more."""
HEAD_PENALTY = 50.0
"""Of the head's weights while the encoder is as it is, in sentences: so many weigh as much as weights of 1."""


@dataclass(frozen=True)
class FinetunedTagger(Finetuned):
    """A tagger, and what its logits are worth. A look's score is the micro-F1 at the best single cut-off for all labels."""

    judge: Judge
    """With cut-offs tuned on the dev notes; 0.5 without any."""


def finetune_clip(
    train: Sequence[LabelledNote],
    dev: Sequence[LabelledNote],
    tokenizer: Tokenizer,
    *,
    size: str = "small",
    encoder: Path | None = None,
    window_tokens: int = clip.WINDOW_TOKENS,
    batch_tokens: int = 1024,
    learning_rate: float = 2e-2,
    epochs: int | None = None,
    budget: Budget | None = None,
    rules: bool = False,
    seed: int = 0,
    on_step: Callable[[StepReport], None] = lambda report: None,
) -> FinetunedTagger:
    """Teach an encoder which sentences ask for follow-up.

    Without seconds in the budget the same seed gives the same weights.

    Args:
        train: notes to learn from.
        dev: notes of other patients, to choose weights and cut-offs with. Without any, the last weights and 0.5 are taken.
        tokenizer: the encoder's.
        size: of the encoder that starts from random weights; unused with `encoder`.
        encoder: folder of a pretrained T5 or BERT-like encoder; None for a T5's random weights ("without pretraining").
        window_tokens: positions of a window where the tagger is used, its frame included; it learns from shorter ones, of at most
            `TAUGHT_WINDOW`.
        batch_tokens: positions of a batch, padding included.
        learning_rate: the highest one, relative to the size of each tensor as `pretrain.trainer` takes it. A BERT-like
            encoder's own is `PACE_OF_BERT` times that.
        epochs: at most so many passes; by default 20, or as many as make `LEAST_STEPS`.
        budget: ends it earlier; the learning rate falls along with it.
        rules: add the evidence of the follow-up rules to the logits, so that only what they do not know is left to learn.
        seed: of initial weights, dropout and order.
        on_step: told of every step.
    Raises:
        DataError: no training note has a sentence with tokens.
        Diverged: the loss is no number any more.
        ValueError: `encoder` holds no such encoder, one of another tokenizer, or one that sees no such window.
    """
    use_all_cores()
    pieces = [piece for note in train for piece in _pieces(note, tokenizer, min(window_tokens, TAUGHT_WINDOW), rules)]
    if not pieces:
        raise clip.DataError(f"the {len(train)} notes to learn from hold no sentence; label at least one note with text")
    dev_set = _DevSet(dev, tokenizer, window_tokens, rules)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = new_model(encoder, size, len(clip.LABELS), tokenizer, window_tokens)
        objective = FollowUp(pieces, batch_tokens, seed, model.config)
        objective.fit_head(model)
        steps_an_epoch = len(objective.epoch(0))
        steps = steps_an_epoch * (epochs or max(EPOCHS, math.ceil(LEAST_STEPS / steps_an_epoch)))
        learned = learn(model, objective, steps, budget, learning_rate, dev_set.look if dev else None, on_step)
    judge = plain(tune_cutoffs(dev_set.truth_SL, clip.scores(dev_set.logits(model))), rules)
    metrics = evaluate(as_run(model), tokenizer, judge, dev, window_tokens) if dev else {}
    return FinetunedTagger(model=model, judge=judge, dev_metrics=metrics, **vars(learned))


@dataclass(frozen=True)
class _Piece:
    """The least that a batch can take: windows that share no sentence with others, nearly always one."""

    windows: tuple[NDArray[np.int64], ...] = field(repr=False)
    owners: tuple[NDArray[np.int64], ...] = field(repr=False)
    """Counting the piece's own sentences from 0."""
    truth: NDArray[np.bool_]
    """(S, L)."""
    evidence: NDArray[np.float32]
    """(S, L), what is added to the logits: of rules, or nothing."""


def _pieces(note: LabelledNote, tokenizer: Tokenizer, window_tokens: int, rules: bool = False) -> Iterator[_Piece]:
    encoded = clip.encode(note.text, tokenizer, window_tokens, note.sentences)
    truth_SL = clip.truth(note)
    evidence_SL = _evidence(note, rules)
    own = [set(owner_T[owner_T >= 0].tolist()) for owner_T in encoded.owners]
    start = 0
    for stop in range(1, len(own) + 1):
        if stop < len(own) and own[stop - 1] & own[stop]:
            continue
        sentences = np.array(sorted(set[int]().union(*own[start:stop])), np.int64)
        owners = [np.where(owner_T >= 0, np.searchsorted(sentences, owner_T), -1) for owner_T in encoded.owners[start:stop]]
        if len(sentences):
            yield _Piece(encoded.windows[start:stop], tuple(owners), truth_SL[sentences], evidence_SL[sentences])
        start = stop


def _evidence(note: LabelledNote, rules: bool) -> NDArray[np.float32]:
    return evidence(note.text, note.sentences) if rules else np.zeros((len(note.sentences), len(clip.LABELS)), np.float32)


class FollowUp(Examples[_Piece]):
    """What the labelled sentences of pieces teach."""

    def loss(self, model: torch.nn.Module, batch: Sequence[_Piece]) -> Tensor:
        """Mean binary cross-entropy over the batch's sentences and labels, labelled ones weighted up."""
        device = next(model.parameters()).device
        input_ids, attention_mask, owner_BT, truth_SL, evidence_SL = (one.to(device) for one in _join(batch))
        logits_SL = pool(model(input_ids, attention_mask), owner_BT, len(truth_SL)) + evidence_SL
        return binary_cross_entropy_with_logits(logits_SL, truth_SL, pos_weight=self._positive_weights.to(device))

    def fit_head(self, model: TokenTagger) -> None:
        """Give the head the weights that do best while the encoder is as it is.

        A head of random weights would send the encoder through the first passes of a few notes in directions that mean nothing:
        what it knows would be lost. Source: Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution".
        """
        hidden_SD, truth_SL, evidence_SL = self._read(model)
        scale = hidden_SD.square().mean().sqrt()
        hidden_SD = hidden_SD / scale
        # What a model says that has seen nothing: how likely each label is, as the loss weights them.
        likely_L = (truth_SL.sum(0) + 0.5) / (len(truth_SL) + 1)
        weight_L = self._positive_weights.to(truth_SL.device)
        bias_L = (likely_L.logit() + weight_L.log()).requires_grad_()
        weight_LD = torch.zeros(len(bias_L), hidden_SD.shape[1], device=hidden_SD.device, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight_LD, bias_L], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> float:
            optimizer.zero_grad()
            logits_SL = linear(hidden_SD, weight_LD, bias_L) + evidence_SL
            error = binary_cross_entropy_with_logits(logits_SL, truth_SL, pos_weight=weight_L)
            total = error + HEAD_PENALTY / len(truth_SL) * weight_LD.square().sum(1).mean()
            total.backward()  # type: ignore[no-untyped-call]
            return total.item()

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            model.head.weight.copy_(weight_LD / scale)
            model.head.bias.copy_(bias_L)

    def _read(self, model: TokenTagger) -> tuple[Tensor, Tensor, Tensor]:
        """What the encoder says of every sentence (S, D), their labels and evidence (S, L), on the model's device."""
        hidden, truth, added = [], [], []
        device, was_training = model.head.weight.device, model.training
        model.eval()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
            for batch in self.epoch(0):
                input_ids, attention_mask, owner_BT, truth_SL, evidence_SL = (one.to(device) for one in _join(batch))
                hidden_BTD = model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
                hidden.append(pool(hidden_BTD.float(), owner_BT, len(truth_SL)))
                truth.append(truth_SL)
                added.append(evidence_SL)
        model.train(was_training)
        return torch.cat(hidden), torch.cat(truth), torch.cat(added)

    def weight(self, batch: Sequence[_Piece]) -> int:
        """Sentences, which the loss is the mean over."""
        return sum(len(piece.truth) for piece in batch)

    @cached_property
    def _positive_weights(self) -> Tensor:
        """How much more a labelled sentence counts than one without, per label.

        The root of the imbalance, bounded: in full it would let the few labelled sentences of a rare label drown all others.
        None beside rules: they say where to look, and their evidence is worth what it is only where every sentence counts as one.
        """
        if any(piece.evidence.any() for piece in self.examples):
            return torch.ones(len(clip.LABELS))
        truth_SL = np.concatenate([piece.truth for piece in self.examples])
        positives_L = truth_SL.sum(0)
        imbalance_L = (len(truth_SL) - positives_L) / np.maximum(positives_L, 1)
        return torch.from_numpy(np.clip(np.sqrt(imbalance_L), 1.0, LARGEST_POSITIVE_WEIGHT).astype(np.float32))


def _join(batch: Sequence[_Piece]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Ids and mask (B, T), whose every position is, counting the batch's sentences (B, T), their labels and evidence (S, L)."""
    input_ids, attention_mask = clip.pad([window for piece in batch for window in piece.windows])
    owner_BT = np.full(input_ids.shape, -1, np.int64)
    row = sentences = 0
    for piece in batch:
        for owner_T in piece.owners:
            owner_BT[row, : len(owner_T)] = np.where(owner_T >= 0, owner_T + sentences, -1)
            row += 1
        sentences += len(piece.truth)
    truth_SL = np.concatenate([piece.truth for piece in batch]).astype(np.float32)
    evidence_SL = np.concatenate([piece.evidence for piece in batch])
    ids, mask, owner, truth, added = map(torch.from_numpy, (input_ids, attention_mask, owner_BT, truth_SL, evidence_SL))
    return ids, mask, owner, truth, added


class _DevSet:
    """Dev notes, encoded once."""

    def __init__(self, notes: Sequence[LabelledNote], tokenizer: Tokenizer, window_tokens: int, rules: bool) -> None:
        self._encoded = [clip.encode(note.text, tokenizer, window_tokens, note.sentences) for note in notes]
        self.truth_SL = np.concatenate([np.zeros((0, len(clip.LABELS)), bool), *map(clip.truth, notes)])
        none = np.zeros((0, len(clip.LABELS)), np.float32)
        self._evidence_SL = np.concatenate([none, *(_evidence(note, rules) for note in notes)])

    def logits(self, model: TokenTagger) -> NDArray[np.float32]:
        """(S, L) of all their sentences, evidence included."""
        none = np.zeros((0, len(clip.LABELS)), np.float32)
        said_SL = np.concatenate([none, *clip.predict(as_run(model), self._encoded)])
        return np.asarray(said_SL + self._evidence_SL, np.float32)

    def look(self, model: TokenTagger) -> Look:
        """Mean binary cross-entropy over sentences and labels, and micro-F1 at the best single cut-off for all labels."""
        logits_SL, truth_SL = self.logits(model), self.truth_SL
        loss = binary_cross_entropy_with_logits(torch.from_numpy(logits_SL), torch.from_numpy(truth_SL).float()).item()
        _, f1 = best_cutoff(truth_SL.ravel(), clip.scores(logits_SL).ravel())
        return Look(loss, f1)
