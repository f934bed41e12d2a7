"""Budgets and schedules."""

import math

import pytest

from pretrain.budget import Budget, Settings


def test_the_largest_share_of_time_steps_and_tokens_counts():
    assert Budget(seconds=10, steps=100).progress(5, 10) == 0.5
    assert Budget(seconds=10, steps=100).progress(1, 90) == 0.9
    assert Budget(steps=100, tokens=1000).progress(1e9, 50, 700) == 0.7
    assert Budget(steps=100).progress(1e9, 50, 10**12) == 0.5
    assert Budget(seconds=10).progress(20, 0) == 1


def test_what_is_left_is_told_at_the_pace_so_far():
    assert Budget(steps=100).left_s(10, 25) == 30
    assert Budget(tokens=1000).left_s(10, 3, 500) == 10
    assert Budget(seconds=60, tokens=10**9).left_s(20, 3, 500) == 40
    assert Budget(seconds=60).left_s(61, 3) == 0
    assert Budget(steps=100).left_s(0, 0) == math.inf


@pytest.mark.parametrize("bounds", [{"seconds": 0}, {"steps": -1}, {"tokens": 0}, {"seconds": math.nan}, {"seconds": math.inf}])
def test_a_budget_that_cannot_be_kept_is_refused(bounds):
    with pytest.raises(ValueError, match="positive number"):
        Budget(**bounds)


def test_only_a_budget_with_a_bound_ends():
    assert not Budget().is_bounded
    assert all(budget.is_bounded for budget in (Budget(seconds=1), Budget(steps=1), Budget(tokens=1)))


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 0.02), ("inverse_square_root", math.sqrt(0.1))])
def test_the_rate_rises_then_falls_and_is_never_nothing(schedule, last):
    settings = Settings(learning_rate=1.0, schedule=schedule, warm_up=0.1, lowest=0.02)
    rates = [settings.rate(percent / 100) for percent in range(101)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert (rates[10], rates[100]) == (1.0, pytest.approx(last))
    assert min(rates) > 0


def test_four_times_the_budget_used_halves_an_inverse_square_root():
    settings = Settings(learning_rate=1.0, schedule="inverse_square_root", warm_up=0.05)
    assert settings.rate(0.8) == pytest.approx(settings.rate(0.2) / 2)


def test_a_cosine_needs_no_warm_up_and_an_inverse_square_root_does():
    assert Settings(warm_up=0.0).rate(0) == Settings().learning_rate
    with pytest.raises(ValueError, match="warm_up above 0"):
        Settings(schedule="inverse_square_root", warm_up=0.0)


def test_a_step_has_at_least_one_batch():
    with pytest.raises(ValueError, match="at least 1"):
        Settings(micro_batches=0)
