"""What a map looks like: from above, and from behind the camera of some frames."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vo.atomic import write_atomically
from vo.datasets.camera import Array
from vo.tools.mapping.mesh import Mesh, render
from vo.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOVE_PX = 900  # of the longer side
BEHIND_PX = (600, 270)
BEHIND_DEG, BEHIND_DOWN_DEG = 65.0, 15.0  # horizontal angle of view, and how far it looks down
PATH_COLOUR = "#d01c1c"


def draw_map(
    meshes: dict[str, tuple[Mesh, Trajectory]],
    path: Path,
    reach: float,
    unit: str,
    truth: Trajectory | None = None,
) -> None:
    """Each map from above, and beside it from behind the frames at 1/4, 1/2 and 3/4 of the drive.

    Args:
        meshes: map and trajectory by kind of poses, all of the same frames.
        path: of the picture, PNG.
        reach: how far depth was fused.
        unit: of length.
        truth: true trajectory in the same unit and from the same first camera, to be drawn as well.
    """
    from matplotlib.figure import Figure

    frames = len(next(iter(meshes.values()))[1])
    views = sorted({int(share * (frames - 1)) for share in (0.25, 0.5, 0.75)})
    figure = Figure(figsize=(9.5 * len(meshes), 8.6), layout="constrained")
    grid = figure.add_gridspec(len(views), 2 * len(meshes), width_ratios=[1, 1.6] * len(meshes))
    for column, (kind, (mesh, trajectory)) in enumerate(meshes.items()):
        axes = figure.add_subplot(grid[:, 2 * column])
        _draw_above(axes, mesh, trajectory, reach, unit)
        if truth is not None:
            axes.plot(
                *truth.positions[:, [0, 2]].T, "--", color="black", linewidth=1, label="truth"
            )
        axes.legend(loc="best")
        axes.set_title(f"{kind} poses, from above", fontsize=14)
        for row, position in enumerate(views):
            axes = figure.add_subplot(grid[row, 2 * column + 1])
            axes.imshow(from_behind(mesh, trajectory.T_w_c[position], reach))
            axes.set_title(f"{kind} poses, from behind pose {position}")
            axes.set_xticks([])
            axes.set_yticks([])
    page = io.BytesIO()
    figure.savefig(page, format="png", dpi=100, metadata={"Software": None})
    write_atomically(path, page.getvalue())


def from_above(mesh: Mesh, low: Array, high: Array, longest_px: int = ABOVE_PX) -> Array:
    """The map as seen from the sky, (H, W, 3) uint8: x to the right, z upwards, no perspective.

    Args:
        mesh: the map.
        low: (x, z) of the lower left corner.
        high: of the upper right one.
        longest_px: pixels of the longer side.
    """
    step = float(np.max(high - low)) / longest_px
    x = np.arange(low[0] + step / 2, high[0], step)
    z = np.arange(low[1] + step / 2, high[1], step)[::-1]
    top = float(mesh.vertices[:, 1].min()) - 1 if len(mesh.vertices) else 0.0
    origins = np.empty((len(z), len(x), 3))
    origins[..., 0], origins[..., 1], origins[..., 2] = x, top, z[:, None]
    return render(mesh, origins, np.broadcast_to([0.0, 1.0, 0.0], origins.shape))


def from_behind(mesh: Mesh, T_w_c: Array, reach: float, size: tuple[int, int] = BEHIND_PX) -> Array:
    """The map as seen from behind and above a camera, (H, W, 3) uint8.

    Args:
        mesh: the map.
        T_w_c: (4, 4) pose of the camera.
        reach: how far depth was fused: the eye is a third of it behind, and a fifth above.
        size: (width, height) in pixels.
    """
    width, height = size
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    focal = 0.5 * width / np.tan(np.radians(BEHIND_DEG / 2))
    rays = np.stack([u - width / 2, v - height / 2, np.full(u.shape, focal)], axis=-1) / focal
    down = np.radians(BEHIND_DOWN_DEG)
    turn = np.array([[1, 0, 0], [0, np.cos(down), np.sin(down)], [0, -np.sin(down), np.cos(down)]])
    eye = T_w_c[:3, :3] @ (0, -reach / 5, -reach / 3) + T_w_c[:3, 3]
    return render(mesh, eye, rays @ (T_w_c[:3, :3] @ turn).T)


def _draw_above(axes: Axes, mesh: Mesh, trajectory: Trajectory, reach: float, unit: str) -> None:
    ground = trajectory.positions[:, [0, 2]]
    low, high = ground.min(0) - reach, ground.max(0) + reach
    extent: Any = (low[0], high[0], low[1], high[1])
    axes.imshow(from_above(mesh, low, high), extent=extent, interpolation="lanczos")
    axes.plot(*ground.T, color=PATH_COLOUR, linewidth=1, label="camera")
    axes.set_xlabel(f"x, to the right ({unit})")
    axes.set_ylabel(f"z, forward ({unit})")
