"""The training loop: budgets, interruption, resuming bit by bit."""

import math
import os
import signal
import time

import pytest
import torch

from pretrain.batching import Cursor
from pretrain.checkpoints import CheckpointError, Checkpoints
from pretrain.trainer import Budget, Diverged, Interrupted, Settings, StepReport, train
from tests.unequal_batches import UnequalBatches, tiny_t5


class Parabola:
    """A linear layer learns to copy; batches depend on the cursor alone, dropout on torch's random state."""

    fingerprint = "parabola"

    def __init__(self, poison_at: int = -1) -> None:
        self.poison_at = poison_at

    def take(self, cursor: Cursor):
        generator = torch.Generator().manual_seed(cursor.epoch * 7 + cursor.position)
        batch = torch.randn(8, 4, generator=generator)
        if cursor == Cursor(0, self.poison_at):
            batch[0, 0] = math.inf
        return batch, Cursor(cursor.epoch + 1) if cursor.position == 6 else Cursor(cursor.epoch, cursor.position + 1)

    def loss(self, model, batch):
        return (model(batch) - batch).float().square().mean()

    def weight(self, batch):
        return len(batch)

    def cost(self, batch):
        return 8, 1000


def new_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.1), torch.nn.Linear(4, 4))


def weights(model: torch.nn.Module) -> list[float]:
    return [value for parameter in model.parameters() for value in parameter.flatten().tolist()]


def test_steps_end_a_budget_and_reports_count_them():
    reports: list[StepReport] = []
    progress = train(new_model(), Parabola(), Budget(steps=20), on_step=reports.append)
    assert [report.step for report in reports] == list(range(1, 21))
    assert [report.epoch for report in reports] == [0] * 7 + [1] * 7 + [2] * 6
    assert (progress.step, progress.tokens, progress.flops) == (20, 160, 20_000)
    assert reports[-1].eta_s == 0 < reports[9].eta_s
    assert reports[-1].loss < reports[0].loss
    assert reports[-1].tokens_per_s > 0 < reports[-1].flops_per_s


def test_seconds_end_a_budget():
    begin = time.monotonic()
    progress = train(new_model(), Parabola(), Budget(seconds=0.5))
    assert progress.step > 5
    assert 0.5 <= time.monotonic() - begin < 5


def test_a_large_tensor_learns_in_larger_steps():
    model = torch.nn.Linear(4, 4)
    with torch.no_grad():
        model.weight.fill_(10.0)
        model.bias.fill_(0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    train(model, Parabola(), Budget(steps=1), Settings(learning_rate=0.1, warm_up=0.0))
    # Adam's first step is the rate itself, whatever the gradient.
    for parameter, old, size in zip(model.parameters(), before, (10.0, 0.1), strict=True):
        assert torch.allclose((parameter - old).abs(), torch.full_like(old, 0.1 * size), rtol=1e-3)


@pytest.mark.parametrize(("rows", "batches"), [(4, 2), (2, 4)])
def test_a_step_of_several_batches_is_the_step_of_all_their_tokens(rows, batches, monkeypatch):
    monkeypatch.setattr("pretrain.trainer.computes_bf16", lambda device: False)

    def trained(rows: int, batches: int) -> tuple[list[StepReport], torch.nn.Module]:
        reports: list[StepReport] = []
        model = tiny_t5()
        settings = Settings(learning_rate=5e-3, micro_batches=batches)
        train(model, UnequalBatches(rows), Budget(steps=20), settings, on_step=reports.append)
        return reports, model

    (whole, one), (parted, other) = trained(8, 1), trained(rows, batches)
    assert [r.batch_loss for r in parted] == pytest.approx([r.batch_loss for r in whole], abs=1e-5)
    assert [r.gradient_norm for r in parted] == pytest.approx([r.gradient_norm for r in whole], rel=1e-4)
    assert [r.tokens for r in parted] == [r.tokens for r in whole]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_tokens_end_a_budget():
    progress = train(new_model(), Parabola(), Budget(tokens=81))
    assert (progress.step, progress.tokens) == (11, 88)


def test_a_budget_without_bound_does_not_start():
    with pytest.raises(ValueError, match="give seconds, steps or tokens"):
        train(new_model(), Parabola(), Budget())


def stop_at(step: int, number: signal.Signals = signal.SIGINT):
    def on_step(report: StepReport) -> None:
        if report.step == step:
            os.kill(os.getpid(), number)

    return on_step


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 5, 9])
def test_five_steps_and_five_resumed_are_ten_in_one_go(tmp_path, step, number):
    whole, parted = new_model(), new_model()
    torch.manual_seed(1)
    reports: list[StepReport] = []
    train(whole, Parabola(), Budget(steps=10), on_step=reports.append)

    torch.manual_seed(1)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(Interrupted, match=f"after step {step}"):
        train(parted, Parabola(), Budget(steps=10), on_step=stop_at(step, number), checkpoints=checkpoints)
    torch.manual_seed(99)
    resumed, later = new_model(), []
    progress = train(resumed, Parabola(), Budget(steps=10), on_step=later.append, checkpoints=checkpoints, resume=True)

    assert weights(resumed) == weights(whole)
    assert [(r.step, r.loss, r.batch_loss, r.epoch) for r in later] == [
        (r.step, r.loss, r.batch_loss, r.epoch) for r in reports[step:]
    ]
    assert progress.tokens == 80


def test_signals_are_handled_as_before_once_training_ends():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        train(new_model(), Parabola(), Budget(steps=10), on_step=stop_at(3))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_finished_training_goes_on_with_a_larger_budget(tmp_path):
    train(new_model(), Parabola(), Budget(steps=4), checkpoints=Checkpoints(tmp_path))
    steps: list[int] = []
    again = new_model()
    train(
        again, Parabola(), Budget(steps=4), checkpoints=Checkpoints(tmp_path), resume=True, on_step=lambda r: steps.append(r.step)
    )
    assert steps == []
    train(
        again, Parabola(), Budget(steps=6), checkpoints=Checkpoints(tmp_path), resume=True, on_step=lambda r: steps.append(r.step)
    )
    assert steps == [5, 6]


def test_without_resume_a_training_begins_anew(tmp_path):
    train(new_model(), Parabola(), Budget(steps=4), checkpoints=Checkpoints(tmp_path))
    assert train(new_model(), Parabola(), Budget(steps=2), checkpoints=Checkpoints(tmp_path)).step == 2
    assert train(new_model(), Parabola(), Budget(steps=3), checkpoints=Checkpoints(tmp_path), resume=True).step == 3


def test_another_training_is_not_resumed(tmp_path):
    train(new_model(), Parabola(), Budget(steps=2), checkpoints=Checkpoints(tmp_path))
    other = Parabola()
    other.fingerprint = "other text"
    with pytest.raises(CheckpointError, match="of another training"):
        train(new_model(), other, Budget(steps=4), checkpoints=Checkpoints(tmp_path), resume=True)


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint_before(tmp_path):
    train(new_model(), Parabola(), Budget(steps=2), checkpoints=Checkpoints(tmp_path))
    with pytest.raises(Diverged, match="at step 4; start again with a lower learning rate"):
        train(new_model(), Parabola(poison_at=3), Budget(steps=9), checkpoints=Checkpoints(tmp_path), resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000002"]


def test_checkpoints_are_written_as_time_passes(tmp_path):
    seen: set[str] = set()
    train(
        new_model(),
        Parabola(),
        Budget(steps=5),
        Settings(save_every_s=1e-9),
        checkpoints=Checkpoints(tmp_path),
        on_step=lambda report: seen.update(path.name for path in tmp_path.iterdir()),
    )
    assert seen == {f"step-{step:012d}" for step in range(1, 5)}


def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path):
    whole, broken, resumed = new_model(), new_model(), new_model()
    torch.manual_seed(1)
    train(whole, Parabola(), Budget(steps=10))
    torch.manual_seed(1)
    checkpoints = Checkpoints(tmp_path)
    every_step = Settings(save_every_s=1e-9)
    with pytest.raises(Interrupted):
        train(broken, Parabola(), Budget(steps=10), every_step, on_step=stop_at(6), checkpoints=checkpoints)
    (tmp_path / "step-000000000006" / "optimizer.pt").write_bytes(b"")
    said: list[str] = []
    steps: list[int] = []
    train(
        resumed,
        Parabola(),
        Budget(steps=10),
        checkpoints=checkpoints,
        resume=True,
        say=said.append,
        on_step=lambda report: steps.append(report.step),
    )
    assert said == ["step-000000000006: optimizer.pt is not what was written; going on from step-000000000005"]
    assert steps == [6, 7, 8, 9, 10]
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize(("gap", "looks"), [(1, [(3, 0), (6, 1), (9, 2), (12, 3)]), (5, [(6, 0), (12, 1)]), (99, [(12, 0)])])
def test_the_dev_loss_is_asked_for_at_even_shares_of_the_budget_but_not_too_often(gap, looks):
    reports: list[StepReport] = []
    asked = iter(range(100))
    train(
        new_model(),
        Parabola(),
        Budget(steps=12),
        Settings(evaluations=4, evaluation_gap_steps=gap),
        evaluate=lambda model: float(next(asked)),
        on_step=reports.append,
    )
    assert [(report.step, report.dev_loss) for report in reports if report.dev_loss is not None] == looks
