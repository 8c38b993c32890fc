"""Depth of a few frames of a run in one picture, raw poses on the left, refined on the right.

Where poses have not the scale of the depth, the walls that neighbouring frames see do not meet:
each frame's cloud has its own colour, so that one wall shows as several lines.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vo.atomic import write_atomically
from vo.datasets.camera import Array, Camera
from vo.tools.mapping.mesh import Cloud, without_edges

if TYPE_CHECKING:
    from vo.tools.running.finished import FinishedRun

CLOUDS, STEP = 5, 5  # frames that are laid over each other, and frames from one to the next
COLOURS = ("#30123b", "#4090f5", "#29bb6c", "#f08a24", "#c0210c")  # first frame to last
_ABOVE = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # rows as of `_scatter`
WALLS = 0.5  # of the height from camera to ground: what lies lower is left out as road


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """Clouds of some frames, in the first one's camera.

    Attributes:
        frames: their numbers.
        clouds: by kind of poses, points (N, 3) of each frame.
        cameras: by kind, positions (frames, 3).
        gaps: by kind, how far neighbouring frames disagree; see `disagreement`.
    """

    frames: list[int]
    clouds: dict[str, list[Array]]
    cameras: dict[str, Array]
    gaps: dict[str, float]

    def coloured(self, kind: str, apart: float) -> list[Cloud]:
        """Clouds in the colours of the picture, moved to the right by ``apart``."""
        return [
            Cloud(points + np.array([apart, 0, 0]), np.tile(_rgb(colour), (len(points), 1)))
            for points, colour in zip(self.clouds[kind], COLOURS, strict=False)
        ]


def overlay(
    run: FinishedRun, first: int, max_depth: float, edge: float, device: str,
    progress: Callable[[int], None],
) -> Overlay:  # fmt: skip
    """Clouds of `CLOUDS` frames, every `STEP` frames from position ``first`` of the run on.

    Args:
        run: it.
        first: position, which has so many frames behind it.
        max_depth: farther points are left out.
        edge: see `without_edges`.
        device: to compute depth on.
        progress: told how many clouds there are.

    Raises:
        InputError: when depth cannot be computed; see `FinishedRun.replay`.
    """
    positions = [first + k * STEP for k in range(CLOUDS)]
    frames, depths, points, camera = [], [], [], None
    for done, (frame, estimate) in enumerate(run.replay(device, positions), start=1):
        depth, camera = without_edges(estimate.depth, edge), estimate.camera
        frames.append(frame.index)
        depths.append(depth)
        points.append(_standing(depth, camera, max_depth))
        progress(done)
    assert camera is not None
    clouds, cameras, gaps = {}, {}, {}
    for kind, found in run.trajectories.items():
        T_first_c = np.linalg.inv(found.T_w_c[first]) @ found.T_w_c[positions]
        clouds[kind] = [_moved(p, T) for p, T in zip(points, T_first_c, strict=True)]
        cameras[kind] = T_first_c[:, :3, 3]
        gaps[kind] = disagreement(points, depths, camera, T_first_c)
    return Overlay(frames, clouds, cameras, gaps)


def disagreement(points: list[Array], depths: list[Array], camera: Camera, T_w_c: Array) -> float:
    """Median difference between the depth of a frame's points, seen from the frame before, and that
    frame's own depth there; NaN where no two frames see the same.

    Args:
        points: (N, 3) of each frame, in its camera.
        depths: (H, W) of each frame, 0 where unknown.
        camera: of all.
        T_w_c: (frames, 4, 4) poses.
    """
    found = [np.zeros(0)]
    for before in range(len(points) - 1):
        T = np.linalg.inv(T_w_c[before]) @ T_w_c[before + 1]
        seen = _moved(points[before + 1], T)
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = np.round(camera.project(seen))
        inside = ((pixels >= 0) & (pixels < camera.size)).all(1)
        u, v = pixels[inside].astype(int).T
        depth = depths[before][v, u]
        found.append(np.abs(seen[inside, 2] - depth)[depth > 0])
    gaps = np.concatenate(found)
    return float(np.median(gaps)) if len(gaps) else math.nan


def draw_overlay(found: Overlay, unit: str, path: Path) -> None:
    """Draw the clouds from above, and obliquely, as PNG."""
    from matplotlib.figure import Figure

    kinds = list(found.clouds)
    figure = Figure(figsize=(6.2 * len(kinds), 9.5), layout="constrained")
    panels = figure.subplots(2, len(kinds), sharex="row", sharey="row", squeeze=False)
    for column, kind in enumerate(kinds):
        title = f"{kind} poses: depths of neighbours differ by {found.gaps[kind]:.2f} {unit}"
        panels[0, column].set_title(title, fontsize=13)
        for row, view in enumerate((_ABOVE, _oblique())):
            _scatter(panels[row, column], found.clouds[kind], found.cameras[kind], view)
        panels[0, column].set_xlabel(f"from above: x, to the right ({unit})")
        panels[1, column].set_xlabel(f"from behind and above, to the right ({unit})")
    panels[0, 0].set_ylabel(f"z, forward ({unit})")
    panels[1, 0].set_ylabel(f"upwards in the picture ({unit})")
    handles, _ = panels[0, 0].get_legend_handles_labels()
    names = [f"frame {frame}" for frame in found.frames]
    figure.legend(handles, names, loc="outside lower center", ncols=CLOUDS)
    page = io.BytesIO()
    figure.savefig(page, format="png", dpi=110, metadata={"Software": None})
    write_atomically(path, page.getvalue())


def _scatter(axes: Any, clouds: list[Array], cameras: Array, view: Array) -> None:
    """Points and cameras as seen along the third row of ``view`` (3, 3): right, up, to the eye."""
    seen = np.concatenate([points @ view.T for points in clouds])
    colours = np.concatenate(
        [np.tile(_rgb(c) / 255, (len(p), 1)) for p, c in zip(clouds, COLOURS, strict=False)]
    )
    order = np.random.default_rng(0).permutation(len(seen))  # so that no frame hides the others
    axes.scatter(*seen[order, :2].T, s=1.2, c=colours[order], linewidths=0, rasterized=True)
    for centre, colour in zip(cameras @ view.T, COLOURS, strict=False):
        axes.scatter(*centre[:2], s=45, color=colour, marker="^", edgecolors="white", label=colour)
    axes.set_aspect("equal", adjustable="box")
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)


def _oblique() -> Array:
    """Rows right, up and towards the eye of a view from behind, above and a little to the right."""
    toward = np.array([0.45, -0.75, -0.6])
    toward /= np.linalg.norm(toward)
    right = np.cross([0, 1, 0], -toward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(toward, right), toward])


def _standing(depth: Array, camera: Camera, max_depth: float) -> Array:
    """What stands: points (N, 3) in the camera that are near enough and above the road."""
    known = (depth > 0) & (depth <= max_depth)
    points = (depth[..., None] * camera.rays())[known]
    if not len(points):
        return points
    ground = np.percentile(points[:, 1], 98)
    return points[points[:, 1] < WALLS * ground] if ground > 0 else points


def _moved(points: Array, T: Array) -> Array:
    return points @ T[:3, :3].T + T[:3, 3]


def _rgb(colour: str) -> Array:
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], np.uint8)
