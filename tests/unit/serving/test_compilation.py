"""What is compiled answers like its bundle, or is not there."""

import time

import numpy as np
import pytest

from serving import artifact, compilation, parity
from serving.compilation import MIN_EQUAL_DECISIONS, compile_bundle
from serving.engine import EngineError, cpu_has_bf16, load, working
from serving.parity import MAX_RMS_ERROR, ParityError, compare
from tests import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_compiled_bundle_answers_its_probe_as_the_bundle_does(engine, bundle, tmp_path):
    compiled = compile_bundle(bundle, tmp_path / "artifact", engine)
    probe = bundle.probe()
    opened = compiled.open()
    found = opened.run({name: probe[name] for name in ("input_ids", "attention_mask")})["token_logits"]
    opened.close()
    again = compare(probe["token_logits"], found, probe["attention_mask"])
    assert again.max_error == pytest.approx(compiled.parity["max_error"])
    assert again.rms_error <= MAX_RMS_ERROR[compiled.precision]
    assert (compiled.bundle, compiled.engine) == ("tiny@1", engine)


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU computes in float32 only")
def test_openvino_computes_in_bfloat16_where_the_cpu_does(bundle, tmp_path):
    compiled = compile_bundle(bundle, tmp_path / "artifact", "openvino")
    assert compiled.precision == "bf16"
    assert compiled.parity["max_error"] > 1e-4  # float32 would be nearer


def test_openvino_keeps_the_weights_as_they_were_trained(bundle, tmp_path):
    compile_bundle(bundle, tmp_path / "artifact", "openvino")
    # 256 x 16 and 16 x 7 float32; rounded to float16 they would take half of that.
    assert (tmp_path / "artifact" / "model.bin").stat().st_size >= 4 * (256 * 16 + 16 * 7)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_graph_that_answers_otherwise_is_refused_and_nothing_is_left(engine, tmp_path):
    faulty = tiny_bundle.write(tmp_path / "bundles" / "tiny", drift=-2.0)
    (tmp_path / "artifacts").mkdir()
    with pytest.raises(ParityError, match=f"tiny@1 compiled by {engine}.*choose another engine"):
        compile_bundle(faulty, tmp_path / "artifacts" / "1", engine)
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_a_graph_that_drifts_a_little_everywhere_is_refused(tmp_path):
    drifting = tiny_bundle.write(tmp_path / "bundles" / "tiny", drift=0.1)
    with pytest.raises(ParityError, match=r"on average \(allowed 0\.0001\)"):
        compile_bundle(drifting, tmp_path / "artifact", "onnxruntime")
    with pytest.raises(ParityError, match="on average"):
        compile_bundle(drifting, tmp_path / "artifact", "openvino")


def test_an_artifact_is_never_overwritten(bundle, tmp_path):
    compile_bundle(bundle, tmp_path / "artifact", "onnxruntime")
    with pytest.raises(EngineError, match="exists already"):
        compile_bundle(bundle, tmp_path / "artifact", "onnxruntime")
    assert artifact.load(tmp_path / "artifact").bundle == "tiny@1"


def test_a_folder_that_cannot_be_written_is_one_clear_error(bundle, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineError, match=r"tiny@1: cannot write .*mend its rights"):
        compile_bundle(bundle, tmp_path / "file" / "artifact", "onnxruntime")


def test_where_an_engine_answers_differently_the_next_takes_over_unless_it_was_asked_for_by_name(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(load("tensorrt"), "why_not", lambda: "no GPU")
    first, second = working()[:2]
    monkeypatch.setattr(parity, "MAX_RMS_ERROR", {first.PRECISION: 0.0, second.PRECISION: 1e-4})
    if first.PRECISION == second.PRECISION:
        pytest.skip("both engines compute in float32 on this CPU")
    assert compile_bundle(bundle, tmp_path / "auto").engine == second.NAME
    with pytest.raises(ParityError, match=first.NAME):
        compile_bundle(bundle, tmp_path / "named", first.NAME)


def test_where_an_engine_refuses_the_model_the_next_takes_over(bundle, tmp_path, monkeypatch):
    def refuse(onnx, folder):
        raise EngineError("no room on the GPU")

    first, second = working()[:2]
    monkeypatch.setattr(first, "compile", refuse)
    assert compile_bundle(bundle, tmp_path / "auto").engine == second.NAME
    with pytest.raises(EngineError, match="no room on the GPU"):
        compile_bundle(bundle, tmp_path / "named", first.NAME)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_artifact_answers_its_probe_each_time_it_is_opened(engine, bundle, tmp_path):
    compiled = compile_bundle(bundle, tmp_path / "artifact", engine)
    other = tiny_bundle.write(tmp_path / "bundles" / "other", seed=1)
    compile_bundle(other, tmp_path / "other", engine)
    for name in compiled.sha256.keys() - {artifact.GOLDEN}:
        (tmp_path / "other" / name).replace(compiled.folder / name)
    # Its hashes are checked when it is loaded, so this is a model whose files are right and whose answers are not.
    with pytest.raises(ParityError, match=f"tiny@1 opened by {engine}: logits differ"):
        compiled.open()


def test_an_artifact_of_an_earlier_release_is_opened_without_a_probe(bundle, tmp_path):
    compiled = compile_bundle(bundle, tmp_path / "artifact", "onnxruntime")
    (compiled.folder / artifact.GOLDEN).unlink()
    fields = {name: getattr(compiled, name) for name in ("engine", "precision", "bundle", "parity")}
    artifact.describe(compiled.folder, **fields)
    artifact.load(compiled.folder).open().close()


NOTES = [f"Follow up with cardiology in {n} weeks.\nRecheck the potassium on Friday. Call the clinic." for n in range(40)]


def test_a_tagger_is_held_against_float32_on_the_hospitals_own_notes(bundle, tmp_path):
    compiled = compile_bundle(bundle, tmp_path / "artifact", "openvino", NOTES)
    assert compiled.parity["sentences"] == 3 * len(NOTES)
    assert compiled.parity["equal_decisions"] >= MIN_EQUAL_DECISIONS[compiled.precision]
    assert compile_bundle(bundle, tmp_path / "unasked", "openvino").parity["sentences"] == 0


class SlowWithLongBatches:
    """OpenVINO, but every position beyond 600 of a batch costs a tenth of a millisecond."""

    def __init__(self, engine):
        self.engine = engine

    def run(self, inputs):
        time.sleep(1e-4 * max(0, inputs["input_ids"].size - 600))
        return self.engine.run(inputs)

    def close(self):
        self.engine.close()


def test_the_size_of_batches_is_measured_on_the_hospitals_own_notes_and_kept(bundle, tmp_path, monkeypatch):
    assert compile_bundle(bundle, tmp_path / "unasked", "openvino").tokens_per_batch == artifact.TOKENS_PER_BATCH
    module, open_it = load("openvino"), load("openvino").open
    monkeypatch.setattr(module, "open", lambda folder: SlowWithLongBatches(open_it(folder)))
    compiled = compile_bundle(bundle, tmp_path / "artifact", "openvino", NOTES)
    assert compiled.tokens_per_batch == 512
    assert artifact.load(compiled.folder).tokens_per_batch == 512


class AnswersItsProbeOnly:
    """OpenVINO, but wrong about one note in twenty, of which no probe can tell."""

    def __init__(self, engine, probe):
        self.engine, self.known, self.asked = engine, probe["input_ids"], 0

    def run(self, inputs):
        found = self.engine.run(inputs)
        if not np.array_equal(inputs["input_ids"], self.known):
            found["token_logits"][::20] *= -1
        return found

    def close(self):
        self.engine.close()


def test_what_decides_otherwise_on_the_hospitals_notes_is_refused_though_its_probe_is_right(bundle, tmp_path, monkeypatch):
    module, open_it = load("openvino"), load("openvino").open
    monkeypatch.setattr(module, "open", lambda folder: AnswersItsProbeOnly(open_it(folder), bundle.probe()))
    refusal = r"decides otherwise than onnxruntime in \d.*% of 120 sentences of your own notes \(allowed 0\.5%\); choose another"
    with pytest.raises(ParityError, match=refusal):
        compile_bundle(bundle, tmp_path / "artifact", "openvino", NOTES)
    assert list(tmp_path.iterdir()) == []
    assert compile_bundle(bundle, tmp_path / "artifact", "openvino").engine == "openvino"


MANY_NOTES = NOTES * 6
"""540 sentences are left when a quarter of them has set the scales."""


@pytest.fixture
def int8_pays(monkeypatch):
    """On every host, and however small the model."""
    monkeypatch.setattr(load("openvino"), "INT8", True)
    monkeypatch.setattr(compilation, "FASTER", float("inf"))


@pytest.mark.usefixtures("int8_pays")
def test_what_decides_alike_in_8_bits_and_faster_is_kept_in_8_bits(bundle, tmp_path):
    compiled = compile_bundle(bundle, tmp_path / "artifact", "openvino", MANY_NOTES)
    assert compiled.precision == "int8"
    assert compiled.parity["sentences"] == 540
    assert compiled.parity["equal_decisions"] >= 0.99
    assert 1e-4 < compiled.parity["rms_error"] < MAX_RMS_ERROR["int8"]
    artifact.load(compiled.folder).open().close()
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.usefixtures("int8_pays")
def test_8_bits_are_not_tried_where_too_few_sentences_could_speak_for_them(bundle, tmp_path):
    assert compile_bundle(bundle, tmp_path / "few", "openvino", NOTES).precision != "int8"
    assert compile_bundle(bundle, tmp_path / "none", "openvino").precision != "int8"


@pytest.mark.usefixtures("int8_pays")
def test_where_8_bits_decide_otherwise_the_precision_of_the_engine_stays(bundle, tmp_path, monkeypatch, caplog):
    module, open_it = load("openvino"), load("openvino").open

    def wrong_in_8_bits(folder):
        engine = open_it(folder)
        return AnswersItsProbeOnly(engine, bundle.probe()) if folder.name == "int8" else engine

    monkeypatch.setattr(module, "open", wrong_in_8_bits)
    with caplog.at_level("INFO"):
        compiled = compile_bundle(bundle, tmp_path / "artifact", "openvino", MANY_NOTES)
    assert compiled.precision == module.PRECISION
    assert "in int8: decides otherwise" in caplog.text
    assert "(allowed 1.0%); choose another engine; it stays in" in caplog.text


def test_8_bits_that_are_not_faster_are_not_worth_their_rounding(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(load("openvino"), "INT8", True)
    monkeypatch.setattr(compilation, "FASTER", 0.0)
    assert compile_bundle(bundle, tmp_path / "artifact", "openvino", MANY_NOTES).precision != "int8"


@pytest.mark.usefixtures("int8_pays")
def test_an_artifact_in_8_bits_answers_its_probe_each_time_it_is_opened(bundle, tmp_path):
    compiled = compile_bundle(bundle, tmp_path / "artifact", "openvino", MANY_NOTES)
    other = compile_bundle(tiny_bundle.write(tmp_path / "bundles" / "other", seed=1), tmp_path / "other", "openvino", MANY_NOTES)
    for name in compiled.sha256.keys() - {artifact.GOLDEN}:
        (other.folder / name).replace(compiled.folder / name)
    with pytest.raises(ParityError, match="tiny@1 opened by openvino: logits differ"):
        compiled.open()
