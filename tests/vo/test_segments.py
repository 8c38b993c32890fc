"""KITTI's segment metric against a plain double loop, and on motions with known drift."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vo.segments import segment_errors, trace_angles
from vo.trajectory import Trajectory


def drive(n: int, seed: int, noise: float = 0.0, frames=None) -> Trajectory:
    """A winding drive of about a metre a frame, with a stop, and drift of a given size."""
    rng = np.random.default_rng(7)
    turns = np.cumsum(rng.normal(scale=0.004, size=(n, 3)), axis=0) * [0.1, 1, 0.1]
    speeds = rng.uniform(0.5, 1.5, n)
    speeds[n // 3 : n // 3 + 25] = 0
    drift = np.random.default_rng(seed).normal(scale=max(noise, 1e-12), size=(n, 4))
    T_w_c = [np.eye(4)]
    for k in range(1, n):
        T = np.eye(4)
        T[:3, :3] = Rotation.from_rotvec(turns[k] * 0.2 + drift[k, :3]).as_matrix()
        T[2, 3] = speeds[k] * (1 + drift[k, 3] * 10)
        T_w_c.append(T_w_c[-1] @ T)
    return Trajectory(np.arange(n) / 10, np.array(T_w_c), frames)


def double_loop(truth: Trajectory, estimate: Trajectory, step: int = 10) -> list[tuple]:
    way = [0.0]
    for a, b in zip(truth.positions, truth.positions[1:], strict=False):
        way.append(way[-1] + math.dist(a, b))
    frames = range(len(truth)) if truth.frames is None else truth.frames
    rows = []
    for i in range(len(truth)):
        if frames[i] % step:
            continue
        for length in range(100, 900, 100):
            j = next((k for k in range(i, len(way)) if way[k] > way[i] + length), None)
            if j is None:
                continue
            P = np.linalg.inv(estimate.T_w_c[i]) @ estimate.T_w_c[j]
            Q = np.linalg.inv(truth.T_w_c[i]) @ truth.T_w_c[j]
            E = np.linalg.inv(P) @ Q
            angle = math.acos(max(-1.0, min(1.0, (np.trace(E[:3, :3]) - 1) / 2)))
            rows.append((i, length, np.linalg.norm(E[:3, 3]) / length, angle / length))
    return rows


@pytest.mark.parametrize("first_frame", [None, 0, 3])
def test_equal_to_a_double_loop(first_frame) -> None:
    frames = None if first_frame is None else np.arange(600) + first_frame
    truth, estimate = drive(600, 1, frames=frames), drive(600, 2, 2e-3, frames)
    errors = segment_errors(truth, estimate)
    expected = np.array(double_loop(truth, estimate))
    assert len(errors) == len(expected) > 100
    np.testing.assert_array_equal(errors.starts, expected[:, 0])
    np.testing.assert_array_equal(errors.lengths_m, expected[:, 1])
    np.testing.assert_allclose(errors.t_err, expected[:, 2], rtol=1e-10)
    # arccos near 1 turns rounding of 1e-16 into 1e-8 rad: over 100 m, 1e-10.
    np.testing.assert_allclose(errors.r_err, expected[:, 3], atol=1e-9)
    assert errors.t_rel_percent == pytest.approx(100 * expected[:, 2].mean(), rel=1e-10)
    degrees = np.degrees(expected[:, 3].mean()) * 100
    assert errors.r_rel_deg_per_100m == pytest.approx(degrees, rel=1e-6)


def test_a_scale_error_of_one_percent_is_a_translation_error_of_one_percent() -> None:
    n = 900
    T_w_c = np.tile(np.eye(4), (n, 1, 1))
    T_w_c[:, 2, 3] = np.arange(n)
    truth = Trajectory(np.arange(n) / 10, T_w_c)
    errors = segment_errors(truth, truth.scaled(1.01))
    # A sub-sequence of 100 m ends at the first pose beyond it: 101 steps of a metre, 1.01 %.
    assert errors.of_length(100).t_rel_percent == pytest.approx(1.01)
    assert errors.of_length(800).t_rel_percent == pytest.approx(801 * 0.01 / 800 * 100)
    assert errors.r_rel_deg_per_100m == pytest.approx(0, abs=1e-6)


def test_a_known_turn_per_metre() -> None:
    n = 300
    rates = Rotation.from_euler("y", np.arange(n)[:, None] * 0.01, degrees=True).as_matrix()
    T_w_c = np.tile(np.eye(4), (n, 1, 1))
    T_w_c[:, 2, 3] = np.arange(n)
    truth = Trajectory(np.arange(n) / 10, T_w_c)
    turned = T_w_c.copy()
    turned[:, :3, :3] = rates
    errors = segment_errors(truth, Trajectory(truth.timestamps, turned), (100.0,))
    assert errors.r_rel_deg_per_100m == pytest.approx(101 * 0.01, rel=1e-6)


def test_short_drives_have_no_number() -> None:
    truth = drive(60, 1)
    errors = segment_errors(truth, truth)
    assert len(errors) == 0
    assert math.isnan(errors.t_rel_percent)
    assert math.isnan(errors.r_rel_deg_per_100m)
    one = truth.subset(np.array([0]))
    assert len(segment_errors(one, one)) == 0


def test_the_rigid_part_of_an_alignment_does_not_matter() -> None:
    truth, estimate = drive(400, 1), drive(400, 2, 2e-3)
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    T[:3, 3] = [100, 0, -50]
    moved = segment_errors(truth, estimate.transformed(T))
    still = segment_errors(truth, estimate)
    assert moved.t_rel_percent == pytest.approx(still.t_rel_percent, rel=1e-9)
    assert moved.r_rel_deg_per_100m == pytest.approx(still.r_rel_deg_per_100m, rel=1e-6)


def test_angles_are_clamped() -> None:
    T = np.tile(np.eye(4), (3, 1, 1))
    T[1, :3, :3] *= 1 + 1e-7  # a trace above 3
    T[2, :3, :3] = np.diag([-1 - 1e-7, 1, -1 - 1e-7])  # and one below -1
    np.testing.assert_array_equal(trace_angles(T), [0, 0, np.pi])


def test_programming_errors() -> None:
    truth = drive(20, 1)
    with pytest.raises(ValueError, match="truth has 20 poses, the estimate 19"):
        segment_errors(truth, truth.subset(np.arange(19)))
    with pytest.raises(ValueError, match="step must be positive"):
        segment_errors(truth, truth, step=0)
