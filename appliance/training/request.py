"""What `train` was asked for, who watches it, and the folder that lets it go on after an interruption."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from appliance.home import Home
from appliance.training.settings import TrainingConfig

if TYPE_CHECKING:
    from pretrain.progress import StepReport

A_NIGHT_S = 8 * 3600.0
REQUEST = "request.json"
"""In the work folder of a run that can be gone on with: what it was asked for."""


class TrainingError(RuntimeError):
    """Training cannot begin or go on; the message says why and what to do."""


class Watch(Protocol):
    """Who is told how the work goes on."""

    def phase(self, name: str) -> None:
        """A new part of the work begins."""
        ...

    def say(self, line: str) -> None:
        """Something worth knowing, one line."""
        ...

    def step(self, report: "StepReport") -> None:
        """One optimiser step is done."""
        ...

    def work(self, done: int, total: int, unit: str) -> None:
        """So much of the phase is done."""
        ...


@dataclass(frozen=True)
class Request:
    """What `train` was asked for."""

    notes: Path
    clip: Path | None
    name: str
    size: str
    budget_s: float | None
    """Wall-clock seconds for everything; None where `steps` or `tokens` bounds pretraining."""
    steps: int | None
    resume: bool = False
    seed: int = 0
    tokens: int | None = None
    begin_from: Path | None = None
    """Folder of a T5 or a BERT-like encoder to go on from; None begins with random weights."""
    exclude: Path | None = None
    """Patients whose notes are not learnt from, one a line."""
    radqa: Path | None = None
    """Questions about reports, as RadQA's files have them."""
    mednli: Path | None = None
    """Pairs of premise and hypothesis, as MedNLI's files have them."""


def work_folder(home: Home, request: Request, config: TrainingConfig) -> Path:
    """Where this run keeps what it needs to go on; begins anew, or goes on where it was told to.

    Raises:
        TrainingError: an interrupted run is there and was not asked for, or the other way round, or it was another.
    """
    work = home.corpora / request.name
    asked_for = work / REQUEST
    if asked_for.exists() and not request.resume:
        raise TrainingError(
            f"a run of {request.name} was interrupted; add --resume to go on with it, or remove {work} to begin anew"
        )
    if request.resume and not asked_for.exists():
        raise TrainingError(f"no interrupted run of {request.name} to go on with; leave --resume out")
    if request.resume and asked_for.read_text() != asked(request, config):
        raise TrainingError(
            f"the interrupted run of {request.name} had other --notes, --clip, --radqa, --mednli, --size, --from, --exclude or"
            " --seed, or another [training] vocabulary, cased or schedule in appliance.toml; give the same"
        )
    if not request.resume:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return work


def asked(request: Request, config: TrainingConfig) -> str:
    """What has to be the same for a run to be gone on with."""
    paths = {"notes": request.notes, "clip": request.clip, "from": request.begin_from, "exclude": request.exclude}
    paths |= {task: path for task, path in (("radqa", request.radqa), ("mednli", request.mednli)) if path}
    absolute = {key: None if path is None else str(path.absolute()) for key, path in paths.items()}
    settings = config.model_dump(include={"vocabulary", "cased", "schedule"})
    return json.dumps(absolute | settings | {"size": request.size, "seed": request.seed})
