"""Each operation gives what plain torch gives, forwards and backwards."""

import pytest
import torch
from torch.nn.functional import cross_entropy, gelu
from transformers.models.t5.modeling_t5 import T5LayerNorm

from pretrain.models.kernels import attention, gated_gelu, normed, spread, summed_cross_entropy

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}
"""Of float32's and bfloat16's 24 and 8 bits, some are lost in sums over hundreds of terms."""


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def assert_same(fast, plain, *tensors, dtype=torch.float32):
    """Outputs and gradients of two functions of the same tensors; the plain one computes in float32."""
    results = []
    for function in (fast, plain):
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        out = function(*inputs)
        generator = torch.Generator().manual_seed(1)
        out.backward(torch.randn(out.shape, generator=generator).to(out.dtype))
        results.append([out, *(tensor.grad for tensor in inputs)])
    for ours, theirs in zip(*results, strict=True):
        error = torch.linalg.vector_norm(ours.float() - theirs) / torch.linalg.vector_norm(theirs)
        assert error < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norm_is_t5s(dtype):
    layer = T5LayerNorm(96)
    assert_same(lambda x: normed(x, 1e-6, dtype), layer, torch.randn(4, 30, 96), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gate_multiplies_its_input(dtype):
    def plain(both):
        gate, linear = both.float().chunk(2, -1)
        return gelu(gate, approximate="tanh") * linear

    assert_same(gated_gelu, plain, torch.randn(3, 20, 128).to(dtype).float(), dtype=dtype)
    assert_same(lambda both: gated_gelu(both.to(dtype)), plain, torch.randn(3, 20, 128), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [3, 40])
def test_attention_is_a_softmax_of_scores_and_bias(rows, dtype):
    query, key, value = torch.randn(rows, 2, 7, 8), torch.randn(rows, 2, 11, 8), torch.randn(rows, 2, 11, 8)
    bias, mask = torch.randn(1, 2, 7, 11), torch.where(torch.rand(rows, 1, 1, 11) < 0.3, -1e9, 0.0)

    def fast(query, key, value, bias):
        added = (bias.detach() + mask).to(dtype)
        return attention(query.to(dtype), key.to(dtype), value.to(dtype), added, bias)

    def plain(query, key, value, bias):
        return torch.softmax(query @ key.transpose(2, 3) + bias + mask, -1) @ value

    assert_same(fast, plain, query, key, value, bias, dtype=dtype)


@pytest.mark.parametrize("height", [-512.0, 0.0, 512.0])
def test_scores_may_be_higher_or_lower_than_an_exponential_reaches(height):
    value = torch.randn(1, 2, 11, 8)
    nobody_asks, scores = torch.zeros(1, 2, 7, 8), height + 4 * torch.randint(0, 2, (1, 2, 7, 11))

    def fast(value):
        return attention(*(one.bfloat16() for one in (nobody_asks, value, value, scores)))

    assert_same(fast, lambda value: torch.softmax(scores, -1) @ value, value, dtype=torch.bfloat16)


def test_a_bias_by_distance_is_spread_over_all_pairs():
    def plain(by_distance):
        distance = torch.arange(9) - torch.arange(5)[:, None]
        return by_distance[:, distance + 4][None]

    assert_same(lambda by_distance: spread(by_distance, 5), plain, torch.randn(3, 13))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("positions", [1, 300])
def test_a_summed_cross_entropy_is_torchs(positions, dtype):
    labels = torch.randint(0, 50, (positions,))

    def fast(states, weight):
        return summed_cross_entropy(states.to(dtype), weight.to(dtype), labels)

    def plain(states, weight):
        return cross_entropy(states @ weight.t(), labels, reduction="sum")

    assert_same(fast, plain, torch.randn(positions, 16), torch.randn(50, 16), dtype=dtype)


def test_a_label_that_was_ruled_out_costs_what_it_says():
    # Its share of the softmax is 0 in float32.
    states, weight = torch.tensor([[500.0]]), torch.tensor([[1.0], [-1.0]])
    assert summed_cross_entropy(states, weight, torch.tensor([1])).item() == 1000.0


def test_a_loss_that_nobody_learns_from_is_the_same():
    states, weight, labels = torch.randn(9, 4), torch.randn(7, 4), torch.randint(0, 7, (9,))
    with torch.inference_mode():
        loss = summed_cross_entropy(states, weight, labels)
    assert loss.item() == summed_cross_entropy(states.requires_grad_(), weight, labels).item()
