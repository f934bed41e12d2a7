"""The paper's T5: every task as text in, text out, finetuned with its recipe and read back into the task's own answers.

Items (pairs, questions, labelled notes) -> `Example`s of token ids -> `finetune` -> `generate` -> `Task.read` -> `Task.score`.
Where this differs from the authors' scripts, a comment says so and why: what they did wrong would be measured as the model's.
Source: Lehman et al. 2023, section on finetuning, and its repository elehman16/do-we-still-need-clinical-lms.

Shape suffixes: B = examples of a batch, T = tokens of an input, U = tokens of a target, V = vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.devices import best_device, computes_bf16, use_all_cores
from pretrain.models.families import load_t5
from pretrain.models.flops import encoder_decoder_flops, six_p_t
from pretrain.tasks import clip, mednli, radqa
from pretrain.tasks.base import LabelledNote, Question, TaggedSpan
from pretrain.tasks.mednli import Pair
from pretrain.text import Span
from pretrain.tokenizer import SENTINELS, Encoding, Tokenizer, TokenizerError

SEEDS = (1, 2, 3)
"""The paper's for T5."""
LEARNING_RATE = 1e-4
"""Of Adafactor, constant."""
DROPOUT = 0.1
"""T5's own while finetuning; `load_t5` takes it out."""
IGNORED = -100

Item = TypeVar("Item")
Said = TypeVar("Said")
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Example:
    """One text in and one text out; several examples may be about the same item."""

    item: int
    """Which of the items it is about."""
    source: NDArray[np.int64] = field(repr=False)
    """(T,), with `</s>`."""
    target: NDArray[np.int64] = field(repr=False)
    """(U,), with `</s>`."""


@dataclass(frozen=True)
class Generated:
    """What the model made of an example."""

    text: str = field(repr=False)
    score: float
    """Mean log-likelihood of its tokens, `</s>` included."""


@dataclass(frozen=True)
class Task(Generic[Item, Said]):
    """How a task is put into text and taken out again, and the paper's recipe for it."""

    name: str
    input_tokens: int
    target_tokens: int
    epochs: int
    batch: int
    """Examples of a step; those that the authors computed at once times those that they accumulated."""
    rows: int
    """Examples computed at once."""
    beams: int
    figure: str
    """Of `score`: by which the best epoch is chosen."""
    examples: Callable[[Sequence[Item], Tokenizer, "Task[Item, Said]", bool], list[Example]]
    """Of items; the last argument says whether they are to be learnt from, where too long ones may be left out."""
    read: Callable[[Item, Sequence[Generated]], Said]
    """What was generated for an item's examples, in their order, as the task's answer."""
    score: Callable[[Sequence[Item], Sequence[Said]], dict[str, Any]]


# MedNLI


def _mednli_examples(pairs: Sequence[Pair], tokenizer: Tokenizer, task: Task[Pair, str | None], learning: bool) -> list[Example]:
    """`mednli premise: ... hypothesis: ...` -> the label."""
    made = []
    for number, pair in enumerate(pairs):
        ids = tokenizer.encode(mednli_text(pair)).ids
        # The authors drop long pairs from the test set too, which then is another one for each tokenizer; here those are cut.
        if learning and len(ids) > task.input_tokens - 2:
            continue
        made.append(_example(number, ids, pair.label, tokenizer, task))
    return made


def mednli_text(pair: Pair) -> str:
    """A pair as the paper's T5 reads it, each text closed by a full stop."""
    return f"mednli premise: {_closed(pair.premise)} hypothesis: {_closed(pair.hypothesis)}"


def _closed(text: str) -> str:
    text = text.strip()
    return text if text.endswith(".") else f"{text}."


def _mednli_read(pair: Pair, generated: Sequence[Generated]) -> str | None:
    said = generated[0].text.strip()
    return said if said in mednli.LABELS else None


def score_pairs(pairs: Sequence[Pair], said: Sequence[str | None]) -> dict[str, Any]:
    """`mednli.score`, with `n_unread`: an answer that is none of the labels counts as wrong.

    Accuracy is exact. In the tables per label such an answer stands as the label after the gold one, for it must be somewhere.
    """
    wrong = dict(zip(mednli.LABELS, (*mednli.LABELS[1:], mednli.LABELS[0]), strict=True))
    filled = [label or wrong[pair.label] for pair, label in zip(pairs, said, strict=True)]
    return mednli.score(pairs, filled) | {"n_unread": sum(label is None for label in said)}


MEDNLI: Task[Pair, str | None] = Task(
    "mednli",
    input_tokens=256,
    target_tokens=16,
    epochs=15,
    batch=64,
    rows=16,
    beams=3,
    figure="accuracy",
    examples=_mednli_examples,
    read=_mednli_read,
    score=score_pairs,
)


# RadQA

STRIDE_TOKENS = 128
"""How many tokens a chunk of a report shares with the one before it, as in SQuAD's scripts."""


def _radqa_examples(
    questions: Sequence[Question], tokenizer: Tokenizer, task: Task[Question, str], learning: bool
) -> list[Example]:
    """`question: ... context: ...` -> the first annotator's answer, or nothing; a long context in chunks.

    The authors cut training contexts at 1024 tokens and still ask for answers behind the cut, which teaches to invent them; here
    a chunk's target is an answer that lies whole in it. Their test chunks do not overlap, so that an answer may lie in none.
    """
    made = []
    for number, question in enumerate(questions):
        lead = tokenizer.encode(f"question: {question.question.strip()} context:").ids[: task.input_tokens // 2]
        tokens = tokenizer.encode(question.context)
        room = task.input_tokens - tokenizer.frame_tokens - len(lead)
        stride = min(STRIDE_TOKENS, room // 2)
        for at in range(0, max(len(tokens.ids) - stride, 1), room - stride):
            inside = tokens.starts[at : at + room], tokens.ends[at : at + room]
            target = _answer_inside(question, *inside)
            made.append(_example(number, np.concatenate([lead, tokens.ids[at : at + room]]), target, tokenizer, task))
    return made


def _answer_inside(question: Question, starts: NDArray[np.int32], ends: NDArray[np.int32]) -> str:
    """The first answer that lies whole in a chunk of tokens, "" where none does."""
    if not len(starts):
        return ""
    fitting = (answer for answer in question.answers if starts[0] <= answer.start and answer.end <= ends[-1])
    return next((question.context[answer.start : answer.end] for answer in fitting), "")


def _radqa_read(question: Question, generated: Sequence[Generated]) -> str:
    """The likeliest answer that any chunk gives; "" where all say that there is none.

    The authors let the last chunk's answer win, which mostly is that of a chunk without one. A chunk that does not hold the
    answer says nothing about the others, so "" counts only where all agree.
    """
    answers = [one for one in generated if one.text.strip()]
    return max(answers, key=lambda one: one.score).text.strip() if answers else ""


RADQA: Task[Question, str] = Task(
    "radqa",
    input_tokens=1024,
    target_tokens=256,
    epochs=15,
    batch=64,
    rows=4,
    # The scripts name none, which is greedy.
    beams=1,
    figure="f1",
    examples=_radqa_examples,
    read=_radqa_read,
    score=radqa.score,
)


# CLIP

SEPARATOR = ";"
JOINED_BY = ", "


def _clip_examples(
    notes: Sequence[LabelledNote], tokenizer: Tokenizer, task: Task[LabelledNote, list[TaggedSpan]], learning: bool
) -> list[Example]:
    """`{what stands around the sentence} ; {sentence}` -> its labels; an example for every sentence."""
    separator = tokenizer.encode(SEPARATOR).ids
    made = []
    for number, note in enumerate(notes):
        tokens = tokenizer.encode(note.text)
        for span, labels in zip(note.sentences, note.labels, strict=True):
            own = _tokens_of(span, note.text, tokens)
            context, sentence = clip_window(own, len(tokens.ids), task.input_tokens - tokenizer.frame_tokens - len(separator))
            ids = np.concatenate([tokens.ids[context], separator, tokens.ids[sentence]])
            made.append(_example(number, ids, label_text(labels), tokenizer, task))
    return made


def _tokens_of(span: Span, text: str, tokens: Encoding) -> slice:
    first = int(np.searchsorted(tokens.ends, span.start, "right"))
    # The mark of a word's beginning may be a token of its own, which ends where the word begins.
    if first and tokens.ends[first - 1] == span.start and not text[tokens.starts[first - 1] : span.start].strip(" "):
        first -= 1
    return slice(first, max(first, int(np.searchsorted(tokens.starts, span.end))))


def clip_window(own: slice, tokens: int, budget: int) -> tuple[slice, slice]:
    """Which tokens of a note stand before the separator, and which after it: the sentence, there once more and last.

    Where the sentence is near an edge of the note, what is left over on that side is the other's. The authors' scripts then
    begin at a negative token where a note is shorter than the window, which in Python counts from the end: those notes lost
    their context, or all but its last words. Here a window never leaves its note.

    Args:
        own: the sentence's tokens.
        tokens: of the note.
        budget: tokens of both parts together; a sentence that takes more than half of it is cut at its end.
    """
    start, stop = own.start, max(own.start, min(own.stop, own.start + budget // 2))
    length = min(tokens, budget - (stop - start))
    first = start - (length - (stop - start)) // 2
    first = max(0, min(first, tokens - length))
    return slice(first, first + length), slice(start, stop)


def label_text(labels: frozenset[str]) -> str:
    """Labels as the model is to write them: in alphabetical order, so that there is one right text; none is an empty one."""
    return JOINED_BY.join(sorted(labels))


def read_labels(text: str) -> frozenset[str]:
    """The labels in a text that was generated; what is no label is left out."""
    by_name = {label.casefold(): label for label in clip.LABELS}
    parts = (part.strip().casefold() for part in text.split(","))
    return frozenset(by_name[part] for part in parts if part in by_name)


def _clip_read(note: LabelledNote, generated: Sequence[Generated]) -> list[TaggedSpan]:
    return tagged(note.sentences, [read_labels(one.text) for one in generated])


def tagged(sentences: Sequence[Span], labels: Sequence[frozenset[str]]) -> list[TaggedSpan]:
    """Sentences with their labels as `clip.score` wants them; a text has no scores, so each is 1."""
    return [
        TaggedSpan(span.start, span.end, label, 1.0) for span, own in zip(sentences, labels, strict=True) for label in sorted(own)
    ]


CLIP: Task[LabelledNote, list[TaggedSpan]] = Task(
    "clip",
    input_tokens=256,
    target_tokens=96,
    epochs=25,
    batch=64,
    rows=32,
    beams=5,
    figure="macro_f1",
    examples=_clip_examples,
    read=_clip_read,
    score=clip.score,
)

TASKS: dict[str, Task[Any, Any]] = {"mednli": MEDNLI, "radqa": RADQA, "clip": CLIP}


def _example(item: int, source: NDArray[np.integer], target: str, tokenizer: Tokenizer, task: Task[Any, Any]) -> Example:
    source = source[: task.input_tokens - tokenizer.frame_tokens]
    target_ids = tokenizer.encode(target).ids[: task.target_tokens - tokenizer.frame_tokens]
    return Example(item, tokenizer.framed(source), tokenizer.framed(target_ids))


# Learning


@dataclass(frozen=True)
class Finetuned:
    """A T5 that has learnt a task."""

    model: Any
    """A `T5ForConditionalGeneration` in eval mode, with the weights of its best epoch."""
    tokenizer: Tokenizer
    task: Task[Any, Any]
    history: tuple[float, ...]
    """The task's figure on the dev items after every epoch; empty without dev items."""
    best_epoch: int
    """Counted from 1; the last one without dev items."""
    steps: int
    flops: dict[str, float]
    """Spent on training: every product counted, and the paper's 6PT."""

    def predict(self, items: Sequence[Any]) -> list[Any]:
        """What it says about each item."""
        return predict(self.model, self.tokenizer, self.task, items)

    def measure(self, items: Sequence[Any]) -> dict[str, Any]:
        """The task's score on these items."""
        return self.task.score(items, self.predict(items))


def finetune(
    task: Task[Item, Said],
    folder: Path,
    tokenizer: Tokenizer,
    train: Sequence[Item],
    dev: Sequence[Item],
    *,
    seed: int = 1,
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float = LEARNING_RATE,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Finetuned:
    """Teach a T5 a task as the paper did: Adafactor at a constant rate, and the epoch that does best on the dev items.

    The same seed gives the same weights on the same machine.

    Args:
        task: which.
        folder: of the T5, as `load_t5` reads it.
        tokenizer: the T5's own.
        train: what to learn from.
        dev: what to choose the epoch with; without any, the last one is taken.
        seed: of order and dropout.
        epochs: passes; the paper's number by default.
        batch: examples of a step; the paper's number by default.
        learning_rate: constant.
        on_epoch: told of every epoch, counted from 1, and its mean loss.
    Raises:
        ValueError: `folder` holds no T5 or one of another tokenizer, or there is nothing to learn from.
    """
    from transformers.optimization import Adafactor

    use_all_cores()
    examples = task.examples(train, tokenizer, task, True)
    if not examples:
        raise ValueError(f"{task.name}: {len(train)} items give no example to learn from; give at least one that fits")
    order = np.random.default_rng(seed)
    best: dict[str, Tensor] | None = None
    history: list[float] = []
    epochs, size = epochs or task.epochs, batch or task.batch
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = load_t5(folder, best_device().type)
        if tokenizer.vocab_size > (known := model.config.vocab_size):
            raise ValueError(f"the tokenizer has {tokenizer.vocab_size} ids, the model {known}; give the model's own")
        optimizer = Adafactor(model.parameters(), lr=learning_rate, scale_parameter=False, relative_step=False)
        for epoch in range(1, epochs + 1):
            _drop(model, DROPOUT)
            shuffled = [examples[i] for i in order.permutation(len(examples))]
            losses = [_step(model, optimizer, part, task.rows, tokenizer.pad_id) for part in _cut(shuffled, size)]
            on_epoch(epoch, float(np.mean(losses)))
            if dev:
                history.append(float(task.score(dev, predict(model, tokenizer, task, dev))[task.figure]))
                # Of equally good epochs the first is taken, as the authors' `load_best_model_at_end` does.
                if history[-1] > max(history[:-1], default=-1.0):
                    best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(best or model.state_dict())
    model.eval()
    best_epoch = history.index(max(history)) + 1 if history else epochs
    flops = _flops(model, examples, epochs)
    return Finetuned(model, tokenizer, task, tuple(history), best_epoch, epochs * len(losses), flops)


def finetune_seeds(
    task: Task[Item, Said],
    folder: Path,
    tokenizer: Tokenizer,
    train: Sequence[Item],
    dev: Sequence[Item],
    test: Sequence[Item],
    *,
    seeds: Sequence[int] = SEEDS,
    **settings: Any,
) -> list[dict[str, Any]]:
    """The score on the test items of one finetuning per seed, with its `seed`, `best_epoch`, `dev` (by epoch) and `flops`.

    Args:
        settings: those of `finetune`; the other arguments are too.
    """
    results = []
    for seed in seeds:
        learned = finetune(task, folder, tokenizer, train, dev, seed=seed, **settings)
        told = {"seed": seed, "best_epoch": learned.best_epoch, "dev": list(learned.history), "flops": learned.flops}
        results.append(learned.measure(test) | told)
    return results


def _drop(model: nn.Module, share: float) -> None:
    """Turn training mode on, with this share of hidden values and of attention dropped: T5 has one setting for both."""
    from transformers.models.t5.modeling_t5 import T5Attention

    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        elif isinstance(module, T5Attention):
            module.dropout = share


def _step(model: Any, optimizer: Any, examples: Sequence[Example], rows: int, pad: int) -> float:
    """One step on all of the examples, some rows at a time; returns the mean loss of their target tokens.

    The authors mean the means of the parts, in which a token counts more where its neighbours' targets are short.
    """
    tokens = sum(len(example.target) for example in examples)
    total = 0.0
    for part in _cut(examples, rows):
        loss = -_log_likelihood(model, [one.source for one in part], [one.target for one in part], pad).sum() / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total


def _log_likelihood(model: Any, sources: Sequence[NDArray[np.int64]], targets: Sequence[NDArray[np.int64]], pad: int) -> Tensor:
    """Sum over each target's tokens (B,), float32."""
    device = model.device
    input_ids_BT, mask_BT = _padded(sources, pad, device)
    labels_BU, _ = _padded(targets, IGNORED, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
        logits_BUV = model(input_ids=input_ids_BT, attention_mask=mask_BT, labels=labels_BU).logits
    losses_BU = nn.functional.cross_entropy(logits_BUV.float().transpose(1, 2), labels_BU, reduction="none", ignore_index=IGNORED)
    return -losses_BU.sum(1)


def _padded(rows: Sequence[NDArray[np.int64]], filler: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows padded at the end to the longest, and where they are not (B, T)."""
    ids_BT, mask_BT = clip.pad(rows)
    ids_BT = np.where(mask_BT, ids_BT, filler)
    return torch.from_numpy(ids_BT).to(device), torch.from_numpy(mask_BT).to(device)


def _flops(model: Any, examples: Sequence[Example], epochs: int) -> dict[str, float]:
    sources, targets = [len(one.source) for one in examples], [len(one.target) for one in examples]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "finetuning, exact": float(epochs * encoder_decoder_flops(model.config, sources, targets)),
        "finetuning, 6PT": float(epochs * six_p_t(parameters, sum(sources) + sum(targets))),
    }


# Generating


def predict(model: Any, tokenizer: Tokenizer, task: Task[Item, Said], items: Sequence[Item]) -> list[Said]:
    """What a T5 says about each item, read by its task."""
    examples = task.examples(items, tokenizer, task, False)
    generated = generate(model, tokenizer, task, examples)
    own: list[list[Generated]] = [[] for _ in items]
    for example, one in zip(examples, generated, strict=True):
        own[example.item].append(one)
    return [task.read(item, ones) for item, ones in zip(items, own, strict=True)]


def generate(model: Any, tokenizer: Tokenizer, task: Task[Any, Any], examples: Sequence[Example]) -> list[Generated]:
    """A text for every example's source, by beam search without chance; targets are not looked at."""
    was_training = model.training
    model.eval()
    # Sources of like length share a batch, so that little is padded.
    order = sorted(range(len(examples)), key=lambda n: len(examples[n].source))
    made: dict[int, Generated] = {}
    for batch in _cut(order, task.rows):
        sources = [examples[n].source for n in batch]
        targets = search(model, tokenizer, task, sources)
        with torch.inference_mode():
            # Greedy search gives no scores, and beam search other ones, so they are made anew.
            sums_B = _log_likelihood(model, sources, targets, tokenizer.pad_id).tolist()
        for n, target, total in zip(batch, targets, sums_B, strict=True):
            made[n] = Generated(_text(target, tokenizer), total / len(target))
    model.train(was_training)
    return [made[n] for n in range(len(examples))]


def search(
    model: Any, tokenizer: Tokenizer, task: Task[Any, Any], sources: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """The ids (U,) that a T5 in eval mode writes for each source, by beam search without chance, all sources in one batch."""
    input_ids_BT, mask_BT = _padded(sources, tokenizer.pad_id, model.device)
    with torch.inference_mode():
        ids_BU = model.generate(
            input_ids=input_ids_BT,
            attention_mask=mask_BT,
            num_beams=task.beams,
            do_sample=False,
            max_new_tokens=task.target_tokens,
            eos_token_id=tokenizer.eos_id,
            pad_token_id=tokenizer.pad_id,
        )
    # Position 0 is the decoder's start.
    return [_until_end(row, tokenizer) for row in ids_BU[:, 1:].cpu().numpy().astype(np.int64)]


def _cut(things: Sequence[Thing], size: int) -> Iterator[Sequence[Thing]]:
    for at in range(0, len(things), size):
        yield things[at : at + size]


def _until_end(ids_U: NDArray[np.int64], tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Up to and with the first `</s>`; all where it did not come to an end."""
    ends = np.flatnonzero(ids_U == tokenizer.eos_id)
    return ids_U[: ends[0] + 1] if len(ends) else ids_U


def _text(ids_U: NDArray[np.int64], tokenizer: Tokenizer) -> str:
    """As a reader sees it: without what only frames a text, and without sentinels."""
    silent = {tokenizer.pad_id, tokenizer.eos_id}
    with suppress(TokenizerError):  # another's vocabulary may have none
        silent |= {tokenizer.sentinel_id(k) for k in range(SENTINELS)}
    return tokenizer.decode(number for number in ids_U.tolist() if number not in silent)
