"""Documents: what is dropped and why, and that nothing evaluated is trained on."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.corpus import Document, clean, split, without

NOTE = (
    "The patient was admitted with shortness of breath and treated with antibiotics for pneumonia; "
    "she improved slowly over the week."
)
OTHER = (
    "Laparoscopic removal of the gall bladder went well and the patient tolerated a regular diet "
    "before going home on the second day."
)


def documents(*texts: str) -> list[Document]:
    return [Document(f"d{number}", text, group=f"g{number}") for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("Seen today. Stable.", "too short"),
        (NOTE + "\x00", "not text"),
        ("12.5 | 33 | --- | 0x7f " * 40, "not text"),
        ("\ufffd\ufffd\ufffd" + NOTE, "not text"),
        (NOTE + "\ud800", "not text"),
        ("\u2022 \u2014 \u00bd \u2265 " * 40 + NOTE, "not text"),
    ],
)
def test_what_cannot_be_used_is_counted_under_its_reason(text, reason):
    drops = Counter()
    assert list(clean(documents(text, NOTE), drops)) == documents(text, NOTE)[1:]
    assert drops == {reason: 1}


def test_a_note_saved_again_is_kept_once():
    drops = Counter()
    kept = list(clean(documents(NOTE, OTHER, NOTE.upper().replace(" ", "\n ")), drops))
    assert [document.document_id for document in kept] == ["d0", "d1"]
    assert drops == {"exact duplicate": 1}


def test_repr_shows_no_text():
    assert "pneumonia" not in repr(documents(NOTE)[0])


@given(st.lists(st.text(max_size=4), max_size=60), st.floats(0.01, 0.49))
def test_a_group_is_on_one_side_and_no_document_is_lost(groups, held_out):
    everyone = [Document(str(number), NOTE, group) for number, group in enumerate(groups)]
    train, dev = split(everyone, held_out)
    assert sorted([*train, *dev], key=lambda d: int(d.document_id)) == everyone
    assert not {d.group for d in train} & {d.group for d in dev}
    if len(set(groups)) > 1:
        assert train
        assert dev


def test_about_the_share_asked_for_is_held_out():
    _, dev = split(Document(str(n), NOTE, f"patient {n}") for n in range(4000))
    assert len(dev) == pytest.approx(200, abs=50)  # 3.6 standard deviations of a binomial


def test_a_patient_stays_held_out_when_the_corpus_grows():
    few = [Document(str(n), NOTE, f"patient {n}") for n in range(200)]
    more = few + [Document(str(n), NOTE, f"patient {n}") for n in range(200, 1000)]
    assert {d.group for d in split(few)[1]} <= {d.group for d in split(more)[1]}


def test_a_share_of_half_or_nothing_is_refused():
    for share in (0, 0.5, 1.5):
        with pytest.raises(ValueError, match=r"between 0 and 0\.5"):
            split(documents(NOTE), share)


@pytest.mark.parametrize(
    "copy",
    [
        NOTE,
        NOTE.upper().replace(" ", "\n"),
        NOTE.replace("slowly", "quickly"),
        f"ADDENDUM: {NOTE} Dictated but not read.",
        " ".join(NOTE.split()[:14]),
        NOTE + " " + " ".join(OTHER.split()[:12]),
    ],
)
def test_a_near_copy_of_an_evaluated_note_is_kept_out(copy):
    drops = Counter()
    assert list(without(documents(copy, OTHER), [NOTE, "See you."], drops)) == documents(copy, OTHER)[1:]
    assert drops == {"evaluated on": 1}


def test_a_note_of_the_same_kind_is_no_copy():
    similar = (
        "The patient was admitted with shortness of breath and discharged the same day after a normal chest film and blood gas."
    )
    assert list(without(documents(similar), [NOTE], Counter())) == documents(similar)


def test_nothing_is_kept_out_without_evaluated_notes():
    assert list(without(documents(NOTE, "", "x"), [], Counter())) == documents(NOTE, "", "x")
    assert list(without(documents(NOTE), ["", "..."], Counter())) == documents(NOTE)
