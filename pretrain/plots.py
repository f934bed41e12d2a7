"""Pictures of a training."""

from collections.abc import Sequence
from pathlib import Path


def loss_curve(history: Sequence[tuple[int, float]], dev_points: Sequence[tuple[int, float]], png_path: Path) -> None:
    """Draw training loss and dev loss over steps as a PNG.

    Args:
        history: (step, loss in nats per target token), smoothed or not.
        dev_points: (step, loss) on held-out text.
        png_path: the file; its folder exists.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # Not pyplot: it keeps global state and may look for a display.
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if history:
        axes.plot(*zip(*history, strict=True), color="tab:blue", linewidth=1.2, label="training text, smoothed")
    if dev_points:
        axes.plot(*zip(*dev_points, strict=True), color="tab:orange", marker="o", markersize=4, label="held-out text")
        step, loss = dev_points[-1]
        axes.annotate(f"{loss:.2f}", (step, loss), xytext=(4, 6), textcoords="offset points", color="tab:orange")
    axes.set_xlabel("step")
    axes.set_ylabel("span-corruption loss (nats per token)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if history or dev_points:
        axes.legend(frameon=False)
    figure.savefig(png_path, dpi=150)
