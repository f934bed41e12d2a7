"""What a radiology report is asked: a few questions that fit any, more by study, and what its order was for."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from integrations.records import Note

MOST_CHARACTERS = 200
"""Of an indication that is asked as it stands: a longer one is a story, in which nobody can say what the question is."""

Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class QuestionsConfig(BaseModel):
    """`[questions]`: what radiology reports are asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    always: list[Question] = ["Is there an acute abnormality?", "Is any follow-up imaging recommended?"]
    """Asked of every report."""
    by_study: dict[str, list[Question]] = Field(default_factory=dict)
    """Asked as well, by code of the study (OBR-4, LOINC or local), of the document (OBX-3, TXA-2) or of the section (OBR-24)."""
    ask_indication: bool = True
    """Whether a report is asked what its order was for."""


def questions_of(note: Note, config: QuestionsConfig) -> list[str]:
    """What `note` is asked, each question once: what its order was for first, then its study's, then everyone's."""
    asked = [question] if config.ask_indication and (question := from_indication(note.indication)) else []
    for code in dict.fromkeys((*note.codes, note.document_type)):
        asked += config.by_study.get(code, ())
    return list(dict.fromkeys((*asked, *config.always)))


def from_indication(indication: str) -> str:
    """The question that an order's indication puts; empty where it puts none.

    Written out as a question of words that a reader of questions passes over (is there, what is found for), so that what is
    looked for in the report are the clinician's own words.
    """
    words = " ".join(indication.split())
    if found := _QUESTION.search(words):
        return found[0].strip()
    if found := _CUE.search(words) or _DOUBT.search(words):
        return f"Is there {_within(found[1].strip())}?"
    words = words.rstrip(" .,;:")
    return f"What is found for {_within(words)}?" if words and len(words) <= MOST_CHARACTERS else ""


def without_indication(report: str) -> str:
    """A report with its own indication blanked out, character for character, so that no answer is what was asked.

    The sentence that says all words of "Is there pneumonia?" best is "Indication: rule out pneumonia". Only what ends before a
    heading of findings or impression is blanked: where the end cannot be seen, nothing is, lest a finding went with it.
    """
    results = max((found.start() for found in _RESULTS.finditer(report)), default=0)
    kept, at = [], 0
    while heading := _INDICATION.search(report, at, results):
        end = _END.search(report, heading.end(), results)
        stop = end.start() if end else results
        kept += [report[at : heading.start()], re.sub(r"\S", " ", report[heading.start() : stop])]
        at = stop
    return "".join((*kept, report[at:]))


def _within(words: str) -> str:
    """With a small first letter, unless the word is spelled in capitals."""
    return words[0].lower() + words[1:] if words[1:2].islower() else words


def _alternatives(table: str) -> str:
    return "|".join(sorted((line.strip() for line in table.strip().splitlines()), key=len, reverse=True))


_QUESTION = re.compile(
    r"(?:^|(?<=[.;:!?] ))(?:is|are|was|were|does|do|did|has|have|what|where|which|how|why|any|can|could)\b[^.;?]{2,200}\?",
    re.IGNORECASE,
)
_CUES = _alternatives(r"""
    r/o
    rule out
    ruling out
    (?:re-?)?eval(?:uat(?:e|ion))? for
    assess(?:ment)? for
    look(?:ing)? for
    check for
    concern(?:ed|ing)? for
    suspicious for
    suspicion (?:of|for)
    suspect(?:ed)?
    question of
    query
""")
_CUE = re.compile(rf"(?:\b(?:{_CUES})\b|(?:^|(?<=\s))\?)\s*:?\s*([^.;?\s][^.;?]{{1,200}})", re.IGNORECASE)
_DOUBT = re.compile(r"(?:^|(?<=[.;,:] ))([^.;,:?\s][^.;,:?]{1,100})\?")
"""Words and a question mark behind them: "pneumonia?"."""
_ASKED_FOR = _alternatives("""
    indications?
    clinical indications?
    clinical history
    clinical information
    clinical question
    history
    reason for (?:the |this )?(?:exam|examination|study|test|order|request|referral)
""")
_OTHERS = _alternatives("""
    technique
    protocol
    procedure
    comparisons?
    prior studies
    exam
    examination
    study
""")
_OF_RESULTS = _alternatives("""
    findings?
    impressions?
    conclusions?
    interpretation
    opinion
    summary
    (?:final )?report
    description
    results?
""")
_UNDERLINED = r"[ \t]*(?::|\n[ \t]*[=_~-]{3,}[ \t]*$|$)"
"""What makes words at the start of a line a heading."""
_INDICATION = re.compile(rf"^[ \t]*(?:{_ASKED_FOR}){_UNDERLINED}\s*", re.MULTILINE | re.IGNORECASE)
_RESULTS = re.compile(rf"^[ \t]*(?:{_OF_RESULTS}){_UNDERLINED}|\b(?:{_OF_RESULTS}):", re.MULTILINE | re.IGNORECASE)
_END = re.compile(
    rf"^[ \t]*(?i:{_OTHERS}|{_OF_RESULTS}){_UNDERLINED}|\b(?i:{_OTHERS}|{_OF_RESULTS}):"
    r"|^[ \t]*[A-Z][A-Za-z /&-]{2,40}:|^[ \t]*[_=*-]{4,}|^[ \t]*$",
    re.MULTILINE,
)
