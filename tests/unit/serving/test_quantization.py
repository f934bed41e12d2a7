"""Products of matrices in 8-bit integers, the others as they were."""

import logging

import numpy as np
import onnx
import pytest
import torch

from pretrain import onnx_export
from pretrain.models.heads import TokenTagger
from serving.engine import EngineError
from serving.engines import onnxruntime, openvino
from serving.parity import MAX_ERROR, MAX_RMS_ERROR, compare
from serving.quantization import quantizable, quantize
from tests import tiny_bundle
from tests.unit.serving.test_precision import ENCODERS, LAYERS

PRODUCTS_OF_A_LAYER = {"gated T5": 4 + 1 + 3, "T5 of 2019": 4 + 1 + 2, "BERT": 4 + 1 + 2}
"""Four of the attention by weights, that of queries and keys, and those of the feed-forward block."""


@pytest.fixture(scope="module", params=ENCODERS)
def exported(request, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx_export.export(TokenTagger(ENCODERS[request.param], 7), path)
    return request.param, path


def windows(seed, number=4, tokens=128):
    input_ids_BT = np.random.default_rng(seed).integers(1, 384, (number, tokens))
    mask_BT = np.ones_like(input_ids_BT)
    mask_BT[-1, tokens // 2 :] = 0
    return {"input_ids": input_ids_BT, "attention_mask": mask_BT}


def answer(module, onnx_path, folder, inputs):
    folder.mkdir()
    module.compile(onnx_path, folder)
    engine = module.open(folder)
    try:
        return engine.run(inputs)["token_logits"]
    finally:
        engine.close()


@pytest.mark.parametrize("module", [openvino, onnxruntime], ids=["openvino", "onnxruntime"])
def test_the_quantized_graph_answers_within_the_tolerance_of_8_bits(exported, module, tmp_path):
    _, path = exported
    quantize(path, tmp_path / "int8.onnx", (windows(seed) for seed in range(1, 9)))
    expected = answer(onnxruntime, path, tmp_path / "expected", windows(0))
    found = answer(module, tmp_path / "int8.onnx", tmp_path / "found", windows(0))
    parity = compare(expected, found, windows(0)["attention_mask"])
    assert 1e-3 < parity.rms_error < MAX_RMS_ERROR["int8"]
    assert parity.max_error < MAX_ERROR["int8"]


def test_every_product_is_quantized_but_those_by_shares_of_attention_and_those_that_make_positions(exported):
    kind, path = exported
    graph = onnx.load(path).graph
    chosen = quantizable(graph)
    assert len(chosen) == LAYERS * PRODUCTS_OF_A_LAYER[kind] + 1  # and the head
    softmaxes = {node.output[0] for node in graph.node if node.op_type == "Softmax"}
    assert len(softmaxes) == LAYERS
    assert not [node for node in graph.node if node.name in chosen and softmaxes & set(node.input)]


def test_the_weights_take_a_quarter(exported, tmp_path):
    _, path = exported
    quantize(path, tmp_path / "int8.onnx", [windows(1)])
    kinds = {tensor.data_type for tensor in onnx.load(tmp_path / "int8.onnx").graph.initializer if len(tensor.dims) == 2}
    embedding_or_bias = onnx.TensorProto.FLOAT
    assert onnx.TensorProto.INT8 in kinds <= {onnx.TensorProto.INT8, embedding_or_bias, onnx.TensorProto.INT64}


def test_it_says_nothing_to_the_log(exported, tmp_path, caplog):
    _, path = exported
    with caplog.at_level(logging.DEBUG):
        quantize(path, tmp_path / "int8.onnx", [windows(1)])
    assert caplog.text == ""


def test_a_graph_that_nothing_is_multiplied_in_is_refused(tmp_path):
    ids = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["B", "T"])
    out = onnx.helper.make_tensor_value_info("token_logits", onnx.TensorProto.FLOAT, ["B", "T"])
    cast = onnx.helper.make_node("Cast", ["input_ids"], ["token_logits"], to=onnx.TensorProto.FLOAT)
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([cast], "g", [ids], [out])), tmp_path / "model.onnx")
    with pytest.raises(EngineError, match="no product"):
        quantize(tmp_path / "model.onnx", tmp_path / "int8.onnx", [windows(1)])


def test_a_graph_that_does_not_run_is_one_clear_line(tmp_path):
    bundle = tiny_bundle.write(tmp_path / "bundle" / "tiny")
    with pytest.raises(EngineError, match=r"^the model cannot be quantized: [^\n]*$"):
        quantize(bundle.onnx, tmp_path / "int8.onnx", [{"input_ids": np.ones((1, 4), np.int64)}])
