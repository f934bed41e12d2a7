"""Where a context answers a question by their words alone: what can be known without a model, and a floor for one."""

import math
import re
from collections import Counter
from dataclasses import dataclass

from pretrain.tasks.question_kinds import answer_in, bare
from pretrain.text import Span, sentences

STEM_CHARACTERS = 5
"""Of a word, by which it is known again: "effusion" in "effusions", "dilated" in "dilatation"."""
OF_ITS_KIND = 0.15
"""What a sentence gains that has what such a question asks for, such as a number; between two that say as much it decides."""


@dataclass(frozen=True)
class Match:
    """A sentence of a context, and how much of a question it says."""

    sentence: Span
    share: float
    """0 to 1: of the question's words, each weighed by how rare it is in this context; 1 where it says all of them."""
    answer: Span
    """The part of the sentence that answers a question of this kind."""
    is_of_its_kind: bool
    """Whether the sentence has such a part."""

    @property
    def score(self) -> float:
        """The share, and `OF_ITS_KIND` on top."""
        return self.share + OF_ITS_KIND * self.is_of_its_kind


def matches(question: str, context: str) -> list[Match]:
    """Every sentence of a context with the share of the question that it says.

    A word's weight is its inverse document frequency among the context's sentences, so a word that none of them has weighs
    most: what is asked for and not named at all is not answered. Words of grammar and of asking do not count.
    """
    spans = sentences(context)
    stems = [frozenset(_stems(context[start:end])) for start, end in spans]
    asked = frozenset(_stems(question))
    found = Counter(stem for one in stems for stem in one & asked)
    weight = {stem: math.log((len(spans) + 1) / (found[stem] + 0.5)) for stem in sorted(asked)}
    total = sum(weight.values())

    def is_asked(word: str) -> bool:
        return not asked.isdisjoint(_stems(word))

    return [
        Match(
            span,
            sum(weight[stem] for stem in sorted(one & asked)) / total if total else 0.0,
            *answer_in(question, context, span, is_asked),
        )
        for span, one in zip(spans, stems, strict=True)
    ]


def best_sentence(question: str, context: str) -> Match | None:
    """The first of the sentences that say most of the question, all of it the answer; None where there is no sentence."""
    best = max(matches(question, context), key=lambda match: match.share, default=None)
    return Match(best.sentence, best.share, bare(context, best.sentence), True) if best else None


def best_phrase(question: str, context: str) -> Match | None:
    """The part that answers of the first of the sentences with the highest score; None where there is no sentence."""
    return max(matches(question, context), key=lambda match: match.score, default=None)


def _words(table: str) -> frozenset[str]:
    return frozenset(table.split())


_GRAMMAR = _words("""
    a an and any are as at be been but by can could did do does evidence for found from given had has have he her his how if in is
    it its large big like many much no not noted of on or over patient present seen she should show shown shows size so state than
    that the their then there these they this to under used was we were what when where which who whom whose why will with would
    you kind done before after during
""")


def _stems(text: str) -> list[str]:
    return [word[:STEM_CHARACTERS] for word in re.findall(r"[^\W_]{2,}", text.lower()) if word not in _GRAMMAR]
