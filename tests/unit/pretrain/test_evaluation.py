from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from pretrain import evaluation
from pretrain.judging import plain
from pretrain.tasks import clip

HALF = plain(np.full(len(clip.LABELS), 0.5, np.float32))


def knows_everything(tokenizer, notes):
    """A model that has learned the notes by heart: one window each, looked up whole."""
    known = {}
    for note in notes:
        encoded = clip.encode(note.text, tokenizer, 512, note.sentences)
        [window], [owner] = encoded.windows, encoded.owners
        known[window.tobytes()] = clip.truth(note)[owner] & (owner >= 0)[:, None]

    def run(ids, mask):
        answers = np.full((*ids.shape, len(clip.LABELS)), -5.0, np.float32)
        for b, (row, own) in enumerate(zip(ids, mask, strict=True)):
            table = known.get(row[own == 1].tobytes())
            if table is not None:
                answers[b, : own.sum()] = np.where(table, 5.0, -5.0)
        return answers

    return run


def test_a_model_that_knows_the_labels_scores_one_and_one_that_knows_none_scores_nought(tokenizer, notes):
    perfect = evaluation.evaluate(knows_everything(tokenizer, notes), tokenizer, HALF, notes)
    assert (perfect["micro_f1"], perfect["binary_f1"]) == (1.0, 1.0)
    assert evaluation.evaluate(knows_everything(tokenizer, []), tokenizer, HALF, notes)["micro_f1"] == 0.0


def test_every_note_is_measured_by_a_tagger_that_has_seen_neither_it_nor_its_patient(tokenizer, make_notes, make_note):
    notes = make_notes(11) + [make_note(f"p{i}", [("Vital signs were stable.", {"Lab"})], group="patient") for i in range(3)]
    seen, steps = [], []

    def finetune(train, dev):
        assert train
        assert dev
        assert not {note.group for note in train} & {note.group for note in dev}
        seen.append({note.note_id for note in (*train, *dev)})
        # It has learned its notes by heart, so any that it is measured on as well would score.
        return SimpleNamespace(run=knows_everything(tokenizer, [*train, *dev]), judge=HALF)

    result = evaluation.cross_validate(notes, 4, tokenizer, finetune, on_fold=lambda done, k: steps.append((done, k)))
    assert result["micro_f1"] == 0.0
    assert (result["n_notes"], result["folds"]) == (14, 4)
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert Counter(name for names in seen for name in names) == dict.fromkeys((note.note_id for note in notes), 3)


def test_folds_keep_groups_together_and_do_not_depend_on_the_order_of_the_notes(make_notes, make_note):
    notes = make_notes(10) + [make_note(f"p{i}", [("Well.", set())], group="patient") for i in range(3)]

    def names(some):
        return {frozenset(some[i].note_id for i in part) for part in evaluation.folds(some, 4)}

    parts = names(notes)
    assert parts == names(notes[::-1])
    assert sum({"p0", "p1", "p2"} <= part for part in parts) == 1
    assert sorted(map(len, parts)) in ([3, 3, 3, 4], [2, 3, 4, 4], [3, 3, 3, 4])
    assert frozenset().union(*parts) == {note.note_id for note in notes}
    assert parts != {frozenset(notes[i].note_id for i in part) for part in evaluation.folds(notes, 4, seed=1)}


def test_more_folds_than_patients_are_refused_with_what_to_choose(make_notes):
    for k in (1, 4):
        with pytest.raises(clip.DataError, match=f"{k} folds of notes from 3 patients; choose 2 to 3"):
            evaluation.folds(make_notes(3), k)


@pytest.mark.parametrize(
    ("count", "share", "held"), [(10, 0.2, 2), (24, 0.2, 5), (2, 0.1, 1), (1, 0.2, 0), (10, 0.0, 0), (3, 1.0, 2)]
)
def test_about_the_asked_share_is_held_out_and_something_is_left_to_learn_from(make_notes, count, share, held):
    train, dev = evaluation.hold_out(make_notes(count), share)
    assert (len(train), len(dev)) == (count - held, held)
    assert not {note.note_id for note in train} & {note.note_id for note in dev}
