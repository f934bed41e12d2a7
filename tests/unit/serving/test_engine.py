"""Which engine runs here, and what every one of them keeps to."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving import engine
from serving.compilation import compile_bundle
from serving.engine import ENGINES, EngineError, cpu_has_bf16, cpu_has_int8, load, threads, working
from tests import tiny_bundle

WORKING = [name for name in ENGINES if load(name).why_not() is None]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny")


def test_the_cpu_engines_work_wherever_the_tests_run():
    assert {"openvino", "onnxruntime"} <= set(WORKING)


def test_an_engine_that_computes_in_bfloat16_is_preferred(monkeypatch):
    monkeypatch.setattr(load("tensorrt"), "why_not", lambda: "no GPU")
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: True)
    assert working()[0].NAME == "openvino"


def test_where_the_cpu_multiplies_8_bits_openvino_is_preferred_too(monkeypatch):
    monkeypatch.setattr(load("tensorrt"), "why_not", lambda: "no GPU")
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(engine, "cpu_has_int8", lambda: True)
    assert working()[0].NAME == "openvino"


def test_without_bfloat16_the_float32_reference_is_preferred(monkeypatch):
    monkeypatch.setattr(load("tensorrt"), "why_not", lambda: "no GPU")
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(engine, "cpu_has_int8", lambda: False)
    assert working()[0].NAME == "onnxruntime"


@pytest.mark.parametrize("has_bf16", [True, False])
def test_on_the_cpu_no_gpu_is_asked_for_where_there_is_one(has_bf16, monkeypatch):
    monkeypatch.setattr(load("tensorrt"), "why_not", lambda: None)
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr(engine, "cpu_has_int8", lambda: False)
    assert [module.NAME for module in working()] == ["tensorrt", *(module.NAME for module in working("cpu"))]
    best = working("cpu")[0].NAME
    assert best == ("openvino" if has_bf16 else "onnxruntime")


def test_where_no_engine_works_the_reason_of_each_is_given(monkeypatch):
    for name in ENGINES:
        monkeypatch.setattr(load(name), "why_not", lambda name=name: f"{name} is broken")
    with pytest.raises(EngineError) as caught:
        working()
    assert all(f"{name}: {name} is broken" in str(caught.value) for name in ENGINES)


def test_an_engine_asked_for_by_name_is_never_replaced_by_another(monkeypatch):
    monkeypatch.setattr(load("openvino"), "why_not", lambda: "not installed")
    with pytest.raises(EngineError, match="openvino: not installed"):
        working("openvino")


def test_an_unknown_engine_is_refused_with_the_names_of_the_known_ones():
    with pytest.raises(EngineError, match="tensorrt, openvino, onnxruntime"):
        working("onnx")


@pytest.mark.parametrize(("flags", "answer"), [("avx512f avx512_bf16", True), ("amx_bf16", True), ("avx512f avx2", False)])
def test_bfloat16_is_read_off_the_cpu_flags(tmp_path, flags, answer):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags : fpu {flags} xsave\n")
    assert cpu_has_bf16(cpuinfo) is answer


@pytest.mark.parametrize(("flags", "answer"), [("avx512_vnni", True), ("avx_vnni", True), ("amx_int8", True), ("avx2", False)])
def test_8_bit_products_are_read_off_the_cpu_flags(tmp_path, flags, answer):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags : fpu {flags} xsave\n")
    assert cpu_has_int8(cpuinfo) is answer


def test_a_host_without_cpuinfo_is_taken_to_have_neither(tmp_path):
    assert cpu_has_bf16(tmp_path / "absent") is False
    assert cpu_has_int8(tmp_path / "absent") is False


@pytest.mark.parametrize(
    ("wanted", "expected"), [("3", 3), ("", len(os.sched_getaffinity(0))), ("2,1", len(os.sched_getaffinity(0)))]
)
def test_threads_follow_omp_num_threads(monkeypatch, wanted, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert threads() == expected


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_keeps_to_the_protocol(name):
    module = load(name)
    assert name == module.NAME
    assert module.PRECISION in {"fp32", "bf16", "fp16"}
    reason = module.why_not()
    assert reason is None or (reason and "\n" not in reason)


@pytest.mark.parametrize("name", sorted(set(ENGINES) - set(WORKING)))
def test_an_engine_that_cannot_work_says_why_instead_of_compiling(name, bundle, tmp_path):
    with pytest.raises(EngineError, match=name):
        load(name).compile(bundle.onnx, tmp_path)
    with pytest.raises(EngineError, match=name):
        load(name).open(tmp_path)


@pytest.mark.parametrize("name", WORKING)
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 512)])
def test_every_engine_answers_windows_of_any_number_and_length(name, shape, bundle, tmp_path):
    module = load(name)
    module.compile(bundle.onnx, tmp_path)
    opened = module.open(tmp_path)
    inputs = {"input_ids": np.full(shape, 5), "attention_mask": np.ones(shape, np.int64)}
    first = opened.run(inputs)["token_logits"].copy()
    opened.run({name: np.ones((1, 1), np.int64) for name in inputs})
    second = opened.run(inputs)["token_logits"]
    opened.close()
    assert first.shape == (*shape, 7)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", WORKING)
def test_several_threads_that_ask_one_engine_each_get_their_own_answer(name, bundle, tmp_path):
    module = load(name)
    module.compile(bundle.onnx, tmp_path)
    opened = module.open(tmp_path)
    asked = [{"input_ids": np.full((2, 64), n), "attention_mask": np.ones((2, 64), np.int64)} for n in range(3, 7)]
    expected = [opened.run(inputs)["token_logits"].copy() for inputs in asked]

    def ask(number):
        return all(np.array_equal(opened.run(asked[number])["token_logits"], expected[number]) for _ in range(300))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))
    opened.close()


ONES = np.ones((2, 4), np.int64)


@pytest.mark.parametrize("name", WORKING)
@pytest.mark.parametrize(
    "inputs",
    [
        {"pixels": ONES},
        {"input_ids": ONES},
        {"input_ids": ONES, "attention_mask": ONES, "pixels": ONES},
        {"input_ids": ONES, "attention_mask": ONES[:, :3]},  # OpenVINO answers these two, if nobody minds
        {"input_ids": ONES, "attention_mask": ONES[:1]},
        {"input_ids": ONES[0], "attention_mask": ONES[0]},
        {"input_ids": ONES[:, :0], "attention_mask": ONES[:, :0]},
        {"input_ids": ONES.astype(np.int32), "attention_mask": ONES},
    ],
)
def test_an_engine_refuses_inputs_that_its_model_is_not_made_for(name, inputs, bundle, tmp_path):
    module = load(name)
    module.compile(bundle.onnx, tmp_path)
    with pytest.raises(EngineError, match="the model takes input_ids and attention_mask, int64 of one shape"):
        module.open(tmp_path).run(inputs)


@pytest.mark.parametrize("name", WORKING)
def test_an_engine_refuses_a_damaged_model(name, tmp_path):
    for file in ("model.onnx", "model.xml", "model.bin"):
        (tmp_path / file).write_bytes(b"not a model")
    with pytest.raises(EngineError, match=name):
        load(name).open(tmp_path)


def test_openvino_neither_phones_home_nor_writes_into_it(tmp_path):
    # Left alone, `import openvino` starts a process that posts to an analytics service and writes ~/intel.
    script = (
        "import sys, socket\n"
        "def refuse(*_): raise SystemExit('a connection was tried')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from serving.engines import openvino\n"
        "assert openvino.why_not() is None\n"
        "import openvino.tools.ovc as ovc\n"
        "assert 'stub' in type(ovc.telemetry).__module__, type(ovc.telemetry)\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
    )
    variables = {key: value for key, value in os.environ.items() if key != "CI"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=variables, cwd=Path(__file__).parents[3])
    assert list(tmp_path.iterdir()) == []


CTRL_C_AFTER_TWO_MODELS = """
import gc, signal, sys
from pathlib import Path
from serving import artifact

first, second = artifact.load(Path(sys.argv[1])).open(), artifact.load(Path(sys.argv[1])).open()
for engine in (first, second):
    engine.close()
    del engine
first = second = None
gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("name", WORKING)
def test_ctrl_c_is_still_heard_when_the_older_of_two_models_has_gone_first(name, bundle, tmp_path):
    compile_bundle(bundle, tmp_path / "artifact", name)
    ended = subprocess.run(
        [sys.executable, "-c", CTRL_C_AFTER_TWO_MODELS, str(tmp_path / "artifact")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "interrupted\n"), ended.stderr
