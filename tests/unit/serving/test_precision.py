"""Products of matrices in bfloat16 or float16, everything else as it was."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, shape_inference
from transformers import BertConfig, T5Config

from pretrain import onnx_export
from pretrain.models.heads import TokenTagger
from serving import precision
from serving.parity import MAX_ERROR, MAX_RMS_ERROR, compare
from serving.precision import feed_forward_outputs, lowered

LAYERS, D_MODEL, D_FF = 2, 64, 96
TYPES = {"bf16": TensorProto.BFLOAT16, "fp16": TensorProto.FLOAT16}


def t5(feed_forward):
    return T5Config(
        d_model=D_MODEL, d_kv=16, d_ff=D_FF, num_layers=LAYERS, num_heads=4, vocab_size=384, feed_forward_proj=feed_forward
    )


BERT = BertConfig(
    hidden_size=D_MODEL, intermediate_size=D_FF, num_hidden_layers=LAYERS, num_attention_heads=4, vocab_size=384,
    max_position_embeddings=512,
)  # fmt: skip
ENCODERS = {"gated T5": t5("gated-gelu"), "T5 of 2019": t5("relu"), "BERT": BERT}


@pytest.fixture(scope="module", params=ENCODERS)
def model(request, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx_export.export(TokenTagger(ENCODERS[request.param], 7), path)
    return onnx.load(path)


def asked(model, windows=4, tokens=128):
    """Its answer, and the mask, to random ids of which the last window is half padding."""
    input_ids_BT = np.random.default_rng(0).integers(1, 384, (windows, tokens))
    mask_BT = np.ones_like(input_ids_BT)
    mask_BT[-1, tokens // 2 :] = 0
    options = onnxruntime.SessionOptions()
    # Optimised, casts there and back would be taken for nothing.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(emulated(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    [answer_BTC] = session.run(["token_logits"], {"input_ids": input_ids_BT, "attention_mask": mask_BT})
    return answer_BTC, mask_BT


def emulated(model):
    """The numbers a GPU gives, without kernels for low products: operands are widened, the float32 product is rounded.

    Left alone, ONNX Runtime does that for float16 too, but forgets to round.
    """
    types = types_of(model)
    nodes = []
    for node in model.graph.node:
        low = types[node.output[0]]
        if node.op_type in ("MatMul", "Gemm") and low != TensorProto.FLOAT:
            wide = [
                helper.make_node("Cast", [name], [f"{name}_of_{node.output[0]}"], to=TensorProto.FLOAT) for name in node.input
            ]
            product = onnx.NodeProto()
            product.CopyFrom(node)
            product.input[:] = [cast.output[0] for cast in wide]
            product.output[:] = [f"{node.output[0]}_wide"]
            nodes += [*wide, product, helper.make_node("Cast", product.output, node.output, to=low)]
        else:
            nodes.append(node)
    graph = helper.make_graph(nodes, "emulated", model.graph.input, model.graph.output, model.graph.initializer)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_the_lowered_graph_answers_within_the_tolerance_of_its_precision(model, name):
    expected_BTC, mask_BT = asked(model)
    found_BTC, _ = asked(lowered(model, name))
    parity = compare(expected_BTC, found_BTC, mask_BT)
    assert MAX_RMS_ERROR[name] / 100 < parity.rms_error < MAX_RMS_ERROR[name]
    assert parity.max_error < MAX_ERROR[name]


def types_of(model):
    """The element type of every tensor, by name, as ONNX infers them; it raises where two do not fit."""
    graph = shape_inference.infer_shapes(model, strict_mode=True, check_type=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    return types


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_every_product_is_lowered_and_nothing_else_that_computes(model, name):
    low = lowered(model, name)
    onnx.checker.check_model(low)
    types = types_of(low)
    products = [node for node in low.graph.node if node.op_type in ("MatMul", "Gemm")]
    # Queries, keys, values, scores, weighted values, output; one or two matrices into the feed-forward block, one out of it; the
    # head.
    assert len(products) in (8 * LAYERS + 1, 9 * LAYERS + 1)
    for node in low.graph.node:
        if node.op_type in (
            "Add",
            "Mul",
            "Div",
            "Pow",
            "Sqrt",
            "Softmax",
            "ReduceMean",
            "LayerNormalization",
            "Tanh",
            "Erf",
            "Gelu",
        ):
            assert types[node.output[0]] in (TensorProto.FLOAT, TensorProto.INT64), node.op_type
    assert {types[name] for node in products for name in (*node.input, *node.output)} == {TYPES[name]}


def test_the_second_matrix_of_each_feed_forward_block_is_found(model):
    found = feed_forward_outputs(model.graph)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    shapes = [weights[node.input[1]] for node in model.graph.node if node.output[0] in found]
    assert shapes == [(D_FF, D_MODEL)] * LAYERS


def test_inputs_and_output_keep_their_names_types_and_axes(model):
    before, after = model.graph, lowered(model, "bf16").graph
    assert list(after.input) == list(before.input)
    assert list(after.output) == list(before.output)


def test_lowering_leaves_the_model_as_it_was_and_keeps_no_weight_twice(model):
    before = model.SerializeToString(deterministic=True)
    low = lowered(model, "bf16")
    assert model.SerializeToString(deterministic=True) == before
    read = {name for node in low.graph.node for name in node.input}
    assert {tensor.name for tensor in low.graph.initializer} <= read
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    tables = sum(tensor.ByteSize() for tensor in model.graph.initializer if tensor.name in looked_up)
    assert low.ByteSize() - tables < 0.6 * (len(before) - tables)


def test_what_overflows_float16_in_a_feed_forward_block_does_not_in_the_lowered_graph(tmp_path, monkeypatch):
    torch.manual_seed(0)
    tagger = TokenTagger(ENCODERS["gated T5"], 7)
    with torch.no_grad():
        for block in tagger.encoder.encoder.block:
            block.layer[-1].DenseReluDense.wi_1.weight *= 1e4
    onnx_export.export(tagger, tmp_path / "model.onnx")
    large = onnx.load(tmp_path / "model.onnx")
    expected_BTC, mask_BT = asked(large)
    found_BTC, _ = asked(lowered(large, "fp16"))
    assert compare(expected_BTC, found_BTC, mask_BT).rms_error < MAX_RMS_ERROR["fp16"]
    monkeypatch.setattr(precision, "feed_forward_outputs", lambda graph: [])
    overflown_BTC, _ = asked(lowered(large, "fp16"))
    assert not np.isfinite(overflown_BTC).all()


def test_angles_of_positions_stay_float32():
    """Angles = positions x frequencies, as rotary embeddings make them; bfloat16 counts 256, 256, 258."""
    frequencies = numpy_helper.from_array(np.ones((1, 4), np.float32), "frequencies")
    constants = [
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in {"zero": 0, "one": 1, "at": 1, "columns": [-1, 1]}.items()
    ]
    table = numpy_helper.from_array(np.zeros((8, 4), np.float32), "table")
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "at"], ["tokens"]),
        helper.make_node("Range", ["zero", "tokens", "one"], ["counted"]),
        helper.make_node("Cast", ["counted"], ["positions"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["positions", "columns"], ["column"]),
        helper.make_node("MatMul", ["column", "frequencies"], ["angles"]),
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Add", ["words", "angles"], ["token_logits"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "angles",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["windows", "tokens"])],
            [helper.make_tensor_value_info("token_logits", TensorProto.FLOAT, ["windows", "tokens", 4])],
            [frequencies, table, *constants],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(lowered(model, "bf16").SerializeToString(), providers=["CPUExecutionProvider"])
    [angles_BTC] = session.run(None, {"input_ids": np.zeros((1, 300), np.int64)})
    np.testing.assert_array_equal(angles_BTC[0, :, 0], np.arange(300))
