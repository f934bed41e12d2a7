"""What every step of a pretraining told: a line of JSON each, in `history.jsonl`."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pretrain.progress import StepReport


class History:
    """A line of JSON per step. A resumed run writes over what came after its checkpoint."""

    def __init__(self, path: Path, resume: bool) -> None:
        self._path, self._begun = path, False
        if not resume:
            path.unlink(missing_ok=True)

    def note(self, report: StepReport) -> None:
        """Add the line of a step."""
        if not self._begun and self._path.exists():
            kept = [line for line in history(self._path.parent) if line["step"] < report.step]
            # Renamed, so that a crash leaves all lines or the right ones.
            partial = self._path.with_suffix(".partial")
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            partial.replace(self._path)
        self._begun = True
        line: dict[str, Any] = {
            "step": report.step,
            "loss": report.batch_loss,
            "smoothed_loss": report.loss,
            "gradient_norm": report.gradient_norm,
            "learning_rate": report.learning_rate,
            "tokens": report.tokens,
            "tokens_per_s": round(report.tokens_per_s),
            "flops_per_s": round(report.flops_per_s),
            "flops_6pt_per_s": round(report.flops_6pt_per_s),
            "mfu": round(report.mfu or 0.0, 4),
        }
        if report.dev_loss is not None:
            line["dev_loss"] = report.dev_loss
            line["dev_loss_by_kind"] = dict(report.dev_loss_by_kind)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def history(folder: Path) -> list[dict[str, Any]]:
    """The lines of a pretraining's `history.jsonl`; one that a crash cut off is left out."""
    lines = []
    for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return lines
