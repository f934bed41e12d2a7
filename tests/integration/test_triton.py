"""The real tritonserver, from an artifact to its answers and from its start to the last of its processes."""

import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as grpc

from serving import server
from serving.compilation import compile_bundle
from serving.engine import EngineError
from serving.engines.triton import open_remote
from serving.predictor import Tagger
from serving.repository import publish
from serving.server import ServerError, TritonServer
from tests import tiny_bundle
from tests.appliance_process import eventually
from tests.triton_site import Site, are_gone, processes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory, triton_environment):
    site = Site(tmp_path_factory.mktemp("triton"), triton_environment)
    site.server.start()
    yield site
    site.server.stop()


@pytest.fixture
def site(tmp_path, triton_environment):
    site = Site(tmp_path, triton_environment)
    yield site
    site.server.stop()


def test_triton_answers_bit_for_bit_like_the_engine_in_process(running):
    opened = running.artifact.open()
    expected = opened.run(running.inputs)["token_logits"]
    opened.close()
    np.testing.assert_array_equal(running.ask(), expected)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (2, 512)])
def test_triton_answers_windows_of_any_number_and_length(running, shape):
    remote = open_remote(running.config.url, "clip", 1)
    inputs = {"input_ids": np.full(shape, 7), "attention_mask": np.ones(shape, np.int64)}
    assert remote.run(inputs)["token_logits"].shape == (*shape, 7)
    remote.close()


def test_a_note_is_tagged_by_triton_as_it_is_in_process(running):
    remote, local = open_remote(running.config.url, "clip", 1), running.artifact.open()
    try:
        assert Tagger(running.bundle, remote).tag(tiny_bundle.TEXTS) == Tagger(running.bundle, local).tag(tiny_bundle.TEXTS)
    finally:
        remote.close()
        local.close()


def test_inputs_the_model_does_not_have_are_an_engine_error(running):
    remote = open_remote(running.config.url, "clip", 1)
    with pytest.raises(EngineError, match="model clip version 1"):
        remote.run({"input_ids": np.ones((1, 4), np.int64)})
    with pytest.raises(EngineError, match="model clip version 1"):
        remote.run({"input_ids": np.ones((1, 4), np.int64), "attention_mask": np.ones((1, 9), np.int64)})
    assert remote.run(running.inputs)["token_logits"].size
    remote.close()


def test_a_version_that_is_not_served_is_refused_by_name(running):
    with pytest.raises(EngineError, match="model clip version 99"):
        open_remote(running.config.url, "clip", 99)


def test_everything_listens_on_loopback_only(running):
    sockets = [socket for process in processes(running.server.pid) for socket in process.net_connections()]
    listening = {socket.laddr for socket in sockets if socket.status == psutil.CONN_LISTEN}
    assert {port for _, port in listening} == {running.config.grpc_port, running.config.metrics_port}
    assert {address.removeprefix("::ffff:") for address, _ in listening} == {"127.0.0.1"}


def test_nobody_can_control_models_or_reach_shared_memory(running):
    with grpc.InferenceServerClient(running.config.url) as client:
        for forbidden in (
            lambda: client.unload_model("clip"),
            lambda: client.load_model("clip"),
            lambda: client.get_system_shared_memory_status(),
            lambda: client.register_system_shared_memory("region", "/clinappliance", 8),
            lambda: client.get_trace_settings(),
            lambda: client.update_log_settings({"log_verbose_level": 1}),
        ):
            with pytest.raises(grpc.InferenceServerException, match=r"disallowed|polling|restricted|not allowed"):
                forbidden()
    assert running.server.is_ready("clip", 1)


def test_prometheus_can_read_tritons_own_metrics(running):
    with urllib.request.urlopen(f"http://127.0.0.1:{running.config.metrics_port}/metrics", timeout=5) as answer:
        assert b'nv_inference_count{model="clip"' in answer.read()


def test_a_second_triton_names_the_port_and_leaves_the_first_alone(running, tmp_path):
    second = TritonServer(running.config, running.repository, tmp_path / "second.log")
    with pytest.raises(ServerError, match=rf"port {running.config.grpc_port} .* change \[triton\] grpc_port"):
        second.start()
    assert running.ask().size


def test_a_new_version_is_served_without_a_gap_and_the_previous_one_stays(site):
    site.server.start()
    second = compile_bundle(tiny_bundle.write(site.folder / "bundles" / "2", version=2, seed=2), site.folder / "artifacts" / "2")
    before = site.ask(1)
    publish(site.repository, "clip", second)

    def is_served() -> bool:
        np.testing.assert_array_equal(site.ask(1), before)
        return site.server.is_ready("clip", 2)

    eventually(is_served)
    assert np.abs(site.ask(2) - before).max() > 0.1
    np.testing.assert_array_equal(site.ask(1), before)


def test_a_damaged_version_is_refused_inside_triton_and_the_previous_one_stays(site, monkeypatch):
    site.server.start()
    model_file = next(iter(site.artifact.sha256))

    def damage(_staged: Path) -> None:
        (_staged / model_file).write_bytes((_staged / model_file).read_bytes() + b"\0")

    monkeypatch.setattr("serving.repository.artifacts.load", damage)  # on the disk, after publish has looked
    publish(site.repository, "clip", site.artifact)
    reason = f"tiny@1: {model_file} differs from what was compiled; compile the bundle again"
    eventually(lambda: site.server.why_unready() == {"clip version 2": reason})
    assert not site.server.is_ready("clip", 2)
    assert site.server.is_ready("clip", 1)
    assert site.ask(1).size


def test_a_damaged_model_does_not_keep_the_others_from_being_served(site):
    publish(site.repository, "damaged", site.artifact)
    (site.repository / "damaged" / "1" / "artifact.json").write_text("{}")
    site.server.start()
    assert site.server.is_ready("clip", 1)
    assert not site.server.is_ready("damaged")
    eventually(lambda: "artifact.json is damaged" in site.server.why_unready().get("damaged version 1", ""))


@pytest.mark.parametrize("victim", [0, 1], ids=["keeper", "tritonserver"])
def test_a_killed_triton_comes_back_after_a_pause_and_its_clients_with_it(victim, site):
    site.server.start()
    remote = open_remote(site.config.url, "clip", 1, timeout_s=5)
    killed = processes(site.server.pid)
    assert killed[1].name() == "tritonserver"
    killed[victim].kill()
    eventually(lambda: site.server.pid is None)
    with pytest.raises(EngineError, match="model clip version 1"):
        remote.run(site.inputs)

    def is_back() -> bool:
        site.server.watch()
        return site.server.is_ready("clip", 1)

    died_at = time.monotonic()
    eventually(is_back)
    assert time.monotonic() - died_at >= 1.0
    assert are_gone(killed)

    def is_answered() -> bool:
        with suppress(EngineError):
            return remote.run(site.inputs)["token_logits"].size > 0
        return False

    eventually(is_answered, within_s=5)
    remote.close()


def test_tritons_log_is_emptied_while_it_runs_and_one_file_before_it_is_kept(site, monkeypatch):
    site.server.start()
    written = site.log.read_bytes()
    site.server.watch()
    assert site.log.stat().st_size >= len(written)
    monkeypatch.setattr("serving.server.MAX_LOG_BYTES", 100)
    site.server.watch()
    assert site.log.with_name("triton.log.1").read_bytes().startswith(written)
    assert site.log.stat().st_size < len(written)
    publish(site.repository, "clip", site.artifact)
    eventually(lambda: site.server.is_ready("clip", 2))
    assert b"clip" in site.log.read_bytes()
    assert b"\0" not in site.log.read_bytes()


def test_stopping_leaves_no_process_and_no_shared_memory(site):
    site.server.start()
    started = processes(site.server.pid)
    regions = set(Path("/dev/shm").glob("clinappliance-*"))
    assert len(started) >= 2
    site.server.stop()
    assert are_gone(started)
    assert not regions & {path for path in Path("/dev/shm").glob("clinappliance-*") if site.server._shm_prefix in path.name}
    assert not site.server.is_ready()
    site.server.watch()
    assert site.server.pid is None


# Starts Triton from a thread that ends at once, as a service's might: Triton must not end with it.
OWNER = """\
import sys, threading, time
from pathlib import Path
from serving.server import TritonConfig, TritonServer
server = TritonServer(TritonConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
thread = threading.Thread(target=server.start)
thread.start()
thread.join()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("delay_s", [None, 0.0, 0.15, 0.3], ids=str)
def test_kill_9_of_the_appliance_leaves_no_triton_and_no_stub_behind(delay_s, site):
    def started() -> list[psutil.Process]:
        return [one for one in psutil.process_iter(["cmdline"]) if str(site.repository) in " ".join(one.info["cmdline"] or ())]

    arguments = [site.config.model_dump_json(), str(site.repository), str(site.log)]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if delay_s is None:
        assert int(owner.stdout.readline())
        time.sleep(1)
        assert {"tritonserver", "triton_python_backend_stub"} <= {Path(one.info["cmdline"][0]).name for one in started()}
        assert site.ask().size
    else:
        eventually(lambda: len(started()) >= 2)  # the owner itself names the repository too
        time.sleep(delay_s)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    eventually(lambda: not started(), within_s=5)
    # A stub may hold the ports a moment longer; `run` waits for them as well.
    eventually(lambda: server.why_not(site.config) is None, within_s=15)
    site.server.start()  # what was left in shared memory is not in the way
    assert site.ask().size


def test_no_token_of_a_note_is_logged(running):
    remote = open_remote(running.config.url, "clip", 1)
    remote.run({"input_ids": np.full((1, 3), 187), "attention_mask": np.ones((1, 3), np.int64)})
    with pytest.raises(EngineError) as caught:
        remote.run({"input_ids": np.full((1, 3), 187), "attention_mask": np.ones((1, 4), np.int64)})
    remote.close()
    assert "187" not in running.log.read_text() + str(caught.value)
