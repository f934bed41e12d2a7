"""Who reads, when the model repository changes under a running appliance."""

import functools
from pathlib import Path

import pytest

from appliance.config import parse
from appliance.home import Home
from appliance.keeper import EngineKeeper
from appliance.publishing import publish
from appliance.registry import Entry, Registry
from integrations.records import Note, NoteKind
from serving import artifact, cuda, repository
from serving.engines import tensorrt
from tests import host_gpu, tiny_bundle
from tests.appliance_process import free_ports


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.init()
    return home


def two_versions(home: Home, drift: float = 0.0) -> tuple[Registry, list[Entry]]:
    """The first one is promoted; the second one answers (1 + drift) times what its probe says."""
    registry = Registry(home.models)

    def add(drift: float, seed: int) -> Entry:
        return registry.add("q", "clip", lambda at, version: tiny_bundle.write(at, "q", version, seed, drift))

    entries = [add(0.0, 0), add(drift, 1)]
    registry.promote(entries[0])
    return registry, entries


def test_what_is_promoted_while_it_runs_reads_from_the_next_step_on_and_back(home: Home) -> None:
    registry, entries = two_versions(home)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    seen = []
    for entry in (entries[0], entries[1], entries[0]):
        registry.promote(entry)
        keeper.step()
        seen.append(str(keeper.reader().model))
        assert keeper.reasons() == []
    assert seen == ["q@1", "q@2", "q@1"]


def test_a_reader_in_use_answers_as_before_while_another_model_takes_over(home: Home) -> None:
    registry, entries = two_versions(home)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    held = keeper.reader()
    before = held._tagger.tag(tiny_bundle.TEXTS)
    registry.promote(entries[1])
    keeper.step()
    assert keeper.reader() is not held
    assert held._tagger.tag(tiny_bundle.TEXTS) == before


def test_a_promoted_model_that_cannot_be_opened_leaves_the_one_that_reads_where_it_is(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    registry, entries = two_versions(home, drift=0.5)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    registry.promote(entries[1])
    with caplog.at_level("WARNING", logger="appliance.keeper"):
        for _ in range(3):
            keeper.step()
    assert str(keeper.reader().model) == "q@1"
    assert keeper.reasons() == []
    assert [r.getMessage().split(",")[0] for r in caplog.records if r.name == "appliance.keeper"] == ["q@1 goes on reading"]
    assert keeper._refusals == 1, "it is not compiled anew at every step"


def test_a_promotion_that_cannot_be_read_leaves_the_model_where_it_is(home: Home) -> None:
    two_versions(home)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    for damage in ("{", "[]", "{}", '{"clip": ["q", 9]}'):
        (home.models / "promoted.json").write_text(damage)
        keeper.step()
        assert (str(keeper.reader().model), keeper.reasons()) == ("q@1", [])


def test_a_reader_whose_version_gave_way_to_newer_ones_is_published_anew_and_reads_on_meanwhile(home: Home) -> None:
    registry = Registry(home.models)
    entries = [registry.add("q", "clip", lambda folder, version: tiny_bundle.write(folder, "q", version)) for _ in range(3)]
    registry.promote(entries[0])
    grpc_port, metrics_port = free_ports(2)
    ports = f"grpc_port = {grpc_port}\nmetrics_port = {metrics_port}"
    keeper = EngineKeeper(home, parse(f"[triton]\nenvironment = '/absent'\n{ports}"))
    keeper.step()
    assert (keeper.reasons(), keeper.degraded()) == ([], ["triton_not_used"])
    for entry in entries[1:]:
        publish(home, entry, "onnxruntime")
    assert repository.version_of(home.repository, "clip", "q@1") is None
    before = keeper.reader()
    keeper.step()
    assert keeper.reader() is not before
    assert str(keeper.reader().model) == "q@1"
    assert repository.version_of(home.repository, "clip", "q@1") == 4


def test_what_stands_in_for_a_triton_on_a_gpu_computes_on_the_cpu(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = host_gpu.HostDriver()
    monkeypatch.setattr(cuda, "driver", lambda: driver)
    for name in ("_library", "build"):
        monkeypatch.setattr(tensorrt, name, getattr(host_gpu, name.removeprefix("_")))
    monkeypatch.setattr(tensorrt, "_log", functools.cache(tensorrt._log.__wrapped__))
    two_versions(home)
    grpc_port, metrics_port = free_ports(2)
    keeper = EngineKeeper(
        home, parse(f"[triton]\nenvironment = '/absent'\ngrpc_port = {grpc_port}\nmetrics_port = {metrics_port}")
    )
    keeper.step()
    published = artifact.load(home.repository / "clip" / "1")
    assert published.engine == "tensorrt"
    assert driver.allocated == {}, "its memory belongs to Triton"
    note = Note("n", NoteKind.DISCHARGE_SUMMARY, "Recheck the potassium on Friday.")
    assert keeper.reader().read(note).model.name == "q"
    keeper.close()
