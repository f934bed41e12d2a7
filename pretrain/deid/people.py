"""People in a text: by what stands around their names, by lists, and wherever a note names again whom it has named.

A sure place (a title, a field such as `Attending:`, a degree behind it, a signature) makes a name of any word that clinical
text does not use otherwise, listed or not. Without one, a word must be on a list of names and not be a word of clinical text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pretrain.deid.identifiers import Identifier, Kind
from pretrain.deid.lexicon import COMMON_FAMILY, COMMON_GIVEN, FAMILY, GIVEN, SAFE
from pretrain.deid.names import TITLE, WORD, Names, bare
from pretrain.deid.vocabulary import CALLINGS, EPONYM_NOUN, EPONYMS, FIELDS, NEVER, SIGNING

_MARK = re.compile(r":|by(?=\s)|Dear |[Aa]ttn |not read ")
_BLANK = re.compile(r"[ \t]{0,12}(?:\n[ \t]{0,4})?")
_HL7_NAME = re.compile(r"[A-Za-z][\w'’ -]{1,30}\^[A-Za-z][\w'’ -]{0,30}(?:\^[A-Za-z.]{0,12}){0,4}")
# Every alternative opens with a letter of its own: such a search skips in C to the letters that may open one.
_DEGREE = re.compile(
    r"(?:MD|M\.D\.|MBBS|MBChB|D\.O\.|RN|R\.N\.|LPN|CRNA|CNM|APRN|ARNP|FNP|NP-\w+|PA-C|P\.A\.|PhD|Ph\.D\.|PharmD|LCSW|LICSW|MSW|DPM"
    r"|DDS|DMD|FACS|FACP|FACC|MPH|PsyD|Psy\.D\.|RPh|RRT|MSIII|MSIV|PGY|Esq|DPT|CCC-SLP|DO(?<=, ..)|PA(?<=, ..)|NP(?<=, ..)"
    r"|OD(?<=, ..)|RD(?<=, ..)|MS(?<=, ..)|MA(?<=, ..)|PT(?<=, ..)|OT(?<=, ..)|BSN(?<=, ...))(?!\w)"
)
_RELATIVE = re.compile(
    r"\b(?:wife|husband|spouse|partner|son|daughter|mother|father|mom|dad|sister|brother|aunt|uncle|niece|nephew|cousin|friend"
    r"|neighbou?r|girlfriend|boyfriend|fianc[eé]e?|grandson|granddaughter|guardian|caregiver|caretaker|roommate|named|called|nurse)"
    r"(?:'s\sname\sis)?\s?[,:(]?\s\Z",
    re.I,
)
_BETWEEN = re.compile(r"(?:(?P<comma>,)[ \n]?|[ \n])(?P<initial>[A-Z]\.?[ ])?")
_INITIALS = re.compile(r"[^.:;?!\n\s][ \n](?P<initials>(?:[A-Z]\.[ ]?){1,2})\Z")
"""`surgeon M. `, but not `A. ` at the start of a line or a sentence, which counts."""
_ARTICLE = re.compile(r"\b(?:an?|the|this)\s{1,2}\Z", re.I)
_OPENS = re.compile(r"(?:^|[.:;?!\n•*-]\s*|\d[.)]\s{1,3})\Z")
_MEASURED = re.compile(r"(?:\s(?:of\s)?|=|\s=\s)[\d+#]")


class _Seen(NamedTuple):
    """The word before, if it may be part of a name."""

    start: int
    end: int
    bits: int


class People:
    """Finds names in texts."""

    def __init__(self, words: Mapping[str, int]) -> None:
        self._words, self._names = words, Names(words)

    def find(self, text: str, known: set[str]) -> Iterator[Identifier]:
        """Names in no order; some overlap. What of the sure ones may be looked for again is added to `known`."""
        for start, end in self._sure(text):
            known.update(self._names.lasting(text[start:end]))
            yield Identifier(start, end, Kind.NAME)
        for start, end in self._listed(text):
            yield Identifier(start, end, Kind.NAME)

    def again(self, text: str, known: set[str]) -> Iterator[Identifier]:
        """Where `known` names stand, but for those in small letters."""
        for word in WORD.finditer(text):
            name = bare(word[0])
            if name in known or ("-" in name and not known.isdisjoint(name.split("-"))):
                end = word.start() + len(name)
                if not EPONYM_NOUN.match(text, end):
                    yield Identifier(word.start(), end, Kind.NAME)

    def _sure(self, text: str) -> Iterator[tuple[int, int]]:
        """Names that what stands around them makes sure."""
        for title in TITLE.finditer(text):
            is_word = title.start() == 0 or not text[title.start() - 1].isalnum()
            if is_word and (end := self._names.end(text, title.end(), titled=True)):
                yield title.end(), end
        for mark in _MARK.finditer(text):
            if _announces(text, mark):
                blank = _BLANK.match(text, mark.end())
                start = blank.end() if blank else mark.end()
                end = None if TITLE.match(text, start) else self._names.end(text, start, last_first=mark[0] == ":")
                if end and not self._names.is_prose(text, start, end):
                    yield start, end
        if "^" in text:
            for name in _HL7_NAME.finditer(text):
                yield name.span()
        for degree in _DEGREE.finditer(text):
            lead = text[max(0, degree.start() - 4) : degree.start()]
            end = degree.start() - len(lead) + len(lead.rstrip(" ,\n"))
            if end < degree.start() and (named := self._names.start(text, end)) is not None:
                yield named, end

    def _listed(self, text: str) -> Iterator[tuple[int, int]]:
        """Names by the lists: alone where the word is nothing else, beside another name or a relation where it is."""
        last: _Seen | None = None
        for word in WORD.finditer(text):
            name = bare(word[0])
            if len(name) < 2:
                continue
            bits = self._words.get(name, 0) or (self._hyphened(name) if "-" in name else 0)
            start, end = word.start(), word.start() + len(name)
            if last and self._is_pair(text, last, start, bits):
                yield last.start, end
            elif initials := self._initials(text, word, name, bits):
                yield start - initials, end
            elif bits & (GIVEN | FAMILY) and name not in NEVER:
                alone = not bits & SAFE and name not in EPONYMS and self._is_alone(text, word, bits)
                if alone or (bits & COMMON_GIVEN and _RELATIVE.search(text[max(0, start - 24) : start])):
                    yield start, end
            last = _Seen(start, end, bits) if bits & (GIVEN | FAMILY) and name not in NEVER else None

    @staticmethod
    def _is_pair(text: str, last: _Seen, start: int, bits: int) -> bool:
        """Whether two words make a name: given and family, or the reverse with a comma; one of them must be nothing else."""
        between = _BETWEEN.fullmatch(text, last.end, start)
        if between is None or ("\n" in between[0] and (last.bits | bits) & SAFE):
            return False
        both_words = bool(last.bits & SAFE and bits & SAFE)
        if between["comma"]:
            return bool(last.bits & FAMILY and bits & COMMON_GIVEN) and not both_words
        if bits == 0 or between["initial"]:
            return bool(last.bits & COMMON_GIVEN) and not last.bits & SAFE
        return bool(last.bits & COMMON_GIVEN and bits & FAMILY) and (not both_words or bool(bits & COMMON_FAMILY))

    @staticmethod
    def _initials(text: str, word: re.Match[str], name: str, bits: int) -> int:
        """Characters of the initials before a word that is nothing but a name, listed or not; 0 where there are none."""
        if bits & SAFE or name in EPONYMS or EPONYM_NOUN.match(text, word.end()):
            return 0
        found = _INITIALS.search(text[max(0, word.start() - 8) : word.start()])
        return len(found["initials"]) if found else 0

    def _hyphened(self, name: str) -> int:
        parts = [self._words.get(part, 0) for part in name.split("-")]
        return FAMILY if all(bits & (GIVEN | FAMILY) and not bits & SAFE for bits in parts) else 0

    @staticmethod
    def _is_alone(text: str, word: re.Match[str], bits: int) -> bool:
        """Whether a listed word stands for a person by itself: not for a thing that is called so, nor for an abbreviation."""
        is_common = bool(bits & (COMMON_FAMILY | COMMON_GIVEN))
        if word[0].isupper() and (len(word[0]) < 5 or not is_common):
            return False
        is_either = bits & GIVEN and bits & FAMILY
        before = text[max(0, word.start() - 6) : word.start()]
        # Nobody is called `a Kocher`; and an unusual name that opens a sentence is rather a word the list does not know.
        if _ARTICLE.search(before) or (not is_common and not is_either and _OPENS.search(before)):
            return False
        end = word.end()
        return not EPONYM_NOUN.match(text, end) and not _MEASURED.match(text, end) and text[end : end + 1] not in ("®", "™", ":")


def _announces(text: str, mark: re.Match[str]) -> bool:
    """Whether what ends with `mark` says that a name follows: `Attending:`, `dictated by`, `Dear`."""
    before = text[max(0, mark.start() - 40) : mark.start()].lower()
    if mark[0] not in (":", "by"):
        return True
    if mark[0] == "by" and before[-1:] not in (" ", "\n"):
        return False
    words = before.rsplit("\n", 1)[-1].split() if mark[0] == ":" else before.split()
    if not words:
        return False
    last = words[-1].strip("()/.,*_-")
    if mark[0] == "by":
        return last in SIGNING
    if last == "by":
        return len(words) > 1 and words[-2] in SIGNING
    return last in FIELDS or last.endswith(CALLINGS)
