"""Checkpoints of a training: whole or not there, and the newest whole one is found again."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

_NAME = re.compile(r"step-(\d{12})")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or resumed from."""


class Checkpoints:
    """One training's checkpoints in one folder; only the newest is kept.

    Each is a folder `step-N` of `model.safetensors`, `optimizer.pt` and `progress.json`, written under another name, flushed
    to disk and renamed: a crash at any instant leaves the one before.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
        """Keep all that a training needs to go on after `step`, random state included; then drop older checkpoints.

        Raises:
            CheckpointError: the disk does not take it. The checkpoint before stays.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_model

        final = self._folder / f"step-{step:012d}"
        partial = final.with_suffix(".partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_model(model, str(partial / "model.safetensors"))
            torch.save({"optimizer": optimizer.state_dict(), "random": _random_state()}, partial / "optimizer.pt")
            (partial / "progress.json").write_text(json.dumps(progress, indent=2) + "\n", encoding="utf-8")
            for path in (*partial.iterdir(), partial):
                _flush(path)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            _flush(self._folder)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap a full disk in errors of their own
            shutil.rmtree(partial, ignore_errors=True)
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {self._folder}; free disk space, then --resume"
            ) from error
        for older in self._steps()[:-1]:
            shutil.rmtree(self._folder / f"step-{older:012d}", ignore_errors=True)

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Put model, optimizer and random state back as in the newest checkpoint, and return its progress; None without one.

        Raises:
            CheckpointError: it cannot be read, or belongs to another model.
        """
        from safetensors.torch import load_model

        steps = self._steps()
        if not steps:
            return None
        folder = self._folder / f"step-{steps[-1]:012d}"
        try:
            load_model(model, str(folder / "model.safetensors"))
            state = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
            optimizer.load_state_dict(state["optimizer"])
            _set_random_state(state["random"])
            progress: dict[str, Any] = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        except Exception as error:  # whatever a damaged file makes the readers raise
            raise CheckpointError(
                f"{folder.name} cannot be resumed from ({type(error).__name__}); start again without --resume"
            ) from error
        return progress

    def clear(self) -> None:
        """Forget all of them."""
        for step in self._steps():
            shutil.rmtree(self._folder / f"step-{step:012d}", ignore_errors=True)

    def _steps(self) -> list[int]:
        names = (_NAME.fullmatch(path.name) for path in self._folder.glob("step-*"))
        return sorted(int(name[1]) for name in names if name)


def _random_state() -> dict[str, Any]:
    return {"cpu": torch.random.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.random.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
