import itertools
import os
import random
import signal

import numpy as np
import pytest
import torch

from pretrain.finetuning.learning import LOOKS
from pretrain.finetuning.mednli import HEAD_PENALTY, Inference, _lessons, finetune_mednli, teach_mednli
from pretrain.labelling import inference
from pretrain.models import families
from pretrain.models.families import Size, t5_config
from pretrain.models.heads import TokenTagger
from pretrain.tasks import mednli
from pretrain.tasks.clip import DataError
from pretrain.tasks.mednli import CHANNELS, LABELS, Pair
from pretrain.trainer import Budget

FACTS = ["The wound is clean.", "She ate well.", "Chest was clear.", "Vital signs were stable.", "He walked the hall."]


@pytest.fixture(autouse=True, scope="module")
def tiny():
    # Products this small are slower on several threads than on one.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.SIZES, "tiny", Size(d_model=32, d_ff=48, d_kv=8, num_heads=4, num_layers=2))
        yield
    torch.set_num_threads(threads)


def make_pairs(count, seed=0):
    """Pairs whose label stands in the hypothesis: a toy task that a toy encoder can learn."""
    draw = random.Random(seed)
    words = dict(zip(LABELS, ("INR", "Friday", "surgeon"), strict=True))
    drawn = ((n, LABELS[n % 3], draw.choice(FACTS)) for n in range(count))
    return [Pair(f"p{n}", fact, f"See the {words[label]} next week.", label, f"g{n // 3}") for n, label, fact in drawn]


def accuracy(judge, tokenizer, pairs):
    found = mednli.predict(judge.run, tokenizer, pairs, 64)
    return mednli.score(pairs, mednli.decode(found))["accuracy"]


@pytest.fixture(scope="module")
def finetuned(tiny, tokenizer):
    reports, pairs = [], make_pairs(36)
    settings = {"size": "tiny", "window_tokens": 64, "batch_tokens": 256, "learning_rate": 1e-2, "epochs": 30}
    return finetune_mednli(pairs[:27], pairs[27:], tokenizer, on_step=reports.append, **settings), reports


def test_two_dozen_pairs_are_enough_to_learn_what_can_be_learned(finetuned, tokenizer):
    judge, _ = finetuned
    assert accuracy(judge, tokenizer, make_pairs(30, seed=1)) > 0.9


def test_progress_history_and_cost_are_told(finetuned):
    judge, reports = finetuned
    assert [report.step for report in reports] == list(range(1, judge.steps + 1))
    assert judge.dev_metrics["n_pairs"] == 9
    assert 1 <= len(judge.history) <= LOOKS
    assert judge.flops.keys() == {"finetuning, exact", "finetuning, 6PT"}
    assert 0 < judge.flops["finetuning, exact"] < judge.flops["finetuning, 6PT"]
    assert judge.model.head.out_features == CHANNELS
    assert not judge.model.training
    assert not judge.interrupted


def few(tokenizer, **change):
    pairs = make_pairs(9)
    return finetune_mednli(pairs[:6], pairs[6:], tokenizer, **{"size": "tiny", "window_tokens": 64, "epochs": 2, **change})


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_random_numbers_alone(tokenizer):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    once, again, other = (few(tokenizer, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(once.model.head.weight, again.model.head.weight)
    assert not torch.equal(once.model.head.weight, other.model.head.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_budget_ends_it_earlier(tokenizer):
    assert few(tokenizer, epochs=500, budget=Budget(steps=3)).steps == 3
    assert few(tokenizer, epochs=5000, budget=Budget(seconds=0.3)).steps < 5000


def test_an_interrupt_ends_it_with_what_was_learned_so_far(tokenizer):
    def interrupt(report):
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    judge = few(tokenizer, epochs=500, on_step=interrupt)
    assert judge.interrupted
    assert judge.steps < 10


def test_with_no_epoch_only_the_head_is_fitted(tokenizer):
    judge, other = few(tokenizer, epochs=0), few(tokenizer, epochs=1)
    assert (judge.steps, judge.history, judge.flops["finetuning, exact"]) == (0, (), 0)
    assert judge.dev_metrics["n_pairs"] == 3
    fresh, learnt = (one.model.encoder.state_dict()["encoder.final_layer_norm.weight"] for one in (judge, other))
    assert torch.equal(fresh, torch.ones_like(fresh))
    assert not torch.equal(learnt, fresh)


def test_without_dev_pairs_the_last_weights_are_taken(tokenizer):
    judge = finetune_mednli(make_pairs(6), [], tokenizer, size="tiny", window_tokens=64, epochs=2)
    assert (judge.dev_metrics, judge.history) == ({}, ())


def test_no_pair_to_learn_from_is_refused_with_what_to_do(tokenizer):
    for teach in (lambda: finetune_mednli([], [], tokenizer, size="tiny"), lambda: teach_mednli([], tokenizer, size="tiny")):
        with pytest.raises(DataError, match="no pair to learn from; label at least one of each kind"):
            teach()


@pytest.fixture(scope="module")
def taught(tiny, tokenizer):
    return teach_mednli(make_pairs(150), tokenizer, size="tiny", window_tokens=64, batch_tokens=128, learning_rate=2e-2)


def test_what_is_taught_is_kept_by_finetuning_with_few_pairs(taught, tokenizer):
    judge = finetune_mednli(make_pairs(3), [], tokenizer, size="tiny", taught=taught, window_tokens=64, epochs=0)
    assert accuracy(judge, tokenizer, make_pairs(30, seed=1)) > 0.9
    assert judge.flops.keys() == taught.flops.keys()
    assert all(judge.flops[rule] >= spent > 0 for rule, spent in taught.flops.items())


def test_an_interrupt_of_the_teaching_says_so(tokenizer):
    def interrupt(report):
        signal.raise_signal(signal.SIGINT)

    taught = teach_mednli(make_pairs(30), tokenizer, size="tiny", window_tokens=64, batch_tokens=128, on_step=interrupt)
    assert taught.interrupted


def test_a_few_pairs_that_say_otherwise_leave_a_taught_head_nearly_as_it_was(taught, tokenizer):
    before = {name: tensor.clone() for name, tensor in taught.model.state_dict().items()}
    [wrong] = [Pair("p", pair.premise, pair.hypothesis, "neutral", "g") for pair in make_pairs(1)]
    judge = finetune_mednli([wrong], [], tokenizer, size="tiny", taught=taught, window_tokens=64, epochs=0)
    assert accuracy(judge, tokenizer, make_pairs(30, seed=1)) >= 2 / 3
    assert all(torch.equal(tensor, before[name]) for name, tensor in taught.model.state_dict().items())


def objective(pairs, tokenizer, batch_tokens=100_000):
    config = t5_config("tiny", tokenizer.vocab_size)
    return Inference(_lessons(pairs, tokenizer, 64), batch_tokens, 0, config), TokenTagger(config, CHANNELS).eval()


def test_the_loss_is_that_of_the_probabilities_in_use(tokenizer):
    pairs = make_pairs(9)
    inference_, model = objective(pairs, tokenizer)

    def run(ids, mask):
        with torch.no_grad():
            return model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()

    found = mednli.predict(run, tokenizer, pairs, 64)
    expected = -np.log([found[n, LABELS.index(pair.label)] for n, pair in enumerate(pairs)]).mean()
    with torch.no_grad():
        assert inference_.loss(model, inference_.epoch(0)[0]).item() == pytest.approx(expected, rel=1e-4)


def test_a_head_begins_where_nothing_but_the_encoder_is_left_to_learn(tokenizer, monkeypatch):
    monkeypatch.setattr("pretrain.finetuning.mednli.computes_bf16", lambda device: False)
    pairs = make_pairs(30)
    inference_, model = objective(pairs, tokenizer)
    before, bias_before = model.head.weight.detach().clone(), model.head.bias.detach().clone()
    inference_.fit_head(model)
    hidden, labels = inference_._read(model)
    moved = (model.head.weight - before).square().sum() * hidden.square().mean()
    bias_moved = (model.head.bias - bias_before).view(2, -1).sum(0).square().sum()
    (inference_.loss(model, inference_.epoch(0)[0]) + (HEAD_PENALTY * moved + bias_moved) / 2 / len(labels)).backward()
    assert model.head.weight.grad.abs().max() < 1e-3
    assert model.head.bias.grad.abs().max() < 1e-3


def test_the_table_says_of_each_hypothesis_with_which_premise_it_is_true(tokenizer):
    pairs = inference.pairs(1)
    assert pairs == inference.pairs(1) != inference.pairs(1, seed=1)
    assert {pair.label for pair in pairs} == set(LABELS)
    assert all(len({entry for part in row for entry in part}) == sum(map(len, row)) for row in inference.ROWS)
    # A hypothesis alone tells nothing: as often entailed as contradicted.
    both = [[pair.hypothesis for pair in pairs if pair.label == label] for label in ("entailment", "contradiction")]
    assert sorted(both[0]) == sorted(both[1])
    assert all(entry.endswith(".") and "|" not in entry for row in inference.ROWS for entry in itertools.chain(*row))


def test_more_draws_ask_the_same_of_other_premises():
    once, twice = inference.pairs(1), inference.pairs(2)
    assert len({pair.pair_id for pair in twice}) == len(twice) > 1.9 * len(once)
    assert len({(pair.premise, pair.hypothesis) for pair in twice}) > 1.4 * len({(p.premise, p.hypothesis) for p in once})
