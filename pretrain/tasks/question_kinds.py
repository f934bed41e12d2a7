"""Which part of a sentence answers a question of its kind: a size the number, "where" the place, yes or no the whole clause.

Rules of English alone. They were written with 23 of the 45 shared gold reports in view and measured on the other 22.
"""

import re
from collections.abc import Callable

from pretrain.text import Span

Asked = Callable[[str], bool]
"""Is this word of the sentence one that the question has?"""


def answer_in(question: str, text: str, sentence: Span, is_asked: Asked) -> tuple[Span, bool]:
    """The stretch of a sentence that would answer, and whether the sentence has what the kind of question asks for.

    Args:
        question: what is asked.
        text: that the sentence is of.
        sentence: characters of it; the answer lies within, without heading, list number and closing mark.
        is_asked: whether a word is one of the question's.
    """
    clause = bare(text, sentence)
    for kind, find in _KINDS:
        if kind.search(question):
            found = find(text, clause, is_asked)
            return found or clause, found is not None
    found = _left_over(text, clause, is_asked)
    return found or clause, found is not None


def bare(text: str, sentence: Span) -> Span:
    """A sentence without heading, list number and closing mark."""
    start, end = sentence
    opening = _OPENING.match(text, start, end)
    if opening and opening.end() < end:
        start = opening.end()
    while end - start > 1 and (text[end - 1] in ".;:," or text[end - 1].isspace()):
        end -= 1
    return Span(start, end)


_OPENING = re.compile(r"(?:[A-Z][A-Z ,/&()-]{2,40}:\s*)?(?:\(?\d{1,2}[.)]\s+)?")
_WORD = re.compile(r"[^\W_]+")
_NUMBER = r"(?:approximately |about )?\d+(?:[.,/]\d+)*(?:(?: ?x ?| to | ?- ?)\d+(?:\.\d+)?)*"
_UNIT = (
    r"(?: ?(?:%|(?:percent|mm ?hg|cm/s(?:ec)?|m/s(?:ec)?|beats per minute|bpm|cm|mm|ml|cc|mci|mg|mcg|degrees|weeks?|days?|"
    r"months?|years?|minutes?|seconds?|grams?|pounds?|ounces?|o'clock)\b))"
)
_MEASURED = re.compile(rf"(?<![\w./:+-]){_NUMBER}(?:{_UNIT})+", re.IGNORECASE)
_VALUE = re.compile(rf"(?<![\w./:+-]){_NUMBER}(?![\w:])(?:{_UNIT})*", re.IGNORECASE)
_DEGREE = re.compile(
    r"\b(?:very )?(?:trace|minimal|mild|moderate|severe|marked|small|large|tiny|extensive|slight|high[- ]grade|low[- ]grade|"
    r"significant|critical|borderline)(?:ly)?(?:[ -]to[ -](?:mild|moderate|severe|large)(?:ly)?)?\b",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\b(?:(?:approximately |about )?(?:\d+(?:-\d+)?|one|two|three|four|five|six|seven|eight|nine|ten|twelve)(?: to \w+)?[ -]"
    r"(?:days?|weeks?|months?|years?|minutes?|hours?)|annual(?:ly)?|yearly|immediately)\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"(?:,\s*)?\b(?:in|within|at|along|involving|over|throughout|near|adjacent to|located|overlying|on|from)\s+(?:the\s+)?",
    re.IGNORECASE,
)
_END_OF_PLACE = re.compile(r"[,.;]|\b(?:measuring|which|that|is|are|was|were|with|and)\b", re.IGNORECASE)
_BECAUSE = re.compile(r",?\s*\b(?:because(?: of)?|due to|secondary to|related to|as|since|for|to)\s+", re.IGNORECASE)
_ADVISED = re.compile(
    r"\b(?:is|are|was|were|should be|could be|may be|can be|would be)(?: \w+)? "
    r"(?:recommended|advised|suggested|warranted|indicated|considered|performed|obtained|helpful|scheduled)\b",
    re.IGNORECASE,
)
_ADVISES = re.compile(r"\b(?:recommend|advise|suggest|consider)(?:s|ed)?\s+(?:an?\s+|the\s+)?", re.IGNORECASE)
_DENIAL = re.compile(r"\b(?:no|not|without|negative for)\b", re.IGNORECASE)
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "is are was were be been the a an of in on at to for with by from and or has have had that this which there it as",
    )
)


def _asked_words(text: str, clause: Span, is_asked: Asked) -> list[Span]:
    return [Span(*word.span()) for word in _WORD.finditer(text, *clause) if is_asked(word.group())]


def _nearest(*patterns: re.Pattern[str]) -> Callable[[str, Span, Asked], Span | None]:
    """What the first pattern finds that finds anything, nearest behind a word of the question, or else before one."""

    def find(text: str, clause: Span, is_asked: Asked) -> Span | None:
        words = _asked_words(text, clause, is_asked)
        for pattern in patterns:
            found = [Span(*match.span()) for match in pattern.finditer(text, *clause)]
            if found:
                return min(found, key=lambda span: min((_distance(word, span) for word in words), default=0.0))
        return None

    return find


def _distance(word: Span, span: Span) -> float:
    """In characters; a value stands behind what it is of more often than before."""
    if word.end <= span.start:
        return float(span.start - word.end)
    return 6 + 1.5 * (word.start - span.end) if span.end <= word.start else 1e3


def _whole(text: str, clause: Span, is_asked: Asked) -> Span | None:
    """The clause that affirms or denies it: where a denial stands far behind the beginning, from there on."""
    words = _asked_words(text, clause, is_asked)
    denial = next((match for match in _DENIAL.finditer(text, *clause)), None)
    if denial and words and denial.start() - clause.start > 30 and all(word.start > denial.start() for word in words[-1:]):
        return Span(denial.start(), clause.end)
    return clause if words else None


def _place(text: str, clause: Span, is_asked: Asked) -> Span | None:
    for match in _PLACE.finditer(text, *clause):
        stop = _END_OF_PLACE.search(text, match.end(), clause.end)
        end = stop.start() if stop else clause.end
        inside = text[match.end() : end]
        if any(not is_asked(word) and word.lower() not in _FUNCTION_WORDS for word in _WORD.findall(inside)):
            return Span(match.end(), match.end() + len(inside.rstrip()))
    return None


def _reason(text: str, clause: Span, is_asked: Asked) -> Span | None:
    match = next((match for match in _BECAUSE.finditer(text, *clause) if match.start() > clause.start), None)
    return Span(match.end(), clause.end) if match and match.end() < clause.end else None


def _advice(text: str, clause: Span, is_asked: Asked) -> Span | None:
    if (match := _ADVISED.search(text, *clause)) and match.start() > clause.start:
        return Span(clause.start, clause.start + len(text[clause.start : match.start()].rstrip()))
    match = _ADVISES.search(text, *clause)
    return Span(match.end(), clause.end) if match and match.end() < clause.end else None


def _clause(text: str, clause: Span, is_asked: Asked) -> Span | None:
    return clause


def _left_over(text: str, clause: Span, is_asked: Asked) -> Span | None:
    """The longest run of words without one of the question's, nor a comma, nor function words at its ends."""
    best: Span | None = None
    most = 0
    run: list[Span] = []
    for word in [*re.finditer(r"\S+", text[clause.start : clause.end]), None]:
        is_break = word is None or any(map(is_asked, _WORD.findall(word.group())))
        if word is not None and not is_break:
            run.append(Span(clause.start + word.start(), clause.start + word.end()))
        if run and (is_break or text[run[-1].end - 1] in ",;:."):
            kept = _without_function_words(text, run)
            weight = sum(end - start > 2 for start, end in kept)
            if weight > most:
                best, most = Span(kept[0].start, kept[-1].end), weight
            run = []
    return bare(text, best) if best else None


def _without_function_words(text: str, run: list[Span]) -> list[Span]:
    while run and text[slice(*run[0])].lower() in _FUNCTION_WORDS:
        run = run[1:]
    while run and text[slice(*run[-1])].lower() in _FUNCTION_WORDS:
        run = run[:-1]
    return run


_QUANTITY = (
    r"size|rate|pressure|fraction|volume|index|ratio|diameter|thickness|length|velocity|gradient|area|measurement|dose|amount|"
    r"weight|age|score|level|percentage|number|width|depth|ef|height|dimensions?|distance|angle|uptake|radius|code"
)
# The first kind that a question is of; what is of none asks for a thing.
_KINDS: tuple[tuple[re.Pattern[str], Callable[[str, Span, Asked], Span | None]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), find)
    for pattern, find in (
        (r"\bhow (?:severe|bad|significant)\b|\bseverity\b|\bdegree of\b|\bto what (?:degree|extent)\b", _nearest(_DEGREE)),
        (r"^\s*when\b|\bhow (?:soon|often|long ago)\b", _nearest(_TIME)),
        (r"\bhow (?:large|big|long|thick|wide|much|many|high|fast|old|far|deep|tall)\b", _nearest(_MEASURED, _VALUE)),
        (rf"\b(?:what|which) (?:is|was|are|were)?(?: the)? ?(?:[\w'-]+ ){{0,6}}(?:{_QUANTITY})\b", _nearest(_MEASURED, _VALUE)),
        (r"^\s*where\b|\b(?:at|in) (?:what|which) (?:location|level|site)\b", _place),
        (r"^\s*why\b|\breason\b|\bpurpose\b|\bcause\b", _reason),
        (r"\b(?:recommended|advised|suggested|additional|further|next)\b", _advice),
        (r"^\s*(?:is|are|was|were|does|do|did|has|have|any|can|could|should|will)\b", _whole),
        (r"\b(?:state|condition|appearance|status) of\b|^\s*how (?:is|are|was|were|does|do|did)\b|\bdescri", _whole),
        (r"\b(?:overall|diagnos\w+|impression|conclusion|summary|final|interpretation)\b", _clause),
    )
)
