"""Several processes train one model, each on its share of a step's batches: who is there, and what they agree on.

`torchrun` starts one process per GPU, on one host or several, and tells each its rank in the environment. Without it there is
one process, and everything here says so at no cost.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from itertools import count

import torch
from torch import Tensor
from torch import distributed as processes
from torch.nn.parallel import DistributedDataParallel

_MEETINGS = count()
_AS_LONG_AS_IT_TAKES = timedelta(days=30)
"""A corpus of millions of notes is read before there is anything to train on."""


def follows() -> bool:
    """Whether this process was started to help another: only rank 0 reads, writes and reports."""
    return int(os.environ.get("RANK", "0")) > 0


@contextmanager
def joined(told: str = "") -> Iterator[str]:
    """Meet the processes that `torchrun` started beside this one, on a GPU each where there are any; part at the end.

    Args:
        told: what the main process has to say to the others, who wait for it as long as it takes.
    Yields:
        What the main process told.
    Raises:
        torch.distributed.DistError: a process is gone, or does not come for half an hour once the main one is here.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield told
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    meeting, own, size = next(processes.rendezvous("env://"))  # type: ignore[attr-defined]
    store = processes.PrefixStore(f"clinappliance-{next(_MEETINGS)}", meeting)  # type: ignore[attr-defined]
    if own == 0:
        store.set("told", told)
    store.wait(["told"], _AS_LONG_AS_IT_TAKES)
    # What hosts tell each other goes by gloo on GPU machines too, or every word would wait for the GPU.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    processes.init_process_group(backend, store=store, rank=own, world_size=size)
    try:
        yield store.get("told").decode()
    finally:
        # A sharded model lives on in reference cycles and keeps gloo's threads; a process that ends before these is aborted.
        gc.collect()
        processes.destroy_process_group()


def world() -> int:
    """How many processes train together here and now."""
    return processes.get_world_size() if processes.is_initialized() else 1


def rank() -> int:
    """Which one of them this is, from 0."""
    return processes.get_rank() if processes.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the one that writes and reports."""
    return rank() == 0


def total(values: Tensor) -> Tensor:
    """Element-wise sum over the processes, in place."""
    if world() > 1:
        processes.all_reduce(values)
    return values


def agree(seconds: float, stop: bool = False) -> tuple[float, bool]:
    """The main process' clock, and whether anybody wants to stop: all go on or none does. All wait for all here."""
    if world() == 1:
        return seconds, stop
    told = total(torch.tensor([seconds if is_main() else 0.0, float(stop)], dtype=torch.float64))
    return float(told[0]), bool(told[1])


def replica(module: torch.nn.Module) -> torch.nn.Module:
    """The module, with gradients averaged over the processes while they are computed, and the main one's weights."""
    if world() == 1:
        return module
    return DistributedDataParallel(module, gradient_as_bucket_view=True)


def gradients_kept(module: torch.nn.Module, keep: bool) -> AbstractContextManager[None]:
    """While `keep`, a `replica`'s gradients are added up here and not sent: more are to come before the step.

    A sharded model's are sent all the same: kept as a whole, they would take the memory that it is sharded for.
    """
    if keep and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()
