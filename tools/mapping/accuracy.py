"""How near a map comes to the true surface, where the depth of the drive is known.

The true surface is the true depth of the same frames at their true poses, without what moves by
itself and without sky, thinned to one point in a cell of `CELL_M`. A map is thinned likewise, and
the two are compared at `NEAR_M`:

    completeness   share of the true points, as far as depth was fused, with the map near by
    accuracy       share of the map's points with the true surface near by

Both are measured twice. The *whole* map, brought to the truth by sim3 of its trajectory, shows
drift above all. *Chunks* of about `CHUNK` frames, each fused alone and brought to the truth by its
own poses, show whether the surface is sharp: whether poses have the scale of the depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.frame import Frame
from vo.trajectory import Trajectory

NEAR_M = 0.2
CELL_M = 0.1
CHUNK = 50
BEYOND = 1.5  # the true surface for accuracy reaches farther: a map errs in its range, too
FAR_M = 2.0  # distances are not looked for beyond
MOST = 100_000  # points that are asked for their distance: evenly spread, where there are more


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A map beside the truth.

    Attributes:
        completeness: share of the true points with a point of the map within `NEAR_M`.
        accuracy: share of the map's points with the true surface within `NEAR_M`.
        median_m: median distance of the map's points from the true surface; infinite beyond
            `FAR_M`.
    """

    completeness: float
    accuracy: float
    median_m: float


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """What an `Accuracy` is made of; those of several chunks can be put together.

    Attributes:
        to_map: (N,) from each true point to the map, infinite beyond `FAR_M`.
        to_truth: (M,) from each point of the map to the truth, likewise.
    """

    to_map: Array
    to_truth: Array


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """x_truth = scale R x_estimate + t, with R (3, 3) and t (3,)."""

    scale: float
    R: Array
    t: Array

    def __call__(self, points: Array) -> Array:
        """Bring points (N, 3) to the truth."""
        return self.scale * points @ self.R.T + self.t


class TrueSurface:
    """The true surface, collected frame by frame.

    Args:
        max_depth_m: how far the map's depth reaches.
        T_first_w: (4, 4) from the data set's world to that of the points.
    """

    def __init__(self, max_depth_m: float, T_first_w: Array) -> None:
        self._max_depth_m, self._T_first_w = max_depth_m, T_first_w
        self._points: list[Array] = []
        self._in_range: list[Array] = []

    def add(self, frame: Frame) -> None:
        """Add what a frame with true depth and pose sees."""
        assert frame.depth is not None
        assert frame.T_w_c is not None
        known = (frame.depth > 0) & (frame.depth <= BEYOND * self._max_depth_m)
        if frame.moving is not None:
            known &= ~frame.moving
        depth = frame.depth[known].astype(np.float64)
        T = self._T_first_w @ frame.T_w_c
        points = depth[:, None] * frame.camera.rays()[known] @ T[:3, :3].T + T[:3, 3]
        self._keep(points, depth <= self._max_depth_m)

    def join(self, other: TrueSurface) -> None:
        """Add the points of another one."""
        self._keep(*other.points())

    def points(self) -> tuple[Array, Array]:
        """One point for each cell, (N, 3), and which of them (N,) are in the range of the map."""
        if not self._points:
            return np.zeros((0, 3)), np.zeros(0, bool)
        points, in_range = np.concatenate(self._points), np.concatenate(self._in_range)
        self._points, self._in_range = [], []
        self._keep(points, in_range)
        return self._points[0], self._in_range[0]

    def _keep(self, points: Array, in_range: Array) -> None:
        first = np.argsort(~in_range, kind="stable")  # a cell counts where any of its points does
        kept = first[one_in_each_cell(points[first])]
        self._points.append(points[kept])
        self._in_range.append(in_range[kept])


def one_in_each_cell(points: Array, cell: float = CELL_M) -> Array:
    """Indices of the first of the points (N, 3) in each cubic cell."""
    steps = np.floor(points / cell).astype(np.int64) + (1 << 20)
    keys = (steps[:, 0] << 42) | (steps[:, 1] << 21) | steps[:, 2]
    return np.sort(np.unique(keys, return_index=True)[1])


def distances(points: Array, truth: TrueSurface) -> Distances:
    """Distances between a map and the truth, both ways.

    Args:
        points: (N, 3) of the map, in the world of the truth.
        truth: the true surface.
    """
    from scipy.spatial import KDTree

    true_points, in_range = truth.points()
    wanted = true_points[in_range]
    found = points[one_in_each_cell(points)] if len(points) else points
    if not len(found) or not len(true_points):
        return Distances(np.full(len(wanted), np.inf), np.full(len(found), np.inf))
    to_map, _ = KDTree(found).query(_spread(wanted), distance_upper_bound=FAR_M)
    to_truth, _ = KDTree(true_points).query(_spread(found), distance_upper_bound=FAR_M)
    return Distances(to_map, to_truth)


def _spread(points: Array) -> Array:
    return points[:: -(-len(points) // MOST)] if len(points) else points


def accuracy(parts: list[Distances]) -> Accuracy:
    """The numbers of one map, or of several as one."""
    to_map = np.concatenate([part.to_map for part in parts])
    to_truth = np.concatenate([part.to_truth for part in parts])
    return Accuracy(
        float(np.mean(to_map <= NEAR_M)) if len(to_map) else math.nan,
        float(np.mean(to_truth <= NEAR_M)) if len(to_truth) else math.nan,
        float(np.median(to_truth)) if len(to_truth) else math.nan,
    )


def by_trajectory(truth: Trajectory, estimate: Trajectory) -> Similarity:
    """sim3 of a whole trajectory, as ATE uses it.

    Raises:
        InputError: when the positions do not determine it.
    """
    from vo.alignment import align

    found = align(truth, estimate, "sim3")
    T = found.T_truth_estimate
    return Similarity(found.scale, T[:3, :3], T[:3, 3])


def by_poses(T_true: Array, T: Array) -> Similarity | None:
    """Mean rotation between poses, then scale and translation by least squares over positions.

    Unlike sim3 of positions alone this is determined on a straight line, too.

    Args:
        T_true: (N, 4, 4) true poses, camera to world.
        T: (N, 4, 4) estimates.

    Returns:
        None where either camera moves less than `NEAR_M`: its scale says nothing.
    """
    U, _, Vt = np.linalg.svd(np.einsum("nij,nkj->ik", T_true[:, :3, :3], T[:, :3, :3]))
    R = U @ np.diag([1, 1, np.linalg.det(U @ Vt)]) @ Vt
    y, x = T_true[:, :3, 3], T[:, :3, 3] @ R.T
    dy, dx = y - y.mean(0), x - x.mean(0)
    if np.ptp(y, axis=0).max() < NEAR_M or not np.any(dx):
        return None
    scale = float(np.sum(dx * dy) / np.sum(dx * dx))
    if scale <= 0:
        return None
    return Similarity(scale, R, y.mean(0) - scale * x.mean(0))


def chunk_ends(frames: int) -> list[int]:
    """Where each of the chunks of a drive ends: all of about `CHUNK` frames."""
    parts = max(1, round(frames / CHUNK))
    return np.linspace(0, frames, parts + 1).round().astype(int)[1:].tolist()
