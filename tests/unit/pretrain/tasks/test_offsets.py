"""Whatever stands in a document, what is found in it is a slice of the very characters that it holds.

CLINAPPLIANCE_DOCUMENTS says in how many random documents; without it there are some thousand.
"""

import math
import os
from itertools import pairwise

import numpy as np
import pytest
import tokenizers

from pretrain.tasks import clip, radqa
from pretrain.tokenizer import Tokenizer

DOCUMENTS = int(os.environ.get("CLINAPPLIANCE_DOCUMENTS", "2000"))
LONGEST = 50_000
"""Characters of one document in a thousand."""
TEXT = """
    Follow up with Dr. Müller in 2 weeks. b.i.d. DISPOSITION: 1. - K+ <0.5 [**2101-3-4**] ﬁbrosis ½ e\u0301de\u0301me İ Ω
    日本 😀 👩\u200d⚕️ مريض \u0301 \u200b \ufeff \x00 ▁ </s> [SEP]
"""
WORDS = [*TEXT.split(), "a" * 70]
SPACES = [" "] * 12 + ["\n", "\n\n", "\r\n", "\r\n\r\n", "\t", "\f", "\v", "\xa0", "\u2028", "\u3000", "  ", "\x1c", "\x85", ""]
NONE = clip.NO_TOKEN_LOGIT


def document(random: np.random.Generator) -> str:
    """Words and white space of every kind; mostly short."""
    count = 12_000 if random.random() < 1e-3 else int(random.integers(0, 40))
    drawn = zip(random.integers(len(WORDS), size=count), random.integers(len(SPACES), size=count), strict=True)
    return "".join(WORDS[word] + SPACES[space] for word, space in drawn)[:LONGEST]


@pytest.fixture(scope="module", params=["pieces", "wordpieces"])
def vocabulary(request, tokenizer):
    if request.param == "pieces":
        return tokenizer
    made = tokenizers.BertWordPieceTokenizer()
    made.train_from_iterator([" ".join(WORDS)] * 2, vocab_size=200, min_frequency=1, show_progress=False)
    made.post_processor = tokenizers.processors.BertProcessing(*((name, made.token_to_id(name)) for name in ("[SEP]", "[CLS]")))
    return Tokenizer(made._tokenizer)


def test_every_tag_is_a_whole_sentence_as_it_stands(vocabulary):
    random = np.random.default_rng(0)
    for _ in range(DOCUMENTS):
        text = document(random)
        note = clip.encode(text, vocabulary, 64)
        logits = clip.sentence_logits(note, [np.ones((len(window), len(clip.LABELS)), np.float32) for window in note.windows])
        spans = clip.decode(logits, note.sentences, np.full(len(clip.LABELS), 0.5, np.float32))
        found = sorted({(span.start, span.end) for span in spans})
        # All that the model has read is tagged, and nothing twice.
        assert found == [tuple(s) for s, row in zip(note.sentences, logits, strict=True) if row[0] != NONE]
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(found))
        for start, end in found:
            assert text[start:end] == text[start:end].strip() != ""
        # What is not in a sentence holds no letter and no digit.
        borders = [0, *(border for span in note.sentences for border in span), len(text)]
        between = "".join(text[begin:end] for begin, end in zip(borders[::2], borders[1::2], strict=True))
        assert not any(map(str.isalnum, between))


def test_every_answer_is_a_slice_of_the_report(vocabulary):
    random = np.random.default_rng(1)
    for _ in range(DOCUMENTS):
        text = document(random)
        asked = radqa.encode("Is there an effusion?", text, vocabulary, 64, 16)
        logits = [random.normal(size=(len(window), 2)).astype(np.float32) for window in asked.windows]
        answer = radqa.decode(asked, logits, -math.inf)
        if answer.span is None:
            # Nothing in it that a vocabulary reads.
            assert not any(text[start:end].strip() for start, end in zip(*tokens(vocabulary, text), strict=True))
            continue
        start, end = answer.span
        assert 0 <= start < end <= len(text)
        assert answer.text(text) == text[start:end] == text[start:end].strip() != ""


def tokens(vocabulary, text):
    encoding = vocabulary.encode(text)
    return encoding.starts.tolist(), encoding.ends.tolist()
