"""How many tokens a vocabulary makes of a text: the fewer, the more of a note fits a window and the less it costs to read.

Rust et al. 2021 measure a vocabulary so. Line breaks are tokens of the vocabularies made here, and none of T5's or BERT's.
"""

from collections.abc import Collection
from dataclasses import dataclass

from pretrain.tokenizer import Tokenizer


@dataclass(frozen=True)
class Fertility:
    """Of one vocabulary on some texts."""

    vocabulary: str
    """What to call it."""
    pieces: int
    """Placeholders and sentinels included."""
    tokens_per_word: float
    """Words are what white space parts."""
    characters_per_token: float

    def __str__(self) -> str:
        return f"{self.vocabulary} {self.tokens_per_word:.2f} tokens a word"


def measure(vocabulary: str, tokenizer: Tokenizer, texts: Collection[str]) -> Fertility:
    """On texts that the vocabulary was not learnt from, at least one of them with a word in it."""
    tokens = sum(map(len, tokenizer.ids(texts)))
    words, characters = sum(len(text.split()) for text in texts), sum(map(len, texts))
    return Fertility(vocabulary, tokenizer.vocab_size, tokens / words, characters / tokens)
