"""Places and institutions: street addresses, towns with their state, and hospitals by name."""

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
_CAP = r"[A-ZÀ-Þ][\w.'’-]{0,30}"
_CITY = rf"{_CAP}(?:\s{_CAP}){{0,3}}"
_ZIP = r"\d{5}(?:-\d{4})?(?!\d)"
_SUFFIX = (
    r"(?i:Street|St|Avenue|Ave|Av|Road|Rd|Drive|Lane|Ln|Boulevard|Blvd|Court|Ct|Place|Pl|Way|Terrace|Ter|Circle|Cir|Parkway|Pkwy|"
    r"Highway|Hwy|Square|Sq|Trail|Trl|Turnpike|Tpke|Row|Alley|Crescent|Close|Grove|Plaza|Loop|Path|Pike|Heights|Mews)\b\.?"
    r"|Dr\b(?!\.?\s[A-Z])\.?"
)
_NUMBER = re.compile(r"\d+")
_STREET = re.compile(
    rf"\d{{1,6}}[A-Za-z]?(?:-\d{{1,5}})?\s{{1,2}}(?P<street>(?:[NSEW]{{1,2}}\.?\s)?(?:(?:[A-ZÀ-Þ][\w'’-]{{0,30}}|St\.|\d{{1,3}}(?:st|nd|rd|th))\s){{1,4}}?)(?:{_SUFFIX})"
    rf"(?:,?\s(?:(?:Apt|Apartment|Unit|Suite|Ste|Floor|Fl|Rm|Room|Bldg)\b\.?\s?#?|#\s?)[\w-]{{1,6}})?"
    rf"(?:,?\s{_CITY},?\s(?:[A-Z]{{2}}|{_STATES})\b\.?(?:,?\s{{1,3}}{_ZIP})?|,?\s{_CITY},?\s{_ZIP}|,\s{_ZIP})?"
)
_BOX = re.compile(
    rf"(?:P\.?\s?O\.?\s(?:Box|BOX)|Post Office Box)\s#?\d{{1,7}}(?:,\s{_CITY},?\s(?:[A-Z]{{2}}|{_STATES})(?:\s{_ZIP})?)?"
)
_ZIP_CODE = re.compile(r"\d{5}(?:-\d{4})?(?!\w)")
_BEFORE_ZIP = re.compile(rf"\b({_CITY}),?\s{{1,2}}(?:[A-Z]{{2}}|{_STATES}),?\s{{1,3}}$")
_TOWN = re.compile(_CITY)
_CITY_STATE = re.compile(rf",\s(?:{_STATES})\b")
_LIVES = re.compile(
    r"\b(?:(?:lives?|living|resides?|residing|born|raised|residence|grew\sup|works?|employed)\s(?:alone\s|with\s\w{1,12}\s\w{1,12}\s)?(?:in|at|near|on)"
    r"|resident\sof|(?:moved|relocated|travell?ed|immigrated|returned|flew)\s(?:here\s)?(?:to|from)|native\sof|visiting|visited|trip\sto"
    r"|hails\sfrom|originally\sfrom)\s$"
)
_FIELD = re.compile(
    r"(?:\b(?i:address|residence|zip(?:\scode)?|city|town|county|employer|school|room|rm|ward)\s?(?:no\.?|number)?\s?[:#]"
    r"|\b(?:Room|Rm|Ward) )$"
)
_FIELD_MARK = re.compile(r"[:#]|Room |Rm |Ward ")
_VALUE = re.compile(r"[ \t]{0,3}([A-Z\d][\w.'’#-]{0,30}(?:,?[ ](?! )[A-Z\d][\w.'’#-]{0,30}){0,8})")
_NOT_STREET = word_set("""
    mg ml mcg tablet tablets tab tabs capsule capsules by mouth po of and the in with to for a on every daily twice days
    weeks units
""")

_INSTITUTION = re.compile(
    r"(?:Hospitals?|HOSPITAL|Infirmary|INFIRMARY|Medical\s(?:Center|Centre|Group|Clinic)|MEDICAL\sCENTER|Health\s(?:Center|System|Centre|Care\sCenter)|Healthcare|"
    r"HEALTH\s(?:CENTER|SYSTEM)|Clinic|CLINIC|Cancer\sCent(?:er|re)|Cancer\sInstitute|Nursing\s(?:Home|Center|Facility)|NURSING\sHOME|Rehab(?:ilitation)?\s(?:Center|Hospital|Facility)|"
    r"Hospice|Surgery\sCenter|Imaging\sCenter|University|College|Sanatorium|Manor|Care\sCenter|Institute|Associates|Pharmacy|High\sSchool|School)(?!\w)"
    r"(?!\s(?:COURSE|Course|course|DAY|Day|day|STAY|Stay|STUDY|Admission|ADMISSION|Problem|PROBLEM|Records?|bed|number|visit|follow))"
)
_LEADING = re.compile(rf"(?:(?:St|Mt|Ft|Mr|Dr|ST|MT)\.\s|(?:{_CAP}|of|the|for|and|&|OF|FOR|THE|AND)[ \n]){{1,6}}$")
_OF_PLACE = re.compile(rf"\s(?:of|at|in)\s(?:the\s)?{_CAP}(?:\s{_CAP}){{0,2}}")
_MARKERS = word_set("""
    st st. saint mt mt. mount general memorial county university regional community mercy sacred holy good samaritan baptist
    methodist presbyterian lutheran veterans va providence trinity city state national royal queen king our lady northwest
    northeast southeast southwest deaconess
""")
_GENERIC = word_set("""
    acute psychiatric mental rehabilitation rehab emergency inpatient outpatient outside local day surgical children's
    pediatric animal your his her brief prior another other previous course discharge
""")
_PLAIN = word_set("""
    hospital medical center clinic the of for and & our outside local an a this that at to from in
""")


class Places:
    """Finds places and institutions in texts."""

    def __init__(self, words: Mapping[str, int]) -> None:
        self._words = words

    def find(self, text: str) -> Iterator[Identifier]:
        """Places in no order; some overlap."""
        yield from self._addresses(text)
        yield from self._towns(text)
        for word in _INSTITUTION.finditer(text):
            start = self._institution_start(text, word.start())
            if start is not None:
                yield Identifier(start, word.end(), Kind.HOSPITAL)

    def _addresses(self, text: str) -> Iterator[Identifier]:
        for number in _NUMBER.finditer(text):
            if number.start() and (text[number.start() - 1].isalnum() or text[number.start() - 1] in "./-"):
                continue
            street = _STREET.match(text, number.start())
            if street and not _NOT_STREET.intersection(street["street"].lower().split()):
                yield Identifier(*street.span(), Kind.ADDRESS)
        for box in _BOX.finditer(text):
            yield Identifier(*box.span(), Kind.ADDRESS)
        for mark in _FIELD_MARK.finditer(text):
            if _FIELD.search(text[max(0, mark.end() - 24) : mark.end()]):
                value = _VALUE.match(text, mark.end())
                if value and len(value[1]) > 1 and not self._is_plain(value[1]) and (mark[0] in ":#" or value[1][:2].isdigit()):
                    yield Identifier(*value.span(1), Kind.ADDRESS)

    def _towns(self, text: str) -> Iterator[Identifier]:
        for code in _ZIP_CODE.finditer(text):
            start = max(0, code.start() - 80)
            town = _BEFORE_ZIP.search(text[start : code.start()])
            if town and not self._is_plain(town[1]):
                yield Identifier(start + town.start(), code.end(), Kind.ADDRESS)
        for state in _CITY_STATE.finditer(text):
            start = max(0, state.start() - 60)
            town = re.search(rf"{_CITY}$", text[start : state.start()])
            if town:
                yield Identifier(start + town.start(), state.start(), Kind.ADDRESS)
        for word in WORD.finditer(text):
            # Most capitals open a sentence: the list tells those apart faster than a pattern does.
            if not self._words.get(word[0].lower(), 0) & SAFE and _LIVES.search(text[max(0, word.start() - 44) : word.start()]):
                town = _TOWN.match(text, word.start())
                yield Identifier(
                    word.start(), self._unsafe_end(text, word.start(), town.end() if town else word.end()), Kind.ADDRESS
                )

    def _unsafe_end(self, text: str, start: int, end: int) -> int:
        """Where the words stop that are no words of clinical text."""
        stop = start
        for word in re.finditer(r"\S+", text[start:end]):
            if self._words.get(word[0].lower().strip(".'’"), 0) & SAFE:
                break
            stop = start + word.start() + len(word[0].rstrip("."))
        return stop

    def _is_plain(self, value: str) -> bool:
        """Whether a value holds neither a number nor a word that clinical text does not use."""
        return not any(c.isdigit() for c in value) and all(
            self._words.get(w.strip(".,;'’#").lower(), 0) & SAFE for w in value.split()
        )

    def _institution_start(self, text: str, end: int) -> int | None:
        """Where the name of an institution starts; None for `Pain Clinic` and `the hospital`, which name none."""
        base = max(0, end - 90)
        lead = _LEADING.search(text[base:end])
        if lead is None:
            return None
        words = lead[0].split()
        start = base + lead.start()
        while words and words[0].lower() in _PLAIN | {
            "he",
            "she",
            "patient",
            "transferred",
            "admitted",
            "by",
            "name",
            "facility",
        }:
            start = text.index(words[1], start + len(words[0])) if len(words) > 1 else end
            words = words[1:]
        named = [w for w in words if w.lower() not in _PLAIN and not self._words.get(w.lower().strip("."), 0) & SAFE]
        marked = [w for w in words if w.lower() in _MARKERS]
        big = (
            text[end : end + 8].lower() in ("hospital", "medical ")
            and len(words) > 1
            and not _GENERIC.intersection(w.lower() for w in words)
        )
        return start if named or marked or big else None
