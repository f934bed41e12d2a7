"""FSDP2: each process holds a part of every weight, for models too large for one GPU beside their gradients and optimizer.

`shard` divides a model. A block's weights are gathered while it computes and let go again, the others while `run` runs; gradients
and the optimizer's state are in parts from the beginning. `whole` and `part` go from one to the other. Asked of a model or tensor
that was never divided, all of them cost nothing. Source: Zhao et al. 2023 (PyTorch FSDP).
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from pretrain import distributed

T = TypeVar("T")

_RUN = "run_with_all_weights"


def shard(model: torch.nn.Module) -> None:
    """Divide the weights among all processes, in place; they all call it, with models of the same weights.

    A model that is to be compiled is so before. From here on its parameters are others; until then it must fit as a whole.
    """
    # T5's blocks hand on a view, of their bias by position; nothing is ever added to it in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
    mesh = init_device_mesh(next(model.parameters()).device.type, (distributed.world(),))
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # An objective calls a model's parts, and weights are gathered only where a forward begins: this one is another.
    setattr(model, _RUN, lambda function: function())
    register_fsdp_forward_method(model, _RUN)


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether `shard` has divided it: what does not lie in a block's forward may then be asked through `run` only."""
    return isinstance(model, FSDPModule)


def run(function: Callable[..., T], model: torch.nn.Module, *arguments: Any) -> T:
    """`function(model, *arguments)`, with the weights outside its blocks at hand.

    Where it is sharded, all processes call this equally often.
    """
    if not is_sharded(model):
        return function(model, *arguments)
    ran: T = getattr(model, _RUN)(partial(function, model, *arguments))
    return ran


def whole(tensor: Tensor) -> Tensor:
    """The tensor with all its parts; all processes call this for the same ones in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """The `whole` tensor in the main process' memory, to be written; the others help, and get nothing to keep."""
    found = whole(tensor.detach())
    return found.cpu().contiguous() if distributed.is_main() else found.new_empty(0)


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """The same numbers as this process holds those of `like`: all, or its part of them."""
    if not isinstance(like, DTensor):
        return tensor
    # Every process has read all of them: nobody needs to send any.
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of a transformer: those whose name ends in their number and holds no other."""
    parts = [(name.split("."), module) for name, module in model.named_modules()]
    return [module for names, module in parts if names[-1].isdigit() and sum(name.isdigit() for name in names) == 1]
