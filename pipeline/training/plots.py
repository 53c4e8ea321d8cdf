"""Curves of a training as files for its report: loss, rewards, margins, accuracy, log-probabilities, gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.store import writing

CURVES: dict[str, tuple[str, ...]] = {
    "loss": ("loss",),
    "margins": ("rewards/margins",),
    "rewards": ("rewards/chosen", "rewards/rejected"),
    "accuracy": ("rewards/accuracies",),
    "log-probs": ("logps/chosen", "logps/rejected"),
    "gradient": ("grad_norm",),
}
"""Each plot, and what the trainer calls its lines."""


def draw(history: Sequence[dict[str, float]], folder: Path) -> list[str]:
    """Write a PNG for each curve that has points; gives their names.

    Raises:
        UserError: the folder cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  0.5 s
    from matplotlib.figure import Figure  # noqa: PLC0415  as above

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, lines in CURVES.items():
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.add_subplot(title=name, xlabel="step")
        for line in lines:
            for prefix, label, style in (("", "train", "-"), ("eval_", "held out", "--")):
                points = [(point["step"], point[prefix + line]) for point in history if prefix + line in point]
                if points:
                    axes.plot(*zip(*points, strict=True), style, marker=".", label=f"{line}, {label}")
        if axes.lines:
            axes.legend(fontsize="small")
            with writing(folder):
                FigureCanvasAgg(figure).print_png(str(folder / f"{name}.png"))
            drawn.append(f"{name}.png")
    return drawn
