"""RadQA: where a radiology report answers a question, or that it does not.

A question goes `read` (or comes from a hospital) -> `encode` into windows of question and report -> a model's start and end
logits, raised by `hints` where a sentence says the question's words -> `decode` into an answer, which `cut_by_kind` may trim
-> `score`; `answer` joins them. Training, evaluation and the bedside run this same file, so they cannot drift apart; it needs
no torch. An answer is always a span of the report, so that a clinician can check it.

Shape suffixes: T = tokens of a window, N = questions, G = reports, R = resamples, W = tokens of an answer.
Source of the task: Soni et al. 2022, "RadQA: A Question Answering Dataset to Improve Comprehension of Radiology Reports";
of its metric: Rajpurkar et al. 2018, SQuAD 2.0.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.tasks.base import Question
from pretrain.tasks.clip import Run, pad
from pretrain.tasks.question_match import matches
from pretrain.tasks.squad_json import read
from pretrain.text import Span
from pretrain.tokenizer import Encoding, Tokenizer

__all__ = [
    "NO_SPAN_SCORE",
    "Answer",
    "EncodedQuestion",
    "Question",
    "answer",
    "best_no_answer_cutoff",
    "cut_by_kind",
    "decode",
    "encode",
    "exact_and_f1",
    "hints",
    "read",
    "score",
    "stride_of",
]

NO_SPAN_SCORE = -1e4
"""Of a context without a token to answer with; finite, so that it can be averaged and written as JSON."""
WINDOW_TOKENS, STRIDE_TOKENS = 128, 48
"""Short windows, several of a report: what a small reader learns of a few questions is how an answer stands in its sentence."""
HINT = 8.0
"""Logits that a sentence gains that says the whole question. Best likelihood on questions made by rule, without a model."""


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as windows of token ids, each framed as its encoder reads a pair of texts.

    A position is the context's where `starts` is not -1. A token of nothing but white space has `starts == ends`, and no
    answer begins or ends there; all others neither begin nor end in white space.
    """

    windows: tuple[NDArray[np.int64], ...] = field(repr=False)
    """One array of ids (T,) per window."""
    starts: tuple[NDArray[np.int64], ...] = field(repr=False)
    """One array (T,) per window: the position's first character in the context, -1 for the question and the frame."""
    ends: tuple[NDArray[np.int64], ...] = field(repr=False)
    """The same for the character after its last one."""


@dataclass(frozen=True)
class Answer:
    """What a model says: where the answer stands, or that there is none."""

    span: Span | None
    """Characters of the context, without white space at either end; None: not answered there."""
    score: float
    """By how much the best span's logits exceed those of "no answer"; `NO_SPAN_SCORE` where there is no span at all."""

    def text(self, context: str) -> str:
        """The answer as it stands in its context, "" where there is none."""
        return context[self.span.start : self.span.end] if self.span else ""


def stride_of(window_tokens: int) -> int:
    """`STRIDE_TOKENS`, or less where a window is small."""
    return min(STRIDE_TOKENS, window_tokens * STRIDE_TOKENS // WINDOW_TOKENS)


def encode(question: str, context: str, tokenizer: Tokenizer, window_tokens: int, stride_tokens: int) -> EncodedQuestion:
    """Put a question before every stretch of its context, `[CLS] question [SEP] context [SEP]` or as a T5 has it.

    Each text is tokenised once, so a token does not depend on how the context is cut. A question that would take more than
    its part is cut at its end: half of a window is always the context's.

    Args:
        question: what is asked.
        context: where the answer is looked for; one without a token gives no window.
        tokenizer: what turns both into ids with character offsets.
        window_tokens: positions of a window, the frame included; at least twice the frame and a token.
        stride_tokens: how many tokens of the context a window shares with the one before it; an answer of at most one more
            is whole in one of them.
    Raises:
        ValueError: a window too small for a question, or a stride that does not fit into half of it.
    """
    frame = tokenizer.frame_tokens + len(tokenizer.between_ids)
    least_context = -(-window_tokens // 2)
    most_question = window_tokens - least_context - frame
    if most_question < 1:
        raise ValueError(f"{window_tokens=} holds no question beside its frame and the context; use at least {2 * frame + 2}")
    if not 0 <= stride_tokens < least_context:
        raise ValueError(f"{stride_tokens=} does not fit into half a window of {window_tokens}; use 0 to {least_context - 1}")
    question_ids = tokenizer.encode(question).ids[:most_question]
    tokens = tokenizer.encode(context)
    spans_N2 = _trimmed(context, tokens)
    n, room = len(tokens.ids), window_tokens - frame - len(question_ids)
    cuts = [slice(at, at + room) for at in range(0, max(n - stride_tokens, min(n, 1)), room - stride_tokens)]
    around = len(tokenizer.prefix_ids) + len(question_ids) + len(tokenizer.between_ids), len(tokenizer.suffix_ids)
    return EncodedQuestion(
        tuple(tokenizer.framed_pair(question_ids, tokens.ids[cut]) for cut in cuts),
        tuple(np.pad(spans_N2[cut, 0], around, constant_values=-1) for cut in cuts),
        tuple(np.pad(spans_N2[cut, 1], around, constant_values=-1) for cut in cuts),
    )


def hints(question: str, context: str, encoded: EncodedQuestion) -> list[NDArray[np.float32]]:
    """What every window's logits (T, 2) are raised by before `decode`, and while the model learns, so that it learns the rest.

    A position of the context gains up to `HINT`, by the share of the question's words that its sentence says; the question and
    the frame gain nothing, so "no answer" wins where no sentence says much. From the text alone, so the served graph stays
    what it is.

    Args:
        question: what is asked.
        context: where the answer is looked for.
        encoded: both, as `encode` gives them.
    """
    found = matches(question, context)
    begins_S = np.array([match.sentence.start for match in found] or [0])
    shares_S = np.array([match.share for match in found] or [0.0])
    owners = [np.maximum(np.searchsorted(begins_S, starts_T, side="right") - 1, 0) for starts_T in encoded.starts]
    gains = [np.where(s_T >= 0, HINT * shares_S[o_T], 0.0) for s_T, o_T in zip(encoded.starts, owners, strict=True)]
    return [np.repeat(gain_T[:, None], 2, axis=1).astype(np.float32) for gain_T in gains]


def answer(
    run: Run,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    no_answer_cutoff: float,
    *,
    cuts_by_kind: bool = True,
    window_tokens: int = WINDOW_TOKENS,
    stride_tokens: int = STRIDE_TOKENS,
    max_answer_tokens: int = 64,
    batch_tokens: int = 4096,
) -> list[Answer]:
    """What a model says to every question; it sees question and context, never the annotators' answers.

    Args:
        run: a torch module's `as_run`, or an engine: (`input_ids`, `attention_mask`) -> `token_logits` (B, T, 2).
        tokenizer: the model's.
        questions: any number of them.
        no_answer_cutoff: as `decode` takes it; `-math.inf` to tune one with `best_no_answer_cutoff`.
        cuts_by_kind: whether the kind of the question trims what the model has found.
        window_tokens: positions of a window, as the model was taught.
        stride_tokens: of the context that a window shares with the one before it.
        max_answer_tokens: of an answer.
        batch_tokens: at most so many positions in a batch, padding included; a longer window goes alone.
    Raises:
        ValueError: windows that `encode` refuses, or answers that `decode` refuses.
    """
    encoded = [encode(asked.question, asked.context, tokenizer, window_tokens, stride_tokens) for asked in questions]
    logits = _logits(run, encoded, batch_tokens)
    answers = []
    for asked, one, windows in zip(questions, encoded, logits, strict=True):
        raised = [
            logits_T2[: len(hints_T2)] + hints_T2
            for logits_T2, hints_T2 in zip(windows, hints(asked.question, asked.context, one), strict=True)
        ]
        said = decode(one, raised, no_answer_cutoff, max_answer_tokens)
        answers.append(cut_by_kind(asked.question, asked.context, said) if cuts_by_kind else said)
    return answers


def cut_by_kind(question: str, context: str, said: Answer) -> Answer:
    """The part that answers such a question of the first sentence that an answer touches, with the answer's own score.

    Whoever has learnt from few questions finds the sentence better than where in it the answer begins and ends, which follows
    from what is asked: of a size the number, of yes or no the clause.
    """
    if said.span is None:
        return said
    start, end = said.span
    touched = (match for match in matches(question, context) if match.sentence.start < end and start < match.sentence.end)
    match = next(touched, None)
    return Answer(match.answer, said.score) if match else said


def decode(
    encoded: EncodedQuestion,
    window_logits: Sequence[NDArray[np.floating]],
    no_answer_cutoff: float = 0.0,
    max_answer_tokens: int = 64,
) -> Answer:
    """The span with the highest sum of its start and end logits, where it exceeds "no answer" by more than the cut-off.

    "No answer" is position 0 of a window, and of several windows that which says so least: one that does not hold the
    answer says nothing about the others. Of equal spans the first is taken, of those the shortest. Follows
    `postprocess_qa_predictions` of the `transformers` examples, without their limit to the 20 best starts and ends.

    Args:
        encoded: the question.
        window_logits: one array (T', 2) of start and end logits per window, T' >= T: rows beyond the window are padding.
        no_answer_cutoff: `-math.inf` gives the best span whatever its score.
        max_answer_tokens: of an answer, at least 1.
    Raises:
        ValueError: an answer of no token, or not one array per window.
    """
    if max_answer_tokens < 1:
        raise ValueError(f"{max_answer_tokens=} leaves no answer; use at least 1")
    best, span, no_answer = -math.inf, None, math.inf
    for starts_T, ends_T, logits_T2 in zip(encoded.starts, encoded.ends, window_logits, strict=True):
        # Sums in float64: float32 would make equals of spans that are not.
        exact_T2 = np.asarray(logits_T2[: len(starts_T)], np.float64)
        no_answer = min(no_answer, float(exact_T2[0].sum()))
        total, first, last = _best_tokens(starts_T < ends_T, exact_T2, max_answer_tokens)
        if total > best:
            best, span = total, Span(int(starts_T[first]), int(ends_T[last]))
    if span is None:
        return Answer(None, NO_SPAN_SCORE)
    return Answer(span if best - no_answer > no_answer_cutoff else None, best - no_answer)


def exact_and_f1(question: Question, predicted: str) -> tuple[float, float]:
    """Exact match and F1 of one answer, the best over what the annotators gave; "" says that there is none.

    As SQuAD 2.0's own script: words are compared in small letters, without ASCII punctuation and articles; a question
    without answers, or whose answers hold no other word, wants an answer that holds none either.
    """
    gold = [words for start, end in question.answers if (words := _words(question.context[start:end]))] or [[]]
    said = _words(predicted)
    return max(float(words == said) for words in gold), max(_f1(words, said) for words in gold)


def score(questions: Sequence[Question], predicted: Sequence[str], resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Mean exact match and F1 over all questions, those with and those without an answer, as the command line prints it.

    Figures are shares (0 to 1), 0 where there is no such question. `ci95` is a percentile bootstrap over whole reports,
    because questions about one report are not independent.

    Args:
        questions: with the annotators' answers.
        predicted: for each of them what the model answers, "" for no answer.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    Raises:
        ValueError: no questions, or not one answer for each.
    """
    if not questions:
        raise ValueError("no questions to score; give at least one")
    points_N2 = np.array([exact_and_f1(question, text) for question, text in zip(questions, predicted, strict=True)])
    has_answer_N = np.array([bool(question.answers) for question in questions])
    number = {name: g for g, name in enumerate(dict.fromkeys(question.group for question in questions))}
    sums_G3 = np.zeros((len(number), 3))
    np.add.at(sums_G3, [number[question.group] for question in questions], np.column_stack([points_N2, np.ones(len(questions))]))
    rng = np.random.default_rng(seed)
    weights_RG = rng.multinomial(len(number), np.full(len(number), 1 / len(number)), size=resamples)
    drawn_R3 = weights_RG @ sums_G3
    low, high = np.quantile(drawn_R3[:, :2] / drawn_R3[:, 2:], (0.025, 0.975), axis=0)
    em, f1 = _means(points_N2)
    has_em, has_f1 = _means(points_N2[has_answer_N])
    return {
        "task": "radqa",
        "n_questions": len(questions),
        "n_notes": len(number),
        "em": em,
        "f1": f1,
        "has_answer": {"em": has_em, "f1": has_f1, "n": int(has_answer_N.sum())},
        "no_answer": {"accuracy": _means(points_N2[~has_answer_N])[0], "n": int((~has_answer_N).sum())},
        "ci95": {name: [float(low[i]), float(high[i])] for i, name in enumerate(("em", "f1"))},
    }


def best_no_answer_cutoff(questions: Sequence[Question], answers: Sequence[Answer]) -> float:
    """The cut-off on `Answer.score` with the best F1 on these questions, halfway between two scores.

    A logit beyond the lowest or highest score where all, or none, are best answered. Of equally good ones that nearest to 0,
    which is what an untuned model has.

    Args:
        questions: not those that the model is measured on.
        answers: one per question, decoded with `no_answer_cutoff=-math.inf`.
    Raises:
        ValueError: not one answer per question, or answers that a cut-off has already taken away.
    """
    gains = []
    for question, answer in zip(questions, answers, strict=True):
        if answer.span is None and answer.score != NO_SPAN_SCORE:
            raise ValueError("an answer is already taken away by a cut-off; decode with no_answer_cutoff=-math.inf")
        if answer.span is not None:
            said, silent = exact_and_f1(question, answer.text(question.context))[1], exact_and_f1(question, "")[1]
            gains.append((answer.score, said - silent))
    if not gains:
        return 0.0
    scores, gain = np.array(sorted(gains)).T
    cutoffs = np.concatenate([scores[:1] - 1, (scores[:-1] + scores[1:]) / 2, scores[-1:] + 1])
    # What answering all from a score on brings; equal scores cannot be cut apart.
    total = np.append(np.cumsum(gain[::-1])[::-1], 0.0)
    total[1:-1][scores[:-1] == scores[1:]] = -np.inf
    # Sums in another order differ in their last digits.
    best = np.flatnonzero(total >= total.max() - 1e-9)
    return float(cutoffs[best[np.argmin(np.abs(cutoffs[best]))]])


def _logits(run: Run, encoded: Sequence[EncodedQuestion], batch_tokens: int) -> list[list[NDArray[np.float32]]]:
    """Of every window of every question (T', 2), with T' >= T."""
    windows = [(n, w) for n, one in enumerate(encoded) for w in range(len(one.windows))]
    # Windows of like length share a batch, so that little is padded; the order of the answers is restored by (n, w).
    windows.sort(key=lambda at: len(encoded[at[0]].windows[at[1]]))
    answers: dict[tuple[int, int], NDArray[np.float32]] = {}
    batch: list[tuple[int, int]] = []
    for place, (n, w) in enumerate(windows, 1):
        batch.append((n, w))
        following = len(encoded[windows[place][0]].windows[windows[place][1]]) if place < len(windows) else 0
        if not following or (len(batch) + 1) * following > batch_tokens:
            logits_BT2 = run(*pad([encoded[n].windows[w] for n, w in batch]))
            answers.update(zip(batch, logits_BT2, strict=True))
            batch = []
    return [[answers[n, w] for w in range(len(one.windows))] for n, one in enumerate(encoded)]


_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _words(text: str) -> list[str]:
    # Punctuation goes before articles do: "a-1" is one word, "a1".
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _f1(gold: list[str], said: list[str]) -> float:
    if not gold or not said:
        return float(gold == said)
    shared = (Counter(gold) & Counter(said)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def _means(points_N2: NDArray[np.float64]) -> tuple[float, float]:
    """Of exact match and F1; 0 where there is no question."""
    em, f1 = points_N2.sum(0) / max(len(points_N2), 1)
    return float(em), float(f1)


def _best_tokens(is_word_T: NDArray[np.bool_], logits_T2: NDArray[np.float64], most: int) -> tuple[float, int, int]:
    """The highest sum of a start and an end logit, and the first and last token of its span; -inf where there is none."""
    start_T, end_T = np.where(is_word_T[:, None], logits_T2, -np.inf).T
    width = min(most, len(start_T))
    # Row t: the ends that an answer from t can have, t itself first.
    end_TW = np.lib.stride_tricks.sliding_window_view(np.pad(end_T, (0, width - 1), constant_values=-np.inf), width)
    sum_TW = start_T[:, None] + end_TW
    first, more = divmod(int(np.argmax(sum_TW)), width)
    return float(sum_TW[first, more]), first, first + more


def _trimmed(text: str, tokens: Encoding) -> NDArray[np.int64]:
    """Starts and ends (N, 2) of tokens without white space behind; before it the tokenizer leaves none but on blank tokens."""
    spans = zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)
    return np.array([(start, start + len(text[start:end].rstrip())) for start, end in spans], np.int64).reshape(-1, 2)
