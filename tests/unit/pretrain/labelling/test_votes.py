"""What the follow-up rules say of sentences as hospitals write them."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.labelling import votes
from pretrain.tasks.clip import LABELS, sentences_of

INSTRUCTIONS, APPOINTMENT, MEDICATION, LAB, PROCEDURE, IMAGING, OTHER = LABELS


def said(text: str) -> list[set[str]]:
    """The labels of each sentence of a text."""
    return [{LABELS[label] for label in row.nonzero()[0]} for row in votes(text, sentences_of(text))]


@pytest.mark.parametrize(
    ("sentence", "labels"),
    [
        ("Follow up with Dr. Moreau in two weeks.", {APPOINTMENT}),
        ("He will be seen by cardiology next week.", {APPOINTMENT}),
        ("Please call the clinic if you have fever, chills or worsening pain.", {INSTRUCTIONS}),
        ("Low-salt diet.", {INSTRUCTIONS}),
        ("No lifting of more than ten pounds for six weeks.", {INSTRUCTIONS}),
        ("Keflex 500 mg four times a day for seven more days.", {MEDICATION}),
        ("Prednisone taper over ten days.", {MEDICATION}),
        ("Hold the Coumadin until the visit.", {MEDICATION}),
        ("Repeat potassium on Friday.", {LAB}),
        ("Blood cultures are still pending.", {LAB}),
        ("Chest x-ray to be repeated in six weeks.", {IMAGING}),
        ("She is scheduled for an outpatient colonoscopy.", {PROCEDURE}),
        ("Home health nursing will visit twice a week.", {OTHER}),
        ("The wound is clean and dry.", set()),
    ],
)
def test_an_action_under_a_plan_gets_its_label(sentence: str, labels: set[str]) -> None:
    assert said(f"DISCHARGE INSTRUCTIONS:\n{sentence}")[-1] == labels


@pytest.mark.parametrize(
    "sentence",
    [
        "He was seen by cardiology.",
        "A chest x-ray was repeated and showed no change.",
        "Blood cultures were negative.",
        "She was treated with Keflex for seven days.",
        "Sutures were removed on the third day.",
        "Physical therapy was consulted.",
    ],
)
def test_what_happened_in_the_stay_asks_for_nothing(sentence: str) -> None:
    assert said(f"HOSPITAL COURSE:\n{sentence}")[-1] == set()


def test_the_same_words_under_a_history_ask_for_nothing() -> None:
    assert said("PAST MEDICAL HISTORY:\nFollow up with cardiology in two weeks.")[-1] == set()


def test_a_heading_stands_alone_or_opens_a_sentence_and_is_no_action() -> None:
    text = "FOLLOW-UP:\n\nDr. Moreau in two weeks.\n\nHISTORY: Follow-up with cardiology last year."
    assert said(text) == [set(), {APPOINTMENT}, set()]


def test_what_is_not_needed_is_not_asked_for() -> None:
    assert said("PLAN:\nNo follow-up is needed.")[-1] == set()


def test_a_note_without_sentences_has_no_votes() -> None:
    assert votes("", ()).shape == (0, len(LABELS))


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["PLAN:", "\n", "follow", "up", "if", "pending", ":", "1.", "mg"])).map(" ".join)
)
def test_any_text_has_a_row_of_votes_for_every_sentence(text: str) -> None:
    sentences = sentences_of(text)
    table = votes(text, sentences)
    assert (table.shape, table.dtype) == ((len(sentences), len(LABELS)), np.bool_)


@pytest.mark.parametrize(
    "words", ["see the patient ", "for ten days and then ", "PLAN: call if fever. ", "not yet back ", "a" * 30 + " "]
)
def test_a_note_of_one_endless_sentence_takes_no_time(words: str) -> None:
    text = words * (50_000 // len(words))
    began = time.process_time()
    votes(text, sentences_of(text))
    assert time.process_time() - began < 2.0
