"""A thread that repeats a step."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from appliance.loop import Loop


@pytest.fixture
def start() -> Iterator[Callable[[Callable[[], bool], float], Loop]]:
    started: list[Loop] = []

    def begin(step: Callable[[], bool], idle_s: float) -> Loop:
        loop = Loop("test", step, idle_s)
        loop.start()
        started.append(loop)
        return loop

    yield begin
    for loop in started:
        loop.ask_to_stop()
        assert loop.join(5)


def test_a_loop_goes_on_while_there_is_work_and_rests_when_there_is_none(start: Callable[..., Loop]) -> None:
    left, rested = [1, 2, 3], threading.Event()

    def step() -> bool:
        if left:
            left.pop()
            return True
        rested.set()
        return False

    start(step, 60)
    assert rested.wait(5)
    assert left == []


def test_a_resting_loop_can_be_woken(start: Callable[..., Loop]) -> None:
    steps = threading.Semaphore(0)

    def step() -> bool:
        steps.release()
        return False

    loop = start(step, 60)
    assert steps.acquire(timeout=5)
    assert not steps.acquire(timeout=0.2)
    loop.wake()
    assert steps.acquire(timeout=5)


def test_a_step_that_raises_is_tried_again_after_a_pause(start: Callable[..., Loop]) -> None:
    at: list[float] = []
    twice = threading.Event()

    def step() -> bool:
        at.append(time.monotonic())
        if len(at) == 2:
            twice.set()
        raise RuntimeError

    loop = start(step, 0)
    assert twice.wait(5)
    assert at[1] - at[0] >= 1
    assert loop.is_alive


def test_stopping_finishes_the_step_in_hand() -> None:
    begun, may_end, done = threading.Event(), threading.Event(), threading.Event()

    def step() -> bool:
        begun.set()
        may_end.wait(5)
        done.set()
        return True

    loop = Loop("test", step, 60)
    loop.start()
    assert begun.wait(5)
    loop.ask_to_stop()
    assert loop.join(0.1) is False
    may_end.set()
    assert loop.join(5) is True
    assert done.is_set()
