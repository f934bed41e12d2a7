"""Checkpoints of a training: whole or not there, and the newest whole one is found again."""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain import distributed, fsdp

logger = logging.getLogger(__name__)

_MODEL, _OPTIMIZER, _PROGRESS = "model.safetensors", "optimizer.pt", "progress.json"
_NAME = re.compile(r"step-(\d{12})")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or resumed from."""


class Checkpoints:
    """One training's checkpoints in one folder; the newest two are kept, so that one of them is whole.

    Each is a folder `step-N` of `model.safetensors`, `optimizer.pt` and `progress.json`, which holds the others' hashes. It is
    written under another name, flushed to disk and renamed: a crash at any instant leaves those before. On disk they take
    twelve bytes for every parameter each, and while one is written there are three.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
        """Keep all that a training needs to go on after `step`, random state included; then drop checkpoints too many.

        All processes of the training call it, for a sharded model is in none of them; the main one writes.

        Raises:
            CheckpointError: the disk does not take it. Those before stay.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        weights = {name: fsdp.gathered(tensor) for name, tensor in _once(model).items()}
        state = optimizer.state_dict()
        state["state"] = {
            number: {name: fsdp.gathered(value) for name, value in of_one.items()} for number, of_one in state["state"].items()
        }
        if not distributed.is_main():
            return
        final = self._path(step)
        partial = final.with_suffix(".partial")
        try:
            for abandoned in self._folder.glob("step-*.partial"):
                shutil.rmtree(abandoned)
            partial.mkdir(parents=True)
            save_file(weights, partial / _MODEL)
            torch.save({"optimizer": state, "random": _random_state()}, partial / _OPTIMIZER)
            written = progress | {"sha256": {name: _sha256(partial / name) for name in (_MODEL, _OPTIMIZER)}}
            (partial / _PROGRESS).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
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
        steps = self._steps()
        # Of a later step are those that were damaged, and that the training fell back from.
        for other in {*steps} - {*[earlier for earlier in steps if earlier <= step][-2:]}:
            shutil.rmtree(self._path(other), ignore_errors=True)

    def restore(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, say: Callable[[str], None] = logger.warning
    ) -> dict[str, Any] | None:
        """Put model, optimizer and random state back as in the newest whole checkpoint, and return its progress.

        Args:
            model: of the same shape.
            optimizer: over the model's parameters.
            say: told where a newer checkpoint is not whole.
        Returns:
            What `save` was given; None where there is no checkpoint at all.
        Raises:
            CheckpointError: none is whole, or the newest whole one belongs to another model.
        """
        damage = ""
        for step in reversed(self._steps()):
            folder = self._path(step)
            progress, found = _opened(folder)
            if progress is None:
                damage = damage or f"{folder.name}: {found}"
                continue
            if damage:
                say(f"{damage}; going on from {folder.name}")
            _put_back(folder, model, optimizer)
            return progress
        if damage:
            raise CheckpointError(f"no checkpoint is whole ({damage}); start again without --resume")
        return None

    def clear(self) -> None:
        """Forget all of them."""
        for step in self._steps():
            shutil.rmtree(self._path(step), ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:012d}"

    def _steps(self) -> list[int]:
        names = (_NAME.fullmatch(path.name) for path in self._folder.glob("step-*"))
        return sorted(int(name[1]) for name in names if name)


def _opened(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The progress of a checkpoint; None for one that is not what was written, and what is wrong."""
    try:
        progress: dict[str, Any] = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
        for name, sha256 in progress.pop("sha256").items():
            if _sha256(folder / name) != sha256:
                return None, f"{name} is not what was written"
    except (OSError, ValueError, KeyError) as error:
        return None, f"it is cut short ({type(error).__name__})"
    return progress, ""


def _once(model: torch.nn.Module) -> dict[str, Tensor]:
    """The model's weights and buffers; what has several names is under the first of them."""
    named = sorted(model.state_dict(keep_vars=True).items(), reverse=True)
    return dict({id(tensor): (name, tensor) for name, tensor in named}.values())


def _put_back(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    from safetensors.torch import load_file

    try:
        own, weights = _once(model), load_file(folder / _MODEL)
        if {name: tensor.shape for name, tensor in own.items()} != {name: tensor.shape for name, tensor in weights.items()}:
            raise ValueError("other names or shapes")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(fsdp.part(weights[name], tensor))
        saved = torch.load(folder / _OPTIMIZER, map_location="cpu", weights_only=True)
        state, owners = saved["optimizer"], [one for group in optimizer.param_groups for one in group["params"]]
        for number, of_one in state["state"].items():
            like = owners[number]
            # A step's number is no tensor of the weight's shape.
            of_one.update({name: fsdp.part(value, like) for name, value in of_one.items() if value.shape == like.shape})
        optimizer.load_state_dict(state)
    except Exception as error:  # whatever another model's tensors make the readers raise
        raise CheckpointError(
            f"{folder.name} is of another model ({type(error).__name__}); start again without --resume"
        ) from error
    _set_random_state(saved["random"])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
