"""The hospital's own vocabulary: trained on its notes, loaded, and applied with offsets into the text as it stands.

Unigram over NFKC, as the paper's clinical models have it, with three differences: line breaks are tokens, because a note's
layout carries meaning; sentinels have pieces of their own; case is kept unless one wants it otherwise.
The vocabulary that comes with another's encoder (WordPiece, BPE, Unigram) is read and applied in the same way.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import tokenizers
from numpy.typing import NDArray

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
SENTINELS = 100
"""`<extra_id_0>` to `<extra_id_99>`, the last ids, counted from the end as T5 does."""
MULTIPLE = 128
"""Vocabularies fill whole tiles of a matrix product."""


class TokenizerError(ValueError):
    """A vocabulary that cannot be trained or read."""


@dataclass(frozen=True)
class Encoding:
    """A text of N tokens, and where each stands in it."""

    ids: NDArray[np.int32]
    """(N,), without what frames a text, such as `</s>`."""
    starts: NDArray[np.int32]
    """(N,), characters of the original text. Tokens of white space lie within it, all others begin after it."""
    ends: NDArray[np.int32]
    """(N,), excluded. Tokens made of one character ("½" gives three) share its span."""


class Tokenizer:
    """A vocabulary and the way text becomes its ids.

    No text, not even "</s>", encodes to a control id or a sentinel.
    """

    pad_id, eos_id, unk_id = 0, 1, 2

    def __init__(self, model: tokenizers.Tokenizer) -> None:
        model.no_padding()
        model.no_truncation()
        self._model = model
        self.vocab_size: int = model.get_vocab_size(with_added_tokens=True)
        """Of one made here a multiple of 128: pieces, placeholders, sentinels."""
        self._first_sentinel = _first_sentinel(model)
        self.prefix_ids: tuple[int, ...] = ()
        """What every text or window of a text opens with: nothing, or `[CLS]`."""
        self.suffix_ids: tuple[int, ...] = (self.eos_id,)
        """What it closes with: `</s>` or `[SEP]`."""
        self.between_ids: tuple[int, ...] = self.suffix_ids
        """What stands between two texts that are read together: the same, but twice in RoBERTa."""
        self._control_ids = np.empty(0, np.int32)
        made_here = model.post_processor is None and self._first_sentinel == self.vocab_size - 1
        if self.vocab_size % MULTIPLE or not made_here:
            self._adopt(model)

    def _adopt(self, model: tokenizers.Tokenizer) -> None:
        """Take ids from a vocabulary that was not made here, as its file names them."""
        self.prefix_ids, self.suffix_ids, self.between_ids = _frame(model)
        named = {token.content: number for number, token in model.get_added_tokens_decoder().items() if token.special}
        if not self.suffix_ids and (end := model.token_to_id(_END_OF_TEXT)) is not None:
            # GPT-2's, which frames no text and has one token for all: it closes and pads, as the paper lets it. Every byte is
            # known to it; what stands in a text for its control token is any piece of its own.
            self.suffix_ids = self.between_ids = (end,)
            named = {PAD: end, UNK: model.encode("?", add_special_tokens=False).ids[0], _END_OF_TEXT: end} | named
        unknown, pad = (next((named[name] for name in names if name in named), None) for names in (_UNKNOWN, _PADDING))
        if not self.suffix_ids or unknown is None or pad is None:
            raise TokenizerError(
                f"a vocabulary of {self.vocab_size} without sentinels at its end was not made here, and does not say what closes"
                " a text, pads it or stands for the unknown; train one, or give the tokenizer.json that came with an encoder"
            )
        self.pad_id, self.eos_id, self.unk_id = pad, self.suffix_ids[-1], unknown
        self._control_ids = np.array(sorted({*named.values(), *self.prefix_ids, *self.suffix_ids} - {unknown}), np.int32)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote, or the `tokenizer.json` of another's encoder.

        Raises:
            TokenizerError: the file is missing or is no such tokenizer.
        """
        try:
            model = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for a missing or broken file
            raise TokenizerError(f"{path.name}: no tokenizer can be read here; train one or copy the file again") from error
        return cls(model)

    def save(self, path: Path) -> None:
        """Write one JSON file in the format of the `tokenizers` library."""
        self._model.save(str(path))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what `save` writes: the same for tokenizers that encode alike."""
        return hashlib.sha256(self._model.to_str().encode()).hexdigest()

    @property
    def mask_id(self) -> int:
        """The id that stands for a token to be guessed.

        Raises:
            TokenizerError: there is none, as in T5's vocabularies and those made here.
        """
        for name in _MASKED:
            if (number := self._model.token_to_id(name)) is not None:
                return int(number)
        raise TokenizerError("this vocabulary has no mask token; masked-language training needs that of a BERT-like encoder")

    def sentinel_id(self, k: int) -> int:
        """The id of `<extra_id_k>`, 0 <= k < 100.

        Raises:
            TokenizerError: there are none, as in BERT's vocabulary.
        """
        if not 0 <= k < SENTINELS:
            raise ValueError(f"there is no sentinel {k}; they run from 0 to {SENTINELS - 1}")
        if self._first_sentinel is None:
            raise TokenizerError("this vocabulary has no sentinels; span corruption needs that of a T5")
        return self._first_sentinel - k

    @property
    def readable_ids(self) -> NDArray[np.int64]:
        """Every id that a text can have."""
        return np.setdiff1d(np.arange(self.vocab_size), self._control_ids)

    @property
    def opens_word(self) -> NDArray[np.bool_]:
        """(vocab_size,): whether a token of this id begins a word, rather than going on with the one before it."""
        pieces = (self._model.id_to_token(number) or "" for number in range(self.vocab_size))
        if isinstance(self._model.model, tokenizers.models.WordPiece):
            return np.array([not piece.startswith("##") for piece in pieces])
        # "Ġ" and "Ċ" are how byte-level vocabularies write a space and a line break.
        return np.array([piece.startswith(("▁", "Ġ", "Ċ")) for piece in pieces])

    def framed(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """The ids of a text or of a stretch of it as a model reads them: opened and closed."""
        return np.concatenate([np.array(self.prefix_ids, np.int64), ids, np.array(self.suffix_ids, np.int64)])

    def framed_pair(self, first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.int64]:
        """The ids of two texts that a model reads together."""
        return self.framed(np.concatenate([first, np.array(self.between_ids, np.int64), second]))

    @property
    def frame_tokens(self) -> int:
        """How many positions of a window the frame takes."""
        return len(self.prefix_ids) + len(self.suffix_ids)

    def encode(self, text: str) -> Encoding:
        """Ids and offsets of a text of any length, in time linear in it."""
        safe = _SURROGATE.sub("\ufffd", text)
        ids: list[int] = []
        spans: list[NDArray[np.int32]] = [np.empty((0, 2), np.int32)]
        for start, end in _chunks(safe):
            chunk = self._model.encode(safe[start:end], add_special_tokens=False)
            ids += chunk.ids
            spans.append(np.asarray(chunk.offsets, np.int32).reshape(-1, 2) + start)
        ids_N = self._readable(ids)
        starts, ends = _fitted(safe, np.concatenate(spans))
        # The mark of a word's beginning stands before the word, not on its first letter.
        is_mark = (ids_N[:-1] == self._model.token_to_id("▁")) & (starts[:-1] == starts[1:])
        ends[:-1][is_mark] = starts[:-1][is_mark]
        return Encoding(ids_N, starts, ends)

    def ids(self, texts: Iterable[str]) -> Iterator[NDArray[np.int32]]:
        """What `encode` gives as `ids`, for one text after the other, without offsets and several times as fast."""
        words = self._words
        for text in texts:
            if words is not None and len(text) <= _CHUNK and "▁" not in text:
                yield words.ids(text)
            else:
                safe = _SURROGATE.sub("\ufffd", text)
                parts = (self._model.encode(safe[start:end], add_special_tokens=False).ids for start, end in _chunks(safe))
                yield self._readable(list(chain.from_iterable(parts)))

    @cached_property
    def _words(self) -> "_Words | None":
        """None where the pipeline is another's, which may look beyond a word."""
        found = json.loads(self._model.to_str())
        for cased in (True, False):
            made = json.loads(_pipeline(tokenizers.models.Unigram(), cased).to_str())
            if all(made[part] == found[part] for part in ("normalizer", "pre_tokenizer", "post_processor")):
                return _Words(self._model, cased)
        return None

    def _readable(self, ids: list[int]) -> NDArray[np.int32]:
        """As an array, with "unknown" wherever a text spells a control id, which only another's vocabulary lets it do."""
        ids_N = np.asarray(ids, np.int32)
        if len(self._control_ids):
            ids_N[np.isin(ids_N, self._control_ids)] = self.unk_id
        return ids_N

    def decode(self, ids: Iterable[int]) -> str:
        """Text that reads like what was encoded; white space and compatibility forms are normalised."""
        pieces = (self._model.id_to_token(int(token)) for token in ids)
        return "".join(piece or "" for piece in pieces).replace("▁\n", "\n").replace("▁", " ").strip(" ")


class _Words(dict[str, list[int]]):
    """The ids of words that came before; the library is asked for others.

    The pipeline made here encodes every word and every line break by itself, so that most of a text costs a look-up per word.
    """

    MOST = 200_000
    """Words that are kept, some 50 MB; after them it begins anew."""

    def __init__(self, model: tokenizers.Tokenizer, cased: bool) -> None:
        super().__init__()
        self._model, self._cased = model, cased

    def __missing__(self, word: str) -> list[int]:
        if len(self) >= self.MOST:
            self.clear()
        self[word] = self._model.encode(word if word.startswith("\n") else f"▁{word}", add_special_tokens=False).ids
        return self[word]

    def ids(self, text: str) -> NDArray[np.int32]:
        """Those of a text without a "▁" of its own."""
        text = self._normalised(text)
        if not text:
            return np.empty(0, np.int32)
        words = text.replace("\n\n", "\v").replace("\n", " \n ").replace("\v", " \n\n ").split(" ")
        # A space belongs to the word after it: one at the end is a token, one before a break never stood there.
        begin, end = int(not words[0]), len(words) - text.endswith("\n")
        return np.fromiter(chain.from_iterable(map(self.__getitem__, words[begin:end])), np.int32)

    def _normalised(self, text: str) -> str:
        if not text.isascii():
            return str(self._model.normalizer.normalize_str(_SURROGATE.sub("\ufffd", text)))
        # What the normaliser does to ASCII, several times as fast.
        text = text if self._cased else text.lower()
        text = _ASCII_SPACES.sub(" ", _ASCII_BREAKS.sub("\n", text)).replace(" \n", "\n").replace("\n ", "\n")
        return _MORE_BREAKS.sub("\n\n", text)


def train(texts: Collection[str], vocab_size: int, cased: bool = True) -> Tokenizer:
    """Learn a vocabulary of at most `vocab_size` ids, rounded up to a multiple of 128.

    A corpus too small for that many pieces gives fewer. `texts` is read twice. Without `cased`, capitals are read as small
    letters, in training and ever after.

    Raises:
        TokenizerError: `vocab_size` has no room for a piece beside the 103 reserved ids, or for `uint16` shards.
    """
    if not SENTINELS + 3 < vocab_size <= 2**16:
        raise TokenizerError(f"{vocab_size=} cannot hold {SENTINELS + 3} reserved ids and text; choose 2000 to 65536")
    size = MULTIPLE * -(-vocab_size // MULTIPLE)
    pieces = _trained_pieces(texts, size - SENTINELS - 3 - len(_BREAKS), cased)
    size = MULTIPLE * -(-(len(pieces) + 3 + SENTINELS) // MULTIPLE)
    unused = [(f"<unused_{k}>", 0.0) for k in range(size - len(pieces) - 3 - SENTINELS)]
    sentinels = [(_sentinel(k), 0.0) for k in reversed(range(SENTINELS))]
    vocabulary = [(PAD, 0.0), (EOS, 0.0), (UNK, 0.0), *pieces, *unused, *sentinels]
    return Tokenizer(_pipeline(tokenizers.models.Unigram(vocabulary, unk_id=Tokenizer.unk_id, byte_fallback=False), cased))


_BREAKS = ("▁\n", "▁\n\n")
"""A new line, and a new paragraph. Metaspace puts its mark before every word, these included."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], np.uint32)
_ASCII_BREAKS, _ASCII_SPACES = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e]"), re.compile(r"\t[ \t]*| [ \t]+")
_MORE_BREAKS = re.compile(r"\n{3,}")
_CHUNK = 100_000
"""Characters handed to the library at once: its time grows faster than the text."""
_COVERAGE = 0.99995
"""Share of a corpus' characters that get a piece. Rarer ones are `<unk>`: each would cost a row of the embedding."""


def _sentinel(k: int) -> str:
    return f"<extra_id_{k}>"


_END_OF_TEXT = "<|endoftext|>"
_UNKNOWN, _PADDING, _MASKED = (UNK, "[UNK]"), (PAD, "[PAD]"), ("<mask>", "[MASK]")


def _first_sentinel(model: tokenizers.Tokenizer) -> int | None:
    """The id of `<extra_id_0>` where the others follow it downwards, as in every T5."""
    first: int | None = model.token_to_id(_sentinel(0))
    if first is None or any(model.token_to_id(_sentinel(k)) != first - k for k in range(SENTINELS)):
        return None
    return first


def _frame(model: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """What the file's own post-processor puts before a text, after it, and between it and a second one."""
    example, pair = model.encode("a", add_special_tokens=True), model.encode("a", "a", add_special_tokens=True)
    inner = [at for at, special in enumerate(example.special_tokens_mask) if not special]
    if not inner:
        return (), (), ()
    first = inner[-1] + 1
    second = next(at for at, text in enumerate(pair.sequence_ids) if text == 1)
    closes = tuple(example.ids[first:])
    # A file that knows of no pairs joins them with nothing between.
    return tuple(example.ids[: inner[0]]), closes, tuple(pair.ids[first:second]) or closes


def _pipeline(model: Any, cased: bool) -> tokenizers.Tokenizer:
    pipeline = tokenizers.Tokenizer(model)
    pipeline.normalizer, pipeline.pre_tokenizer = _normalizer(cased), _pre_tokenizer()
    return pipeline


def _normalizer(cased: bool) -> Any:
    n = tokenizers.normalizers
    return n.Sequence(
        [
            n.NFKC(),
            *([] if cased else [n.Lowercase()]),
            n.Replace(tokenizers.Regex(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]"), "\n"),
            n.Replace(tokenizers.Regex(r"[^\S\n]+"), " "),
            n.Replace(tokenizers.Regex(r" ?\n(?: ?\n)+ ?"), "\n\n"),
            n.Replace(tokenizers.Regex(r" ?\n(?!\n) ?"), "\n"),
        ]
    )


def _pre_tokenizer() -> Any:
    p = tokenizers.pre_tokenizers
    return p.Sequence(
        [
            p.Split(tokenizers.Regex(r"\n+"), "isolated"),
            p.Metaspace(replacement="▁", prepend_scheme="always"),
            p.Digits(individual_digits=True),
            # Control tokens and sentinels begin with "<": no text can spell one if "<" is always alone.
            p.Split("<", "isolated"),
        ]
    )


def _trained_pieces(texts: Collection[str], size: int, cased: bool) -> list[tuple[str, float]]:
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=size, special_tokens=[UNK], unk_token=UNK, max_piece_length=16, show_progress=False
    )
    # A pipeline of its own: training leaves "<unk>" behind as a word that is found in texts.
    pipeline = _pipeline(tokenizers.models.Unigram(), cased)
    pipeline.train_from_iterator(_covered(pipeline.normalizer, texts, size), trainer, length=len(texts))
    # The trainer sums in the order of a hash table: unrounded, or sorted by score, no two vocabularies are the same.
    learned = {piece: round(float(score), 4) for piece, score in json.loads(pipeline.to_str())["model"]["vocab"] if piece != UNK}
    # It never joins a line break to the mark before it.
    learned.update(dict.fromkeys(_BREAKS, 0.0))
    return sorted(learned.items())


def _covered(normalizer: Any, texts: Iterable[str], size: int) -> Iterator[str]:
    """The texts without the characters too rare for a piece of their own."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(_SURROGATE.sub("\ufffd", text)))
    most, allowed = counts.total() * _COVERAGE, size // 2
    kept = 0
    rare = {}
    for rank, (character, count) in enumerate(counts.most_common()):
        if (kept >= most and count < 5) or rank >= allowed:
            rare[ord(character)] = " "
        kept += count
    for text in texts:
        yield normalizer.normalize_str(_SURROGATE.sub("\ufffd", text)).translate(rare)


def _chunks(text: str) -> Iterator[tuple[int, int]]:
    """Cut before white space, where words begin, so that no cut changes a token."""
    start = 0
    while len(text) - start > _CHUNK:
        limit = start + _CHUNK
        spaces = [match.start() for match in re.finditer(r"(?<=\S)\s", text[limit - 1000 : limit])]
        end = limit - 1000 + spaces[-1] if spaces else limit
        yield start, end
        start = end
    yield start, len(text)


def _fitted(text: str, spans_N2: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Starts without leading white space, and ends that take in characters the normaliser composed away ("e" + accent)."""
    starts, ends = spans_N2[:, 0].copy(), spans_N2[:, 1].copy()
    if not len(starts):
        return starts, ends
    n = len(text)
    is_space = np.append(np.isin(np.frombuffer(text.encode("utf-32-le"), np.uint32), _SPACES), True)
    positions = np.arange(n + 1, dtype=np.int32)
    next_word = np.minimum.accumulate(np.where(is_space, n, positions)[::-1])[::-1]
    next_space = np.minimum.accumulate(np.where(is_space, positions, n)[::-1])[::-1]
    has_word = next_word[starts] < ends
    starts = np.where(has_word, next_word[starts], starts).astype(np.int32)
    following = np.append(starts[1:], n)
    ends = np.where(has_word, np.maximum(ends, np.minimum(following, next_space[ends])), ends).astype(np.int32)
    return starts, ends
