"""Pictures of a run: its trajectories from above, and the scale of every pair of frames."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vo.atomic import write_atomically
from vo.datasets.camera import Array
from vo.tools.plots import PALETTE, Curve, draw
from vo.tools.run_result import Result
from vo.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: dict[str, str] = dict(zip(("raw", "refined"), PALETTE, strict=False))


def draw_run(result: Result, truth: Trajectory | None) -> list[str]:
    """Draw what there is to see of a run, each picture as PNG and PDF, into its folder.

    ``trajectories``; with truth also ``position_error`` (along the path) and ``segment_errors``;
    ``scale`` where poses were refined or true depth is known.

    Args:
        result: the run.
        truth: true poses of its frames, or None.

    Returns:
        names of the pictures, as PNG files.
    """
    names = ["trajectories"]
    if truth is not None and result.verdict is not None:
        evaluations = {kind: result.evaluation(kind) for kind in result.kinds}
        curves = {kind: Curve(e, np.eye(4)) for kind, e in evaluations.items() if e is not None}
        draw(truth, curves, result.folder)
        names += ["position_error", "segment_errors"]
    else:
        with _new_figure() as figure:
            _trajectories(figure, result)
            _write(figure, result.folder, "trajectories")
    if result.refined or result.alignment("raw") is not None:
        with _new_figure() as figure:
            _scales(figure, result)
            _write(figure, result.folder, "scale")
        names.append("scale")
    return [f"{name}.png" for name in names]


def _trajectories(figure: Figure, result: Result) -> None:
    axes = _axes(figure.add_subplot())
    for kind in result.kinds:
        x, z = result.trajectory(kind).positions[:, [0, 2]].T
        axes.plot(x, z, color=COLOURS[kind], label=kind)
    axes.plot(0, 0, "o", color="#333333", label="start", zorder=5)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"x, to the right ({result.unit})")
    axes.set_ylabel(f"z, forward ({result.unit})")
    axes.set_title("Trajectories from above")
    axes.legend()


def _scales(figure: Figure, result: Result) -> None:
    """Raw over refined scale, and pose over depth scale where true depth tells it."""
    frames = np.array([row.frame for row in result.drive.rows])[1:]
    consistency, panels = result.consistency(), []
    if consistency is not None:
        panels.append(("raw over refined translation", {"raw": consistency.r}))
    alignments = {kind: result.alignment(kind) for kind in result.kinds}
    known = {kind: part.a for kind, part in alignments.items() if part is not None}
    if known:
        panels.append(("pose scale over depth scale", known))
    for place, (label, series) in enumerate(panels, start=1):
        axes = _axes(figure.add_subplot(len(panels), 1, place))
        axes.axhline(1, color="#333333", linewidth=1)
        for kind, values in series.items():
            axes.plot(frames, values, color=COLOURS[kind], linewidth=1, label=kind)
        _mark_untracked(axes, result)
        axes.set_ylim(*_range(np.concatenate(list(series.values()))))
        axes.set_ylabel(label)
        axes.legend()
    axes_of_all = figure.get_axes()
    axes_of_all[-1].set_xlabel("frame")
    axes_of_all[0].set_title("Scale of each pair of frames (gaps: no parallax, or not tracked)")


def _mark_untracked(axes: Any, result: Result) -> None:
    lost = [row.frame for row in result.drive.rows if not row.tracked]
    if lost:
        bottom = axes.get_xaxis_transform()  # x in frames, y from 0 to 1 over the panel
        marks = {"marker": "|", "color": "#d55e00", "s": 60, "label": "not tracked"}
        axes.scatter(lost, np.full(len(lost), 0.02), transform=bottom, clip_on=False, **marks)


def _range(values: Array) -> tuple[float, float]:
    """Limits that show 1 and all but the farthest values: a single one would flatten the rest."""
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (1, 99)) if len(values) else (1.0, 1.0)
    low, high = min(float(low), 1.0), max(float(high), 1.0)
    margin = 0.1 * max(high - low, 0.05)
    return low - margin, high + margin


def _axes(axes: Any) -> Any:
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


@contextmanager
def _new_figure() -> Iterator[Figure]:
    """A figure that belongs to no window and no session; matplotlib's settings stay as they are.

    What matplotlib logs about a home that cannot be written to is nobody's concern.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from matplotlib.figure import Figure

        yield Figure(figsize=(9, 6.5), layout="constrained")
    finally:
        logger.setLevel(level)


def _write(figure: Figure, folder: Path, name: str) -> None:
    for suffix, data in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        # Drawn in memory, so that a full disk leaves no half picture.
        page = io.BytesIO()
        figure.savefig(page, format=suffix, dpi=150, metadata=data)
        write_atomically(folder / f"{name}.{suffix}", page.getvalue())
