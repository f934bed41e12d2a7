"""AdamW in proportion to each tensor's size."""

import pytest
import torch

from pretrain.optimizer import new_optimizer, sizes, update


def test_the_size_of_a_tensor_is_its_root_mean_square_and_never_nothing():
    assert sizes([torch.full((3, 4), -2.0), torch.zeros(5), torch.tensor([3.0, 4.0])]).tolist() == pytest.approx(
        [2.0, 1e-3, 12.5**0.5]
    )


def test_gradients_are_clipped_together_and_their_norm_is_told():
    parameters = [torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4))]
    for parameter in parameters:
        parameter.grad = torch.full((4,), 3.0)
    norm = update(new_optimizer(parameters, (0.9, 0.98), 0.0), 0.1, clip_norm=1.0)
    assert norm.item() == pytest.approx(3 * 8**0.5)
    assert torch.cat([parameter.grad for parameter in parameters]).norm().item() == pytest.approx(1.0, rel=1e-5)
    # Adam's first step is the rate itself, whatever the gradient.
    assert torch.allclose(parameters[0], torch.full((4,), 0.9), rtol=1e-4)


def test_what_needs_no_gradient_is_left_alone():
    frozen, learning = torch.nn.Parameter(torch.ones(2), requires_grad=False), torch.nn.Parameter(torch.ones(2))
    assert [group["params"] for group in new_optimizer([frozen, learning], (0.9, 0.98), 0.0).param_groups] == [[learning]]
