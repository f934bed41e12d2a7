"""T5's costly operations with gradients of their own, for CPUs.

There a step is bound by memory as much as by arithmetic: each operation reads its tensors once, writes them in the type that
the next one wants, and keeps nothing that can be had again for little. Matrix products stay the library's. All work in
bfloat16 and in float32; sums and norms are taken in float32 always.

Shape suffixes: B = rows, H = heads, Q and K = positions that ask and answer, C = channels of a head, N = positions,
D = channels of the model, F = hidden channels of the feed-forward layer, V = vocabulary.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

_ROWS = 16
"""Of logits at a time: as float32 over a vocabulary of 16k they stay near the core."""
_FEW = 16
_TINY = 1e-30
_SLOPE = math.sqrt(8 / math.pi)
_CUBIC = 0.044715 * _SLOPE


def normed(states_ND: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
    """x / rms(x) over the last dimension, in `dtype`: T5's layer norm but for its weight."""
    return _Normed.apply(states_ND, epsilon, dtype)  # type: ignore[no-any-return,no-untyped-call]


def gated_gelu(both: Tensor) -> Tensor:
    """gelu(a) * b of (..., 2F) = a beside b, with T5's tanh approximation."""
    return _GatedGelu.apply(both)  # type: ignore[no-any-return,no-untyped-call]


def attention(query_BHQC: Tensor, key_BHKC: Tensor, value_BHKC: Tensor, added: Tensor, bias_1HQK: Tensor | None = None) -> Tensor:
    """softmax(q k' + added) v; T5 does not scale.

    Scores are kept in the type of q: in bfloat16 half the memory, and the sum with what is added is rounded once more than
    under autocast.

    Args:
        query_BHQC: what asks.
        key_BHKC: what is asked.
        value_BHKC: what it answers.
        added: bias and mask, broadcast to (B, H, Q, K), in the type of q. It has no gradient of its own.
        bias_1HQK: the bias that is part of `added`, in float32, which gets the gradient.
    """
    return _Attention.apply(query_BHQC, key_BHKC, value_BHKC, added, bias_1HQK)  # type: ignore[no-any-return,no-untyped-call]


def spread(by_distance: Tensor, asking: int) -> Tensor:
    """A bias by distance, (H, Q + K - 1), as (1, H, Q, K): [h, q, k] is that of distance k - q, found at k - q + Q - 1.

    The gradient is summed along diagonals, which a look-up of Q x K buckets does in many times the time.
    """
    return _Spread.apply(by_distance, asking)  # type: ignore[no-any-return,no-untyped-call]


def summed_cross_entropy(states_ND: Tensor, weight_VD: Tensor, labels_N: Tensor) -> Tensor:
    """-log softmax(states weight')[label], summed over the positions, in nats and float32.

    What is kept of the (N, V) logits is their gradient, in the type of the states; in float32 they exist some rows at a time.
    """
    return _SummedCrossEntropy.apply(states_ND, weight_VD, labels_N)  # type: ignore[no-any-return,no-untyped-call]


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states_ND: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        norm = torch.linalg.vector_norm(states_ND, dim=-1, keepdim=True)
        inverse = norm.square_().div_(states_ND.shape[-1]).add_(epsilon).rsqrt_()
        out: Tensor = (states_ND * inverse).to(dtype)
        ctx.save_for_backward(out, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        out, inverse = ctx.saved_tensors
        # The part along x itself cannot change x / rms(x).
        along = (gradient * out).sum(-1, keepdim=True, dtype=torch.float32).div_(-out.shape[-1])
        return torch.addcmul(gradient.float(), out.float(), along).mul_(inverse), None, None


class _GatedGelu(torch.autograd.Function):
    """gelu(a) by the tanh approximation is a * sigmoid(a * (slope + cubic * a^2)), and CPUs have no fast tanh."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        gate, linear = both.chunk(2, -1)
        share = torch.addcmul(both.new_tensor(_SLOPE), gate, gate, value=_CUBIC).mul_(gate).sigmoid_()
        ctx.save_for_backward(both, share)
        return (gate * share).mul_(linear)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        both, share = ctx.saved_tensors
        gate, linear = both.chunk(2, -1)
        out = torch.empty_like(both)
        of_gate, of_linear = out.chunk(2, -1)
        activated = gradient * share
        torch.mul(activated, gate, out=of_linear)
        # d(a share)/da = share + a share (1 - share) d(log odds)/da
        slope = torch.addcmul(both.new_tensor(_SLOPE), gate, gate, value=3 * _CUBIC)
        slope.addcmul_(slope, share, value=-1)
        torch.addcmul(activated, of_linear, slope, out=of_gate).mul_(linear)
        return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_BHQC: Tensor, key_BHKC: Tensor, value_BHKC: Tensor, added: Tensor, bias_1HQK: Tensor | None
    ) -> Tensor:
        rows, heads, asking, channels = query_BHQC.shape
        query, key, value = (tensor.reshape(rows * heads, -1, channels) for tensor in (query_BHQC, key_BHKC, value_BHKC))
        scores = torch.bmm(query, key.transpose(1, 2)).view(rows, heads, asking, -1)
        scores += added
        weights = _softmax(scores)
        ctx.save_for_backward(query, key, value, weights)
        ctx.has_bias = bias_1HQK is not None
        return torch.bmm(weights.flatten(0, 1), value).view(rows, heads, asking, channels)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, Tensor | None]:
        query, key, value, weights_BHQK = ctx.saved_tensors
        rows, heads = weights_BHQK.shape[:2]
        weights, gradient = weights_BHQK.flatten(0, 1), gradient.reshape(query.shape)
        of_value = torch.bmm(weights.transpose(1, 2), gradient)
        of_weights = torch.bmm(gradient, value.transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_query, of_key = torch.bmm(of_scores, key), torch.bmm(of_scores.transpose(1, 2), query)
        of_bias = _sum_of_rows(of_scores.view(weights_BHQK.shape)) if ctx.has_bias else None
        of_query, of_key, of_value = (tensor.view(rows, heads, *tensor.shape[1:]) for tensor in (of_query, of_key, of_value))
        return of_query, of_key, of_value, None, of_bias


def _softmax(scores: Tensor) -> Tensor:
    """Over the last dimension. In bfloat16 what torch does takes half as long again, for rows are seldom vectors of its width.

    Floating point is as precise for large numbers as for small ones, so that the largest score need not be taken off unless an
    exponential or a sum of them has left the range.
    """
    if scores.dtype is not torch.bfloat16:
        return torch.softmax(scores, -1)
    shares = scores.exp()
    total = shares.sum(-1, keepdim=True)
    in_range = total.amin() > _TINY and total.amax() < 1 / _TINY
    return shares.div_(total) if in_range else torch.softmax(scores, -1)


def _sum_of_rows(scores_BHQK: Tensor) -> Tensor:
    """(1, H, Q, K) in float32. Row by row that takes a quarter of the time, where the rows are few and long."""
    if len(scores_BHQK) > _FEW:
        return scores_BHQK.sum(0, keepdim=True, dtype=torch.float32)
    total = scores_BHQK[0].float()
    for row in scores_BHQK[1:]:
        total += row
    return total[None]


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, by_distance: Tensor, asking: int) -> Tensor:
        heads, distances = by_distance.shape
        ctx.asking = asking
        # Each row of the square is the one below it, moved by one.
        windows = by_distance.contiguous().as_strided((heads, asking, distances - asking + 1), (distances, 1, 1))
        return windows.flip(1)[None]

    @staticmethod
    def backward(ctx: Any, gradient_1HQK: Tensor) -> tuple[Tensor, None]:
        gradient = gradient_1HQK[0].flip(1)
        _, asking, answering = gradient.shape
        distances = asking + answering - 1
        # With rows one longer than there are distances, row q begins q places later when the rows are read as shorter ones.
        moved = pad(gradient, (0, asking)).flatten(1)[:, : asking * distances]
        return moved.reshape(-1, asking, distances).sum(1), None


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states_ND: Tensor, weight_VD: Tensor, labels_N: Tensor) -> Tensor:
        labels = labels_N[:, None]
        logits = states_ND @ weight_VD.t()
        asked, highest = logits.gather(1, labels).float(), logits.amax(-1).float()
        largest = torch.empty_like(highest)
        for begin in range(0, len(states_ND), _ROWS):
            rows = slice(begin, begin + _ROWS)
            shares = torch.softmax(logits[rows], -1, dtype=torch.float32)
            largest[rows] = shares.amax(-1)
            # From here on they are the logits' gradient.
            logits[rows] = shares.scatter_add_(1, labels[rows], shares.new_full(labels[rows].shape, -1.0))
        ctx.save_for_backward(states_ND, weight_VD, logits)
        # The largest share is never too small for a logarithm, so the sum of exponentials is had from it.
        return (highest - largest.log()).sum() - asked.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        states, weight, of_logits = ctx.saved_tensors
        return (of_logits @ weight) * gradient, of_logits.t() @ (states * gradient), None
