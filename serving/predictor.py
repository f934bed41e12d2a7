"""Texts -> windows of tokens -> batches -> an engine -> tagged spans, or the answer to a question."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pretrain.bundle import BundleError, ModelBundle
from pretrain.tasks import clip, radqa
from pretrain.tasks.base import Question, TaggedSpan
from pretrain.tokenizer import Tokenizer
from serving.artifact import TOKENS_PER_BATCH
from serving.engine import INPUTS, OUTPUT, Engine

LENGTHS = 8
"""Of windows; each is padded to a multiple of it, but not beyond the model's own."""


@dataclass(frozen=True)
class Tagged:
    """What a model says about one text."""

    n_sentences: int
    """How many sentences it looked at."""
    spans: list[TaggedSpan] = field(repr=False)
    """In the order of the text."""


class Tagger:
    """Marks the sentences of a discharge summary that ask for follow-up (CLIP). Safe to call from one thread at a time."""

    def __init__(self, bundle: ModelBundle, engine: Engine, tokens_per_batch: int = TOKENS_PER_BATCH) -> None:
        """Read what turns texts into tensors and back.

        Args:
            bundle: the one that `engine` was compiled from.
            engine: in this process, or Triton's.
            tokens_per_batch: positions of a batch, padding to the longest window included; a longer window goes alone.
        Raises:
            BundleError: the bundle is for another task.
        """
        _require(bundle, "clip", "tagging")
        self._tokenizer = Tokenizer.load(bundle.tokenizer)
        self._judge = bundle.judge
        self._window_tokens = bundle.manifest.window_tokens
        self._engine = engine
        self._tokens_per_batch = tokens_per_batch

    def tag(self, texts: Sequence[str]) -> list[Tagged]:
        """The findings of each text; the windows of all of them share batches.

        Raises:
            EngineError: the engine did not answer.
        """
        notes = [clip.encode(text, self._tokenizer, self._window_tokens) for text in texts]
        logits = clip.predict(self._run, notes, self._tokens_per_batch)
        return [
            Tagged(len(note.sentences), self._judge.spans(logits_SL, text, note.sentences))
            for text, note, logits_SL in zip(texts, notes, logits, strict=True)
        ]

    def is_sure(self, score: float) -> bool:
        """Whether what scores so was right nine times in ten."""
        return self._judge.sure_from is not None and score >= self._judge.sure_from

    def _run(self, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64]) -> NDArray[np.float32]:
        return _logits(self._engine, input_ids_BT, attention_mask_BT, self._window_tokens)


class Reader:
    """Finds where a report answers a question (RadQA), or that it does not. Safe to call from one thread at a time."""

    def __init__(self, bundle: ModelBundle, engine: Engine, tokens_per_batch: int = TOKENS_PER_BATCH) -> None:
        """Read what turns questions and reports into tensors and back; arguments and errors as `Tagger` has them."""
        _require(bundle, "radqa", "answering")
        self._tokenizer = Tokenizer.load(bundle.tokenizer)
        self._manifest = bundle.manifest
        self._engine = engine
        self._tokens_per_batch = tokens_per_batch

    def answer(self, question: str, report: str) -> radqa.Answer:
        """Where the report answers; a span of None where it does not, with the score of what came nearest.

        Raises:
            EngineError: the engine did not answer.
        """
        [said] = self.answers([question], report)
        return said

    def answers(self, questions: Sequence[str], report: str) -> list[radqa.Answer]:
        """As `answer`, to each of the questions; their windows share batches."""
        return radqa.answer(
            self._run,
            self._tokenizer,
            [Question("", question, report, (), "") for question in questions],
            self._manifest.no_answer_cutoff,
            cuts_by_kind=self._manifest.cuts_by_kind,
            window_tokens=self._manifest.window_tokens,
            stride_tokens=radqa.stride_of(self._manifest.window_tokens),
            batch_tokens=self._tokens_per_batch,
        )

    def confidence(self, said: radqa.Answer) -> float:
        """In what was said, an answer or that there is none: 0.5 at the cut-off between the two, towards 1 away from it.

        The logistic function of the score's distance from the cut-off. It is not calibrated: `is_sure` says what was measured.
        """
        distance = abs(said.score - self._manifest.no_answer_cutoff)
        return 1 / (1 + math.exp(-min(distance, 100.0)))

    def is_sure(self, score: float) -> bool:
        """As `Tagger` has it."""
        return self._manifest.sure_from is not None and score >= self._manifest.sure_from

    def _run(self, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64]) -> NDArray[np.float32]:
        return _logits(self._engine, input_ids_BT, attention_mask_BT, self._manifest.window_tokens)


def _require(bundle: ModelBundle, task: str, work: str) -> None:
    if bundle.manifest.task != task:
        raise BundleError(f"{bundle.manifest.identity} is a model for {bundle.manifest.task}; {work} needs one for {task}")


def _logits(
    engine: Engine, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64], longest: int
) -> NDArray[np.float32]:
    """What the engine says of some windows. It is asked few lengths: a new one costs OpenVINO a quarter of a note's time."""
    tokens = input_ids_BT.shape[1]
    padding = max(0, min(-(-tokens // LENGTHS) * LENGTHS, longest) - tokens)
    asked = {
        name: np.pad(array_BT, ((0, 0), (0, padding)))
        for name, array_BT in zip(INPUTS, (input_ids_BT, attention_mask_BT), strict=True)
    }
    return engine.run(asked)[OUTPUT][:, :tokens]
