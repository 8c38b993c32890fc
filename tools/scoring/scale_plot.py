"""Picture of the scales of depth and poses, sequence by sequence."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np

from vo.atomic import write_atomically
from vo.datasets.camera import Array
from vo.scale_report import DriveScales
from vo.tools.plots import COLOURS
from vo.tools.scoring.scale_result import KINDS, ScaleResult

PICTURE = "scale"
TITLES = {"depth": "depth", "raw": "raw poses", "refined": "refined poses"}
_INCHES = 1.15  # height of a sequence


def draw_scales(result: ScaleResult, folder: Path) -> None:
    """Draw ``scale.png``: a row for each sequence, its scales frame by frame and their spread.

    All are divided by the sequence's median scale of depth: depth of one scale is a line at 1,
    and poses of that scale lie on it.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    drives = [drive for drive in result.drives if np.isfinite(drive.depth).any()]
    figure = Figure(figsize=(10, 1.6 + _INCHES * max(len(drives), 1)), layout="constrained")
    if not drives:
        return
    rows: Any = figure.subplots(
        len(drives), 2, squeeze=False, sharex="col", sharey="row", width_ratios=(5, 1)
    )
    for (frames, spread), drive in zip(rows, drives, strict=True):
        _draw_frames(frames, drive)
        _draw_spread(spread, drive)
    rows[0][0].set_title("truth over estimate, by the sequence's median of depth")
    rows[0][1].set_title("5, 50 and 95 %")
    rows[-1][0].set_xlabel("frame, from the first one measured")
    kinds = [kind for kind in KINDS if any(len(_relative(drive, kind)) for drive in drives)]
    handles = [
        rows[0][0].plot([], [], color=COLOURS[kind], label=TITLES[kind])[0] for kind in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    page = io.BytesIO()
    figure.savefig(page, format="png", dpi=130, metadata={"Software": None})
    write_atomically(folder / f"{PICTURE}.png", page.getvalue())


def _draw_frames(axes: Any, drive: DriveScales) -> None:
    axes.axhline(1, color="#333333", linewidth=0.8)
    at = drive.frames - drive.frames[0]
    for kind in reversed(KINDS):
        values = _relative(drive, kind)
        if len(values):
            axes.plot(at[: len(values)], values, color=COLOURS[kind], linewidth=1)
    name = drive.name.removeprefix("2011_").removesuffix("_sync").replace("_drive_", "\n")
    axes.set_ylabel(name, rotation=0, ha="right", va="center")
    axes.set_ylim(*_range(drive))
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.margins(x=0.01)


def _draw_spread(axes: Any, drive: DriveScales) -> None:
    axes.axhline(1, color="#333333", linewidth=0.8)
    for place, kind in enumerate(KINDS):
        values = _relative(drive, kind)
        values = values[np.isfinite(values)]
        if len(values):
            low, middle, high = np.percentile(values, (5, 50, 95))
            axes.plot([place, place], [low, high], color=COLOURS[kind], linewidth=3)
            axes.plot(place, middle, "o", color=COLOURS[kind], markeredgecolor="white")
    axes.set_xlim(-0.7, len(KINDS) - 0.3)
    axes.set_xticks([])
    axes.grid(color="#dddddd", linewidth=0.8, axis="y")


def _relative(drive: DriveScales, kind: str) -> Array:
    series = drive.depth if kind == "depth" else drive.poses.get(kind, np.zeros(0))
    return series / np.nanmedian(drive.depth)


def _range(drive: DriveScales) -> tuple[float, float]:
    """Limits that show 1 and all but the farthest values: a single one would flatten the rest."""
    values = np.concatenate([_relative(drive, kind) for kind in KINDS])
    low, high = np.percentile(values[np.isfinite(values)], (1, 99))
    low, high = min(float(low), 1.0), max(float(high), 1.0)
    margin = 0.1 * max(high - low, 0.05)
    return low - margin, high + margin
