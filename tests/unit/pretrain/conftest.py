"""A small vocabulary and labelled notes that a small model can learn, made once for all tests of this folder."""

import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from pretrain.tasks.base import LabelledNote
from pretrain.text import Span
from pretrain.tokenizer import Tokenizer, train

PLAIN = ["Vital signs were stable.", "The wound is clean.", "She ate well.", "Chest was clear.", "He walked the hall."]
FOLLOW_UP = {
    "Appointment": ["See cardiology in two weeks.", "Visit the surgeon next month.", "Return to clinic on Monday."],
    "Lab": ["Recheck the INR on Friday.", "Blood culture is pending.", "Repeat potassium next week."],
}


def labelled_note(note_id: str, marked: Sequence[tuple[str, set[str]]], group: str = "") -> LabelledNote:
    """A note of the given sentences, one space between them."""
    spans, start = [], 0
    for sentence, _ in marked:
        spans.append(Span(start, start + len(sentence)))
        start += len(sentence) + 1
    text = " ".join(sentence for sentence, _ in marked)
    return LabelledNote(note_id, text, tuple(spans), tuple(frozenset(labels) for _, labels in marked), group or note_id)


def synthetic_notes(count: int, seed: int = 0) -> list[LabelledNote]:
    """Notes of ten sentences, about a quarter of them follow-up."""
    draw = random.Random(seed)
    notes = []
    for n in range(count):
        marked: list[tuple[str, set[str]]] = []
        for _ in range(10):
            label = draw.choice([None, None, None, None, None, None, "Appointment", "Lab"])
            marked.append((draw.choice(FOLLOW_UP[label]), {label}) if label else (draw.choice(PLAIN), set()))
        notes.append(labelled_note(f"n{n}", marked))
    return notes


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train([note.text for note in synthetic_notes(40)], 384)


@pytest.fixture(scope="session")
def notes() -> list[LabelledNote]:
    return synthetic_notes(24)


@pytest.fixture(scope="session")
def make_note() -> Callable[..., LabelledNote]:
    return labelled_note


@pytest.fixture(scope="session")
def make_notes() -> Callable[..., list[LabelledNote]]:
    return synthetic_notes


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Products of tiny models are slower on several threads than on one."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
