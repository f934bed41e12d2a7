"""Bundles that a run registers, each once however often it is interrupted."""

import json
from collections.abc import Callable
from pathlib import Path

from appliance.registry import Entry, Registry
from pretrain import bundle
from pretrain.bundle import Manifest, ModelBundle


def register(registry: Registry, work: Path, task: str, write: Callable[[Path, int], ModelBundle]) -> Entry:
    """Add a bundle of this run. Its number is noted before the bundle is there, so that no crash lets a run add it twice."""

    def write_noted(folder: Path, number: int) -> ModelBundle:
        (work / f"{task}.json").write_text(json.dumps({"version": number}))
        return write(folder, number)

    return registry.add(work.name, task, write_noted)


def registered(registry: Registry, work: Path, task: str) -> Entry | None:
    """What an interrupted run had registered for `task`, if it got so far."""
    try:
        version = json.loads((work / f"{task}.json").read_text())["version"]
    except (FileNotFoundError, ValueError):  # not begun, or cut off in the middle of the note
        return None
    return next((e for e in registry.entries(task) if (e.name, e.version) == (work.name, version)), None)


def manifest_of(entry: Entry) -> Manifest:
    """What a registered bundle says about itself, every byte checked."""
    return bundle.load(entry.folder).manifest
