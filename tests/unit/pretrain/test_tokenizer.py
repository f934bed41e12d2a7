"""The vocabulary: offsets into the text as it stands, reserved ids, small and strange corpora."""

import subprocess
import sys

import numpy as np
import pytest
import tokenizers
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


@given(st.lists(ODD | st.text(st.sampled_from("ab 1<\n\r\t\x0b\x1c\x1f\x7f."), max_size=20), max_size=3))
def test_many_texts_without_offsets_get_the_ids_they_get_one_by_one_with_them(texts):
    assert [ids.tolist() for ids in TINY.ids(texts)] == [TINY.encode(text).ids.tolist() for text in texts]


def test_a_text_longer_than_is_cut_at_once_gets_the_same_ids_without_offsets(tokenizer):
    note = NOTES[7] * 2000
    (ids,) = tokenizer.ids([note])
    assert np.array_equal(ids, tokenizer.encode(note).ids)


def test_words_that_were_forgotten_are_looked_up_again(monkeypatch):
    tokenizer = train(NOTES, 512)
    expected = [tokenizer.encode(note).ids.tolist() for note in NOTES]
    monkeypatch.setattr(type(tokenizer._words), "MOST", 5)
    assert [ids.tolist() for ids in tokenizer.ids(NOTES)] == expected
    assert len(tokenizer._words) <= 5


def test_importing_the_tokenizer_loads_no_torch():
    code = (
        "import sys, pretrain.tokenizer, pretrain.text; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def wordpiece() -> tokenizers.Tokenizer:
    made = tokenizers.BertWordPieceTokenizer()
    made.train_from_iterator(NOTES, 400, show_progress=False)
    made.post_processor = tokenizers.processors.BertProcessing(*((name, made.token_to_id(name)) for name in ("[SEP]", "[CLS]")))
    return made._tokenizer


def byte_level() -> tokenizers.Tokenizer:
    made = tokenizers.ByteLevelBPETokenizer()
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made.train_from_iterator(NOTES, 400, special_tokens=names, show_progress=False)
    made.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made._tokenizer


def unigram() -> tokenizers.Tokenizer:
    """In the layout of T5: `</s>` closes a text, and 100 sentinels follow the pieces, though not in whole tiles."""
    made = tokenizers.Tokenizer(tokenizers.models.Unigram())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    names = ["<pad>", "</s>", "<unk>"]
    made.train_from_iterator(
        NOTES, tokenizers.trainers.UnigramTrainer(vocab_size=300, special_tokens=names, unk_token="<unk>", show_progress=False)
    )
    made.add_special_tokens([f"<extra_id_{k}>" for k in reversed(range(SENTINELS))])
    made.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return made


def gpt2() -> tokenizers.Tokenizer:
    """One special token for everything, and nothing around a text."""
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator(NOTES, 400, special_tokens=["<|endoftext|>"], show_progress=False)
    return made._tokenizer


FOREIGN = {
    "wordpiece": Tokenizer(wordpiece()),
    "byte-level": Tokenizer(byte_level()),
    "unigram": Tokenizer(unigram()),
    "gpt2": Tokenizer(gpt2()),
}


@pytest.mark.parametrize(
    ("kind", "opens", "closes", "text"),
    [
        ("wordpiece", ["[CLS]"], ["[SEP]"], "Lasix [SEP] [MASK] [PAD]"),
        ("byte-level", ["<s>"], ["</s>"], "Lasix </s><mask> <pad>"),
        ("unigram", [], ["</s>"], "Lasix </s> <extra_id_3> <pad>"),
        ("gpt2", [], ["<|endoftext|>"], "Lasix <|endoftext|>"),
    ],
)
def test_anothers_vocabulary_is_framed_as_its_file_says_and_no_text_spells_its_control_ids(kind, opens, closes, text):
    foreign = FOREIGN[kind]
    encoding = foreign.encode(text)
    framed = foreign.framed(encoding.ids)
    names = [foreign._model.id_to_token(int(number)) for number in framed]
    assert (names[: len(opens)], names[-len(closes) :]) == (opens, closes)
    assert foreign.frame_tokens == len(framed) - len(encoding.ids) == len(opens + closes)
    assert foreign.unk_id in encoding.ids
    assert not np.isin(encoding.ids, foreign._control_ids).any()
    assert text[encoding.starts[0] : 5] == "Lasix"


@pytest.mark.parametrize(
    ("kind", "between"),
    [("wordpiece", ["[SEP]"]), ("byte-level", ["</s>", "</s>"]), ("unigram", ["</s>"]), ("gpt2", ["<|endoftext|>"])],
)
def test_two_texts_are_parted_as_the_encoder_has_learnt_it(kind, between):
    foreign = FOREIGN[kind]
    first, second = foreign.encode("Lasix"), foreign.encode("10 mg")
    names = [foreign._model.id_to_token(number) for number in foreign.between_ids]
    assert names == between
    expected = [*foreign.prefix_ids, *first.ids, *foreign.between_ids, *second.ids, *foreign.suffix_ids]
    assert foreign.framed_pair(first.ids, second.ids).tolist() == expected


@pytest.mark.parametrize("kind", FOREIGN)
@given(text=ODD)
def test_offsets_of_anothers_vocabulary_lie_within_the_text_as_it_stands(kind, text):
    encoding = FOREIGN[kind].encode(text)
    assert (encoding.starts >= 0).all()
    assert (encoding.starts <= encoding.ends).all()
    assert (encoding.ends <= len(text)).all()
    assert (np.diff(encoding.starts) >= 0).all()


@pytest.mark.parametrize("kind", FOREIGN)
def test_anothers_vocabulary_knows_the_characters_its_tokens_came_from(kind):
    text = "Ms. Doe was\n\n  seen, Lasix  40 mg"
    assert "".join(piece for piece in pieces(FOREIGN[kind], text) if not piece.isspace()) == "".join(text.split())


@pytest.mark.parametrize("kind", FOREIGN)
@given(text=ODD)
def test_anothers_vocabulary_gives_the_same_ids_without_offsets(kind, text):
    (ids,) = FOREIGN[kind].ids([text + " [MASK] </s>"])
    assert ids.tolist() == FOREIGN[kind].encode(text + " [MASK] </s>").ids.tolist()


def test_sentinels_and_masks_are_found_where_anothers_vocabulary_has_them_and_asked_for_in_vain_elsewhere():
    t5, bert = FOREIGN["unigram"], FOREIGN["wordpiece"]
    assert t5.vocab_size % 128
    assert t5._model.id_to_token(t5.sentinel_id(7)) == "<extra_id_7>"
    assert bert._model.id_to_token(bert.mask_id) == "[MASK]"
    with pytest.raises(TokenizerError, match="no sentinels"):
        bert.sentinel_id(0)
    with pytest.raises(TokenizerError, match="no mask token"):
        t5.mask_id  # noqa: B018


def test_padding_and_truncation_that_anothers_file_asks_for_are_not_done(tmp_path):
    path = tmp_path / "tokenizer.json"
    FOREIGN["wordpiece"].save(path)
    model = tokenizers.Tokenizer.from_file(str(path))
    model.enable_padding(length=1000)
    model.enable_truncation(16)
    model.save(str(path))
    assert np.array_equal(Tokenizer.load(path).encode(NOTES[3]).ids, FOREIGN["wordpiece"].encode(NOTES[3]).ids)


def test_without_case_capitals_are_read_as_small_letters_and_offsets_stay_those_of_the_text():
    uncased = train(["Aspirin daily. ASPIRIN at night. İstanbul was never named."] * 5, 256, cased=False)
    text = "ASPIRIN Daily, in İstanbul"
    encoded = uncased.encode(text)
    small = uncased.encode(text.lower())
    assert encoded.ids.tolist() == small.ids.tolist() == next(uncased.ids([text])).tolist()
    assert next(uncased.ids(["ASPIRIN daily"])).tolist() == uncased.encode("aspirin DAILY").ids.tolist()
    assert uncased.unk_id not in uncased.encode("ASPIRIN").ids
    assert text[encoded.starts[0] : encoded.ends[-1]] == text
