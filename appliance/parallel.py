"""The same work on many items: in this process, in several, or on a Ray cluster that the hospital has.

The work is a function that can be sent to another process and that may be done twice, since what was interrupted is begun anew.
Who runs when and where is the standard library's and Ray's business.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkError(RuntimeError):
    """An item on which the work failed; the message names it."""


def run(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    name: Callable[[Item], str],
    on_done: Callable[[Item, Result], None] = lambda item, result: None,
    *,
    workers: int = 1,
    ray_address: str = "",
    clear: tuple[type[Exception], ...] = (),
) -> list[Result]:
    """Do `work` on every item; the first failure ends it all.

    Args:
        work: a function of a module; may be done again on the same item.
        items: in the order in which they are begun.
        name: of an item, for messages.
        on_done: told of each item as it is done, in this process.
        workers: processes; with 1 it is this one.
        ray_address: of a Ray cluster ("auto", "ray://HOST:10001"), where this package is installed too; its cores count instead.
    Returns:
        Results in the order of `items`.
    Raises:
        WorkError: the work failed; of errors that are not `clear` only the class is told, since a message could quote a note.
            Or a worker died; or Ray is asked for and not there.
    """
    results: dict[int, Result] = {}
    done: _Outcomes
    if ray_address:
        done = _on_ray(work, items, ray_address)
    elif workers > 1 and len(items) > 1:
        done = _in_processes(work, items, min(workers, len(items)))
    else:
        done = ((i, partial(work, item)) for i, item in enumerate(items))
    with closing(done):
        for i, outcome in done:
            try:
                results[i] = outcome()
            except WorkError:
                raise
            except BrokenProcessPool as error:
                raise WorkError("a worker process died, as it does where memory runs out; use fewer workers") from error
            except Exception as error:
                said = f" ({error})" if isinstance(error, clear) else ""
                raise WorkError(f"{name(items[i])}: {type(error).__name__}{said}") from error
            on_done(items[i], results[i])
    return [results[i] for i in range(len(items))]


_Outcomes = Generator[tuple[int, Callable[[], Any]], None, None]
"""Numbers of items as they are done, each with a function that returns the result or raises the error."""


def _in_processes(work: Callable[[Item], Any], items: Sequence[Item], workers: int) -> _Outcomes:
    # Not forked: a child of a process with threads may wait for ever for a lock that one of them held.
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin_worker) as pool:
        futures = {pool.submit(work, item): i for i, item in enumerate(items)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin_worker() -> None:
    """Die silently with Ctrl-C, and with the process that started this one, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _on_ray(work: Callable[[Item], Any], items: Sequence[Item], address: str) -> _Outcomes:
    # Read when Ray is imported: nothing is reported to anyone.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise WorkError("Ray is not installed here; install the extra [ray], or leave its address out") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
    except (ConnectionError, ValueError) as error:
        raise WorkError(f"no Ray cluster answers at {address}; start one, or leave the address out") from error
    try:
        remote = ray.remote(max_retries=3)(work)
        pending = {remote.remote(item): i for i, item in enumerate(items)}
        while pending:
            (done,), _ = ray.wait(list(pending), num_returns=1)
            yield pending.pop(done), partial(_got, ray, done)
    finally:
        ray.shutdown()


def _got(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        # Ray's own wraps the other host's stack trace; the error itself is what is told.
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise WorkError("a Ray worker died; see the cluster's own log") from error
