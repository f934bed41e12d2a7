"""Losses that are read later than they are made."""

import math

import pytest
import torch

from pretrain.progress import Diverged, Losses, Progress, StepReport


def noted(losses: Losses, step: int, loss: float, norm: float = 1.0) -> list[StepReport]:
    losses.note(StepReport(step, math.nan, 0.0, 0.0), torch.tensor([loss, norm]))
    return list(losses.read(all_of_them=False))


def test_without_lag_every_step_is_told_at_once():
    losses = Losses((0.0, 0.0), lag=0)
    (first,) = noted(losses, 1, 4.0)
    (second,) = noted(losses, 2, 2.0, 3.0)
    assert (first.batch_loss, first.loss) == (4.0, 4.0)
    assert (second.batch_loss, second.gradient_norm) == (2.0, 3.0)
    assert second.loss == pytest.approx((0.98 * 4 + 2) / 1.98)
    assert losses.smoothed == (0.98 * 4 + 2, 1.98)


def test_with_a_lag_a_step_is_told_one_later_and_the_last_when_all_are_asked_for():
    losses = Losses((0.0, 0.0), lag=1)
    assert noted(losses, 1, 4.0) == []
    assert [report.step for report in noted(losses, 2, 3.0)] == [1]
    assert [report.step for report in noted(losses, 3, 2.0)] == [2]
    assert [(report.step, report.batch_loss) for report in losses.read(all_of_them=True)] == [(3, 2.0)]
    assert list(losses.read(all_of_them=True)) == []


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.inf), (2.0, math.nan)])
def test_what_is_no_number_stops_before_a_later_step_is_told(loss, norm):
    losses = Losses((0.0, 0.0), lag=1)
    noted(losses, 1, loss, norm)
    with pytest.raises(Diverged, match="at step 1; start again with a lower learning rate"):
        noted(losses, 2, 2.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_loss_is_read_while_the_next_step_still_runs():
    losses = Losses((0.0, 0.0), lag=1)
    slow = torch.randn(8192, 8192, device="cuda")
    losses.note(StepReport(1, math.nan, 0.0, 0.0), torch.tensor([4.0, 1.0], device="cuda"))
    for _ in range(200):
        slow = slow @ slow / 8192
    done = torch.cuda.Event()
    done.record()
    losses.note(StepReport(2, math.nan, 0.0, 0.0), torch.tensor([3.0, 1.0], device="cuda"))
    assert [report.batch_loss for report in losses.read(all_of_them=False)] == [4.0]
    assert not done.query()


def test_a_training_that_has_not_begun_has_no_loss():
    assert math.isnan(Progress().loss)
    assert Progress(smoothed=(6.0, 2.0)).loss == 3.0
