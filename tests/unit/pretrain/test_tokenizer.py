"""The vocabulary: offsets into the text as it stands, reserved ids, small and strange corpora."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.tokenizer import SENTINELS, Tokenizer, TokenizerError, train

NOTES = [
    f"DISCHARGE SUMMARY\n\nMs. Doe was seen on day {day}.\nLasix {day}0 mg p.o. b.i.d., caf\u00e9 au lait, 38.{day} \u00b0C.\n"
    * 3
    for day in range(40)
]


@pytest.fixture(scope="module")
def tokenizer():
    return train(NOTES, 512)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    encoding = tokenizer.encode(text)
    return [text[start:end] for start, end in zip(encoding.starts, encoding.ends, strict=True)]


def test_every_token_knows_the_characters_it_came_from(tokenizer):
    text = "Lasix  40 mg\r\n\r\np.o."
    assert "".join(piece for piece in pieces(tokenizer, text) if not piece.isspace()) == "Lasix40mgp.o."
    spans = list(zip(tokenizer.encode(text).starts, tokenizer.encode(text).ends, strict=True))
    assert (7, 8) in spans
    assert (8, 9) in spans


def test_a_composed_character_keeps_its_accent(tokenizer):
    assert "".join(pieces(tokenizer, "cafe\u0301")) == "cafe\u0301"


ODD = st.text(
    st.sampled_from("aZ1 .<▁\n\r\t\u00a0\u0301\u0338½ﬁ㎎Å\u212b\u1100\u1161\u11a8한😀\u200d\u200b\ud800\u2028\x1c\x00\u0344ªµ…")
    | st.characters()
)


@given(ODD)
def test_offsets_are_ordered_and_cover_every_character_but_white_space(text):
    encoding = TINY.encode(text)
    assert encoding.ids.dtype == encoding.starts.dtype == encoding.ends.dtype == np.int32
    assert len(encoding.ids) == len(encoding.starts) == len(encoding.ends)
    assert (encoding.starts <= encoding.ends).all()
    assert (np.diff(encoding.starts) >= 0).all()
    covered = np.zeros(len(text), bool)
    for start, end in zip(encoding.starts, encoding.ends, strict=True):
        assert 0 <= start <= end <= len(text)
        assert not text[start:end].strip() or not text[start].isspace()
        covered[start:end] = True
    assert all(character.isspace() for character, seen in zip(text, covered, strict=True) if not seen)


TINY = train(NOTES, 512)


@given(ODD)
def test_no_text_spells_a_reserved_id(text):
    for spelled in (text, f"<pad>{text}</s>", f"<extra_id_{len(text) % SENTINELS}> {text} <unused_0>"):
        ids = TINY.encode(spelled).ids
        assert not np.isin(ids, [TINY.pad_id, TINY.eos_id]).any()
        assert (ids < TINY.sentinel_id(SENTINELS - 1)).all()


def test_line_breaks_are_tokens(tokenizer):
    one, two = tokenizer.encode("Doe\nDoe").ids, tokenizer.encode("Doe \n\n  Doe").ids
    (at,) = np.flatnonzero(one != two)
    assert [tokenizer.decode([ids[at]]) for ids in (one, two)] == ["\n", "\n\n"]
    assert tokenizer.decode(one) == "Doe\n Doe"


def test_digits_are_read_one_by_one(tokenizer):
    ids = tokenizer.encode("1234").ids
    assert len(ids) == 5
    assert tokenizer.decode(ids) == "1234"


def test_ids_end_with_the_sentinels_and_fill_a_multiple_of_128(tokenizer):
    assert tokenizer.vocab_size % 128 == 0
    assert tokenizer.sentinel_id(0) == tokenizer.vocab_size - 1
    assert tokenizer.sentinel_id(SENTINELS - 1) == tokenizer.vocab_size - SENTINELS
    assert tokenizer.decode([tokenizer.sentinel_id(7)]) == "<extra_id_7>"
    with pytest.raises(ValueError, match="sentinel 100"):
        tokenizer.sentinel_id(SENTINELS)


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["".join(chr(0x4E00 + i) for i in range(5000))], ["\ud800 lone"]])
def test_a_small_or_strange_corpus_gives_fewer_pieces(texts):
    tokenizer = train(texts, 512)
    assert 128 <= tokenizer.vocab_size <= 512
    assert len(tokenizer.encode("a 1\n").ids) > 0


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(TokenizerError, match="choose"):
        train(NOTES, 100)
    with pytest.raises(TokenizerError, match="choose"):
        train(NOTES, 70_000)


def test_training_again_gives_the_same_vocabulary(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "a.json")
    train(NOTES, 512).save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_saved_tokenizer_encodes_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert np.array_equal(loaded.encode(NOTES[3]).ids, tokenizer.encode(NOTES[3]).ids)


@pytest.mark.parametrize("content", [None, "", "{}", '{"model": {"type": "BPE", "vocab": {}, "merges": []}}'])
def test_a_file_that_is_no_tokenizer_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer|vocabulary"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_a_long_text_encodes_as_its_parts_do(tokenizer):
    note = NOTES[7]
    once = tokenizer.encode(note).ids
    assert np.array_equal(tokenizer.encode(note * 2000).ids, np.tile(once, 2000))


def test_importing_the_tokenizer_loads_no_torch():
    code = (
        "import sys, pretrain.tokenizer, pretrain.text; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
