"""Hospitals and other institutions by name: what a hospital is called, not that it is one."""

import re
from collections.abc import Iterator, Mapping

from pretrain.deid.identifiers import Identifier, Kind
from pretrain.deid.lexicon import SAFE
from pretrain.deid.vocabulary import word_set

_INSTITUTION = re.compile(
    r"(?:Hospitals?|HOSPITAL|Infirmary|INFIRMARY|Medical\s(?:Center|Centre|Group|Clinic)|MEDICAL\sCENTER"
    r"|Health\s(?:Center|System|Centre|Care\sCenter)|HEALTH\s(?:CENTER|SYSTEM)|Healthcare|Clinic|CLINIC|Cancer\s(?:Center|Centre|Institute)"
    r"|Nursing\s(?:Home|Center|Facility)|NURSING\sHOME|Rehab(?:ilitation)?\s(?:Center|Hospital|Facility)|Hospice"
    r"|Surgery\sCenter|Imaging\sCenter|Care\sCenter|University|College|Sanatorium|Manor|Institute|Associates|Pharmacy|High\sSchool|School)(?!\w)"
    # HOSPITAL COURSE is a heading.
    r"(?!\s(?i:course|day|stay|study|admission|problem|records?|bed|number|visit|follow)\b)"
)
_LEAD = re.compile(r"(?:(?:St|Mt|Ft|Mr|Dr|ST|MT)\.\s|(?:[A-ZÀ-Þ][\w.'’-]{0,30}|of|the|for|and|&|OF|FOR|THE|AND)[ \n]){1,6}\Z")
_LEAD_CHARACTERS = 90
_MARKERS = word_set("""
    st st. saint mt mt. mount general memorial county university regional community mercy sacred holy good samaritan baptist
    methodist presbyterian lutheran veterans va providence trinity city state national royal queen king our lady northwest
    northeast southeast southwest deaconess
""")
"""Clinical text uses these words too, but before `Hospital` they are part of its name."""
_KINDS = word_set("""
    acute animal another brief course day discharge emergency her his inpatient local mental other outpatient outside pediatric
    previous prior psychiatric rehab rehabilitation surgical your children's
""")
"""Before `Hospital` these say what sort it is."""
_OPENERS = word_set("""
    a admitted an and at by center clinic facility for from hospital in local medical name of our outside patient she he that the
    this to transferred &
""")


class Institutions:
    """Finds institutions in texts."""

    def __init__(self, words: Mapping[str, int]) -> None:
        self._words = words

    def find(self, text: str) -> Iterator[Identifier]:
        """Institutions in order: `Samplewood Community Hospital`, but neither `the hospital` nor `Pain Clinic`."""
        for word in _INSTITUTION.finditer(text):
            base = max(0, word.start() - _LEAD_CHARACTERS)
            if lead := _LEAD.search(text[base : word.start()]):
                words = list(re.finditer(r"\S+", lead[0]))
                while words and words[0][0].lower() in _OPENERS:
                    words.pop(0)
                if words and self._is_name([w[0].lower() for w in words], word[0]):
                    yield Identifier(base + lead.start() + words[0].start(), word.end(), Kind.HOSPITAL)

    def _is_name(self, lead: list[str], institution: str) -> bool:
        if not _MARKERS.isdisjoint(lead):
            return True
        if any(w not in _OPENERS and not self._words.get(w.strip("."), 0) & SAFE for w in lead):
            return True
        # Two words before a hospital are its name, though each be a word of clinical text; a clinic may be called by an organ.
        return len(lead) > 1 and institution.startswith(("Hospital", "Medical", "Institute")) and _KINDS.isdisjoint(lead)
