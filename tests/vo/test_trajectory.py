"""Trajectories: frozen, in metres and seconds, and the same after a way through a file."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from evo.core.trajectory import PosePath3D
from evo.tools import file_interface
from scipy.spatial.transform import Rotation

from vo.datasets.errors import InputError
from vo.trajectory import Trajectory


def make(n: int = 40, seed: int = 0, far_m: float = 0.0, frames=None) -> Trajectory:
    """A random drive of n poses that starts ``far_m`` from the origin."""
    rng = np.random.default_rng(seed)
    T_w_c = np.tile(np.eye(4), (n, 1, 1))
    T_w_c[:, :3, :3] = Rotation.random(n, rng=rng).as_matrix()
    T_w_c[:, :3, 3] = np.cumsum(rng.normal(size=(n, 3)), axis=0) + far_m
    return Trajectory(np.cumsum(rng.uniform(0.05, 0.2, n)), T_w_c, frames)


def assert_same(a: Trajectory, b: Trajectory, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(a.T_w_c, b.T_w_c, rtol=0, atol=atol)


def test_arrays_are_copied_and_frozen() -> None:
    T_w_c = np.tile(np.eye(4), (2, 1, 1))
    trajectory = Trajectory(np.array([0.0, 1.0]), T_w_c)
    T_w_c[1, 0, 3] = 5
    assert trajectory.path_length_m == 0
    with pytest.raises(ValueError, match="read-only"):
        trajectory.T_w_c[0, 0, 3] = 1
    with pytest.raises(ValueError, match="read-only"):
        trajectory.positions[0] = 1
    with pytest.raises(FrozenInstanceError):
        trajectory.timestamps = np.zeros(2)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("timestamps", "T_w_c", "frames", "message"),
    [
        ([0, 1], np.eye(4), None, r"poses must be \(N, 4, 4\), got \(4, 4\)"),
        ([], np.zeros((0, 4, 4)), None, "at least one pose"),
        ([0], np.tile(np.eye(4), (2, 1, 1)), None, r"timestamps must be \(2,\).* got \(1,\)"),
        ([0, 0], np.tile(np.eye(4), (2, 1, 1)), None, "timestamps .* increase strictly"),
        ([0, np.nan], np.tile(np.eye(4), (2, 1, 1)), None, "timestamps must be finite"),
        ([0, 1], np.tile(np.eye(4), (2, 1, 1)), [4, 3], "frames .* increase strictly"),
        ([0, 1], np.tile(np.eye(4), (2, 1, 1)), [-1, 3], "frames must not be negative"),
        ([0, 1], np.stack([np.eye(4), 2 * np.eye(4)]), None, "pose 1: .* no rotation"),
    ],
)
def test_what_is_no_trajectory_is_refused(timestamps, T_w_c, frames, message) -> None:
    with pytest.raises(ValueError, match=message):
        Trajectory(np.array(timestamps), T_w_c, None if frames is None else np.array(frames))


def test_rebasing_makes_the_first_camera_the_world() -> None:
    rebased = make(far_m=3000).rebased()
    np.testing.assert_allclose(rebased.T_w_c[0], np.eye(4), atol=1e-9)
    # The motion from camera to camera is the same in any world.
    np.testing.assert_allclose(rebased.T_c_next(), make(far_m=3000).T_c_next(), atol=1e-9)
    assert_same(rebased.rebased(), rebased)


def test_relative_motions_compose_to_the_trajectory() -> None:
    trajectory = make()
    T_w_c = trajectory.T_w_c[0]
    for k, T_ck_next in enumerate(trajectory.T_c_next(), start=1):
        T_w_c = T_w_c @ T_ck_next
        np.testing.assert_allclose(T_w_c, trajectory.T_w_c[k], atol=1e-9)
    assert trajectory.subset(np.array([0])).T_c_next().shape == (0, 4, 4)


def test_transforming_and_back_is_identity() -> None:
    trajectory = make()
    T = make(2, seed=5).T_w_c[1]
    moved = trajectory.transformed(T)
    np.testing.assert_allclose(moved.positions[7], T[:3, :3] @ trajectory.positions[7] + T[:3, 3])
    assert_same(moved.transformed(np.linalg.inv(T)), trajectory)
    with pytest.raises(ValueError, match=r"\(4, 4\), got \(3, 3\)"):
        trajectory.transformed(np.eye(3))


def test_lengths_scale_with_the_trajectory() -> None:
    square = np.tile(np.eye(4), (4, 1, 1))
    square[:, :3, 3] = [[0, 0, 0], [3, 0, 0], [3, 0, 4], [0, 0, 4]]
    trajectory = Trajectory(np.arange(4.0), square)
    np.testing.assert_array_equal(trajectory.distances, [0, 3, 7, 10])
    assert trajectory.path_length_m == 10
    assert trajectory.scaled(2.5).path_length_m == 25
    assert_same(trajectory.scaled(4).scaled(0.25), trajectory)
    with pytest.raises(ValueError, match="finite"):
        trajectory.scaled(np.inf)


def test_a_subset_keeps_frames_and_times() -> None:
    part = make(6, frames=np.arange(6) + 10).subset(np.array([1, 4]))
    np.testing.assert_array_equal(part.frames, [11, 14])
    np.testing.assert_array_equal(part.timestamps, make(6).timestamps[[1, 4]])
    with pytest.raises(ValueError, match="indices must be"):
        make(6).subset(np.array([0.0, 1.0]))


@pytest.mark.parametrize("far_m", [0.0, 7000.0, 6e6])
def test_files_round_trip_to_1e_9(tmp_path: Path, far_m: float) -> None:
    trajectory = make(far_m=far_m)
    trajectory.write_kitti(tmp_path / "kitti.txt")
    back = Trajectory.read(tmp_path / "kitti.txt")
    np.testing.assert_array_equal(back.T_w_c, trajectory.T_w_c)  # not a bit is lost
    np.testing.assert_array_equal(back.frames, np.arange(40))
    np.testing.assert_allclose(back.timestamps, np.arange(40) / 10, atol=1e-12)

    trajectory.write_tum(tmp_path / "tum.txt")
    back = Trajectory.read(tmp_path / "tum.txt")
    assert_same(back, trajectory)
    np.testing.assert_array_equal(back.timestamps, trajectory.timestamps)
    assert back.frames is None


def test_frames_make_a_thirteenth_column_only_where_they_say_something(tmp_path: Path) -> None:
    path = tmp_path / "09.txt"
    make(3, frames=np.array([0, 1, 2])).write_kitti(path)
    assert len(path.read_text().splitlines()[0].split()) == 12
    make(3, frames=np.array([2, 3, 9])).write_kitti(path)
    assert len(path.read_text().splitlines()[0].split()) == 13
    back = Trajectory.read_kitti(path)
    np.testing.assert_array_equal(back.frames, [2, 3, 9])
    np.testing.assert_allclose(back.timestamps, [0.2, 0.3, 0.9])


def test_times_of_a_sequence_belong_to_its_frames(tmp_path: Path) -> None:
    make(3, frames=np.array([0, 2, 3])).write_kitti(tmp_path / "09.txt")
    times = tmp_path / "times.txt"
    times.write_text("0\n0.11\n0.22\n0.35\n0.4\n")
    back = Trajectory.read_kitti(tmp_path / "09.txt", times)
    np.testing.assert_array_equal(back.timestamps, [0, 0.22, 0.35])
    times.write_text("0\n0.11\n0.22\n")
    with pytest.raises(InputError, match=r"times.txt: has 3 times, but .* goes on to frame 3"):
        Trajectory.read_kitti(tmp_path / "09.txt", times)


def test_evo_round_trip() -> None:
    trajectory = make()
    evo_trajectory = trajectory.to_evo()
    assert evo_trajectory.check()[0]
    back = Trajectory.from_evo(evo_trajectory)
    assert_same(back, trajectory)
    np.testing.assert_array_equal(back.timestamps, trajectory.timestamps)
    path = Trajectory.from_evo(PosePath3D(poses_se3=list(trajectory.T_w_c)))
    np.testing.assert_array_equal(path.frames, np.arange(40))


def test_evo_gets_rotations_that_it_accepts() -> None:
    T_w_c = make(3).T_w_c.copy()
    T_w_c[:, :3, :3] *= 1.0004  # as read from a file with few digits
    assert Trajectory(np.arange(3.0), T_w_c).to_evo().check()[0]


def test_evos_own_readers_read_what_is_written(tmp_path: Path) -> None:
    trajectory = make(far_m=2000)
    trajectory.write_kitti(tmp_path / "kitti.txt")
    trajectory.write_tum(tmp_path / "tum.txt")
    kitti = file_interface.read_kitti_poses_file(tmp_path / "kitti.txt")
    np.testing.assert_array_equal(np.array(kitti.poses_se3), trajectory.T_w_c)
    tum = file_interface.read_tum_trajectory_file(tmp_path / "tum.txt")
    np.testing.assert_array_equal(tum.timestamps, trajectory.timestamps)
    np.testing.assert_allclose(np.array(tum.poses_se3), trajectory.T_w_c, rtol=0, atol=1e-9)


@pytest.mark.real_data
def test_real_trajectories_round_trip(real_data: Path, tmp_path: Path) -> None:
    kitti = Trajectory.read(real_data / "kitti_odometry/poses/00.txt")
    assert kitti.path_length_m == pytest.approx(3724.187, abs=1e-3)
    kitti.write_kitti(tmp_path / "00.txt")
    np.testing.assert_array_equal(Trajectory.read(tmp_path / "00.txt").T_w_c, kitti.T_w_c)
    tum = Trajectory.read(real_data / "trajectories/evo/freiburg1_xyz-groundtruth.txt")
    tum.write_tum(tmp_path / "xyz.txt")
    back = Trajectory.read(tmp_path / "xyz.txt")
    assert_same(back, tum)
    np.testing.assert_array_equal(back.timestamps, tum.timestamps)
