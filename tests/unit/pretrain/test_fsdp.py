"""What is sharded, and that nothing is asked of a model that is not. `test_distributed` has two processes train with halves."""

import pytest
import torch

from pretrain import fsdp
from pretrain.budget import Settings
from pretrain.models.families import new_t5
from tests.unequal_batches import tiny_t5


def test_an_undivided_model_and_its_tensors_are_taken_as_they_are():
    model = torch.nn.Linear(2, 3)
    assert not fsdp.is_sharded(model)
    assert fsdp.run(lambda *given: given, model, 1, "a") == (model, 1, "a")
    assert fsdp.whole(model.weight) is model.weight
    assert fsdp.part(model.bias, like=model.weight) is model.bias
    assert torch.equal(fsdp.gathered(model.weight), model.weight)


def test_the_blocks_of_a_t5_are_its_layers_and_not_their_parts():
    model = tiny_t5()
    assert fsdp._blocks(model) == [*model.encoder.block, *model.decoder.block]


@pytest.mark.parametrize(("size", "is_sharded"), [("base", False), ("large", True)])
def test_the_large_size_is_sharded_where_nothing_else_is_asked_for(size, is_sharded):
    with torch.device("meta"):
        model = new_t5(size, 16_384, seed=0)
    assert (sum(one.numel() for one in model.parameters()) >= Settings().shard_from_parameters) == is_sharded
