"""The registry: trained models by name, task and version, and which one is promoted.

`models/NAME/TASK/VERSION/` is a bundle; the pretrained base of a name is its task `base`. `models/promoted.json` names the
bundle that reads for each task, under `before` the one that did before it, and under `candidate` the one that is tried out.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain import bundle
from pretrain.bundle import Manifest, ModelBundle

_BEFORE, _CANDIDATE = "before", "candidate"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class RegistryError(RuntimeError):
    """No such model, or none that can be used; the message says which there are."""


@dataclass(frozen=True)
class Entry:
    """One version of one model of one task, not yet opened."""

    name: str
    task: str
    version: int
    folder: Path
    is_promoted: bool

    @property
    def reference(self) -> str:
        """`NAME@VERSION`, as `--model` takes it."""
        return f"{self.name}@{self.version}"


class Registry:
    """Bundles under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self, task: str | None = None) -> Iterator[Entry]:
        """Every version there is, by name, task and version."""
        promoted = self._promoted()
        for folder in sorted(self.root.glob("*/*/*"), key=lambda p: (p.parts[-3:-1], int(p.name) if p.name.isdigit() else -1)):
            name, its_task, version = folder.parts[-3:]
            if version.isdigit() and (task is None or its_task == task):
                is_promoted = promoted.get(its_task) == [name, int(version)]
                yield Entry(name, its_task, int(version), folder, is_promoted)

    def find(self, reference: str, task: str) -> Entry:
        """The entry that `NAME` (its newest version) or `NAME@VERSION` means.

        Raises:
            RegistryError: there is none; the message names those there are.
        """
        there = list(self.entries(task))
        found = [e for e in there if reference in (e.name, e.reference)]
        if not found:
            known = ", ".join(e.reference for e in there) or "none; run `clinappliance train` first"
            raise RegistryError(f"no {task} model {reference}; there are: {known}")
        return found[-1]

    def get(self, reference: str, task: str) -> ModelBundle:
        """Open the bundle that `reference` means, its hashes checked."""
        return bundle.load(self.find(reference, task).folder)

    def reader(self, reference: str | None, task: str, advice: str) -> Entry:
        """The entry that was asked for, or the promoted one where none was.

        Raises:
            RegistryError: there is none; `advice` says how to come by one.
        """
        entry = self.find(reference, task) if reference else self.promoted(task)
        if entry is None:
            raise RegistryError(f"no {task} model is promoted; {advice} or name one with --model")
        return entry

    def promoted(self, task: str) -> Entry | None:
        """The entry that reads for `task`, if any."""
        return next((e for e in self.entries(task) if e.is_promoted), None)

    def before(self, task: str) -> Entry:
        """The entry that read for `task` before the promoted one did.

        Raises:
            RegistryError: none did, or it is not there any more.
        """
        found = self._promoted().get(_BEFORE, {}).get(task)
        if not found:
            raise RegistryError(
                f"no {task} model was promoted before this one; `clinappliance models list` shows which there are"
            )
        return self.find("{}@{}".format(*found), task)

    def promote(self, entry: Entry) -> None:
        """Let `entry` read for its task, once its files and its leak gate have been checked.

        Raises:
            BundleError: a file is not what the manifest says.
            RegistryError: it was not tested for leaks, or gives away what it read.
        """
        refuse_leaking(bundle.load(entry.folder).manifest)
        promoted = self._promoted()
        before = promoted.get(entry.task)
        if before not in (None, [entry.name, entry.version]):
            promoted[_BEFORE] = promoted.get(_BEFORE, {}) | {entry.task: before}
        promoted[entry.task] = [entry.name, entry.version]
        if promoted.get(_CANDIDATE, {}).get(entry.task, [])[:2] == promoted[entry.task]:
            del promoted[_CANDIDATE][entry.task]
        self._write(promoted)

    def candidate(self, task: str) -> tuple[Entry, float] | None:
        """The entry that is tried out for `task` and the share of notes that it reads, if any is.

        Raises:
            RegistryError: it is not there any more.
        """
        found = self._promoted().get(_CANDIDATE, {}).get(task)
        return (self.find("{}@{}".format(*found), task), float(found[2])) if found else None

    def try_out(self, task: str, entry: Entry | None, share: float = 0.0) -> None:
        """Let `entry` read a share of the notes, 0 to 1, and be compared on all of them; None ends it.

        Raises:
            BundleError: a file is not what the manifest says.
            RegistryError: it was not tested for leaks, or gives away what it read.
        """
        promoted = self._promoted()
        candidates = promoted.get(_CANDIDATE, {})
        candidates.pop(task, None)
        if entry is not None:
            refuse_leaking(bundle.load(entry.folder).manifest)
            candidates[task] = [entry.name, entry.version, share]
        promoted[_CANDIDATE] = candidates
        self._write(promoted)

    def _write(self, promoted: dict[str, Any]) -> None:
        partial = self.root / "promoted.json.partial"
        with partial.open("w") as file:
            json.dump(promoted, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.root / "promoted.json")

    def add(self, name: str, task: str, write: Callable[[Path, int], ModelBundle]) -> Entry:
        """Give `write` the folder and number of the next version; what it writes is registered."""
        check_name(name)
        version = 1 + max((e.version for e in self.entries(task) if e.name == name), default=0)
        folder = self.root / name / task / str(version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        write(folder, version)
        return Entry(name, task, version, folder, False)

    def _promoted(self) -> dict[str, Any]:
        path = self.root / "promoted.json"
        if not path.exists():
            return {}
        try:
            promoted = json.loads(path.read_text())
        except ValueError:
            promoted = None
        if not isinstance(promoted, dict) or not all(
            isinstance(models := promoted.get(key, {}), dict)
            and all(isinstance(model, list) and len(model) == length for model in models.values())
            for key, length in ((_BEFORE, 2), (_CANDIDATE, 3))
        ):
            raise RegistryError(f"{path} is damaged; remove it and run `clinappliance models promote NAME`")
        return promoted


def refuse_leaking(manifest: Manifest) -> None:
    """Raise RegistryError unless the model was tested for leaks and passed."""
    if not manifest.leak_gate:
        raise RegistryError(f"{manifest.identity} was never tested for leaks of what it read; train it again before it reads")
    if manifest.leak_gate["passed"] is not True:
        reasons = "; ".join(manifest.leak_gate["reasons"])
        raise RegistryError(
            f"{manifest.identity} failed its leak gate and must not read: {reasons}; train again with fewer passes or more notes"
        )


def check_name(name: str) -> None:
    """Raise RegistryError where `name` cannot name a model."""
    if not NAME.fullmatch(name):
        raise RegistryError(f"{name!r} cannot name a model; use letters, digits, '.', '_' and '-', at most 64")
