"""What long work shows on stderr: a live line at a terminal, a plain line now and then in a log."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from pretrain.trainer import StepReport

LOG_EVERY_S = 10.0


class TerminalWatch:
    """Shows phases of work and steps of training; an `appliance.training.Watch`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._live = sys.stderr.isatty()
        self._phase = ""
        self._logged_at, self._began = 0.0, time.monotonic()
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[figures]}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self._live,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._progress.stop()

    def phase(self, name: str) -> None:
        """A new part of the work begins."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = None
        self._phase = name
        self._logged_at, self._began = 0.0, time.monotonic()
        self.console.print(f"[bold]{name}[/bold]")

    def say(self, line: str) -> None:
        """Something worth knowing, one line."""
        self.console.print(f"  {line}", markup=False)

    def step(self, report: "StepReport") -> None:
        """One optimiser step is done."""
        elapsed = time.monotonic() - self._began
        figures = f"step {report.step}  loss {report.loss:.3f}  {report.tokens_per_s:,.0f} tokens/s  {_left(report.eta_s)} left"
        self._show(elapsed / max(elapsed + report.eta_s, 1e-9), figures)

    def work(self, done: int, total: int, unit: str) -> None:
        """So much of the phase is done; how long the rest takes is guessed from how long that took."""
        share = done / max(total, 1)
        elapsed = time.monotonic() - self._began
        self._show(share, f"{done:,} of {total:,} {unit}  {_left(elapsed / share - elapsed)} left" if share else f"0 {unit}")

    def _show(self, share: float, figures: str) -> None:
        if not self._live:
            if time.monotonic() - self._logged_at >= LOG_EVERY_S:
                self._logged_at = time.monotonic()
                self.say(f"{100 * share:3.0f}%  {figures}")
            return
        if self._task is None:
            self._task = self._progress.add_task(self._phase, total=1.0, figures="")
        self._progress.update(self._task, completed=share, figures=figures)


def _left(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
