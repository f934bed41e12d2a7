"""Operations counted: against PyTorch's own counter and against known figures."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5ForConditionalGeneration

from pretrain.models.families import new_t5, t5_config
from pretrain.models.flops import encoder_decoder_flops, six_p_t


@pytest.mark.parametrize(("rows", "source", "target"), [(1, 7, 3), (3, 40, 11)])
def test_the_count_is_that_of_pytorch(rows, source, target):
    model = new_t5("mini", 256, seed=0)
    ids, labels = torch.full((rows, source), 5), torch.full((rows, target), 6)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=labels).loss.backward()
    assert encoder_decoder_flops(model.config, [source] * rows, [target] * rows) == counter.get_total_flops()


def test_the_original_t5_without_gates_is_counted_too():
    config = T5Config(vocab_size=256, d_model=32, d_ff=64, d_kv=8, num_heads=4, num_layers=2, feed_forward_proj="relu")
    config.decoder_start_token_id = 0
    model = T5ForConditionalGeneration._from_config(config, attn_implementation="eager")
    ids, labels = torch.full((2, 40), 5), torch.full((2, 11), 6)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=labels).loss.backward()
    assert encoder_decoder_flops(model.config, [40, 40], [11, 11]) == counter.get_total_flops()


@pytest.mark.parametrize(("size", "gigaflops"), [("base", 425.9), ("large", 1467.8)])
def test_t5_v1_1_costs_what_was_worked_out_by_hand(size, gigaflops):
    # One example of 512 and 114 positions, a vocabulary of 32,128.
    assert encoder_decoder_flops(t5_config(size, 32_128), [512], [114]) / 1e9 == pytest.approx(gigaflops, abs=0.05)


def test_texts_of_different_lengths_add_up():
    config = t5_config("small", 1024)
    together = encoder_decoder_flops(config, [100, 30], [20, 9])
    assert together == encoder_decoder_flops(config, [100], [20]) + encoder_decoder_flops(config, [30], [9])


def test_the_papers_rule_gives_the_papers_figure():
    # Clinical-T5-Base: 220M parameters, 40B tokens, printed as 5.3e19.
    assert six_p_t(220_000_000, 40_000_000_000) == pytest.approx(5.3e19, rel=0.01)
