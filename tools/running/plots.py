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
from vo.tools.plots import COLOURS, Curve, draw
from vo.tools.running.result import Result
from vo.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW = 50  # frames, at most, over which drift of the scale is shown
Panel = tuple[str, dict[str, Array]]  # label, and series by their names
STANDSTILL_M = 0.05  # shorter true ways tell no scale


def draw_run(result: Result, truth: Trajectory | None) -> list[str]:
    """Draw what there is to see of a run, each picture as PNG and PDF, into its folder.

    ``trajectories``; with truth also ``position_error`` (along the path) and ``segment_errors``;
    ``scale`` where anything is known of it: the scale of poses and depth frame by
    frame, and its drift along the way.

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
    panels = _scale_panels(result, truth)
    if panels:  # none of a single frame, or of one that never moved
        with _new_figure() as figure:
            _scales(figure, result, panels)
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


def _scales(figure: Figure, result: Result, panels: list[Panel]) -> None:
    figure.set_size_inches(9, 1.4 + 2.55 * len(panels))
    frames = np.array([row.frame for row in result.drive.rows])[1:]
    for place, (label, series) in enumerate(panels, start=1):
        axes = _axes(figure.add_subplot(len(panels), 1, place))
        axes.axhline(1, color="#333333", linewidth=1)
        for kind, values in series.items():
            axes.plot(frames, values, color=COLOURS[kind], linewidth=1, label=kind)
        _mark_untracked(axes, result)
        axes.set_xlim(frames[0] - 1, frames[-1] + 1)
        axes.set_ylim(*_range(np.concatenate(list(series.values()))))
        axes.set_ylabel(label)
        axes.legend(loc="best", ncols=len(series))
    axes_of_all = figure.get_axes()
    axes_of_all[-1].set_xlabel("frame")
    axes_of_all[0].set_title("Scale of each pair of frames (gaps: no parallax, or not tracked)")


def _scale_panels(result: Result, truth: Trajectory | None) -> list[Panel]:
    """Label and series (N - 1,) of each panel: what is known about the scale of N frames."""
    panels: list[Panel] = []
    consistency = result.consistency()
    if consistency is not None:
        panels.append(("raw over refined\ntranslation", {"raw": consistency.r}))
    alignments = {kind: result.alignment(kind) for kind in result.kinds}
    known = {kind: part.a for kind, part in alignments.items() if part is not None}
    if known:
        panels.append(("pose scale over\ndepth scale", known))
    if truth is None or len(truth) != len(result.drive.rows):
        return panels
    poses = {kind: _in_metres(result, kind, truth) for kind in result.kinds}
    scales = {kind: pose_scale(estimate, truth) for kind, (estimate, _) in poses.items()}
    if known:
        # A pair is refined by the depth of both its frames; this is the earlier one's.
        depth = np.array([row.depth_scale for row in result.drive.rows])[:-1]
        scales["depth"] = depth * poses[result.kinds[-1]][1]
    scaled = "" if result.metric else ", scaled"
    panels.append((f"estimate{scaled},\nover truth", scales))
    window = max(2, min(WINDOW, len(truth) // 4))
    drifts = {kind: scale_drift(estimate, truth, window) for kind, (estimate, _) in poses.items()}
    panels.append((f"path{scaled}, over true\npath, last {window} frames", drifts))
    return [(label, series) for label, series in panels if _any_known(series)]


def _in_metres(result: Result, kind: str, truth: Trajectory) -> tuple[Trajectory, float]:
    """The trajectory, and what it was multiplied by: 1 where the checkpoint is metric, else what
    gives the last kind the median step of the truth."""
    estimate = result.trajectory(kind)
    if result.metric:
        return estimate, 1.0
    found = pose_scale(result.trajectory(result.kinds[-1]), truth)
    middle = float(np.nanmedian(found)) if np.isfinite(found).any() else 1.0
    scale = 1 / middle if middle > 0 else 1.0
    return estimate.scaled(scale), scale


def pose_scale(estimate: Trajectory, truth: Trajectory) -> Array:
    """|t| / |t_true| of each pair of consecutive frames, (N - 1,); NaN where the camera stands."""
    return _over(np.diff(estimate.distances), np.diff(truth.distances))


def scale_drift(estimate: Trajectory, truth: Trajectory, window: int) -> Array:
    """Path over true path of the last ``window`` pairs, (N - 1,): how the scale drifts on the way.

    NaN where there are not yet so many pairs, and where the camera stood.
    """
    drift = np.full(len(truth) - 1, np.nan)
    if len(drift) >= window:
        paths = [t.distances[window:] - t.distances[:-window] for t in (estimate, truth)]
        drift[window - 1 :] = _over(*paths)
    return drift


def _over(length: Array, true_length: Array) -> Array:
    moves = true_length > STANDSTILL_M
    return np.where(moves, length / np.where(moves, true_length, 1), np.nan)


def _any_known(series: dict[str, Array]) -> bool:
    return any(np.isfinite(values).any() for values in series.values())


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
