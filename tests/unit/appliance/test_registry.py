"""The registry: names, versions and who is promoted."""

from pathlib import Path
from typing import Any

import pytest

from appliance.registry import Entry, Registry, RegistryError
from pretrain import bundle
from pretrain.bundle import BundleError, ModelBundle
from tests import tiny_bundle


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def add(registry: Registry, name: str) -> Entry:
    return registry.add(name, "clip", lambda folder, version: tiny_bundle.write(folder, name, version))


def test_versions_count_up_within_a_name(registry: Registry) -> None:
    assert [add(registry, name).reference for name in ("q", "r", "q")] == ["q@1", "r@1", "q@2"]
    assert [e.reference for e in registry.entries("clip")] == ["q@1", "q@2", "r@1"]
    assert list(registry.entries("radqa")) == []


def test_the_tenth_version_is_newer_than_the_ninth(registry: Registry) -> None:
    for _ in range(10):
        last = add(registry, "q")
    assert registry.find("q", "clip") == last
    assert last.version == 10


def test_a_name_means_its_newest_version_and_a_number_an_older_one(registry: Registry) -> None:
    add(registry, "q")
    add(registry, "q")
    assert registry.find("q", "clip").version == 2
    assert registry.find("q@1", "clip").version == 1
    assert registry.get("q@1", "clip").manifest.identity == "q@1"


@pytest.mark.parametrize("reference", ["r", "q@3", "q@", "@1", "q@x"])
def test_what_is_not_there_is_named_beside_what_is(registry: Registry, reference: str) -> None:
    add(registry, "q")
    with pytest.raises(RegistryError, match="there are: q@1"):
        registry.find(reference, "clip")


def test_one_model_reads_for_a_task_and_the_next_takes_its_place(registry: Registry) -> None:
    assert registry.promoted("clip") is None
    first, second = add(registry, "q"), add(registry, "q")
    registry.promote(first)
    assert registry.promoted("clip") == registry.find("q@1", "clip")
    registry.promote(second)
    assert [e.reference for e in registry.entries() if e.is_promoted] == ["q@2"]


def test_the_model_before_is_remembered_per_task_and_promoting_twice_does_not_forget_it(registry: Registry) -> None:
    first, second = add(registry, "q"), add(registry, "r")
    registry.promote(first)
    with pytest.raises(RegistryError, match="no clip model was promoted before"):
        registry.before("clip")
    for _ in range(2):
        registry.promote(second)
        assert registry.before("clip").reference == "q@1"
    registry.promote(registry.before("clip"))
    assert registry.before("clip").reference == "r@1"
    with pytest.raises(RegistryError, match="no radqa model"):
        registry.before("radqa")


@pytest.mark.parametrize(
    "damage",
    ["{", "[]", "3", '"clip"', "null", '{"before": 1}', '{"candidate": {"clip": 2}}', '{"candidate": {"clip": ["q", 1]}}'],
)
def test_a_damaged_list_of_promoted_models_is_told_with_the_way_out(registry: Registry, damage: str) -> None:
    add(registry, "q")
    (registry.root / "promoted.json").write_text(damage)
    with pytest.raises(RegistryError, match="is damaged; remove it"):
        registry.promoted("clip")


def test_a_damaged_model_is_not_promoted(registry: Registry) -> None:
    first, second = add(registry, "q"), add(registry, "q")
    registry.promote(first)
    with (second.folder / "model.onnx").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        registry.promote(second)
    promoted = registry.promoted("clip")
    assert promoted is not None
    assert promoted.reference == "q@1"


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        ({}, "was never tested for leaks"),
        ({"passed": False, "reasons": ["what stood twice is remembered"]}, "what stood twice is remembered"),
        ({"passed": "yes", "reasons": []}, "failed its leak gate"),
    ],
)
def test_a_model_that_leaks_or_was_not_tested_for_it_is_not_promoted(registry: Registry, gate: dict[str, Any], why: str) -> None:
    def write(folder: Path, version: int) -> ModelBundle:
        tiny = tiny_bundle.write(folder.with_name("tiny"), "q", version)
        manifest = tiny.manifest.model_copy(update={"leak_gate": gate})
        return bundle.write(folder, manifest, {name: tiny.folder / name for name in tiny.manifest.files})

    entry = registry.add("q", "clip", write)
    with pytest.raises(RegistryError, match=why):
        registry.promote(entry)
    assert registry.promoted("clip") is None


@pytest.mark.parametrize("name", ["", "../q", "a b", "q@1", ".hidden", "x" * 65])
def test_a_name_that_would_leave_its_folder_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(RegistryError, match="cannot name a model"):
        add(registry, name)
