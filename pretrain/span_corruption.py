"""T5's objective: spans of a text are replaced by sentinels, and the model writes them out.

`noise_mask` chooses the spans, `corrupt` makes inputs and targets of them, `restore` undoes it.
"""

import numpy as np
from numpy.typing import NDArray

NOISE_DENSITY = 0.15
MEAN_SPAN = 3.0
MOST_SPANS = 100
"""One sentinel each."""


def masked_lengths(raw: int, noise_density: float = NOISE_DENSITY, mean_span: float = MEAN_SPAN) -> tuple[int, int]:
    """Encoder and decoder positions that `raw` tokens take once masked, `</s>` included.

    Each masked span leaves one sentinel behind in the input and opens with the same one in the target.
    Source: Raffel et al. 2020 (T5), span corruption.
    """
    noise, spans = _noise(raw, noise_density, mean_span)
    return raw - noise + spans + 1, noise + spans + 1


def raw_length(window: int, noise_density: float = NOISE_DENSITY, mean_span: float = MEAN_SPAN) -> int:
    """How many raw tokens to cut from the corpus so that they fill an encoder window once masked.

    Args:
        window: encoder positions, `</s>` included.
        noise_density: share of raw tokens that is masked, 0 < d <= 0.5.
        mean_span: mean length of one masked span, in tokens, > 1.
    Raises:
        ValueError: the window cannot hold one masked span, or needs more than 100 sentinels.
    """
    # Masking shrinks a text, so the cut is longer than the window; cut right, no padding costs FLOPs.
    fitting = [n for n in range(1, 2 * window) if masked_lengths(n, noise_density, mean_span)[0] <= window]
    if not fitting:
        raise ValueError(f"{window=} holds no masked span; use at least 2 positions")
    if _noise(fitting[-1], noise_density, mean_span)[1] > MOST_SPANS:
        raise ValueError(f"{window=} needs more than {MOST_SPANS} sentinels; use a shorter window")
    return fitting[-1]


def rng(seed: int, epoch: int, document: int, piece: int = 0) -> np.random.Generator:
    """Randomness that depends on nothing but its key, so that noise is the same whatever was drawn before or elsewhere.

    Philox is counter-based: every key has a stream of its own (Salmon et al. 2011). All below 2**32.
    """
    key = np.array([(seed << 32) | epoch, (document << 32) | piece], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def noise_mask(
    length: int, random: np.random.Generator, noise_density: float = NOISE_DENSITY, mean_span: float = MEAN_SPAN
) -> NDArray[np.bool_]:
    """Which of `length` tokens are masked: True for as many, in as many spans, as `masked_lengths` counts.

    Unlike T5's own code, which always keeps the first token and masks the last, every position is as likely as any other
    (but near the ends): clinical notes are documents of their own, and their last words are no better to guess than others.
    """
    noise, spans = _noise(length, noise_density, mean_span)
    span_S = _composition(noise - spans, spans, random) + 1
    # Spans are kept apart by at least one token; before the first and after the last there may be none.
    gap_G = _composition(length - noise - (spans - 1), spans + 1, random)
    gap_G[1:-1] += 1
    runs = np.empty(2 * spans + 1, np.int64)
    runs[0::2], runs[1::2] = gap_G, span_S
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def corrupt(
    tokens_N: NDArray[np.integer], masked_N: NDArray[np.bool_], first_sentinel: int, eos_id: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Encoder input and decoder target of one text, each closed by `</s>`.

    Args:
        tokens_N: raw tokens.
        masked_N: True where a token is to be guessed.
        first_sentinel: id of `<extra_id_0>`; span k gets `first_sentinel - k`.
        eos_id: id of `</s>`.
    """
    opens_N = masked_N & ~np.concatenate(([False], masked_N[:-1]))
    sentinel_N = first_sentinel + 1 - np.cumsum(opens_N)
    inputs = np.where(opens_N, sentinel_N, tokens_N)[~masked_N | opens_N]
    # In the target a sentinel stands before each span's first token.
    targets = np.stack([sentinel_N, tokens_N], axis=1)[np.stack([opens_N, masked_N], axis=1)]
    return np.append(inputs, eos_id).astype(np.int64), np.append(targets, eos_id).astype(np.int64)


def restore(inputs: NDArray[np.int64], targets: NDArray[np.int64], first_sentinel: int) -> NDArray[np.int64]:
    """The raw tokens again: what `corrupt` took out, put back."""
    (before, *kept), (_, *spans) = _parted(inputs[:-1], first_sentinel), _parted(targets[:-1], first_sentinel)
    # Every part opens with its sentinel.
    pairs = [part[1:] for span, rest in zip(spans, kept, strict=True) for part in (span, rest)]
    return np.concatenate([before, *pairs])


def _parted(ids: NDArray[np.int64], first_sentinel: int) -> list[NDArray[np.int64]]:
    return np.split(ids, np.flatnonzero((ids > first_sentinel - MOST_SPANS) & (ids <= first_sentinel)))


def _noise(raw: int, noise_density: float, mean_span: float) -> tuple[int, int]:
    noise = max(1, round(raw * noise_density))
    return noise, max(1, round(noise / mean_span))


def _composition(items: int, bins: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Put `items` into `bins`, some perhaps empty, every way as likely (stars and bars)."""
    bars = np.sort(random.choice(items + bins - 1, bins - 1, replace=False))
    return np.diff(np.concatenate(([-1], bars, [items + bins - 1]))) - 1
