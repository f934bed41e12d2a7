import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import T5Config

from pretrain import onnx_export
from pretrain.models.heads import TokenTagger


@pytest.fixture(scope="module")
def tagger():
    torch.manual_seed(0)
    return TokenTagger(
        T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=384, feed_forward_proj="gated-gelu"), 7
    ).train()


@pytest.fixture(scope="module")
def exported(tagger, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert onnx_export.export(tagger, path) < onnx_export.TOLERANCE
    return path


@pytest.mark.parametrize(("windows", "tokens"), [(1, 1), (1, 2), (5, 1), (1, 600), (7, 33)])
def test_the_graph_answers_as_torch_does_for_any_batch_and_length(tagger, exported, windows, tokens):
    session = onnxruntime.InferenceSession(exported)
    rng = np.random.default_rng(tokens)
    ids = rng.integers(1, 384, (windows, tokens))
    mask = (np.arange(tokens) <= rng.integers(0, tokens, (windows, 1))).astype(np.int64)
    with torch.no_grad():
        expected = tagger.eval()(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    [answer] = session.run(["token_logits"], {"input_ids": ids, "attention_mask": mask})
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer[mask == 1], expected[mask == 1], atol=1e-4)


def test_inputs_and_output_have_the_names_and_axes_that_are_served(exported):
    graph = onnx.load(exported).graph
    described = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert described == {
        "input_ids": ["windows", "tokens"],
        "attention_mask": ["windows", "tokens"],
        "token_logits": ["windows", "tokens", 7],
    }


def test_exporting_twice_gives_the_same_bytes_quietly_and_leaves_the_model_training(tagger, exported, tmp_path, capfd, caplog):
    tagger.train()
    onnx_export.export(tagger, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()
    assert tagger.training
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelname not in ("DEBUG", "INFO")] == []


def test_the_graph_holds_no_path_of_the_machine_that_made_it(exported):
    content = exported.read_bytes()
    assert b".py" not in content
    assert b"site-packages" not in content


def test_a_graph_that_differs_from_torch_is_refused(tagger, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "TOLERANCE", 0.0)
    with pytest.raises(onnx_export.ExportError, match="differs from torch by"):
        onnx_export.export(tagger, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_the_probe_is_what_torch_answers_in_float32_with_padding_among_it(tagger):
    with np.load(io.BytesIO(onnx_export.probe(tagger)), allow_pickle=False) as arrays:
        probe = dict(arrays)
    assert probe.keys() == {"input_ids", "attention_mask", "token_logits"}
    with torch.no_grad():
        expected = tagger.eval()(torch.from_numpy(probe["input_ids"]), torch.from_numpy(probe["attention_mask"])).numpy()
    np.testing.assert_allclose(probe["token_logits"], expected, atol=1e-6)
    assert 0 < (probe["attention_mask"] == 0).sum() < probe["attention_mask"].size
    assert onnx_export.probe(tagger) == onnx_export.probe(tagger)
