"""AdamW in proportion to each tensor's size."""

import pytest
import torch

from pretrain.optimizer import new_optimizer, sizes, update
from tests.unequal_batches import tiny_t5


def test_the_size_of_a_tensor_is_its_root_mean_square_and_never_nothing():
    assert sizes([torch.full((3, 4), -2.0), torch.zeros(5), torch.tensor([3.0, 4.0])]).tolist() == pytest.approx(
        [2.0, 1e-3, 12.5**0.5]
    )


def test_gradients_are_clipped_together_and_their_norm_is_told():
    parameters = torch.nn.ParameterList([torch.ones(4), torch.ones(4)])
    for parameter in parameters:
        parameter.grad = torch.full((4,), 3.0)
    norm = update(new_optimizer(parameters, (0.9, 0.98), 0.0), 0.1, clip_norm=1.0)
    assert norm.item() == pytest.approx(3 * 8**0.5)
    assert torch.cat([parameter.grad for parameter in parameters]).norm().item() == pytest.approx(1.0, rel=1e-5)
    # Adam's first step is the rate itself, whatever the gradient.
    assert torch.allclose(parameters[0], torch.full((4,), 0.9), rtol=1e-4)


def test_what_needs_no_gradient_is_left_alone():
    frozen, learning = torch.nn.Parameter(torch.ones(2), requires_grad=False), torch.nn.Parameter(torch.ones(2))
    parameters = torch.nn.ParameterList([frozen, learning])
    assert [group["params"] for group in new_optimizer(parameters, (0.9, 0.98), 0.0).param_groups] == [[learning]]


def test_decay_takes_a_share_of_what_a_tensor_began_with_and_more_once_it_has_grown():
    [parameter] = parameters = torch.nn.ParameterList([torch.full((4,), 2.0)])
    optimizer = new_optimizer(parameters, (0.9, 0.98), 0.5)
    parameter.grad = torch.zeros(4)
    update(optimizer, 0.1, clip_norm=1.0)
    assert parameter.tolist() == pytest.approx([2.0 * (1 - 0.1 * 0.5)] * 4)
    with torch.no_grad():
        parameter.fill_(6.0)
    update(optimizer, 0.1, clip_norm=1.0)
    assert parameter.tolist() == pytest.approx([6.0 * (1 - 3 * 0.1 * 0.5)] * 4)


def test_tables_of_words_and_of_distances_and_the_output_do_not_decay():
    model = tiny_t5()
    decays = {id(group["params"][0]): group["weight_decay"] > 0 for group in new_optimizer(model, (0.9, 0.98), 0.03).param_groups}
    kept = {name.removesuffix(".weight").rpartition(".")[2] for name, one in model.named_parameters() if not decays[id(one)]}
    assert kept == {"shared", "relative_attention_bias", "lm_head"}
