"""A discharge summary as sentences that know where they stand: under which kind of heading, after which sentence, how late."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pretrain.labelling.cues import words
from pretrain.text import Span


class Section(Enum):
    """What sort of things are said under a heading."""

    BACKGROUND = "what was before the stay"
    FINDINGS = "what was seen and done in the stay"
    STORY = "what happened in the stay"
    NEUTRAL = "anything"
    MEDICINES = "what the patient leaves with"
    DAILY_LIFE = "diet and activity"
    FOLLOW_UP = "visits"
    PLAN = "what is to be done"
    AWAITED = "results that are not back yet"


_STORIES = {Section.BACKGROUND, Section.FINDINGS, Section.STORY}
# The first kind whose words a heading holds is its own: "discharge instructions and medications" is a plan.
_KINDS = {
    Section.AWAITED: words("pending|outstanding"),
    # The plan made with an assessment is for the stay, unless a sentence of it says otherwise.
    Section.STORY: words(r"""
        (?:assessment|impression|diagnos[ei]s)(?: and | ?/ ?| & )plan|course|hospital stay|hospitali[sz]ation|summary|resume|
        narrative"""),
    Section.PLAN: words(r"""
        instructions?|plans?|disposition|recommendations?|advice|aftercare|continuing care|patient education|precautions|
        (?:tests?|labs?) ordered|to do"""),
    Section.FOLLOW_UP: words("follow[- ]?ups?|f/u|appointments?|return visits?"),
    Section.BACKGROUND: words(r"""
        reasons?|history|hpi|complaints?|allerg\w+|(?:past|prior|home|admi\w+|current|outpatient|pre-?admission) \w+|
        med\w+ (?:on|at|prior to|upon|before) (?:admission|home|presentation|transfer)|immunizations?|dates?|service"""),
    Section.FINDINGS: words(r"""
        diagnos\w+|findings|impression|labs?|laborator\w+|pathology|data|vitals?|signs|physical|exam|examinations?|consults?|
        consultations?|procedures?|operations?|surgery|x-?rays?|radiology|imaging|studies|cultures?|complications?|problems?|
        axis|goals?|review of systems|general|heent|mental status"""),
    Section.DAILY_LIFE: words(r"diet|activit(?:y|ies)|restrictions?|limitations?|wound care|weight[- ]?bearing"),
    Section.MEDICINES: words(r"medications?|medicines?|meds|prescriptions?|prescribed"),
    Section.NEUTRAL: words(r"conditions?|prognosis|code status|time spent"),
}
_BARE_MEDICINES = words(r"(?:medications?|meds|medicines)\Z")
_LIST_ITEM = re.compile(r"(?:problem )?(?:#?\d{1,2}[.):]|[-*•])\s*", re.IGNORECASE)
_HEADING = re.compile(r"([A-Za-z][A-Za-z0-9 /&,'()#-]{1,70}?) ?:+ ?")
_MOST_WORDS = 5  # of a heading in mixed case; a longer text before a colon is a sentence
_POINTER = words(r"""
    (?:see|refer to)(?: \S+){0,6}? (?:notes?|h&p|charts?|records?|dictat\w+|details?|attached|separate|summary|consultations?|
    hospital course)""")
"""To another document ("please see Dr. X's consultation note"): it asks for nothing."""


@dataclass(frozen=True)
class Sentence:
    """A sentence with its surroundings."""

    body: str
    """Its words, one space apart, without heading and list number."""
    section: Section
    before: str
    """The body of the sentence before it."""
    is_late: bool
    """Does it stand in the second half of the note?"""

    _known: dict[int, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def has(self, cue: re.Pattern[str]) -> bool:
        """Does the cue occur anywhere in it? Searched for once, however many functions ask."""
        key = id(cue)  # cues live for ever, and to hash a pattern takes as long as to search
        if key not in self._known:
            self._known[key] = cue.search(self.body) is not None
        return self._known[key]

    def answers(self, question: Callable[["Sentence"], bool]) -> bool:
        """The answer to a question about it, found once, however many functions ask. Questions live for ever, as cues do."""
        key = id(question)
        if key not in self._known:
            self._known[key] = question(self)
        return self._known[key]


def read(text: str, spans: Sequence[Span]) -> Iterator[Sentence]:
    """The sentences `spans` of a note, each under the last heading above it."""
    section, before = Section.NEUTRAL, ""
    for start, end in spans:
        is_late = 2 * start > len(text)
        heading, body = _split_heading(" ".join(text[start:end].split()))
        if heading:
            section = _section(heading, section, is_late)
        body = _POINTER.sub("", body)
        yield Sentence(body, section, before, is_late)
        before = body


def _split_heading(sentence: str) -> tuple[str, str]:
    """The heading of a sentence, "" where it has none, and the rest, both without a list number."""
    sentence = _unnumbered(sentence)
    if (match := _HEADING.match(sentence)) and _is_heading(match[1]):
        return match[1], _unnumbered(sentence[match.end() :])
    if 3 < len(sentence) < 70 and sentence.isupper() and not any(map(str.isdigit, sentence)):
        return sentence.rstrip("."), ""
    return "", sentence


def _unnumbered(sentence: str) -> str:
    item = _LIST_ITEM.match(sentence)
    return sentence[item.end() :] if item else sentence


def _is_heading(name: str) -> bool:
    """Capitals make a heading; in mixed case only known words do, for other colons are just colons."""
    return name.isupper() or (len(name.split()) <= _MOST_WORDS and any(kind.search(name) for kind in _KINDS.values()))


def _section(heading: str, current: Section, is_late: bool) -> Section:
    if _BARE_MEDICINES.match(heading):  # an early list is what the patient came with
        return Section.MEDICINES if is_late else Section.BACKGROUND
    # An unknown heading, often an organ, goes on with a story but ends a plan.
    unknown = current if current in _STORIES else Section.NEUTRAL
    return next((section for section, kind in _KINDS.items() if kind.search(heading)), unknown)
