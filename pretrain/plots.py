"""Pictures of a training: a PNG for the bundle, SVG for the page."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Points = Sequence[tuple[int, float]]
MOST_POINTS = 1000
"""More of them no eye tells apart, and a night's page would weigh megabytes."""


def loss_curve(history: Points, dev_points: Points, png_path: Path) -> None:
    """Draw training loss and dev loss over steps as a PNG.

    Args:
        history: (step, loss in nats per target token), smoothed or not.
        dev_points: (step, loss) on held-out text.
        png_path: the file; its folder exists.
    """
    figure_of([lambda axes: _losses(axes, history, dev_points)]).savefig(png_path, dpi=150)


def loss_svg(history: Points, dev_points: Points) -> str:
    """The same as an `<svg>` element."""
    return _svg(lambda axes: _losses(axes, history, dev_points))


def pace_svg(pace: Points) -> str:
    """(tokens seen, tokens per second) as an `<svg>` element; single steps and their running median."""

    def draw(axes: Any) -> None:
        if pace:
            seen, per_s = zip(*_thinned(pace), strict=True)
            around = max(1, len(per_s) // 50)
            medians = [sorted(per_s[max(0, at - around) : at + around + 1]) for at in range(len(per_s))]
            axes.plot(seen, per_s, ".", color="tab:blue", alpha=0.15, markersize=3)
            axes.plot(seen, [window[len(window) // 2] for window in medians], color="tab:blue", linewidth=1.2)
        axes.set_xlabel("tokens seen")
        axes.set_ylabel("tokens per second")
        axes.set_ylim(bottom=0)

    return _svg(draw)


def bars_svg(names: Sequence[str], counts: Sequence[int], x: str, y: str) -> str:
    """A bar per name as an `<svg>` element."""

    def draw(axes: Any) -> None:
        axes.bar(range(len(counts)), counts, width=0.95, color="tab:blue")
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
        axes.set_xlabel(x)
        axes.set_ylabel(y)

    return _svg(draw)


def _losses(axes: Any, history: Points, dev_points: Points) -> None:
    from matplotlib.ticker import MaxNLocator

    if history:
        axes.plot(*zip(*_thinned(history), strict=True), color="tab:blue", linewidth=1.2, label="training text, smoothed")
    if dev_points:
        axes.plot(*zip(*dev_points, strict=True), color="tab:orange", marker="o", markersize=4, label="held-out text")
        step, loss = dev_points[-1]
        axes.annotate(f"{loss:.2f}", (step, loss), xytext=(4, 6), textcoords="offset points", color="tab:orange")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if history or dev_points:
        axes.legend(frameon=False)


def _thinned(points: Points) -> Points:
    """At most about `MOST_POINTS`, the last always among them."""
    return points if len(points) <= MOST_POINTS else [*points[:: len(points) // MOST_POINTS], points[-1]]


def figure_of(draws: Sequence[Callable[[Any], None]], columns: int = 1, width: float = 7, height: float = 4) -> Any:
    """A figure with a panel per `draws`, each of which gets its axes.

    Args:
        draws: what draws a panel.
        columns: panels side by side.
        width: of a panel, inches.
        height: of a panel, inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(draws) // columns)
    # Not pyplot: it keeps global state and may look for a display.
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, draw in enumerate(draws, 1):
        axes = figure.add_subplot(rows, columns, number)
        draw(axes)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def svg_of(figure: Any) -> str:
    """A figure as an `<svg>` element."""
    from matplotlib import rc_context

    text = io.StringIO()
    # Letters as letters, to be searched and copied; the same ids and no date, so that the same figures give the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "clinappliance"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _svg(draw: Callable[[Any], None]) -> str:
    return svg_of(figure_of([draw]))
