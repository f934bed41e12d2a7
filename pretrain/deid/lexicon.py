"""Which words are names: the lists of philter-ucsf and of the US census, read once.

Philter (Norgeot et al., npj Digital Medicine 2020) brings given and family names cleared of its false hits, and the words
that are safe in clinical text. Only its lists are read: its code needs NLTK's tagger, which is not on PyPI. The census of 1990
(package `names`) says which names are common.
"""

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from pretrain.deid.identifiers import DeidError

GIVEN, FAMILY, SAFE, COMMON_GIVEN, COMMON_FAMILY = 1, 2, 4, 8, 16
"""What a word may be, as bits. SAFE words occur in clinical text as something else than a name."""

_PHILTER = "philter_ucsf/filters"
_LISTS = {
    # list: distribution, file, least number of words it must hold
    "given": ("philter-ucsf", f"{_PHILTER}/blacklists/firstnames_minus_fps.json", 90_000),
    "family": ("philter-ucsf", f"{_PHILTER}/blacklists/lastnames_minus_fps.json", 150_000),
    "safe": ("philter-ucsf", f"{_PHILTER}/whitelists/whitelist_plus_fps_091718_nonames.json", 150_000),
    "census family": ("names", "names/dist.all.last", 80_000),
    "census female": ("names", "names/dist.female.first", 4_000),
    "census male": ("names", "names/dist.male.first", 1_000),
}
_FREQUENT_FAMILY = 10_000
"""So many of the census' family names are common; beyond them stand Pain, Lung and Brain."""


class Lexicon(NamedTuple):
    """Words in small letters with what they may be, and a hash of the lists they came from."""

    words: dict[str, int]
    digest: str


@cache
def lexicon() -> Lexicon:
    """The word lists, checked.

    Raises:
        DeidError: a list is missing, cannot be read or is shorter than it must be.
    """
    digest = hashlib.sha256()
    lists = {name: _read(name, digest) for name in _LISTS}
    words: dict[str, int] = {}
    for name, bits in (("given", GIVEN), ("family", FAMILY), ("safe", SAFE)):
        for word in lists[name]:
            words[word] = words.get(word, 0) | bits
    for word in lists["census family"][:_FREQUENT_FAMILY]:
        words[word] = words.get(word, 0) | FAMILY | COMMON_FAMILY
    for word in lists["census female"] + lists["census male"]:
        words[word] = words.get(word, 0) | GIVEN | COMMON_GIVEN
    return Lexicon(words, digest.hexdigest())


def _read(name: str, digest: "hashlib._Hash") -> list[str]:
    package, file, least = _LISTS[name]
    try:
        content = Path(str(distribution(package).locate_file(file))).read_bytes()
        words = _words(file, content)
    except PackageNotFoundError as error:
        raise DeidError(f"de-identification needs the package {package}, which is not installed; install it") from error
    except (OSError, ValueError) as error:
        raise DeidError(f"{package}: {file} cannot be read ({type(error).__name__}); install the package again") from error
    if len(words) < least:
        raise DeidError(f"{package}: {file} holds {len(words)} words, at least {least} are needed; install the package again")
    digest.update(content)
    return words


def _words(file: str, content: bytes) -> list[str]:
    text = content.decode("utf-8")
    if file.endswith(".json"):
        return [word.lower() for word in json.loads(text) if len(word) > 1]
    return [line.split()[0].lower() for line in text.splitlines() if line.strip()]
