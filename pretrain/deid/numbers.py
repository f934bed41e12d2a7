"""Identifiers made of digits, and those with a form of their own: dates, record numbers, phones, e-mails, addresses on the net.

Every rule starts at something rare (a digit, the name of a month, an `@`) and looks a bounded way around it, so that the
time taken is linear in the length of the text, whatever the text.
"""

import re
from collections.abc import Iterator

from pretrain.deid.identifiers import Identifier, Kind

_MONTHS = (
    "Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?"
    "|Dec(?:ember)?"
)
# Three spellings instead of a flag: a search that ignores case cannot skip to the letters that open a month.
_MONTH = rf"(?:{_MONTHS}|{_MONTHS.upper()}|{_MONTHS.lower()})(?![A-Za-z])"
_M, _D = r"(?:1[0-2]|0?[1-9])", r"(?:3[01]|[12]\d|0?[1-9])"
_YEAR = r"(?:19|20|21)\d\d(?!\d)"
_YEAR_AFTER = rf"(?:,?\s{{0,9}}{_YEAR}|,?\s?['’]\d\d(?!\d)|[-/](?:{_YEAR}|\d\d(?!\d)))?"

# Tried where a run of digits starts, the first that fits wins. Longer forms stand before the shorter ones they contain.
_FORMS = re.compile(
    r"(?P<ip_address>\d{1,3}(?:\.\d{1,3}){3}(?![\w.]))"
    r"|(?P<social_security>\d{3}[- ]\d\d[- ]\d{4}(?![\w-]))"
    r"|(?P<date>(?:(?:19|20|21)\d\d(?P<iso>[-/.])"
    rf"{_M}(?P=iso){_D}(?!\d|[-/]\d)"
    rf"|{_M}(?P<mdy>[-/.]){_D}(?P=mdy)(?:{_YEAR}|\d\d)(?![\d/]|-\d|\.\d)"
    rf"|{_D}(?P<dmy>[-/.]){_M}(?P=dmy)(?:{_YEAR}|\d\d)(?![\d/]|-\d|\.\d)"
    rf"|{_D}(?:st|nd|rd|th)?(?:\s?[-/]\s?|\s(?:day\s)?(?:of\s)?)?{_MONTH}\.?{_YEAR_AFTER}"
    rf"|{_M}/{_YEAR}))"
    r"|(?P<phone>(?:1[-. ])?\(?\d{3}\)?(?:[-.]|\s?-\s?|\s{1,2}|(?<=\))|/)\d{3}[-. ]\d{4}(?![\w-])"
    r"|\d{3}-\d{4}(?![\w-]|\.\d)|(?<=\+)\d{1,3}(?:[ .-]?\(?\d{2,5}\)?){2,5}(?!\w)|\d{10}(?!\w))"
    rf"|(?P<partial>{_M}/{_D}(?![\w/%]|\.\d|-\d+/\d+/))"
    r"|(?P<code>\d++(?:(?:[-./][A-Za-z]{0,3}|[A-Za-z]{1,3}-?[A-Za-z]{0,3})\d++){0,7}[A-Za-z]{0,3}(?!\w))"
)
_RUN = re.compile(r"\d+")
_QUANTITY = re.compile(r"[/.]")
_EXTENSION = re.compile(r",?\s{0,2}(?:x|ext\.?|extension)\s{0,2}#?\d{1,6}(?!\w)", re.I)
_PAGED = re.compile(
    r"(?:\bpager|\bbeeper|\bext|\bextension|\bpage|\bpgr|\bphone|\btel|\bfax)\.?\s?(?:no\.?|number|#)?\s?[:#]?\s?\Z", re.I
)
_UNIT = re.compile(
    r"[ ]?(?:%|°|x10|-?(?:mg|mcg|µg|ug|g|gm|grams?|kg|lbs?|pounds?|oz|ml|cc|l|liters?|dl|mm|cm|m|units?|iu|meq|mmol|kcal|cal"
    r"|calories|hz|bpm|mmhg|cells?|copies|colonies|cfu|platelets|k|steps|seconds|sec|minutes|min|hours?|hrs?|days?|weeks?|months?"
    r"|years?|tabs?|tablets?|caps?|capsules?|puffs?|drops?|times|per)(?![a-z])|/(?:mm|ul|µl|ml|hpf|dl|l|mcl)(?![a-z]))",
    re.I,
)

# m/d is a date where it is said to be one, and where no scale of that many points is in use.
_SURE = re.compile(
    r"(?:\b(?:on|since|until|till|through|thru|dated|dob|dos|\w{3,6}day|last\s\w{1,12}|(?:scheduled|ordered|planned|booked|set|arranged)\sfor)"
    r"|\b(?:admitted|discharged|dates?(?:\sof\s\w{1,12})?|performed|born|seen|signed|collected|received|done|taken|drawn)\s?:)[:,.]?\s{0,3}\Z",
    re.I,
)
_ON = re.compile(
    r"(?:\b(?:by|before|after|from|to|and|of|or|due|last|next|starting|beginning|ending|seen|born|admitted|discharged)\s|[-–(,]\s?)\Z",
    re.I,
)
_SCORED = re.compile(
    r"\b(?:gcs|mmse|moca|braden|norton|barthel|phq-?\d?|gad-?7|fim|sofa|score[ds]?|strength|scale|apgars?|nihss|ciwa|pain|power|motor|reflexes|dtrs?|pulses|murmur|grade|ros|vision|acuity|va|ratio"
    r"|rated|vas)\b[^.\n]{0,18}\Z",
    re.I,
)
_CLOCK = re.compile(r",?\s(?:at\s)?\d{1,2}(?::\d\d|\s?[ap]\.?m\b)", re.I)
_SMALL_SCALES, _LARGE_SCALES = frozenset({2, 3, 4, 5, 6, 8, 10}), frozenset({12, 14, 15, 20, 24, 30})
_AND = re.compile(r",?\s{0,2}(?:,|and|to|or|through|thru|-|–|&|vs\.?)\s{0,2}")
_COUNTED = re.compile(
    r"\s?-?(?:strength|power|motor|murmur|systolic|diastolic|holosystolic|sem\b|hsm\b|points?\b|nodes?\b|lymph|scale|score|pain\b"
    r"|throughout|bilat|in\s(?:all|the|both|upper|lower|right|left|intensity|severity)|tabs?\b|tablets?|caps?\b|cups?\b|inch|of\b|mg\b|ml\b|packs?\b|ppd|"
    r"dose|liters?|normal|saline|ns\b|pulses?|reflex|dtr|week|hour|day|month|year|tsp|teaspoon|cores|biops|positive\b|pints?|lb)",
    re.I,
)

_LABELS = re.compile(
    r"(?:\b(?:(?P<own>mrn|plate|vin|ssn|dea|npi|upin|csn|acct|s/n|udi|imei)|mr|medical\srecord|record|chart|account|accession|acc|encounter|visit|case|unit|patient|hospital|hosp|specimen"
    r"|order|requisition|policy|member|subscriber|group|insurance|claim|medicare|medicaid|licen[cs]e|fin|har"
    r"|serial|lot|model|device|badge|employee|job|dictation|document|report|confirmation|study|exam|protocol|certificate|passport"
    r"|ref|reference|tracking|registration|file|id|ids|sn|d|t|voice\sid)"
    r"(?P<sure>\s?(?:id|ids|no|nos|num|number|numbers|nbr|code)\b\.?)?\s?(?P<mark>[:#=]|is|was)?\s{0,3}[#:]?\s?|#\s?)\Z",
    re.I,
)
_PREFIX = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{1,5}[-_]?\Z")
_PUBLIC = re.compile(r"(?:nct|icd|cpt|loinc|covid|sars|rs|il|hla)-?\Z", re.I)
"""Before the number of a trial, a code or a gene, which is nobody's."""
_MONTH_FIRST = re.compile(
    rf"{_MONTH}(?P<rest>\.?(?:\s{{1,4}}|-|/)(?:(?:the\s)?{_D}(?i:st|nd|rd|th)?(?![\d%]|[.:/]\d|,\d\d\d){_YEAR_AFTER}"
    rf"|{_YEAR}|['’]\d\d(?!\d)|of\s{_YEAR})|,\s?{_YEAR})?"
)
_IN_MONTH = re.compile(r"\b(?:in|since|last|this|next|early|late|mid|until|till|of|through|by|during|from)[\s-]\Z", re.I)
_VERB = re.compile(r"\d\s(?:may|march)\Z")
"""`Factor 1 may be low`."""
_MAY = re.compile(r"(?:may|mar|march|dec)\Z", re.I)
_YEARS_OLD = re.compile(r"[\s-]{0,2}(?:years?|yrs?|y\.?\s?/?o\.?(?!\w)|y(?!\w)|yo[mf]?(?!\w))", re.I)
_AGED = re.compile(r"\b(?:age(?:d|\sof|:)?|died\sat|deceased\sat|passed\saway\sat)\s{0,3}\Z", re.I)
_EMAIL = re.compile(r"[\w.+%'-]{1,64}@\w[\w-]{0,62}(?:\.[\w-]{1,63}){1,8}")
_URL = re.compile(r"[hHfFwW](?:(?<=[hH])ttps?://|(?<=[fF])tp://|(?<=[wW])ww\.)[^\s<>\"']{3,2000}", re.I)


def numbers(text: str) -> Iterator[Identifier]:
    """Dates, ages over 89, phones, record and other numbers, e-mails and addresses on the net, in no order; some overlap."""
    yield from _digits(text)
    yield from _months(text)
    if "@" in text:
        for email in _EMAIL.finditer(text):
            yield Identifier(*email.span(), Kind.EMAIL)
    for url in _URL.finditer(text):
        yield Identifier(url.start(), url.start() + len(url[0].rstrip(".,;:)]")), Kind.URL)


def _digits(text: str) -> Iterator[Identifier]:
    done = dated = -1
    for run in _RUN.finditer(text):
        start, end = run.span()
        before = text[max(0, start - 2) : start]
        # Within what was found, or behind a decimal point.
        if start < done or (before[:1].isdigit() and before[1:] in (".", ",")):
            continue
        if _is_great_age(text, start, end):
            yield Identifier(start, end, Kind.AGE)
        elif found := _read(text, start, goes_on=dated > 0 and _AND.fullmatch(text[dated:start][:12]) is not None):
            done = found.end
            dated = found.end if found.kind is Kind.DATE else -1
            yield found


def _read(text: str, start: int, *, goes_on: bool) -> Identifier | None:
    """What a run of digits at `start` opens; `goes_on` where it follows a date and a joining word."""
    form = _FORMS.match(text, start)
    if form is None:
        return None
    kind, end = form.lastgroup, form.end()
    if kind == "date":
        return None if _VERB.search(text, start, end) else Identifier(start, end, Kind.DATE)
    is_glued = start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_")
    if not is_glued:
        if kind == "partial" and (goes_on or _is_day(text, start, end)):
            return Identifier(start, end, Kind.DATE)
        if kind == "phone" and not _UNIT.match(text, end):
            extension = _EXTENSION.match(text, end)
            return Identifier(
                start - (text[max(0, start - 1) : start] in ("(", "+")), extension.end() if extension else end, Kind.PHONE
            )
        if kind in ("ip_address", "social_security"):
            return Identifier(start, end, Kind(kind))
    return _code(text, start, end)


def _is_great_age(text: str, start: int, end: int) -> bool:
    """Whether these digits are an age over 89."""
    if end - start not in (2, 3) or not 90 <= int(text[start:end]) < 130:
        return False
    return bool(
        _YEARS_OLD.match(text, end) or (_AGED.search(text[max(0, start - 18) : start]) and text[end : end + 1] not in ("%", "/"))
    )


def _is_day(text: str, start: int, end: int) -> bool:
    """Whether `m/d` is a day of the year: not a strength of 5/5, a murmur of 2/6, half a tablet."""
    if _COUNTED.match(text, end) or text[max(0, start - 1) : start] in ("/", "+"):
        return False
    before = text[max(0, start - 28) : start]
    if _SURE.search(before):
        return True
    if _SCORED.search(before):
        return False
    day = int(text[start:end].split("/")[1])
    if _CLOCK.match(text, end):
        return True
    return day not in _SMALL_SCALES and (day not in _LARGE_SCALES or _ON.search(before) is not None)


def _code(text: str, start: int, end: int) -> Identifier | None:
    """A number that names a record, a person or a thing: by its label, or by its length alone."""
    before = text[max(0, start - 48) : start]
    prefix = _PREFIX.search(before)
    if prefix:
        start -= len(prefix[0])
        before = before[: prefix.start()]
    value = text[start:end]
    digits = sum(map(str.isdigit, value))
    if digits < 3 or _UNIT.match(text, end) or _QUANTITY.search(value) or (prefix and _PUBLIC.match(prefix[0])):
        return None
    if _PAGED.search(before):
        return Identifier(start, end, Kind.PHONE)
    label = _LABELS.search(before)
    if label and (digits >= 5 or label["sure"] or label["mark"] or label["own"]):
        return Identifier(start, end, Kind.RECORD_NUMBER)
    longest = max(map(len, _RUN.findall(value)))
    parted = "-" in value.removeprefix(prefix[0] if prefix else "")
    is_long = longest >= 6 or (prefix is not None and digits >= 6 and (longest >= 5 or parted))
    return Identifier(start, end, Kind.RECORD_NUMBER) if is_long else None


def _months(text: str) -> Iterator[Identifier]:
    for found in _MONTH_FIRST.finditer(text):
        start, end = found.span()
        if start and text[start - 1].isalnum():
            continue
        if found["rest"]:
            is_word = _MAY.match(text, start, found.start("rest")) and (text[start].islower() or _UNIT.match(text, end))
            if not is_word:
                yield Identifier(start, end, Kind.DATE)
        elif text[start].isupper() and end - start > 3 and _IN_MONTH.search(text[max(0, start - 8) : start]):
            yield Identifier(start, end, Kind.DATE)
