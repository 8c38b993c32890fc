"""Alignments find what was done to a trajectory, and refuse what they cannot know."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vo.alignment import align
from vo.datasets.errors import InputError
from vo.trajectory import Trajectory


def drive(positions) -> Trajectory:
    positions = np.asarray(positions, np.float64)
    T_w_c = np.tile(np.eye(4), (len(positions), 1, 1))
    T_w_c[:, :3, :3] = Rotation.random(len(positions), rng=1).as_matrix()
    T_w_c[:, :3, 3] = positions
    return Trajectory(np.arange(len(positions)) / 10, T_w_c)


TRUTH = drive(np.random.default_rng(3).normal(size=(50, 3)) * 100)
T = np.eye(4)
T[:3, :3] = Rotation.from_euler("xyz", [20, -50, 130], degrees=True).as_matrix()
T[:3, 3] = [5, -7, 400]


def test_none_changes_nothing() -> None:
    fit = align(TRUTH, TRUTH.scaled(3), "none")
    assert fit.scale == 1
    np.testing.assert_array_equal(fit.trajectory.T_w_c, TRUTH.scaled(3).T_w_c)


def test_scale_alone_is_least_squares_without_removing_means() -> None:
    estimate = drive(TRUTH.positions / 7 + np.random.default_rng(4).normal(size=(50, 3)))
    fit = align(TRUTH, estimate, "scale")
    x, y = estimate.positions, TRUTH.positions
    assert fit.scale == pytest.approx((x * y).sum() / (x * x).sum(), rel=1e-14)

    def cost(s: float) -> float:
        return float(np.sum((s * x - y) ** 2))

    assert cost(fit.scale) < min(cost(fit.scale * 1.001), cost(fit.scale * 0.999))
    np.testing.assert_array_equal(fit.T_truth_estimate, np.eye(4))


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_sim3_undoes_any_similarity_in_any_unit(unit: float) -> None:
    estimate = TRUTH.transformed(T).scaled(0.05 * unit)
    fit = align(TRUTH, estimate, "sim3")
    assert fit.scale == pytest.approx(20 / unit, rel=1e-12)
    np.testing.assert_allclose(fit.trajectory.T_w_c, TRUTH.T_w_c, atol=1e-9)
    only_scale = align(TRUTH, estimate, "scale_sim3")
    assert only_scale.scale == fit.scale
    np.testing.assert_array_equal(only_scale.T_truth_estimate, np.eye(4))
    np.testing.assert_allclose(
        only_scale.trajectory.positions, estimate.positions * fit.scale, rtol=1e-12
    )


def test_se3_undoes_a_rigid_motion_and_keeps_scale() -> None:
    fit = align(TRUTH, TRUTH.transformed(T), "se3")
    assert fit.scale == 1
    np.testing.assert_allclose(fit.T_truth_estimate, np.linalg.inv(T), atol=1e-9)
    np.testing.assert_allclose(fit.trajectory.T_w_c, TRUTH.T_w_c, atol=1e-9)
    smaller = align(TRUTH, TRUTH.scaled(0.5), "se3")
    assert smaller.trajectory.path_length_m == pytest.approx(TRUTH.path_length_m / 2)


@pytest.mark.parametrize("alignment", ["scale", "se3", "sim3", "scale_sim3"])
def test_without_motion_there_is_no_alignment(alignment) -> None:
    still = drive(np.zeros((50, 3)))
    with pytest.raises(InputError, match=r"mine: the estimate does not move.*--align none"):
        align(TRUTH, still, alignment, "mine")
    with pytest.raises(InputError, match="the ground truth does not move"):
        align(still, TRUTH, alignment)


@pytest.mark.parametrize("alignment", ["se3", "sim3", "scale_sim3"])
def test_a_straight_line_or_two_poses_leave_the_rotation_open(alignment) -> None:
    line = drive(np.arange(50)[:, None] * [0, 0, 1.5])
    with pytest.raises(InputError, match=r"straight line.*--align none or scale"):
        align(line, line, alignment)
    with pytest.raises(InputError, match="2 common poses do not determine a rotation"):
        align(drive(TRUTH.positions[:2]), drive(TRUTH.positions[:2]), alignment)
    assert align(line, line.scaled(2), "scale").scale == 0.5


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="truth has 50 poses, the estimate 49"):
        align(TRUTH, TRUTH.subset(np.arange(49)), "sim3")
