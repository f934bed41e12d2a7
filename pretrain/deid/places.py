"""Places: street addresses, boxes, postal codes, towns with their state, and where somebody lives."""

import re
from collections.abc import Iterator, Mapping

from pretrain.deid.identifiers import Identifier, Kind
from pretrain.deid.lexicon import SAFE
from pretrain.deid.names import WORD
from pretrain.deid.vocabulary import word_set

_STATES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|"
    "Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|"
    "New Hampshire|New Jersey|New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island|"
    "South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|West Virginia|Wisconsin|Wyoming"
)
_STATE = rf"(?:[A-Z]{{2}}|{_STATES})\b\.?"
_CAP = r"[A-ZÀ-Þ][\w.'’-]{0,30}"
_TOWN = rf"{_CAP}(?:\s{_CAP}){{0,3}}"
_CODE = r"\d{5}(?:-\d{4})?(?!\w)"
_SUFFIX = (
    r"(?:(?i:Street|St|Avenue|Ave|Av|Road|Rd|Drive|Lane|Ln|Boulevard|Blvd|Court|Ct|Place|Pl|Way|Terrace|Ter|Circle|Cir|Parkway"
    r"|Pkwy|Highway|Hwy|Square|Sq|Trail|Trl|Turnpike|Tpke|Row|Alley|Crescent|Close|Grove|Plaza|Loop|Path|Pike|Heights|Mews)\b\.?"
    # At 11:38 AM. See Dr. Smith.
    r"|Dr\b(?!\.?\s[A-Z])\.?)"
)
_RUN = re.compile(r"\d+")
_STREET = re.compile(
    r"\d{1,6}[A-Za-z]?(?:-\d{1,5})?\s{1,2}"
    rf"(?P<street>(?:[NSEW]{{1,2}}\.?\s)?(?:(?:[A-ZÀ-Þ][\w'’-]{{0,30}}|St\.|\d{{1,3}}(?:st|nd|rd|th))\s){{1,4}}?){_SUFFIX}"
    r"(?:,?\s(?:(?:Apt|Apartment|Unit|Suite|Ste|Floor|Fl|Rm|Room|Bldg)\b\.?\s?#?|#\s?)[\w-]{1,6})?"
    rf"(?:,?\s{_TOWN},?\s{_STATE}(?:,?\s{{1,3}}{_CODE})?|,?\s{_TOWN},?\s{_CODE}|,\s{_CODE}"
    # Swindon SN3 4TB
    rf"|(?:,\s{_TOWN}?)?,?\s[A-Z]{{1,2}}\d[A-Z\d]?\s\d[A-Z]{{2}})?"
)
_FLAT = re.compile(
    r"\d{1,6}\s(?:[NSEW]\.?\s)?[A-ZÀ-Þ][\w'’-]{0,30}(?:\s[A-ZÀ-Þ][\w'’-]{0,30}){0,2},?\s(?:Apt|Apartment|Suite|Ste)\b\.?\s?#?[\w-]{1,6}"
)
_NOT_STREET = word_set("""
    a and by capsule capsules daily days every for in mcg mg ml mouth of on po tab tablet tablets tabs the to twice units
    weeks with
""")
_BOX = re.compile(rf"(?:P\.?\s?O\.?\s(?:Box|BOX)|Post Office Box)\s#?\d{{1,7}}(?:,\s{_TOWN},?\s{_STATE}(?:\s{_CODE})?)?")
_POSTAL_CODE = re.compile(_CODE)
_BEFORE_CODE = re.compile(rf"\b({_TOWN}),?\s{{1,2}}{_STATE},?\s{{1,3}}\Z")
_BEFORE_STATE = re.compile(rf"\b{_TOWN}\Z")
_STATE_NAME = re.compile(rf"(?:{_STATES})\b")
_COMMA_STATE = re.compile(rf",\s(?:{_STATES})\b")
_AT_HOME = re.compile(
    r"\b(?:(?:lives?|living|resides?|residing|born|raised|residence|grew\sup|works?|employed)\s"
    r"(?:alone\s|with\s\w{1,12}\s\w{1,12}\s)?(?:in|at|near|on)|(?:moved|relocated|travell?ed|immigrated|returned|flew)\s(?:here\s)?"
    r"(?:to|from)|(?:F|M|man|woman|male|female|gentleman|lady)\sfrom|resident\sof|native\sof|visiting|visited|trip\sto|hails\sfrom|originally\sfrom)\s\Z"
)
_FIELD_MARK = re.compile(r"[:#]|Room |Rm |Ward ")
_FIELD = re.compile(
    r"(?:\b(?i:address|residence|zip(?:\scode)?|city|town|county|employer|school|(?<!operating\s)room|rm|ward)\s?(?:no\.?|number)?\s?[:#]"
    r"|\b(?:Room|Rm|Ward) )\Z"
)
_VALUE = re.compile(r"[ \t]{0,3}([A-Z\d][\w.'’#-]{1,30}(?:,?[ ](?! )[A-Z\d][\w.'’#-]{0,30}){0,8})")
_AROUND = 80
"""Characters looked at before a mark: no town's name is longer."""


class Places:
    """Finds places in texts."""

    def __init__(self, words: Mapping[str, int]) -> None:
        self._words = words

    def find(self, text: str) -> Iterator[Identifier]:
        """Places in no order; some overlap. States and countries are none."""
        for finder in (self._streets, self._fields, self._towns, self._homes):
            for start, end in finder(text):
                yield Identifier(start, end, Kind.ADDRESS)

    def _streets(self, text: str) -> Iterator[tuple[int, int]]:
        for run in _RUN.finditer(text):
            before = text[max(0, run.start() - 1) : run.start()]
            if not before.isalnum() and before not in (".", "/", "-"):
                street = _STREET.match(text, run.start())
                if street and _NOT_STREET.isdisjoint(street["street"].lower().split()):
                    yield street.span()
                elif flat := _FLAT.match(text, run.start()):
                    yield flat.span()
        for box in _BOX.finditer(text):
            yield box.span()

    def _fields(self, text: str) -> Iterator[tuple[int, int]]:
        for mark in _FIELD_MARK.finditer(text):
            if _FIELD.search(text[max(0, mark.end() - 24) : mark.end()]):
                value = _VALUE.match(text, mark.end())
                if (
                    value
                    and len(value[1].rstrip(".")) > 1
                    and (value[1][:2].isdigit() or (len(mark[0]) == 1 and not self._is_plain(value[1])))
                ):
                    yield value.span(1)

    def _towns(self, text: str) -> Iterator[tuple[int, int]]:
        for code in _POSTAL_CODE.finditer(text):
            base = max(0, code.start() - _AROUND)
            town = _BEFORE_CODE.search(text[base : code.start()])
            if town and not self._is_plain(town[1]):
                yield base + town.start(), code.end()
        for state in _COMMA_STATE.finditer(text):
            base = max(0, state.start() - _AROUND)
            if town := _BEFORE_STATE.search(text[base : state.start()]):
                yield base + town.start(), state.start()

    def _homes(self, text: str) -> Iterator[tuple[int, int]]:
        """Where somebody is said to live, to come from or to go, as far as clinical text does not use the words."""
        last, stop = (0, 0), -1
        for word in WORD.finditer(text):
            start, end = word.span()
            if self._words.get(word[0].lower(), 0) & SAFE or _STATE_NAME.match(text, start):
                continue
            if start - stop == 1 and text[stop] == " ":
                last = (last[0], end)
            elif _AT_HOME.search(text[max(0, start - 44) : start]):
                last = (start, end)
            else:
                continue
            stop = end
            yield last

    def _is_plain(self, value: str) -> bool:
        """Whether a value holds neither a number nor a word that clinical text does not use."""
        words = (word.strip(".,;'’#").lower() for word in value.split())
        return not any(map(str.isdigit, value)) and all(self._words.get(word, 0) & SAFE for word in words)
