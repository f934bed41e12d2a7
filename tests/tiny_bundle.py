"""A bundle small enough to compile in milliseconds: every token has logits of its own, whatever stands around it."""

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pretrain import bundle, tokenizer
from pretrain.bundle import Manifest, ModelBundle
from pretrain.tasks import clip

TEXTS = [
    "Follow up with cardiology in two weeks.\nRecheck the potassium on Friday.\n",
    "Take the aspirin daily. Call the clinic if you have a fever.\n",
]


def write(
    folder: Path,
    name: str = "tiny",
    version: int = 1,
    seed: int = 0,
    drift: float = 0.0,
    task: str = "clip",
    operator: str = "",
    scale: float = 1.0,
    sure_from: float | None = None,
    no_answer_cutoff: float = 0.0,
) -> ModelBundle:
    """Write a bundle into `folder`.

    A drifting one carries a graph that answers (1 + drift) times what its probe says; with `operator` it has a node more. With
    a small `scale` its logits say next to nothing, and what the task itself knows of a text decides.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = tokenizer.train(TEXTS, 256)
    words_path = folder.parent / "tokenizer.json"
    words.save(words_path)
    rng = np.random.default_rng(seed)
    table_VD = rng.normal(size=(words.vocab_size, 16)).astype(np.float32)
    labels = clip.LABELS if task == "clip" else ("start", "end")
    head_DL = (scale * rng.normal(size=(16, len(labels)))).astype(np.float32)
    input_ids_BT = rng.integers(3, words.vocab_size, (4, 32))
    attention_mask_BT = (np.arange(32) < np.array([[32], [20], [7], [1]])).astype(np.int64)
    probe = io.BytesIO()
    np.savez(
        probe,
        input_ids=input_ids_BT,
        attention_mask=attention_mask_BT,
        token_logits=(table_VD[input_ids_BT] @ head_DL * attention_mask_BT[..., None]).astype(np.float32),
    )
    manifest = Manifest(
        name=name,
        task=task,
        version=version,
        size="mini",
        labels=labels,
        cutoffs=(0.5,) * len(labels),
        window_tokens=32,
        sure_from=sure_from,
        no_answer_cutoff=no_answer_cutoff,
        cuts_by_kind=task == "radqa",
        metrics={},
        flops={},
        corpus_fingerprint="",
        taught_by="nobody: random numbers",
        leak_gate={"passed": True, "reasons": [], "levels": []},
        created_at=datetime.now(UTC),
        package_version="0.1.0",
    )
    files: dict[str, bytes | Path] = {
        bundle.WEIGHTS: hashlib.sha256(table_VD.tobytes()).digest(),
        bundle.CONFIG: b"{}",
        bundle.ONNX: graph(table_VD, np.float32(1 + drift) * head_DL, operator).SerializeToString(),
        bundle.TOKENIZER: words_path,
        bundle.PROBE: probe.getvalue(),
        bundle.CARD: b"# A tiny model\n",
    }
    return bundle.write(folder, manifest, files)


def write_reader(folder: Path, name: str = "reader", version: int = 1) -> ModelBundle:
    """Write a reader of reports that goes by the words alone: it answers where a sentence says most of what is asked.

    It is sure where the sentence says nearly all of it.
    """
    return write(folder, name, version, task="radqa", scale=0.01, sure_from=12.0, no_answer_cutoff=4.0)


def graph(table_VD: np.ndarray, head_DL: np.ndarray, operator: str = "") -> onnx.ModelProto:
    """token_logits = table[input_ids] @ head * attention_mask, with dynamic batch and length."""
    shape = ["windows", "tokens"]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "head"], ["logits"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["logits", "mask3"], ["token_logits"]),
    ]
    if operator:
        nodes.append(helper.make_node(operator, ["logits"], ["unused"]))
    constants = {"table": table_VD, "head": head_DL, "last": np.array([-1], np.int64)}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
            [helper.make_tensor_value_info("token_logits", TensorProto.FLOAT, [*shape, head_DL.shape[1]])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    if not operator:
        onnx.checker.check_model(model)
    return model
