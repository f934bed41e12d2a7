"""From the torch module to the ONNX graph that is served, checked against the module before anyone compiles it."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch

from pretrain.models.heads import TokenTagger

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "token_logits"

TOLERANCE = 1e-4
"""Largest difference to torch in float32; measured 2e-6 on trained models, so ten times worse still is no rounding error."""

CHECKED_SHAPES = ((1, 1), (1, 37), (3, 16), (2, 512))
"""(windows, tokens) the graph is asked with: both dynamic axes, one token alone, a full window."""


class ExportError(RuntimeError):
    """The exported graph does not answer as the torch module does."""


def export(model: TokenTagger, path: Path) -> float:
    """Write `model` to `path` as ONNX with dynamic batch and length; the same weights give the same bytes.

    Returns:
        The largest absolute difference to torch over `CHECKED_SHAPES`.
    Raises:
        ExportError: it is above `TOLERANCE`, or not a number.
    """
    was_training = model.training
    model.eval()
    try:
        with _quiet(), torch.no_grad():
            axes = {0: "windows", 1: "tokens"}
            program = torch.onnx.export(
                model,
                _inputs(model, 2, 8),
                input_names=INPUTS,
                output_names=(OUTPUT,),
                dynamic_shapes=(axes, axes),
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        proto = program.model_proto
        _anonymise(proto)
        path.write_bytes(proto.SerializeToString(deterministic=True))
        difference = _difference(model, path)
    finally:
        model.train(was_training)
    # Written so that NaN fails as well.
    if not difference <= TOLERANCE:
        path.unlink()
        raise ExportError(
            f"the ONNX graph differs from torch by {difference:.2g}, allowed are {TOLERANCE:g}; train again, do not publish"
        )
    return difference


def probe(model: TokenTagger, windows: int = 4, tokens: int = 128) -> bytes:
    """What the bundle's `probe.npz` holds: `input_ids`, `attention_mask` and torch's `token_logits` in float32.

    The ids are random, because a bundle leaves the hospital's training host and must carry no note.
    """
    was_training = model.training
    model.eval()
    inputs = _inputs(model, windows, min(tokens, model.longest_window or tokens))
    with torch.no_grad():
        token_logits = model(*inputs)
    model.train(was_training)
    file = io.BytesIO()
    arrays = {name: tensor.numpy() for name, tensor in zip((*INPUTS, OUTPUT), (*inputs, token_logits), strict=True)}
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _difference(model: TokenTagger, path: Path) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for windows, tokens in CHECKED_SHAPES:
        inputs = _inputs(model, windows, min(tokens, model.longest_window or tokens))
        with torch.no_grad():
            expected = model(*inputs).numpy()
        answer = session.run([OUTPUT], {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs, strict=True)})[0]
        # Padding's own logits are nobody's: only positions under the mask count.
        differences.append(np.abs(answer - expected)[inputs[1].numpy() == 1].max())
    return float(np.max(differences))


def _inputs(model: TokenTagger, windows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids; the last window is half padding wherever there are several."""
    draw = torch.Generator().manual_seed(windows * 1000 + tokens)
    input_ids = torch.randint(1, model.config.vocab_size, (windows, tokens), generator=draw)
    attention_mask = torch.ones_like(input_ids)
    if windows > 1:
        attention_mask[-1, (tokens + 1) // 2 :] = 0
        input_ids[-1, (tokens + 1) // 2 :] = 0
    return input_ids, attention_mask


def _anonymise(proto: onnx.ModelProto) -> None:
    """Drop the stack traces torch leaves in the graph: they hold paths of the machine that trained."""
    graph = proto.graph
    for holder in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says on a machine where all is well."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # "torchvision is not installed"
    try:
        with warnings.catch_warnings():
            # Both inputs have one shape, so their axes share a name.
            warnings.filterwarnings("ignore", r"# The axis name: \w+ will not be used", UserWarning)
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        registration.setLevel(level)
