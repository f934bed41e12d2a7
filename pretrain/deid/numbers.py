"""Identifiers made of digits, and those with a form of their own: dates, record numbers, phones, e-mails, addresses on the net.

Every rule starts at something rare (a digit, the name of a month, an `@`) and looks a bounded way around it, so that the
time taken is linear in the length of the text, whatever the text.
"""

import re
from collections.abc import Iterator

from pretrain.deid.identifiers import Identifier, Kind

MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)(?![A-Za-z])"
)
_M, _D = r"(?:1[0-2]|0?[1-9])", r"(?:3[01]|[12]\d|0?[1-9])"
_YEAR = r"(?:19|20|21)\d\d(?!\d)"
_YEAR_AFTER = rf"(?:,?\s{{0,9}}{_YEAR}|,?\s?['’]\d\d(?!\d)|[-/](?:{_YEAR}|\d\d(?!\d)))?"

# Tried where a run of digits starts, the first that fits wins. Longer forms stand before the shorter ones they contain.
_FORMS = re.compile(
    r"(?P<ip_address>\d{1,3}(?:\.\d{1,3}){3}(?![\w.]))"
    r"|(?P<social_security>\d{3}[- ]\d\d[- ]\d{4}(?![\w-]))"
    rf"|(?P<date>(?:{_YEAR[:-6]}(?P<iso>[-/.]){_M}(?P=iso){_D}(?!\d|[-/]\d)"
    rf"|{_M}(?P<mdy>[-/.]){_D}(?P=mdy)(?:{_YEAR}|\d\d)(?![\d/]|-\d|\.\d)"
    rf"|{_D}(?P<dmy>[-/.]){_M}(?P=dmy)(?:{_YEAR}|\d\d)(?![\d/]|-\d|\.\d)"
    rf"|{_D}(?:st|nd|rd|th)?(?:\s?[-/]\s?|\s(?:day\s)?(?:of\s)?)?(?i:{MONTH})\.?{_YEAR_AFTER}"
    rf"|{_M}/{_YEAR}))"
    r"|(?P<phone>(?:1[-. ])?\(?\d{3}\)?(?:[-.]|\s?-\s?|\s{1,2}|(?<=\))|/)\d{3}[-. ]\d{4}(?![\w-])"
    r"|\d{3}-\d{4}(?![\w-]|\.\d)|\d{1,3}(?:[ .-]\d{2,4}){2,5}(?![\w-])(?<=\d\d\d\d\d\d\d\d)|\d{10}(?!\w))"
    rf"|(?P<partial>{_M}/{_D}(?![\d/%]|\.\d|-\d+/\d+/))"
    r"|(?P<code>\d++(?:(?:[-./][A-Za-z]{0,3}|[A-Za-z]{1,3}-?[A-Za-z]{0,3})\d++){0,7}[A-Za-z]{0,3}(?!\w))"
)
_RUN = re.compile(r"\d+")
_DECIMAL = re.compile(r"\d+\.\d+")
_EXTENSION = re.compile(r",?\s{0,2}(?:x|ext\.?|extension)\s{0,2}#?\d{1,6}(?!\w)", re.I)
_CALLED = re.compile(r"(?:phone|tel|telephone|fax|pager|beeper|cell|mobile|call|ext|extension|contact|page|at|x)\W{0,4}$", re.I)
_PAGED = re.compile(
    r"(?:\bpager|\bbeeper|\bext|\bextension|\bpage|\bpgr|\bphone|\btel|\bfax)\.?\s?(?:no\.?|number|#)?\s?[:#]?\s?$", re.I
)
_UNIT = re.compile(
    r"\s?(?:%|°|x10|-?(?:mg|mcg|µg|ug|g|gm|grams?|kg|lbs?|pounds?|oz|ml|cc|l|liters?|dl|mm|cm|m|units?|iu|meq|mmol|kcal|cal"
    r"|calories|hz|bpm|mmhg|cells?|copies|colonies|cfu|platelets|k|steps|seconds|sec|minutes|min|hours?|hrs?|days?|weeks?|months?"
    r"|years?|tabs?|tablets?|caps?|capsules?|puffs?|drops?|times|per)(?![a-z])|/(?:mm|ul|µl|ml|hpf|dl|l|mcl)(?![a-z]))",
    re.I,
)

# m/d is a date where it is said to be one, and where no scale of that many points is in use.
_ON = re.compile(
    r"(?:\b(?:on|since|until|till|through|thru|dated|date|by|before|after|starting|beginning|ending|ends|due|dos|seen|born|dob"
    r"|mon|tues?|wed|thurs?|fri|sat|sun|\w{3,6}day)[:,.]?|[-–]|\b(?:admitted|discharged|from|to|and|of|last|next|or)|\()\s{0,3}$",
    re.I,
)
_SURE = re.compile(
    r"\b(?:on|since|until|till|through|thru|dated|dob|dos|\w{3,6}day|(?:admitted|discharged|dates?(?:\sof\s\w{1,12})?|performed|born|seen|signed|collected"
    r"|received|done|taken|drawn)\s?:)[:,.]?\s{0,3}$",
    re.I,
)
_SCALES = frozenset({2, 3, 4, 5, 6, 8, 10, 12, 14, 15, 20, 24, 30})
_AND = re.compile(r",?\s{0,2}(?:,|and|to|or|through|thru|-|–|&|vs\.?)\s{0,2}")
_COUNTED = re.compile(
    r"\s?-?(?:strength|power|motor|murmur|systolic|diastolic|holosystolic|sem\b|hsm\b|points?\b|nodes?\b|lymph|scale|score|pain\b"
    r"|throughout|bilat|in\s(?:all|the|both|upper|lower|right|left|intensity|severity)|tabs?\b|tablets?|caps?\b|cups?\b|inch|of\b|mg\b|ml\b|packs?\b|ppd|"
    r"dose|liters?|normal|saline|ns\b|pulses?|reflex|dtr|week|hour|day|month|year|tsp|teaspoon|cores|biops|positive\b|pints?|lb)",
    re.I,
)

_LABELS = re.compile(
    r"(?:\b(?:mrn|mr|medical\srecord|record|chart|account|acct|accession|acc|encounter|visit|case|unit|patient|hospital|hosp|specimen"
    r"|order|requisition|policy|member|subscriber|group|insurance|claim|medicare|medicaid|licen[cs]e|plate|dea|npi|upin|csn|fin|har"
    r"|serial|lot|model|device|badge|employee|job|dictation|document|report|confirmation|study|exam|protocol|certificate|passport"
    r"|vin|ssn|udi|ref|reference|tracking|registration|file|id|ids|s/n|sn|d|t|voice\sid|imei)"
    r"(?P<sure>\s?(?:id|ids|no|nos|num|number|numbers|nbr|code)\b\.?)?\s?(?P<mark>[:#=]|is|was)?\s{0,3}[#:]?\s?|#\s?)$",
    re.I,
)
_PREFIX = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{1,5}[-_]?$")
_NO_PREFIX = re.compile(r"(?:nct|icd|cpt|loinc|ref|covid|sars|rs|il|hla)-?$", re.I)
_MONTH_FIRST = re.compile(
    rf"[JFMASONDjfmasond](?<!\w.)(?:(?<=[Jj])(?:an(?:uary)?|une?|uly?)|(?<=[Ff])eb(?:ruary)?|(?<=[Mm])(?:ar(?:ch)?|ay)"
    r"|(?<=[Aa])(?:pr(?:il)?|ug(?:ust)?)|(?<=[Ss])ept?(?:ember)?|(?<=[Oo])ct(?:ober)?|(?<=[Nn])ov(?:ember)?|(?<=[Dd])ec(?:ember)?)"
    rf"(?![A-Za-z])(?P<rest>\.?(?:\s{{1,4}}|-|/)(?:(?:the\s)?{_D}(?:st|nd|rd|th)?(?![\d%]|[.:/]\d|,\d\d\d){_YEAR_AFTER}|{_YEAR}|['’]\d\d(?!\d)"
    rf"|of\s{_YEAR})|,\s?{_YEAR})?",
    re.I,
)
_IN_MONTH = re.compile(r"\b(?:in|since|last|this|next|early|late|mid|until|till|of|through|by|during|from)[\s-]$", re.I)
_MAY = re.compile(r"(?:may|mar|march|dec)$", re.I)
_YEARS_OLD = re.compile(r"[\s-]{0,2}(?:years?|yrs?|y\.?\s?/?o\.?(?!\w)|y(?!\w)|yo[mf]?(?!\w))", re.I)
_AGED = re.compile(r"\bage(?:d|\sof|:)?\s{0,3}$", re.I)
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
    done, dated = 0, -1
    for run in _RUN.finditer(text):
        start = run.start()
        if start < done:
            continue
        before = text[max(0, start - 2) : start]
        if before[-1:] in ".," and before[:1].isdigit() and len(before) == 2:
            continue
        if _is_great_age(text, start, run.end()):
            yield Identifier(start, run.end(), Kind.AGE)
            continue
        glued = before[-1:].isalnum() or before[-1:] == "_"
        form = _FORMS.match(text, start)
        if form is None:
            continue
        kind = form.lastgroup if form.lastgroup in _GROUPS else _group(form)
        found = _code(text, start, form.end()) if glued or kind == "code" else _formed(text, kind, start, form.end())
        if found is None and kind == "partial" and dated > 0 and _AND.fullmatch(text[dated:start][:12]) and not glued:
            found = Identifier(start, form.end(), Kind.DATE)
        if found is None and kind in ("phone", "social_security", "partial", "ip_address"):
            found = _code(text, start, form.end())
        if found is not None:
            done = found.end
            dated = found.end if found.kind is Kind.DATE else -1
            yield found


_GROUPS = ("ip_address", "social_security", "date", "phone", "partial", "code")


def _group(form: re.Match[str]) -> str:
    return next(group for group in _GROUPS if form[group] is not None)


def _formed(text: str, kind: str, start: int, end: int) -> Identifier | None:
    """What has the form of `kind`, unless what stands around it says that it is something else."""
    if kind == "partial":
        return Identifier(start, end, Kind.DATE) if _is_day(text, start, end) else None
    if kind == "phone":
        if _UNIT.match(text, end):
            return None
        if text[start - 1 : start] in ("(", "+") and start:
            start -= 1
        extension = _EXTENSION.match(text, end)
        return Identifier(start, extension.end() if extension else end, Kind.PHONE)
    return Identifier(start, end, Kind(kind))


def _is_great_age(text: str, start: int, end: int) -> bool:
    """Whether these digits are an age over 89."""
    if end - start not in (2, 3) or not 90 <= int(text[start:end]) < 130:
        return False
    return bool(
        _YEARS_OLD.match(text, end) or (_AGED.search(text[max(0, start - 10) : start]) and text[end : end + 1] not in ("%", "/"))
    )


def _is_day(text: str, start: int, end: int) -> bool:
    """Whether `m/d` is a day of the year: not a strength of 5/5, a murmur of 2/6, half a tablet."""
    if _COUNTED.match(text, end) or text[start - 1 : start] in ("/", "+"):
        return False
    before = text[max(0, start - 24) : start]
    if _SURE.search(before):
        return True
    day = int(text[start:end].split("/")[1])
    return day not in _SCALES and (day > 10 or bool(_ON.search(before)))


def _code(text: str, start: int, end: int) -> Identifier | None:
    """A number that names a record, a person or a thing: by its label, or by its length alone."""
    before = text[max(0, start - 48) : start]
    prefix = _PREFIX.search(before)
    if prefix:
        start -= len(prefix[0])
        before = before[: prefix.start()]
        if _NO_PREFIX.match(prefix[0]):
            return None
    value = text[start:end]
    digits = sum(map(str.isdigit, value))
    if digits < 3 or _UNIT.match(text, end):
        return None
    if _PAGED.search(before):
        return Identifier(start, end, Kind.PHONE)
    label = _LABELS.search(before)
    if label and (digits >= 5 or (digits >= 3 and (label["sure"] or label["mark"]) and not _is_quantity(value))):
        return Identifier(start, end, Kind.RECORD_NUMBER)
    if _DECIMAL.fullmatch(value):
        return None
    longest = max(map(len, _RUN.findall(value)))
    if longest >= 6 or (prefix and longest >= 5 and digits >= 6) or (prefix and "-" in value[len(prefix[0]) :] and digits >= 6):
        return Identifier(start, end, Kind.RECORD_NUMBER)
    return None


def _is_quantity(value: str) -> bool:
    return "." in value or "/" in value


def _months(text: str) -> Iterator[Identifier]:
    for found in _MONTH_FIRST.finditer(text):
        start, end = found.span()
        if found["rest"]:
            is_word = _MAY.match(text, start, found.start("rest")) and (text[start].islower() or _UNIT.match(text, end))
            if not is_word:
                yield Identifier(start, end, Kind.DATE)
        elif text[start].isupper() and end - start > 3 and _IN_MONTH.search(text[max(0, start - 8) : start]):
            yield Identifier(start, end, Kind.DATE)
