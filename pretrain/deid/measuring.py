"""How much of what is known to be an identifier is found, and how much of what is found is one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from pretrain.deid.identifiers import Identifier


@dataclass(frozen=True)
class Case:
    """A text, the identifiers that are known to stand in it, and those that were found."""

    text: str = field(repr=False)
    expected: Sequence[Identifier]
    found: Sequence[Identifier]


def measure(cases: Iterable[Case]) -> dict[str, dict[str, Any]]:
    """Recall and precision per kind, each as `{share, n, low, high}` with a 95 % Wilson interval; None where n is 0.

    An identifier counts as found when every character of it that is not white space is covered, whatever kind it was taken
    for: nothing of it reaches the model. What was found counts as right when at least half of it is of an identifier.
    """
    tallies: dict[str, list[int]] = {}
    for case in cases:
        truth, cover = _covered(case.text, case.expected), _covered(case.text, case.found)
        for known in case.expected:
            tally = tallies.setdefault(str(known.kind), [0, 0, 0, 0])
            solid = _solid(case.text, known)
            tally[0] += all(cover[i] for i in solid)
            tally[1] += 1
        for one in case.found:
            tally = tallies.setdefault(str(one.kind), [0, 0, 0, 0])
            solid = _solid(case.text, one)
            tally[2] += 2 * sum(truth[i] for i in solid) >= len(solid)
            tally[3] += 1
    return {
        kind: {"recall": wilson(hit, n), "precision": wilson(right, found)}
        for kind, (hit, n, right, found) in sorted(tallies.items())
    }


def wilson(successes: int, n: int) -> Mapping[str, float | int] | None:
    """A share with its 95 % interval; None of nothing.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212.
    """
    if n == 0:
        return None
    z = 1.959964
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {"share": share, "n": n, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}


def _covered(text: str, spans: Iterable[Identifier]) -> bytearray:
    covered = bytearray(len(text))
    for start, end, _ in spans:
        covered[start:end] = b"\1" * (end - start)
    return covered


def _solid(text: str, span: Identifier) -> list[int]:
    return [i for i in range(span.start, span.end) if not text[i].isspace()]
