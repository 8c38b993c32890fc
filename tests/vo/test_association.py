"""Which poses belong together, and what is said when they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vo.association import associate
from vo.datasets.errors import InputError
from vo.trajectory import Trajectory


def at(times, frames=None) -> Trajectory:
    """A drive along x, one metre a second, so that a position tells its pose."""
    times = np.asarray(times, np.float64)
    T_w_c = np.tile(np.eye(4), (len(times), 1, 1))
    T_w_c[:, 0, 3] = times
    return Trajectory(times, T_w_c, frames)


def numbered(frames) -> Trajectory:
    frames = np.asarray(frames)
    return at(frames / 10, frames)


def test_strict_takes_equal_frames_as_they_are() -> None:
    truth, estimate = associate(numbered(range(5)), numbered(range(5)))
    assert len(truth) == len(estimate) == 5


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (range(2, 12), "2 of 12 frames of the ground truth have no pose: 0-1; --match index"),
        (
            [*range(5), 7, 8, 10, 11],
            "3 of 12 .* no pose: 5-6, 9; --match index .*--match time",
        ),
        (range(14), "2 frames are not in the ground truth: 12-13"),
        ([0, 11, 20], "10 of 12 .* no pose: 1-10; 1 frames are not in the ground truth: 20"),
    ],
)
def test_strict_says_which_frames_differ(frames, message: str) -> None:
    with pytest.raises(InputError, match=f"mine.txt: {message}"):
        associate(numbered(range(12)), numbered(frames), where="mine.txt")


def test_a_long_list_of_missing_frames_is_counted() -> None:
    with pytest.raises(InputError, match=r"no pose: 1, 3, 5, 7, 9, 11, 13, 15, and 42 more"):
        associate(numbered(range(100)), numbered(range(0, 100, 2)))


def test_index_takes_the_frames_that_both_have() -> None:
    truth, estimate = associate(numbered(range(10)), numbered([2, 3, 7, 12]), "index")
    np.testing.assert_array_equal(truth.frames, [2, 3, 7])
    np.testing.assert_array_equal(truth.positions, estimate.positions)


def test_index_needs_frames_and_something_in_common() -> None:
    with pytest.raises(InputError, match="no frame indices; use --match time"):
        associate(at([0, 1]), numbered([0, 1]), "index")
    with pytest.raises(InputError, match="no pose in common"):
        associate(numbered([0, 1]), numbered([5, 6]), "index")


def test_times_pair_with_the_nearest_within_the_limit() -> None:
    truth = at(np.arange(100) / 10)
    times = np.array([0.0, 0.211, 0.55, 0.785, 30.0])  # 0.55 is 0.05 from both neighbours
    a, b = associate(truth, at(times), "time")
    np.testing.assert_allclose(a.timestamps, [0.0, 0.2, 0.8])
    np.testing.assert_array_equal(b.timestamps, times[[0, 1, 3]])
    # The order of the arguments does not matter, whichever is longer.
    b, a = associate(at(times), truth, "time")
    np.testing.assert_allclose(a.timestamps, [0.0, 0.2, 0.8])
    np.testing.assert_array_equal(b.timestamps, times[[0, 1, 3]])


def test_a_pose_is_paired_once_with_the_nearer() -> None:
    truth, estimate = associate(at([0, 1, 2, 3]), at([0.985, 1.005, 1.99]), "time")
    np.testing.assert_array_equal(truth.timestamps, [1, 2])
    np.testing.assert_array_equal(estimate.timestamps, [1.005, 1.99])


def test_times_without_overlap() -> None:
    with pytest.raises(InputError, match=r"no times are within 0.02 s: check their origin"):
        associate(at([0, 1]), at([100, 101]), "time")


def test_strict_compares_times_where_frames_are_unknown() -> None:
    assert len(associate(at([0, 1]), at([0, 1.00005]))[0]) == 2
    with pytest.raises(InputError, match=r"times differ .* by up to 0\.1 s; --match time"):
        associate(at([0, 1]), at([0, 1.1]))
    with pytest.raises(InputError, match="has 3 poses, the ground truth 2; --match time"):
        associate(at([0, 1]), at([0, 1, 2]))


@pytest.mark.real_data
def test_real_result_without_its_first_frames(real_data: Path) -> None:
    truth = Trajectory.read(real_data / "kitti_odometry/poses/09.txt")
    estimate = Trajectory.read(real_data / "trajectories/example_0/09.txt")
    with pytest.raises(InputError, match=r"2 of 1591 frames .* have no pose: 0-1; --match index"):
        associate(truth, estimate)
    common, _ = associate(truth, estimate, "index")
    np.testing.assert_array_equal(common.frames, np.arange(2, 1591))
