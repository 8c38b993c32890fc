"""Completeness and accuracy of clouds that are known, and the alignments before them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vo.datasets.camera import Camera
from vo.datasets.frame import Frame
from vo.tools.mapping.accuracy import (
    CELL_M,
    TrueSurface,
    accuracy,
    by_poses,
    by_trajectory,
    chunk_ends,
    distances,
    one_in_each_cell,
)
from vo.trajectory import Trajectory

CAMERA = Camera(50.0, 50.0, 39.5, 31.5, 80, 64)
WALL_M = 6.05


def wall(moving: bool = False, depth_m: float = WALL_M) -> TrueSurface:
    """A wall across the view of one camera, of which the left half may move by itself."""
    depth = np.full((64, 80), depth_m, np.float32)
    depth[0] = 0
    mask = np.zeros((64, 80), bool)
    mask[:, :40] = moving
    image = np.zeros((64, 80, 3), np.uint8)
    surface = TrueSurface(10.0, np.eye(4))
    surface.add(Frame(0, 0.0, image, CAMERA, np.eye(4), depth, mask))
    return surface


def test_the_truth_itself_is_complete_and_accurate():
    points, in_range = wall().points()
    assert in_range.all()
    assert np.allclose(points[:, 2], WALL_M)
    found = accuracy([distances(points, wall())])
    assert (found.completeness, found.accuracy, found.median_m) == (1, 1, 0)


@pytest.mark.parametrize(("shift_m", "near"), [(0.15, 1.0), (0.3, 0.0)])
def test_a_shifted_map_is_off_by_the_shift(shift_m, near):
    points, _ = wall().points()
    found = accuracy([distances(points + np.array([0, 0, shift_m]), wall())])
    assert (found.completeness, found.accuracy) == (near, near)
    assert found.median_m == pytest.approx(shift_m, abs=1e-6)


def test_half_a_map_is_accurate_but_not_complete():
    points, _ = wall().points()
    found = accuracy([distances(points[points[:, 0] > 0], wall())])
    assert found.accuracy == 1
    assert found.completeness == pytest.approx(0.5, abs=0.05)
    other = accuracy([distances(points[points[:, 0] > 0], wall(moving=True))])
    assert other.completeness == 1, "what moves by itself is asked of nobody"


def test_no_map_is_nothing():
    found = accuracy([distances(np.zeros((0, 3)), wall())])
    assert found.completeness == 0
    assert np.isnan(found.accuracy)


def test_parts_are_put_together_by_points():
    points, _ = wall().points()
    good, bad = distances(points, wall()), distances(points[:10] + np.array([0, 0, 1]), wall())
    found = accuracy([good, bad])
    assert found.accuracy == pytest.approx(len(points) / (len(points) + 10))
    assert found.completeness == 0.5


def test_depth_out_of_range_counts_for_accuracy_only():
    far = wall(depth_m=12.0)
    points, in_range = far.points()
    assert len(points) > 0
    assert not in_range.any()
    assert len(wall(depth_m=16.0).points()[0]) == 0
    near_and_far = wall()
    near_and_far.join(far)
    points, in_range = near_and_far.points()
    assert np.array_equal(in_range, points[:, 2] < 10)


def test_cells_have_one_point():
    points = np.array([[0.01, 0, 0], [0.02, 0, 0], [-0.01, 0, 0], [0.11, 0, 0]])
    assert one_in_each_cell(points, CELL_M).tolist() == [0, 2, 3]


def drive(n: int = 30, bend: float = 0.0) -> np.ndarray:
    T_w_c = np.tile(np.eye(4), (n, 1, 1))
    T_w_c[:, 2, 3] = np.arange(n)
    T_w_c[:, 0, 3] = bend * np.arange(n) ** 2
    return T_w_c


def moved(T_w_c: np.ndarray) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """The same drive in another world: x = R' (x_true - t) / scale."""
    R, scale, t = cv2.Rodrigues(np.array([0.2, -0.4, 0.1]))[0], 2.5, np.array([3.0, -1.0, 2.0])
    T = T_w_c.copy()
    T[:, :3, :3] = R.T @ T[:, :3, :3]
    T[:, :3, 3] = (T[:, :3, 3] - t) @ R / scale
    return T, scale, R, t


def test_poses_on_a_straight_line_are_aligned():
    T_true = drive()
    T, scale, R, t = moved(T_true)
    found = by_poses(T_true, T)
    assert found is not None
    assert found.scale == pytest.approx(scale)
    assert np.allclose(found.R, R)
    assert np.allclose(found.t, t)
    assert np.allclose(found(T[:, :3, 3]), T_true[:, :3, 3])


def test_a_camera_that_stands_has_no_scale():
    standing = np.tile(np.eye(4), (5, 1, 1))
    assert by_poses(standing, drive(5)) is None
    assert by_poses(drive(5), standing) is None


def test_a_whole_trajectory_is_aligned_by_its_positions():
    T_true = drive(bend=0.05)
    T, scale, *_ = moved(T_true)
    times = np.arange(30) / 10
    found = by_trajectory(Trajectory(times, T_true), Trajectory(times, T))
    assert found.scale == pytest.approx(scale)
    assert np.allclose(found(T[:, :3, 3]), T_true[:, :3, 3])


def test_chunks_are_about_as_long():
    assert chunk_ends(500) == list(range(50, 501, 50))
    assert chunk_ends(12) == [12]
    assert chunk_ends(70) == [70]
    assert chunk_ends(110) == [55, 110]
