"""The same work here, in several processes and on Ray; the first failure is named."""

import os

import pytest

from appliance.parallel import WorkError, run


class ClearError(Exception):
    pass


def squared(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


def inverse(n: int) -> float:
    if n == -1:
        raise ClearError("free disk space")
    return 1 / n


def dying(n: int) -> None:
    os._exit(9)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items_and_each_is_told_of(workers):
    told = []
    results = run(squared, range(9), str, lambda item, result: told.append((item, result)), workers=workers)
    assert [square for square, _ in results] == [n * n for n in range(9)]
    assert sorted(told) == list(enumerate(results))
    assert (os.getpid() in {process for _, process in results}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_failure_ends_it_and_names_its_item(workers):
    with pytest.raises(WorkError, match=r"^file 0: ZeroDivisionError$"):
        run(inverse, [2, 0], lambda n: f"file {n}", workers=workers)
    with pytest.raises(WorkError, match=r"^file -1: ClearError \(free disk space\)$"):
        run(inverse, [2, -1], lambda n: f"file {n}", workers=workers, clear=(ClearError,))


def test_a_worker_that_dies_is_a_clear_error():
    with pytest.raises(WorkError, match="a worker process died"):
        run(dying, [1, 2], str, workers=2)


def test_without_items_nothing_is_done():
    assert run(inverse, [], str, workers=4) == []
