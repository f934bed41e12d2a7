from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pretrain.finetuning.clip import finetune_clip
from pretrain.finetuning.cross_fitting import calibrated_on, cross_fit
from pretrain.judging import plain
from pretrain.models import families
from pretrain.models.families import Size
from pretrain.tasks import clip

HALF = np.full(len(clip.LABELS), 0.5, np.float32)
RULED = [
    ("Vital signs were stable.", set()),
    ("Follow up with Dr. Smith in two weeks.", {"Appointment"}),
    ("Chest was clear.", set()),
]


@pytest.fixture(autouse=True, scope="module")
def tiny():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.SIZES, "tiny", Size(d_model=32, d_ff=48, d_kv=8, num_heads=4, num_layers=2))
        yield
    torch.set_num_threads(threads)


def strict(taught, tokenizer, rules=False):
    """A tagger that says the same of every sentence, and never lets itself be asked about a note that it was taught with."""
    known = {clip.encode(note.text, tokenizer, 512, note.sentences).windows[0].tobytes() for note in taught}

    def run(ids, mask):
        assert not known & {row[own == 1].tobytes() for row, own in zip(ids, mask, strict=True)}
        return np.full((*ids.shape, len(clip.LABELS)), -5.0, np.float32)

    return SimpleNamespace(run=run, judge=plain(HALF, rules), interrupted=False)


def test_every_note_is_measured_by_a_tagger_that_has_not_seen_it(tokenizer, make_notes):
    notes, taught, told = make_notes(11), [], []
    assert len({note.text for note in notes}) == 11

    def finetune(some):
        taught.append({note.note_id for note in some})
        return strict(some, tokenizer)

    fitted = cross_fit(notes, tokenizer, finetune, folds=4, on_fold=lambda done, of: told.append((done, of)))
    assert fitted.metrics["n_notes"] == 11
    assert fitted.metrics["folds"] == len(taught) == 4
    assert set.intersection(*taught) == set()
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_rules_stand_beside_a_model_that_has_seen_none_of_it(tokenizer, make_note):
    notes = [make_note(f"n{i}", [*RULED, ("She ate" + " well" * i + ".", set())]) for i in range(6)]
    fitted = cross_fit(notes, tokenizer, lambda some: strict(some, tokenizer, rules=True), folds=3)
    assert fitted.metrics["micro_f1"] == 1.0
    assert fitted.judge.rules > 0.5
    assert fitted.metrics["calibration"]["ece"] < 0.1


def test_what_is_taught_beside_rules_is_what_they_do_not_know(tokenizer, make_note):
    # The rules see the visit; that "She ate well." is a Lab, only the labels say.
    odd = ("She ate well.", {"Lab"})
    notes = [make_note(f"n{i}", [*RULED, odd]) for i in range(8)]
    tagger = finetune_clip(notes, [], tokenizer, size="tiny", window_tokens=64, rules=True, epochs=60)
    assert tagger.judge.rules == 1.0
    text = " ".join(sentence for sentence, _ in [*RULED, odd])
    sentences = clip.sentences_of(text)
    [logits_SL] = clip.predict(tagger.run, [clip.encode(text, tokenizer, 64, sentences)])
    found = {(text[s.start : s.end], s.label) for s in tagger.judge.spans(logits_SL, text, sentences)}
    assert found == {("Follow up with Dr. Smith in two weeks.", "Appointment"), ("She ate well.", "Lab")}
    # Of the visit the model itself says less than of what the rules do not see.
    assert logits_SL[1, clip.LABELS.index("Appointment")] < logits_SL[3, clip.LABELS.index("Lab")]


def test_a_tagger_is_calibrated_on_notes_apart(tokenizer, make_notes):
    notes = make_notes(12)
    tagger = finetune_clip(notes[:8], [], tokenizer, size="tiny", window_tokens=64, epochs=2)
    judged = calibrated_on(tagger, notes[8:], tokenizer, 64)
    assert replace(judged, judge=tagger.judge) == tagger
    assert judged.judge.model != 1.0
