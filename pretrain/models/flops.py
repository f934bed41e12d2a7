"""What training costs, counted two ways: every matrix product, and the paper's rule of thumb."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def encoder_decoder_flops(config: Any, encoder_lengths_B: ArrayLike, decoder_lengths_B: ArrayLike) -> int:
    """Floating-point operations of one forward and backward pass, all matrix products and nothing else.

    A product of m x k by k x n is 2mkn forward and twice that backward. Attention is counted in full, masked or not.
    Lengths are those of the texts: padding costs time but is not counted as work.

    Args:
        config: a `T5Config`.
        encoder_lengths_B: positions of each text in the encoder.
        decoder_lengths_B: positions of each text in the decoder.
    """
    source_B, target_B = np.asarray(encoder_lengths_B, np.int64), np.asarray(decoder_lengths_B, np.int64)
    inner, d = config.num_heads * config.d_kv, config.d_model
    feed_forward = (3 if config.is_gated_act else 2) * d * config.d_ff
    encoder_layer = 4 * d * inner + feed_forward
    # Cross-attention's keys and values are made of encoder positions, its queries and outputs of decoder positions.
    decoder_layer = 6 * d * inner + feed_forward
    cross_keys_values = 2 * d * inner
    weights = (
        source_B * (config.num_layers * encoder_layer + config.num_decoder_layers * cross_keys_values)
        + target_B * (config.num_decoder_layers * decoder_layer + d * config.vocab_size)
    ).sum()
    # Scores, then weighted values: two products each.
    attention = (
        2 * inner * (config.num_layers * source_B**2 + config.num_decoder_layers * (target_B**2 + target_B * source_B)).sum()
    )
    return 6 * int(weights + attention)


def six_p_t(parameters: int, tokens: int) -> int:
    """The paper's C = 6PT: six operations for every parameter and training token.

    A rule for decoders. A token of an encoder-decoder passes about half of its parameters, so this is up to twice the
    work done; it is here to compare with published figures. Source: Lehman et al. 2023, equation 1.
    """
    return 6 * parameters * tokens
