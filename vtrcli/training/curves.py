"""A picture of a run: loss and validation recall per epoch, as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vtrcli.errors import WeightsError
from vtrcli.files import write_whole

RECALLS = ("R@1", "R@5", "R@10")


def draw_curves(path: Path, rows: Sequence[dict[str, Any]], *, best_epoch: int) -> None:
    """Draw the lines of `metrics.jsonl`. Raises WeightsError when the picture cannot be written."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    loss_axis, t2v_axis, v2t_axis = figure.subplots(1, 3)
    trained = [row for row in rows if row["loss"] is not None]
    loss_axis.plot([row["epoch"] for row in trained], [row["loss"] for row in trained], color="#444444")
    loss_axis.set_title("training loss")
    for axis, direction, title in (
        (t2v_axis, "t2v", "validation, text to video"),
        (v2t_axis, "v2t", "video to text"),
    ):
        for name, color in zip(RECALLS, ("#1b6ca8", "#5fa3d0", "#a9cde6"), strict=True):
            axis.plot(
                [row["epoch"] for row in rows],
                [row["val"][direction][name] for row in rows],
                color=color,
                label=name,
            )
        axis.axvline(best_epoch, color="#c0392b", linewidth=0.8, linestyle="--", label="kept")
        axis.set_ylim(0, 100)
        axis.set_title(title)
    v2t_axis.legend(frameon=False, fontsize="small")
    for axis in (loss_axis, t2v_axis, v2t_axis):
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_whole(path, buffer.getvalue(), error=WeightsError)
