"""The paper's T5, text to text: what it is shown, what it is taught, and how its words become answers."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.optimization import Adafactor

from pretrain.experiments import text_to_text
from pretrain.experiments.text_to_text import (
    CLIP,
    MEDNLI,
    RADQA,
    TASKS,
    Generated,
    clip_window,
    finetune,
    finetune_seeds,
    generate,
    label_text,
    mednli_text,
    predict,
    read_labels,
    score_pairs,
)
from pretrain.models.families import load_t5
from pretrain.models.systems import system_named, tiny
from pretrain.tasks import clip, mednli
from pretrain.tasks.base import LabelledNote, Question
from pretrain.tasks.mednli import Pair
from pretrain.text import Span
from pretrain.tokenizer import Tokenizer, train

CONTEXT = "FINDINGS: The heart is mildly enlarged. Lungs are clear. IMPRESSION: Small left effusion. No pneumothorax."
SAID = ["Small left effusion", "left effusion"]
EFFUSION = Question(
    "q1", "Is there an effusion?", CONTEXT, tuple(Span(CONTEXT.index(a), CONTEXT.index(a) + len(a)) for a in SAID), "r1"
)
FRACTURE = Question("q2", "Any rib fracture?", CONTEXT, (), "r1")
PAIR = Pair("p1", "He denies chest pain.", "The patient reports chest pain", "contradiction", "g1")


pytestmark = pytest.mark.usefixtures("one_thread")


def toy_pairs(count: int, seed: int) -> list[Pair]:
    """Pairs whose label the last word tells."""
    draw = random.Random(seed)
    pairs = []
    for n in range(count):
        word, label = draw.choice([("pain", "contradiction"), ("fever", "entailment"), ("rash", "neutral")])
        pairs.append(Pair(f"p{n}", f"She was seen on day {n}.", f"Day {draw.randrange(9)}: {word}", label, f"g{n}"))
    return pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory, notes):
    """A tiny T5 of the original kind, with a vocabulary of these tasks."""
    made = tmp_path_factory.mktemp("t5")
    texts = [f"{mednli_text(pair)} {pair.label}" for pair in [*toy_pairs(60, 0), PAIR] * 4]
    others = [CONTEXT, EFFUSION.question, FRACTURE.question, *clip.LABELS, "question: context: ; ,"] * 40
    tiny(system_named("T5-Base"), made, [*texts, *others, *(note.text for note in notes)])
    return made


@pytest.fixture(scope="module")
def words(folder) -> Tokenizer:
    return Tokenizer.load(folder / "tokenizer.json")


def shown(task, items, tokenizer, learning=True):
    """Every example's item, source and target as text."""
    examples = task.examples(items, tokenizer, task, learning)
    return [(one.item, tokenizer.decode(one.source[:-1]), tokenizer.decode(one.target[:-1])) for one in examples]


# The paper's recipe


def test_the_recipes_are_the_papers():
    assert {name: (task.epochs, task.batch, task.input_tokens, task.beams, task.figure) for name, task in TASKS.items()} == {
        "mednli": (15, 64, 256, 3, "accuracy"),
        "radqa": (15, 64, 1024, 1, "f1"),
        "clip": (25, 64, 256, 5, "macro_f1"),
    }
    assert (text_to_text.LEARNING_RATE, text_to_text.SEEDS) == (1e-4, (1, 2, 3))


def test_adafactor_runs_at_a_constant_rate_that_no_tensors_size_changes(folder, words, monkeypatch):
    made = []

    class Watched(Adafactor):
        def __init__(self, *arguments, **options):
            made.append(options)
            super().__init__(*arguments, **options)

    monkeypatch.setattr("transformers.optimization.Adafactor", Watched)
    finetune(MEDNLI, folder, words, [PAIR], [], epochs=1)
    assert made == [{"lr": 1e-4, "scale_parameter": False, "relative_step": False}]


# MedNLI


def test_a_pair_is_one_text_whose_parts_end_with_a_full_stop(words):
    text = "mednli premise: He denies chest pain. hypothesis: The patient reports chest pain."
    assert mednli_text(PAIR) == text
    assert shown(MEDNLI, [PAIR], words) == [(0, text, "contradiction")]
    assert shown(MEDNLI, [replace(PAIR, hypothesis="The patient reports chest pain. ")], words)[0][1] == text


def test_a_pair_too_long_is_not_learnt_from_but_always_measured(words):
    long = replace(PAIR, premise="He denies pain. " * 200)
    assert [item for item, *_ in shown(MEDNLI, [long, PAIR], words)] == [1]
    examples = MEDNLI.examples([long, PAIR], words, MEDNLI, False)
    assert [(one.item, len(one.source)) for one in examples] == [(0, 256), (1, len(examples[1].source))]
    assert examples[0].source[-1] == words.eos_id


@pytest.mark.parametrize(("text", "label"), [(" neutral ", "neutral"), ("neutrally", None), ("", None), ("Neutral", None)])
def test_a_generated_label_is_read_only_where_it_is_one_exactly(text, label):
    assert MEDNLI.read(PAIR, [Generated(text, 0)]) == label


def test_an_answer_that_is_no_label_counts_as_wrong_and_is_told():
    pairs = [replace(PAIR, label=label) for label in mednli.LABELS]
    result = score_pairs(pairs, [None, None, "contradiction"])
    assert (result["accuracy"], result["n_unread"], result["n_pairs"]) == (pytest.approx(1 / 3), 2, 3)


# RadQA


def test_a_question_is_one_text_and_the_first_annotators_answer_or_nothing_its_target(words):
    start = f"question: Is there an effusion? context: {CONTEXT}"
    assert shown(RADQA, [EFFUSION, FRACTURE], words) == [
        (0, start, "Small left effusion"),
        (1, start.replace("Is there an effusion", "Any rib fracture"), ""),
    ]


def chunked():
    return replace(RADQA, input_tokens=48)


def test_an_answer_is_asked_of_the_chunks_alone_that_hold_it_whole(words):
    """The authors cut at the window's end and still ask for what was cut off."""
    task = chunked()
    sources = shown(task, [EFFUSION], words)
    assert len(sources) > 2
    for _, source, target in sources:
        held = [answer for answer in SAID if answer in source]
        assert target == (held[0] if held else "")
    # Where the first annotator's is cut in two, the second one's may not be.
    assert {"", "Small left effusion"} <= {target for *_, target in sources} <= {"", *SAID}


def test_chunks_overlap_and_leave_no_word_of_a_report_out(words):
    task = chunked()
    examples = task.examples([EFFUSION], words, task, False)
    assert all(len(one.source) <= 48 for one in examples)
    lead = len(words.encode("question: Is there an effusion? context:").ids)
    own = [one.source[lead:-1].tolist() for one in examples]
    whole = words.encode(CONTEXT).ids.tolist()
    step = (48 - 1 - lead) - (48 - 1 - lead) // 2
    assert [whole[n * step : n * step + len(part)] for n, part in enumerate(own)] == own
    assert own[-1][-1] == whole[-1]
    assert own[0][step:] == own[1][: len(own[0]) - step]


def test_the_likeliest_answer_wins_whichever_chunk_it_is_from():
    """With the authors the last chunk's answer wins, which mostly is that of a chunk without one."""
    said = [Generated("Small left effusion", -0.2), Generated("heart", -0.9), Generated("", -0.01)]
    for order in (said, said[::-1]):
        assert RADQA.read(EFFUSION, order) == "Small left effusion"
    assert RADQA.read(EFFUSION, [Generated("", -0.3), Generated(" ", -0.1)]) == ""


# CLIP


def test_a_sentence_stands_behind_what_is_around_it_and_its_labels_are_in_alphabetical_order(make_note, words):
    marked = [("She ate well.", set()), ("Repeat potassium next week.", {"Lab", "Appointment"}), ("Chest was clear.", set())]
    note = make_note("n", marked)
    assert shown(CLIP, [note], words) == [
        (0, f"{note.text} ; She ate well.", ""),
        (0, f"{note.text} ; Repeat potassium next week.", "Appointment, Lab"),
        (0, f"{note.text} ; Chest was clear.", ""),
    ]


def test_a_window_is_full_wherever_in_a_long_note_its_sentence_stands(make_notes, words):
    text = " ".join(note.text for note in make_notes(6))
    spans = clip.sentences_of(text)
    note = LabelledNote("n", text, spans, (frozenset(),) * len(spans), "n")
    examples = CLIP.examples([note], words, CLIP, True)
    assert {len(one.source) for one in examples} == {256}
    for one, span in zip(examples, spans, strict=True):
        before, after = words.decode(one.source[:-1]).rsplit(" ; ", 1)
        assert after == text[span.start : span.end]
        assert after in before


def test_a_note_shorter_than_the_window_is_its_own_context():
    """The authors' start goes negative there: Python then counts from the end, and the context is lost."""
    assert clip_window(slice(0, 10), 40, 250) == (slice(0, 40), slice(0, 10))
    assert clip_window(slice(30, 40), 40, 250) == (slice(0, 40), slice(30, 40))


def test_what_a_side_does_not_need_is_the_other_sides():
    assert clip_window(slice(0, 20), 1000, 120)[0] == slice(0, 100)
    assert clip_window(slice(980, 1000), 1000, 120)[0] == slice(900, 1000)
    assert clip_window(slice(500, 520), 1000, 120)[0] == slice(460, 560)


@settings(deadline=None, derandomize=True)
@given(tokens=st.integers(0, 600), data=st.data(), budget=st.integers(2, 300))
def test_a_window_never_leaves_its_note_nor_its_budget_and_holds_its_sentence(tokens, data, budget):
    start = data.draw(st.integers(0, tokens))
    own = slice(start, data.draw(st.integers(start, tokens)))
    context, sentence = clip_window(own, tokens, budget)
    assert 0 <= context.start <= sentence.start <= sentence.stop <= context.stop <= tokens
    size = sentence.stop - sentence.start
    assert size == min(own.stop - own.start, budget // 2)
    assert context.stop - context.start == min(tokens, budget - size)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", set()),
        ("Lab", {"Lab"}),
        ("Appointment, Lab", {"Appointment", "Lab"}),
        ("lab,appointment ,", {"Appointment", "Lab"}),
        ("Patient instructions, unheard of", {"Patient instructions"}),
    ],
)
def test_labels_are_read_as_they_are_written(text, labels):
    assert read_labels(text) == labels


@given(st.sets(st.sampled_from(clip.LABELS)))
def test_what_is_taught_is_read_back(labels):
    assert read_labels(label_text(frozenset(labels))) == labels


# Learning and generating

QUICK = {"learning_rate": 5e-3, "batch": 6}


def test_a_tiny_t5_learns_what_can_be_learnt_and_keeps_its_best_epoch(folder, words):
    told = []
    greedy, train_pairs, dev = replace(MEDNLI, beams=1), toy_pairs(60, 0), toy_pairs(12, 1)
    learned = finetune(greedy, folder, words, train_pairs, dev, epochs=10, on_epoch=lambda *one: told.append(one), **QUICK)
    assert [epoch for epoch, _ in told] == list(range(1, 11))
    assert told[-1][1] < told[0][1] / 3
    assert learned.steps == 10 * 10
    assert learned.best_epoch == learned.history.index(max(learned.history)) + 1
    assert learned.measure(dev)["accuracy"] == max(learned.history)
    # Measured 1.0 with seeds 1 and 2 of a vocabulary alike; guessing gives a third.
    assert learned.measure(toy_pairs(30, 2))["accuracy"] > 0.8
    # 6PT counts each token as if it passed the encoder and the decoder.
    assert 0 < learned.flops["finetuning, exact"] < learned.flops["finetuning, 6PT"]


def test_the_same_seed_learns_the_same_and_leaves_the_callers_random_numbers_alone(folder, words):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    once, again, other = (
        finetune(MEDNLI, folder, words, toy_pairs(12, 0), [], epochs=1, seed=seed, **QUICK).model.lm_head.weight
        for seed in (3, 3, 4)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_is_the_same_however_many_rows_are_computed_at_once(folder, words, monkeypatch):
    """The mean is over the step's target tokens, not over parts of it."""
    monkeypatch.setattr(text_to_text, "computes_bf16", lambda device: False)  # which rounds each part for itself
    pairs = toy_pairs(8, 0)
    gradients = []
    for rows in (8, 3):
        model = load_t5(folder)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        text_to_text._step(model, optimizer, MEDNLI.examples(pairs, words, MEDNLI, True), rows, words.pad_id)
        gradients.append(model.lm_head.weight.detach().clone())
    torch.testing.assert_close(*gradients)


def test_one_score_per_seed_comes_out(folder, words):
    results = finetune_seeds(MEDNLI, folder, words, toy_pairs(4, 0), toy_pairs(2, 1), toy_pairs(3, 2), seeds=(1, 2), epochs=1)
    assert [(one["seed"], one["n_pairs"], len(one["dev"])) for one in results] == [(1, 3, 1), (2, 3, 1)]


def test_a_text_is_the_same_alone_and_beside_longer_ones_and_its_score_is_its_likelihood(folder, words):
    model = load_t5(folder)
    task = replace(CLIP, target_tokens=6, rows=3)
    notes = [LabelledNote("n", "She ate well. " * n, (Span(0, 13),), (frozenset(),), "n") for n in (1, 3, 9)]
    examples = task.examples(notes, words, task, False)
    together = generate(model, words, task, examples)
    alone = [generate(model, words, task, [one])[0] for one in examples]
    assert [one.text for one in together] == [one.text for one in alone]
    np.testing.assert_allclose([one.score for one in together], [one.score for one in alone], rtol=1e-4)
    assert all(one.score < 0 for one in together)


def test_no_control_token_is_ever_part_of_an_answer(words):
    ids = np.array([words.pad_id, words.sentinel_id(0), *words.encode("neutral").ids, words.eos_id, 7, 7])
    assert text_to_text._text(text_to_text._until_end(ids, words), words) == "neutral"


def test_every_item_is_answered_also_one_without_a_sentence(folder, words, make_note):
    task = replace(CLIP, target_tokens=4)
    notes = [make_note("empty", []), make_note("n", [("She ate well.", set())])]
    assert len(predict(load_t5(folder), words, task, notes)) == 2


def test_nothing_to_learn_from_and_a_foreign_vocabulary_are_refused(folder, words):
    with pytest.raises(ValueError, match="0 items give no example"):
        finetune(MEDNLI, folder, words, [], [])
    letters = [chr(ord("\u0100") + n) for n in range(300)]
    larger = train([" ".join(letters)] * 20, 1024)
    assert larger.vocab_size > words.vocab_size
    with pytest.raises(ValueError, match=r"give the model's own"):
        finetune(MEDNLI, folder, larger, [PAIR], [])
