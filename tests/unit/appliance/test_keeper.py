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
from serving.engine import EngineError
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
        seen.append(str(keeper.readers()["clip"].model))
        assert keeper.reasons() == []
    assert seen == ["q@1", "q@2", "q@1"]


def test_a_reader_in_use_answers_as_before_while_another_model_takes_over(home: Home) -> None:
    registry, entries = two_versions(home)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    held = keeper.readers()["clip"]
    before = held._tagger.tag(tiny_bundle.TEXTS)
    registry.promote(entries[1])
    keeper.step()
    assert keeper.readers()["clip"] is not held
    assert held._tagger.tag(tiny_bundle.TEXTS) == before


def test_a_promoted_model_that_cannot_be_opened_leaves_the_one_that_reads_where_it_is(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    registry, entries = two_versions(home, drift=0.5)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    registry.promote(entries[1])
    with caplog.at_level("WARNING", logger="appliance.model_keeper"):
        for _ in range(3):
            keeper.step()
    assert str(keeper.readers()["clip"].model) == "q@1"
    assert keeper.reasons() == []
    assert [r.getMessage().split(",")[0] for r in caplog.records if r.name == "appliance.model_keeper"] == ["q@1 goes on reading"]
    assert keeper._models[0]._refusals == 1, "it is not compiled anew at every step"


def test_a_promotion_that_cannot_be_read_leaves_the_model_where_it_is(home: Home) -> None:
    two_versions(home)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    for damage in ("{", "[]", "{}", '{"clip": ["q", 9]}'):
        (home.models / "promoted.json").write_text(damage)
        keeper.step()
        assert (str(keeper.readers()["clip"].model), keeper.reasons()) == ("q@1", [])


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
    before = keeper.readers()["clip"]
    keeper.step()
    assert keeper.readers()["clip"] is not before
    assert str(keeper.readers()["clip"].model) == "q@1"
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
    assert keeper.readers()["clip"].read(note).model.name == "q"
    keeper.close()


@pytest.fixture
def asked_and_tagged(home: Home) -> Registry:
    """A tagger and a reader of reports, both promoted."""
    registry, _ = two_versions(home)
    registry.promote(registry.add("r", "radqa", lambda at, version: tiny_bundle.write_reader(at, "r", version)))
    return registry


def test_each_task_that_has_a_promoted_model_is_read_for(home: Home, asked_and_tagged: Registry) -> None:
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"\n[questions]\nalways = ["Is there an effusion?"]'))
    assert keeper.reasons() == ["engine_starting"]
    keeper.step()
    assert {task: str(reader.model) for task, reader in keeper.readers().items()} == {"clip": "q@1", "radqa": "r@1"}
    report = Note("n", NoteKind.RADIOLOGY_REPORT, "FINDINGS: There is an effusion.", indication="r/o zebra")
    found = keeper.readers()["radqa"].read(report).findings
    assert [(f.question, bool(f.quote)) for f in found] == [("Is there zebra?", False), ("Is there an effusion?", True)]
    assert (keeper.reasons(), keeper.degraded()) == ([], [])


def test_a_model_of_one_task_that_cannot_be_opened_leaves_the_other_alone_and_is_named(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    registry, _ = two_versions(home)
    drifting = registry.add("r", "radqa", lambda at, version: tiny_bundle.write(at, "r", version, drift=0.5, task="radqa"))
    registry.promote(drifting)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    with caplog.at_level("WARNING", logger="appliance.keeper"):
        for _ in range(3):
            keeper.step()
    assert list(keeper.readers()) == ["clip"]
    assert (keeper.reasons(), keeper.degraded()) == ([], ["radqa_not_read"])
    assert [r.getMessage()[:18] for r in caplog.records if r.name == "appliance.keeper"] == ["radqa is not read:"]
    registry.promote(registry.add("r", "radqa", lambda at, version: tiny_bundle.write_reader(at, "r", version)))
    keeper.step()
    assert (sorted(keeper.readers()), keeper.degraded()) == (["clip", "radqa"], [])


def test_a_hospital_that_uses_one_task_only_is_not_told_about_the_other(home: Home) -> None:
    two_versions(home)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    assert (list(keeper.readers()), keeper.reasons(), keeper.degraded()) == (["clip"], [], [])


def test_without_any_model_nobody_reads_and_the_reason_names_every_task(home: Home) -> None:
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    with pytest.raises(EngineError, match=r"no clip model is promoted.*no radqa model is promoted"):
        keeper.step()
    assert (keeper.readers(), keeper.reasons()) == ({}, ["no_model"])


def test_each_task_is_published_to_triton_as_a_model_of_its_own(home: Home, asked_and_tagged: Registry) -> None:
    grpc_port, metrics_port = free_ports(2)
    ports = f"grpc_port = {grpc_port}\nmetrics_port = {metrics_port}"
    keeper = EngineKeeper(home, parse(f"[triton]\nenvironment = '/absent'\n{ports}"))
    keeper.step()
    assert sorted(keeper.readers()) == ["clip", "radqa"]
    assert {task: repository.versions(home.repository, task) for task in ("clip", "radqa")} == {"clip": [1], "radqa": [1]}
    assert keeper.degraded() == ["triton_not_used"]
    keeper.close()


def test_a_reader_of_reports_is_tried_beside_the_promoted_one(home: Home, asked_and_tagged: Registry) -> None:
    other = asked_and_tagged.add("r", "radqa", lambda at, version: tiny_bundle.write(at, "r", version, task="radqa"))
    asked_and_tagged.try_out("radqa", other, 1.0)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    report = Note("n", NoteKind.RADIOLOGY_REPORT, "FINDINGS: There is an effusion.")
    assert str(keeper.readers()["radqa"].read(report).model) == "r@2"
    keeper.close()
