"""AdamW whose steps are in proportion to each tensor's own size.

T5's embedding is some twenty times larger than its other matrices, and learns by steps in proportion. Source: Adafactor's
relative step (Shazeer and Stern 2018), with AdamW as in nanoT5 (Nawrot 2023).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pretrain import fsdp

SMALLEST = 1e-3
"""A tensor smaller than this, or of zeros, learns as if it were so large."""


def new_optimizer(model: torch.nn.Module, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """An AdamW for `update`: a group per tensor, for each has a rate of its own.

    A parameter with an attribute `pace` learns at so many times the rate of the others.

    Args:
        model: whose parameters that need gradients are learnt.
        betas: of Adam.
        weight_decay: a step at rate r takes the share `r * weight_decay` off a tensor that is as large as it is now, and more in
            proportion once it has grown: steps in proportion to size would let some grow without end. Tables, whose rows learn
            only when their word occurs, and the output over the vocabulary keep all.
    """
    kept = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    kept |= {one for name, one in model.named_parameters() if name == "lm_head.weight"}
    tensors = [one for one in model.parameters() if one.requires_grad]
    groups = [
        {"params": [one], "pace": getattr(one, "pace", 1.0), "weight_decay": 0.0 if one in kept else weight_decay / size}
        for one, size in zip(tensors, sizes(tensors).tolist(), strict=True)
    ]
    return torch.optim.AdamW(groups, betas=betas, fused=True)


def update(optimizer: torch.optim.Optimizer, rate: float, clip_norm: float) -> Tensor:
    """Clip the gradients together, take one step at `rate` times each tensor's size, and return the norm they had.

    On a GPU nothing waits: rates stay there as tensors.
    """
    tensors = [group["params"][0] for group in optimizer.param_groups]
    norm = fsdp.whole(torch.nn.utils.clip_grad_norm_(tensors, clip_norm))
    rates = rate * sizes(tensors)
    for group, one in zip(optimizer.param_groups, rates.unbind() if rates.is_cuda else rates.tolist(), strict=True):
        group["lr"] = one if group["pace"] == 1 else one * group["pace"]
    optimizer.step()
    return norm


def sizes(tensors: Sequence[Tensor]) -> Tensor:
    """Root mean square of each of N tensors, at least `SMALLEST`: (N,)."""
    norms = fsdp.whole(torch.stack(torch._foreach_norm([tensor.detach() for tensor in tensors])))
    counts = torch.tensor([tensor.numel() for tensor in tensors], dtype=norms.dtype).to(norms.device, non_blocking=True)
    return (norms / counts.sqrt()).clamp(min=SMALLEST)
