import math
import os
import random
import signal

import numpy as np
import pytest
import torch

from pretrain.budget import Budget
from pretrain.finetuning import radqa as finetuning
from pretrain.finetuning.learning import as_run
from pretrain.finetuning.radqa import OUT, Reading, _pieces, finetune_radqa
from pretrain.models import families
from pretrain.models.families import Size, t5_config
from pretrain.models.heads import TokenTagger
from pretrain.tasks import radqa
from pretrain.tasks.clip import DataError
from pretrain.tasks.radqa import Question
from pretrain.text import Span
from pretrain.tokenizer import Tokenizer, train

ORGANS = ["liver", "spleen", "aorta", "uterus", "bladder", "thyroid"]
PLAIN = ["No fracture was seen.", "The lungs are clear.", "The heart is normal.", "There is no effusion."]


@pytest.fixture(autouse=True, scope="module")
def tiny():
    # Products this small are slower on several threads than on one.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.SIZES, "tiny", Size(d_model=32, d_ff=48, d_kv=8, num_heads=4, num_layers=2))
        yield
    torch.set_num_threads(threads)


def asked(count: int, seed: int = 0) -> list[Question]:
    """Reports of six sentences, three of which give a size; of three questions each, one is about what is not named."""
    draw = random.Random(seed)
    questions = []
    for n in range(count):
        organs = draw.sample(ORGANS, 4)
        sizes = {organ: f"{draw.randint(2, 19)} cm" for organ in organs[:3]}
        lines = [*(f"The {organ} measures {size}." for organ, size in sizes.items()), *draw.sample(PLAIN, 3)]
        draw.shuffle(lines)
        text = " ".join(lines)
        for k, organ in enumerate(organs[1:]):
            at = text.find(f"{organ} measures ") + len(f"{organ} measures ")
            answers = (Span(at, at + len(sizes[organ])),) if organ in sizes else ()
            questions.append(Question(f"r{n}_{k}", f"How large is the {organ}?", text, answers, f"r{n}"))
    return questions


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train([text for question in asked(40) for text in (question.question, question.context)], 384)


def said(reader, tokenizer, questions, **windows):
    """What the model says by itself: how large something is the rules could tell without it."""
    answers = radqa.answer(reader.run, tokenizer, questions, reader.no_answer_cutoff, cuts_by_kind=False, **windows)
    return [answer.text(question.context) for answer, question in zip(answers, questions, strict=True)]


def few(tokenizer, **settings):
    questions = asked(6)
    settings = {"size": "tiny", "epochs": 2, "batch_tokens": 512, **settings}
    return finetune_radqa(questions[:12], questions[12:], tokenizer, **settings)


def test_a_tiny_model_learns_which_words_of_a_sentence_answer_and_when_none_do(tokenizer):
    questions = asked(24)
    settings = {"size": "tiny", "batch_tokens": 512, "learning_rate": 1e-1, "epochs": 12}
    reader = finetune_radqa(questions[:57], questions[57:], tokenizer, **settings)
    unseen = asked(10, seed=1)
    result = radqa.score(unseen, said(reader, tokenizer, unseen), resamples=10)
    # The whole sentence that says most of the question's words gets an exact match of 0.33, all of them unanswerable ones.
    assert result["em"] > 0.8
    assert reader.dev_metrics["n_questions"] == 15
    assert not reader.interrupted
    assert max(look.score for look in reader.history) == pytest.approx(reader.dev_metrics["f1"])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tokenizer):
    weights = [few(tokenizer, seed=seed).model.state_dict() for seed in (0, 0, 1)]
    same = [all(torch.equal(tensor, other[name]) for name, tensor in weights[0].items()) for other in weights[1:]]
    assert same == [True, False]


@pytest.mark.parametrize(("window_tokens", "stride_tokens"), [(128, 48), (40, 12), (32, 15)])
def test_annotated_spans_are_taught_as_token_positions_and_read_back_exactly(tokenizer, window_tokens, stride_tokens):
    for question in asked(8):
        encoded = radqa.encode(question.question, question.context, tokenizer, window_tokens, stride_tokens)
        truths = [finetuning._truth(encoded, w, question.answers) for w in range(len(encoded.windows))]
        read = radqa.decode(encoded, [np.where(truth, 10.0, 0.0) for truth in truths], -math.inf)
        if question.answers:
            assert read.span == question.answers[0]
            assert read.score > 0
        for truth, starts in zip(truths, encoded.starts, strict=True):
            assert truth.any(0).all()
            # Position 0 where nothing stands whole in the window, and only there.
            assert truth[0].all() == (not truth[1:].any())
            assert not truth[1:][starts[1:] < 0].any()


def test_an_unanswerable_question_is_taught_as_position_0(tokenizer):
    silent = next(question for question in asked(1) if not question.answers)
    [piece] = _pieces(silent, tokenizer, 128, 48)
    assert np.argwhere(piece.truth).tolist() == [[0, 0], [0, 1]]


def test_an_answer_cut_in_two_by_a_window_is_not_taught_there(tokenizer):
    question = asked(1)[0]
    whole = Question("q", question.question, question.context, (Span(0, len(question.context)),), "r")
    pieces = list(_pieces(whole, tokenizer, 40, 12))
    assert len(pieces) == 1
    assert pieces[0].truth[0].all()


def test_of_windows_without_the_answer_only_the_one_most_like_it_is_taught(tokenizer):
    filler = "The lungs are clear. No fracture was seen. " * 6
    text = f"{filler}The liver was seen before. {filler}The liver measures 12 cm. {filler}"
    at = text.index("12 cm")
    question = Question("q", "How large is the liver?", text, (Span(at, at + 5),), "r")
    pieces = list(_pieces(question, tokenizer, 40, 4))
    without = [piece for piece in pieces if piece.truth[0].any()]
    assert len(without) == 1
    assert without[0].hints.max() > 0
    assert len(pieces) < len(radqa.encode(question.question, text, tokenizer, 40, 4).windows)


def test_a_report_longer_than_a_window_is_answered_through_the_stride(tokenizer):
    questions = asked(24)
    windows = {"window_tokens": 48, "stride_tokens": 16}
    settings = {"size": "tiny", "batch_tokens": 512, "learning_rate": 1e-1, "epochs": 10}
    reader = finetune_radqa(questions[:57], questions[57:], tokenizer, **settings, **windows)
    filler = " ".join(PLAIN * 8)
    far = "The liver measures 12 cm."
    for text in (f"{filler} {far} {filler}", f"{filler} {filler} {far}", f"{far} {filler}"):
        question = Question("q", "How large is the liver?", text, (), "r")
        assert len(radqa.encode(question.question, text, tokenizer, **windows).windows) > 3
        assert said(reader, tokenizer, [question], **windows) == ["12 cm"]


def objective(questions, tokenizer, window_tokens=128, stride_tokens=48, batch_tokens=100_000):
    config = t5_config("tiny", tokenizer.vocab_size)
    pieces = [piece for question in questions for piece in _pieces(question, tokenizer, window_tokens, stride_tokens)]
    torch.manual_seed(0)
    return Reading(pieces, batch_tokens, 0, config), TokenTagger(config, 2).eval()


def test_the_loss_is_that_of_the_logits_the_bedside_decodes(tokenizer):
    question = asked(1)[0]
    reading, model = objective([question], tokenizer)
    with torch.no_grad():
        loss = reading.loss(model, reading.epoch(0)[0]).item()
    encoded = radqa.encode(question.question, question.context, tokenizer, 128, 48)
    [window], [starts], [ends] = encoded.windows, encoded.starts, encoded.ends
    logits = as_run(model)(window[None], np.ones((1, len(window)), np.int64))[0]
    raised = logits + radqa.hints(question.question, question.context, encoded)[0]
    allowed = np.append(0, np.flatnonzero(starts < ends))
    truth = finetuning._truth(encoded, 0, question.answers)
    sums = [np.logaddexp.reduce(raised[allowed, side]) - raised[truth[:, side], side][0] for side in (0, 1)]
    assert loss == pytest.approx(np.mean(sums), rel=1e-4)


def test_of_several_annotated_spans_any_will_do(tokenizer):
    question = next(question for question in asked(4) if question.answers)
    other = Span(0, question.context.index(".") + 1)
    both = Question("q", question.question, question.context, (question.answers[0], other), "r")
    losses = []
    for one in (question, both):
        reading, model = objective([one], tokenizer)
        with torch.no_grad():
            losses.append(reading.loss(model, reading.epoch(0)[0]).item())
    assert losses[1] < losses[0]


def test_a_new_head_begins_where_nothing_but_the_encoder_is_left_to_learn(tokenizer, monkeypatch):
    monkeypatch.setattr(finetuning, "computes_bf16", lambda device: False)
    reading, model = objective(asked(4), tokenizer)
    [batch] = reading.epoch(0)
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    with torch.no_grad():
        untaught = reading.loss(model, batch).item()
    reading.fit_head(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.encoder.state_dict().items())
    hidden = reading._read(model)[0]
    weight = model.head.weight
    penalty = finetuning.HEAD_PENALTY / len(batch) * hidden.square().mean() * weight.square().sum(1).mean()
    error = reading.loss(model, batch)
    (error + penalty).backward()
    assert weight.grad.abs().max() < 1e-2
    assert error.item() < untaught


def test_a_sum_over_the_positions_of_a_window_is_logsumexp_however_large(tokenizer):
    logits = torch.tensor([[1.0, -3.0], [500.0, 2.0], [-7.0, OUT], [0.5, 0.25]])
    rows = torch.tensor([0, 0, 0, 1])
    sums = finetuning._log_sums(logits, rows, 2)
    expected = torch.stack([logits[:3].logsumexp(0), logits[3:].logsumexp(0)])
    assert torch.allclose(sums, expected)


def test_a_reader_goes_on_from_another_which_stays_as_it_is(tokenizer):
    first = few(tokenizer)
    before = {name: tensor.clone() for name, tensor in first.model.state_dict().items()}
    second = few(tokenizer, start=first, learning_rate=1e-6, seed=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in first.model.state_dict().items())
    # Head and encoder are the first one's: so small a rate leaves nearly all as it was.
    weight = second.model.state_dict()["head.weight"]
    assert torch.allclose(weight, before["head.weight"], atol=1e-3)
    assert not torch.equal(weight, before["head.weight"])
    with pytest.raises(ValueError, match="both an encoder and a reader"):
        few(tokenizer, start=first, encoder="anywhere")


def test_rules_trim_answers_where_they_do_so_better_than_the_model(tokenizer):
    taught = few(tokenizer, epochs=1, learning_rate=1e-6)
    assert taught.cuts_by_kind
    # Where people mark the whole sentence, cutting it down is worse.
    questions = [
        Question(one.question_id, one.question, one.context, tuple(_sentence(one, span) for span in one.answers), one.group)
        for one in asked(12)
    ]
    settings = {"size": "tiny", "batch_tokens": 512, "learning_rate": 1e-1, "epochs": 8}
    reader = finetune_radqa(questions[:27], questions[27:], tokenizer, **settings)
    assert not reader.cuts_by_kind


def _sentence(question: Question, span: Span) -> Span:
    text = question.context
    return Span(text.rfind(".", 0, span.start) + 2 if "." in text[: span.start] else 0, text.index(".", span.end))


def test_without_dev_questions_the_last_weights_and_a_cutoff_of_0_are_taken(tokenizer):
    reader = finetune_radqa(asked(2), [], tokenizer, size="tiny", epochs=2)
    assert (reader.no_answer_cutoff, reader.cuts_by_kind, reader.dev_metrics, reader.history) == (0.0, True, {}, ())
    assert reader.steps >= 2
    assert reader.flops["finetuning, exact"] > 0


def test_questions_without_a_context_to_read_are_refused_with_what_to_do(tokenizer):
    with pytest.raises(DataError, match="1 questions to learn from have no context to read; label at least one"):
        finetune_radqa([Question("q", "Is there a mass?", "", (), "r")], [], tokenizer, size="tiny")


def test_an_interrupt_ends_it_with_what_was_learned_so_far(tokenizer):
    def interrupt(report):
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    reader = few(tokenizer, epochs=500, on_step=interrupt)
    assert reader.interrupted
    assert reader.steps < 10


def test_a_budget_ends_it_earlier(tokenizer):
    assert few(tokenizer, epochs=500, budget=Budget(steps=4)).steps == 4
