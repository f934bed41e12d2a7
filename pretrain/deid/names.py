"""One name: where it ends that must start here, and where it starts that must end here."""

import re
from collections.abc import Iterator, Mapping

from pretrain.deid.lexicon import COMMON_FAMILY, COMMON_GIVEN, FAMILY, GIVEN, SAFE
from pretrain.deid.vocabulary import EPONYMS, NEVER

WORD = re.compile(r"[A-ZÀ-ÖØ-ÞĀ-Ž](?<!\w.)[\w'’]*+(?:-[A-Za-zÀ-ɏ][\w'’]*+)*+")
"""A capitalised word, hyphens and apostrophes included."""
TITLE = re.compile(
    r"(?:Drs?|DRS?|drs?|Mrs?|MRS|mrs?|Ms|ms|Mx|Prof|PROF|prof|Rev|Sgt|Capt|Hon|MR(?=\.)|MS(?=\.)"
    # Spelt out, a word that may also end a sentence.
    r"|Miss(?= )|MISS(?= )|miss(?= )|Doctors?(?= )|DOCTOR(?= )|doctor(?= )|Professor(?= )|Nurse(?= )|nurse(?= )|Sister(?= )"
    r"|Rabbi(?= )|Pastor(?= )|Judge(?= )|Officer(?= )|officer(?= ))(?!\w)\.?\s{1,3}(?:and\s(?:Mrs|Ms|Dr)\.?\s)?"
)
_GAP = re.compile(r"(?:[ ]?\n?[ ]?|[ ]?\n[ ]{0,12})(?=\S)")
_PARTICLE = re.compile(
    r"(?:(?:van|von|de|der|den|del|della|la|le|di|da|dos|du|bin|ibn|ben|al|el|ter|ten|st\.?|mac)\s){1,3}(?=(?-i:[A-ZÀ-Þ]))", re.I
)
_SUFFIX = re.compile(r",?\s(?:Jr|Sr|II|III|IV)\b\.?")
_GOES_ON = re.compile(r"\w|[ ]\W?[a-z]")
"""After `I` or `A`, which are words as well as initials."""
_LAST_FIRST = re.compile(r",\s?(?=[A-Z])")
_SMALL = re.compile(r"[a-z][a-z'’-]{2,30}")
_BETWEEN = frozenset({" ", "\n", ". ", ".", ", "})
_MOST_WORDS = 4


def bare(word: str) -> str:
    """A word in small letters without its possessive, as long as what it stands for."""
    lowered = word.lower() if word.isascii() else "".join(c.lower() if len(c.lower()) == 1 else c for c in word)
    return lowered[:-2] if lowered.endswith(("'s", "’s")) else lowered.rstrip("'’")


class Names:
    """Reads names where something says that there is one."""

    def __init__(self, words: Mapping[str, int]) -> None:
        self._words = words

    def end(self, text: str, at: int, *, last_first: bool = False, titled: bool = False) -> int | None:
        """Where the name ends that starts at `at`; None where none does.

        Args:
            last_first: `Smith, John` may stand here.
            titled: a title stands before it, so that any word and, if it is on a list, one in small letters is a name.
        """
        end: int | None = None
        n_words, has_initial, has_family = 0, False, False
        while n_words < _MOST_WORDS:
            if particle := _PARTICLE.match(text, at):
                at = particle.end()
            word = WORD.match(text, at)
            if word is None:
                return self._small(text, at) if titled and end is None else self._suffixed(text, end)
            name = bare(word[0])
            stop = word.start() + len(name)
            bits = self._words.get(name, 0)
            if len(name) == 1:
                if text[stop : stop + 1] == ".":
                    stop += 1
                elif _GOES_ON.match(text, stop):
                    break
                end, has_initial = (stop if end is not None else None), True
            else:
                named = titled and not n_words and not has_initial and name not in NEVER and word[0][1:].islower()
                if not named and not self._may_be(name, bits, is_given_wanted=not has_family):
                    break
                if n_words and text[stop : stop + 1] == ":":
                    break
                n_words += 1
                has_family = has_family or not bits & COMMON_GIVEN
                end = stop
            at = stop
            if last_first and n_words == 1 and (comma := _LAST_FIRST.match(text, at)):
                at, last_first, has_family = comma.end(), False, False
            elif gap := _GAP.match(text, at):
                at = gap.end()
            else:
                break
        return self._suffixed(text, end)

    def start(self, text: str, end: int) -> int | None:
        """Where the name starts that ends at `end`, before a degree; None where none does."""
        start, upto = None, end
        for word in reversed(list(WORD.finditer(text, max(0, end - 64), end))[-_MOST_WORDS:]):
            name = bare(word[0])
            bits = self._words.get(name, 0)
            between = text[word.end() : upto]
            if (between not in _BETWEEN) if start is not None else between:
                break
            if between == ", " and not bits & FAMILY:
                break
            if len(name) > 1:
                if not self._may_be(name, bits, is_given_wanted=True):
                    break
                if bits & SAFE and not bits & (COMMON_GIVEN if start is not None else COMMON_GIVEN | COMMON_FAMILY):
                    break
                start = word.start()
            elif start is not None:
                start = word.start()
            upto = word.start()
        return start

    def lasting(self, name: str) -> Iterator[str]:
        """What of a name stands for nobody else wherever the text says it again: words that are nothing but names."""
        for word in WORD.finditer(name):
            one = bare(word[0])
            if len(one) > 2 and one not in NEVER and one not in EPONYMS and not self._words.get(one, 0) & SAFE:
                yield one

    def is_prose(self, text: str, start: int, end: int) -> bool:
        """Whether one word that clinical text knows goes on as a sentence does: `Patient: Call your doctor`."""
        return (
            bool(self._words.get(bare(text[start:end]), 0) & SAFE)
            and text[end : end + 1] == " "
            and not text[end + 1 : end + 2].isupper()
        )

    def _may_be(self, name: str, bits: int, *, is_given_wanted: bool) -> bool:
        """Whether a word where a name must stand is part of it: one that clinical text does not use, or that lists know."""
        parts = name.replace("'", "").replace("’", "").split("-")
        if name in NEVER or not all(map(str.isalpha, parts)):
            return False
        if len(parts) > 1 and all(self._words.get(part, 0) & SAFE for part in parts):
            return False
        return not bits & SAFE or (is_given_wanted and bool(bits & (GIVEN | FAMILY)))

    def _small(self, text: str, at: int) -> int | None:
        word = _SMALL.match(text, at)
        name = bare(word[0]) if word else ""
        bits = self._words.get(name, 0)
        return at + len(name) if bits & FAMILY and not bits & SAFE else None

    @staticmethod
    def _suffixed(text: str, end: int | None) -> int | None:
        suffix = _SUFFIX.match(text, end) if end is not None else None
        return suffix.end() if suffix else end
