"""A float32 graph -> the same with its matrix products in bfloat16 or float16: torch's autocast, written into the graph.

TensorRT 11 and TensorRT for RTX compute in the types that stand in the graph and choose none themselves. Products of matrices
give almost all of the speed, so they alone are lowered, their weights with them; norms, softmax, activations, the embedding and
the residual stream stay float32. Inputs and output keep their types.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

PRODUCTS = ("MatMul", "Gemm")
_LAYOUT = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity")
"""They move numbers and compute none, so they work in the type that they are given."""
_NORMS = ("ReduceMean", "LayerNormalization", "RMSNormalization")


def lowered(model: "ModelProto", precision: str) -> "ModelProto":
    """The model with its matrix products in `precision`.

    In float16 what goes into the second matrix of each feed-forward block (T5's `wo`) is divided by its largest value, token by
    token, and what comes out is multiplied by it again, in float32: T5's activations outgrow 65504 there (transformers #5651).
    transformers keeps `wo` in float32 instead; compilers for Turing refuse such products, or have given zeros for them.

    Products that no input token goes into stay float32: they make angles of positions, and bfloat16 cannot tell 257 from 256.

    Args:
        model: float32, its nodes in the order of computation, as ONNX wants them; not changed.
        precision: "bf16" or "fp16".
    """
    from onnx import helper

    graph = model.graph
    nodes, weights = _Lowering(graph, precision).walk()
    # Without the graph's `value_info`, which says what types the tensors had.
    return helper.make_model(
        helper.make_graph(nodes, graph.name, graph.input, graph.output, weights),
        functions=model.functions,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )


def feed_forward_outputs(graph: "GraphProto") -> list[str]:
    """Names of what the second matrix of each feed-forward block gives (a MatMul), in the order of computation.

    Found by what goes in, whatever the exporter calls its nodes: products of other weights, changed by an activation alone. What
    goes into any other product by weights was normed, or comes out of the attention, which is a product of two activations.
    """
    makers = {output: node for node in graph.node for output in node.output}
    constants = _constants(graph)
    return [node.output[0] for node in graph.node if _ends_feed_forward(node, makers, constants)]


def of_tokens(graph: "GraphProto") -> set[str]:
    """Names of what is computed from the tokens themselves, and not from their number alone as angles of positions are."""
    names = {"input_ids"}
    for node in graph.node:
        if node.op_type != "Shape" and not names.isdisjoint(node.input):
            names.update(node.output)
    return names


def _ends_feed_forward(product: "NodeProto", makers: dict[str, "NodeProto"], constants: set[str]) -> bool:
    if product.op_type != "MatMul" or not _by_weights(product, constants):
        return False
    reached_weights = False
    seen: set[str] = set()
    waiting = [product.input[0]]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in makers:
            continue
        seen.add(name)
        maker = makers[name]
        if maker.op_type in _NORMS or (maker.op_type in PRODUCTS and not _by_weights(maker, constants)):
            return False
        if maker.op_type in PRODUCTS:
            reached_weights = True
        else:
            waiting.extend(maker.input)
    return reached_weights


def _by_weights(node: "NodeProto", constants: set[str]) -> bool:
    return node.op_type in PRODUCTS and node.input[1] in constants


def _constants(graph: "GraphProto") -> set[str]:
    """What does not depend on the inputs: weights, and what is made of them alone."""
    names = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if names.issuperset(node.input):
            names.update(node.output)
    return names


class _Lowering:
    """One walk over a graph, in the order of computation; each tensor is then there in float32, in the low type, or in both."""

    def __init__(self, graph: "GraphProto", precision: str) -> None:
        from onnx import TensorProto

        self._graph = graph
        self._precision = precision
        self._low_type = {"bf16": TensorProto.BFLOAT16, "fp16": TensorProto.FLOAT16}[precision]
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._scaled = set(feed_forward_outputs(graph)) if precision == "fp16" else set()
        self._nodes: list[NodeProto] = []
        self._low: dict[str, str] = {}
        """Names in the low type by those in float32."""
        self._only_low: set[str] = set()
        """Names in float32 of tensors that nobody has wanted so yet."""
        self._added: list[TensorProto] = []
        """Constants that were not there."""

    def walk(self) -> "tuple[list[NodeProto], list[TensorProto]]":
        """The nodes and the weights of the rewritten graph."""
        tokens = of_tokens(self._graph)
        for node in self._graph.node:
            if node.output[0] in self._scaled:
                self._add_scaled(node)
            elif node.op_type in PRODUCTS and node.output[0] in tokens:
                self._add_low(node, node.output[0], [self._in_low(name) for name in node.input])
            elif node.op_type in _LAYOUT and node.input[0] in self._only_low:
                self._add_low(node, node.output[0], [self._low[node.input[0]], *node.input[1:]])
            else:
                for name in node.input:
                    self._in_float(name)
                self._nodes.append(node)
        for output in self._graph.output:
            self._in_float(output.name)
        read = {name for node in self._nodes for name in node.input}
        rounded = [self._rounded(name) for name in self._low if name in self._weights]
        kept = [tensor for tensor in self._graph.initializer if tensor.name in read]
        return self._nodes, kept + rounded + self._added

    def _add_low(self, node: "NodeProto", name: str, inputs: list[str]) -> None:
        """The node in the low type, giving the tensor that is called `name` in float32."""
        from onnx import NodeProto

        low = NodeProto()
        low.CopyFrom(node)
        low.input[:] = inputs
        low.output[:] = [f"{name}_{self._precision}"]
        self._nodes.append(low)
        self._low[name] = low.output[0]
        self._only_low.add(name)

    def _add_scaled(self, node: "NodeProto") -> None:
        """Rows are divided by their largest value first, so a sum is at most that of the weights' sizes in a column: hundreds."""
        rows, weights = node.input
        [product] = node.output
        self._in_float(rows)
        sizes = self._compute("Abs", [rows], f"{product}_sizes")
        largest = self._compute("ReduceMax", [sizes, self._constant(f"{product}_axis", np.array([-1]))], f"{product}_largest")
        # A row of zeros, too, is divided by something.
        least = self._constant(f"{product}_least", np.array(1e-6, np.float32))
        scale = self._compute("Max", [largest, least], f"{product}_scale")
        divided = self._compute("Div", [rows, scale], f"{product}_divided")
        self._add_low(node, f"{product}_small", [self._in_low(divided), self._in_low(weights)])
        self._in_float(f"{product}_small")
        self._compute("Mul", [f"{product}_small", scale], product)

    def _compute(self, operator: str, inputs: list[str], output: str) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(operator, inputs, [output], output))
        return output

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._added.append(numpy_helper.from_array(value, name))
        return name

    def _in_low(self, name: str) -> str:
        """The tensor's name in the low type; it is made where it is not there yet."""
        if name not in self._low:
            self._low[name] = f"{name}_{self._precision}"
            if name not in self._weights:
                self._cast(name, self._low[name], self._low_type)
        return self._low[name]

    def _in_float(self, name: str) -> None:
        """See that the tensor is there in float32."""
        from onnx import TensorProto

        if name in self._only_low:
            self._only_low.remove(name)
            self._cast(self._low[name], name, TensorProto.FLOAT)

    def _cast(self, source: str, target: str, to: int) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node("Cast", [source], [target], f"cast_to_{target}", to=to))

    def _rounded(self, name: str) -> "TensorProto":
        from onnx import helper, numpy_helper

        weights = numpy_helper.to_array(self._weights[name]).astype(helper.tensor_dtype_to_np_dtype(self._low_type))
        return numpy_helper.from_array(weights, self._low[name])
