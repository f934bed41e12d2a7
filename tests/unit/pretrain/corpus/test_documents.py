"""Documents: what cannot be trained on, and why."""

import pytest

from pretrain.corpus import Document
from pretrain.corpus.documents import unusable

NOTE = (
    "The patient was admitted with shortness of breath and treated with antibiotics for pneumonia; "
    "she improved slowly over the week."
)


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
def test_what_cannot_be_used_has_a_reason(text, reason):
    assert unusable(text) == reason


def test_a_note_can_be_used():
    assert unusable(NOTE) is None


def test_repr_shows_no_text():
    assert "pneumonia" not in repr(Document("d", NOTE, "g"))
