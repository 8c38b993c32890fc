"""A drive's numbers, on estimates whose right numbers are known."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest

from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.drive import Drive, Verdict, judge, run
from vo.odometry import Estimate, Odometry
from vo.trajectory import Trajectory

SMALL = Camera(40.0, 40.0, 31.5, 15.5, 64, 32)  # of the network
LARGE = SMALL.resized(128, 64)  # of the images


def true_depth(camera: Camera = LARGE) -> Array:
    """A slanted wall, whose inverse depth is linear over the picture: 5 to 20 m."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    x, y = (u + 0.5) / camera.width, (v + 0.5) / camera.height
    return (1 / (0.05 + 0.1 * x + 0.05 * y)).astype(np.float32)


def curve(count: int = 12) -> Array:
    """True poses (count, 4, 4) on a bend: a metre a frame, two degrees to the left each."""
    T = np.eye(4)
    a = np.radians(2.0)
    T[:3, :3] = [[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]]
    T[:3, 3] = [0.02, 0.01, 1.0]
    poses = [np.eye(4)]
    for _ in range(count - 1):
        poses.append(poses[-1] @ T)
    return np.array(poses)


def scaled(T: Array, factor: float) -> Array:
    T = T.copy()
    T[..., :3, 3] *= factor
    return T


def frames(poses: Array, depth: Array | None = None, first: int = 0) -> list[Frame]:
    image = np.zeros((64, 128, 3), np.uint8)
    return [Frame(first + i, 0.1 * i, image, LARGE, T, depth) for i, T in enumerate(poses)]


def estimates(
    refined: Array, raw: Array, depth: Array, tracked: Iterable[bool] | None = None
) -> list[Estimate]:
    """What an odometry would say that has found these poses (N, 4, 4)."""
    found = list(tracked or [True] * len(refined))
    numbers = [(math.nan, math.nan, math.nan, 0), *[(0.5, 0.2, 0.9, 12)] * (len(refined) - 1)]
    result = []
    for i, (T, T_raw) in enumerate(zip(refined, raw, strict=True)):
        last = max(i - 1, 0)
        T_last_c, T_last_c_raw = np.linalg.inv(refined[last]) @ T, np.linalg.inv(raw[last]) @ T_raw
        reason = "" if found[i] else "no texture"
        motions, rest = (T_last_c, T_last_c_raw), (found[i], reason, *numbers[i])
        result.append(Estimate(i, 0.1 * i, T, T_raw, *motions, depth, SMALL, *rest))
    return result


def driven(seen: list[Frame], said: list[Estimate]) -> Drive:
    drive = Drive()
    for frame, estimate in zip(seen, said, strict=True):
        drive.add(frame, estimate)
    return drive


def judged(drive: Drive, poses: Array) -> Verdict:
    return judge(drive, Trajectory(0.1 * np.arange(len(poses)), poses))


def test_the_numbers_of_a_frame() -> None:
    poses = curve(3)
    # The network's depth is twice the truth, its raw motion 0.9 of the refined one.
    said = estimates(scaled(poses, 2.0), scaled(poses, 1.8), 2 * true_depth(SMALL))
    drive = Drive()
    first, second, _ = (
        drive.add(frame, e) for frame, e in zip(frames(poses, true_depth(), 40), said, strict=True)
    )
    assert drive.rows[1] is second
    step = float(np.linalg.norm([0.02, 0.01, 1.0]))
    assert (second.frame, second.time_s) == (41, 0.1)
    assert second.step == pytest.approx(2 * step, rel=1e-12)
    assert second.step_raw == pytest.approx(1.8 * step, rel=1e-12)
    assert second.ratio == pytest.approx(0.9, rel=1e-12)
    assert second.depth_median == pytest.approx(2 * np.median(true_depth(SMALL)), rel=1e-6)
    found = (second.energy_before, second.energy, second.valid_share, second.iterations)
    assert found == (0.5, 0.2, 0.9, 12)
    assert second.tracked
    assert second.reason == ""
    # The flow of a metre ahead at 5 to 20 m; the unit cancels.
    single = estimates(poses, poses, true_depth(SMALL))
    alone = driven(frames(poses), single).rows[1]
    assert second.flow_px == pytest.approx(alone.flow_px, rel=1e-6)
    assert 0.5 < second.flow_px < 5
    for row in (first, second):
        assert row.depth_scale == pytest.approx(2.0, rel=1e-3)
        assert row.depth_true_median == pytest.approx(np.median(true_depth()), rel=1e-6)
        assert row.abs_rel < 2e-3, "but for what enlarging does to the border"
    of_motion = (first.step_raw, first.step, first.ratio, first.flow_px, first.energy)
    assert np.isnan(of_motion).all(), "the first frame has no motion"


def test_depth_is_judged_where_the_truth_is_known() -> None:
    poses, truth = curve(2), true_depth(SMALL)
    wrong = truth.copy()
    wrong[:, 32:] = 77.0  # the right half is nonsense, yet nothing is known there
    for unknown in (0.0, 80.0, 200.0):
        partial = truth.copy()
        partial[:, 32:] = unknown
        row = driven(frames(poses, partial), estimates(poses, poses, wrong)).rows[1]
        assert row.depth_scale == pytest.approx(1.0)
        assert row.abs_rel == pytest.approx(0.0, abs=1e-6)
        assert row.depth_true_median == pytest.approx(np.median(truth[:, :32]))
        assert row.depth_median == pytest.approx(np.median(wrong)), "the median of the whole"
    nothing = driven(frames(poses, np.zeros_like(truth)), estimates(poses, poses, wrong)).rows[1]
    assert np.isnan([nothing.depth_scale, nothing.abs_rel, nothing.depth_true_median]).all()


def test_abs_rel_is_the_mean_after_scaling_by_the_median() -> None:
    poses, truth = curve(2), np.full((32, 64), 10.0, np.float32)
    depth = truth.copy()
    depth[:8] = 12.0  # a quarter is a fifth too far
    row = driven(frames(poses, truth), estimates(poses, poses, 3 * depth)).rows[1]
    assert row.depth_scale == pytest.approx(3.0)
    assert row.abs_rel == pytest.approx(0.25 * 0.2, rel=1e-5)


def test_perfect_poses_have_no_errors() -> None:
    """Poses and depth in one unit of their own, 1.7 to the metre."""
    poses = curve()
    good = scaled(poses, 1.7)
    drive = driven(frames(poses, true_depth(SMALL)), estimates(good, good, 1.7 * true_depth(SMALL)))
    verdict = judged(drive, poses)
    for part in (verdict.raw, verdict.refined):
        assert part.scores.ate_m == pytest.approx(0, abs=1e-6)
        assert part.scores.rpe_trans_m == pytest.approx(0, abs=1e-6)
        assert part.scores.rpe_rot_deg == pytest.approx(0, abs=1e-4)
        assert part.scores.scale == pytest.approx(1 / 1.7)
        assert part.scores.alignment == "sim3"
        assert part.scores.frames == 12
    for scale in (verdict.scale_raw, verdict.scale_refined):
        assert scale is not None
        np.testing.assert_allclose(scale.a, np.ones(11), rtol=1e-5)
        assert scale.mean_error == pytest.approx(0, abs=1e-5)
        assert scale.coverage == 1
    assert verdict.abs_rel == pytest.approx(0, abs=1e-5)
    assert verdict.depth_scale == pytest.approx(1.7)
    assert verdict.depth_scale_spread == pytest.approx(0, abs=1e-6)


def test_raw_and_refined_are_not_mixed_up() -> None:
    poses = curve()
    raw = poses.copy()
    raw[:, 0, 3] += np.where(np.arange(12) % 2, 0.2, 0.0)
    drive = driven(frames(poses, true_depth(SMALL)), estimates(poses, raw, true_depth(SMALL)))
    verdict = judged(drive, poses)
    assert verdict.refined.scores.ate_m < 1e-6 < 0.05 < verdict.raw.scores.ate_m
    assert verdict.scale_refined is not None
    assert verdict.scale_raw is not None
    assert verdict.scale_refined.mean_error < 1e-5 < 0.01 < verdict.scale_raw.mean_error
    np.testing.assert_allclose(drive.trajectory("refined").T_w_c, poses)
    np.testing.assert_allclose(drive.trajectory("raw").T_w_c, raw)
    unaligned = judge(drive, Trajectory(0.1 * np.arange(12), poses), "none")
    assert unaligned.raw.scores.alignment == "none"
    assert unaligned.refined.scores.ate_m < 1e-6


def test_the_scale_of_a_pair_is_that_over_the_depth_of_its_first_frame() -> None:
    """Depth grows from frame to frame, and the motions with the depth of the frame before."""
    poses, depth = curve(6), true_depth(SMALL)
    factor = np.array([1.0, 1.1, 1.25, 1.5, 1.4, 1.2])
    T_w_c = [np.eye(4)]
    for i in range(5):
        T_w_c.append(T_w_c[-1] @ scaled(np.linalg.inv(poses[i]) @ poses[i + 1], factor[i]))
    drive = Drive()
    said = estimates(np.array(T_w_c), scaled(poses, 2.0), depth)
    for frame, e, f in zip(frames(poses, depth), said, factor, strict=True):
        values = {name: getattr(e, name) for name in Estimate.__slots__}
        drive.add(frame, Estimate(**(values | {"depth": (f * depth).astype(np.float32)})))
    verdict = judged(drive, poses)
    assert verdict.scale_refined is not None
    np.testing.assert_allclose(verdict.scale_refined.a, np.ones(5), rtol=1e-5)
    assert verdict.scale_raw is not None
    np.testing.assert_allclose(verdict.scale_raw.a, 2 / factor[:-1], rtol=1e-5)
    assert verdict.depth_scale == pytest.approx(1.225, rel=1e-5), "the median of the six"
    assert verdict.depth_scale_spread == pytest.approx(np.std(factor / 1.225), rel=1e-4)


def test_without_true_depth_there_are_no_numbers_of_depth() -> None:
    poses = curve()
    drive = driven(frames(poses), estimates(poses, poses, true_depth(SMALL)))
    assert np.isnan([r.depth_scale for r in drive.rows]).all()
    assert np.isnan([r.abs_rel for r in drive.rows]).all()
    assert np.isfinite([r.depth_median for r in drive.rows]).all()
    verdict = judged(drive, poses)
    assert verdict.scale_raw is None
    assert verdict.scale_refined is None
    assert np.isnan([verdict.abs_rel, verdict.depth_scale, verdict.depth_scale_spread]).all()
    assert verdict.refined.scores.ate_m < 1e-6, "poses are judged all the same"


def test_frames_without_true_depth_are_left_out() -> None:
    poses, depth = curve(4), true_depth(SMALL)
    seen = [f if i != 1 else g for i, (f, g) in
            enumerate(zip(frames(poses, depth), frames(poses), strict=True))]  # fmt: skip
    verdict = judged(driven(seen, estimates(poses, poses, depth)), poses)
    assert verdict.scale_refined is not None
    assert np.isnan(verdict.scale_refined.a).tolist() == [False, True, False]
    assert verdict.depth_scale == pytest.approx(1.0)
    assert verdict.abs_rel == pytest.approx(0.0, abs=1e-6)


def test_pairs_that_were_not_tracked_do_not_count_for_scale() -> None:
    poses, depth = curve(5), true_depth(SMALL)
    raw = scaled(poses, 0.9)
    raw[3:] = scaled(raw[3:], 1.5)
    tracked = [True, True, True, False, True]
    drive = driven(frames(poses, depth), estimates(poses, raw, depth, tracked))
    assert drive.rows[3].reason == "no texture"
    consistency = drive.consistency()
    assert np.isnan(consistency.r).tolist() == [False, False, True, False]
    assert consistency.used == 3
    verdict = judged(drive, poses)
    for scale in (verdict.scale_raw, verdict.scale_refined):
        assert scale is not None
        assert np.isnan(scale.a).tolist() == [False, False, True, False]


def test_consistency_of_raw_poses_that_are_too_short() -> None:
    poses = curve()
    drive = driven(frames(poses), estimates(poses, scaled(poses, 0.9), true_depth(SMALL)))
    consistency = drive.consistency()
    np.testing.assert_allclose(consistency.r, np.full(11, 0.9), rtol=1e-9)
    assert consistency.median == pytest.approx(0.9)
    assert consistency.spread == pytest.approx(0, abs=1e-9)
    assert consistency.coverage == 1


def test_standing_still_has_no_ratio_and_breaks_nothing() -> None:
    poses = np.concatenate([np.repeat(curve(1), 4, axis=0), curve(4)[1:]])
    drive = driven(frames(poses, true_depth(SMALL)), estimates(poses, poses, true_depth(SMALL)))
    assert [math.isnan(row.ratio) for row in drive.rows] == [True] * 4 + [False] * 3
    assert [row.step for row in drive.rows[1:4]] == [0, 0, 0]
    assert drive.consistency().used == 3
    verdict = judged(drive, poses)
    assert verdict.scale_refined is not None
    assert verdict.scale_refined.used == 3


def test_a_single_frame() -> None:
    poses = curve(1)
    drive = driven(frames(poses, true_depth(SMALL)), estimates(poses, poses, true_depth(SMALL)))
    assert len(drive.trajectory("refined")) == len(drive.trajectory("raw")) == 1
    consistency = drive.consistency()
    assert consistency.used == 0
    assert math.isnan(consistency.median)
    assert drive.rows[0].depth_scale == pytest.approx(1.0)
    with pytest.raises(InputError):
        judged(drive, poses)


def test_numbers_and_times_of_the_drive_are_in_its_trajectories() -> None:
    poses = curve(4)
    drive = driven(frames(poses, None, first=441), estimates(poses, poses, true_depth(SMALL)))
    for trajectory in (drive.trajectory("refined"), drive.trajectory("raw")):
        assert trajectory.frames is not None
        assert trajectory.frames.tolist() == [441, 442, 443, 444]
        np.testing.assert_allclose(trajectory.timestamps, [0, 0.1, 0.2, 0.3])


def test_truth_of_another_length_is_refused() -> None:
    poses = curve(5)
    drive = driven(frames(poses), estimates(poses, poses, true_depth(SMALL)))
    with pytest.raises(InputError, match="truth: has 4 poses for 5 frames"):
        judged(drive, poses[:4])


def test_run_begins_with_a_clean_odometry_and_goes_frame_by_frame() -> None:
    poses = curve(3)
    seen, said = frames(poses), estimates(poses, poses, true_depth(SMALL))
    calls: list[str] = []

    class Recorded(Odometry):
        def __init__(self) -> None:  # no networks
            self.count = -1

        def reset(self) -> None:
            calls.append("reset")

        def step(self, image, camera=None, time_s=None) -> Estimate:
            calls.append(f"step {image.index}")
            self.count += 1
            return said[self.count]

    def read() -> Iterable[Frame]:
        for frame in seen:
            calls.append(f"read {frame.index}")
            yield frame

    results = run(Recorded(), read())
    frame, estimate = next(results)
    assert frame is seen[0]
    assert estimate is said[0]
    assert calls == ["reset", "read 0", "step 0"], "nothing is read before it is asked for"
    assert [e.index for _, e in results] == [1, 2]


def test_a_drive_without_raw_motions_is_judged_by_its_refined_ones():
    poses = curve(4)
    seen = frames(poses, true_depth())
    none = np.full_like(poses, np.nan)
    with np.errstate(all="raise"):
        drive = driven(seen, estimates(poses, none, true_depth(SMALL)))
    assert all(math.isnan(row.step_raw) and math.isnan(row.ratio) for row in drive.rows)
    assert drive.consistency().used == 0
    verdict = judge(drive, Trajectory(0.1 * np.arange(4), poses), kinds=("refined",))
    assert verdict.errors.keys() == verdict.scales.keys() == {"refined"}
    assert verdict.refined.scores.ate_m < 1e-6
    assert verdict.scale_raw is None
    with pytest.raises(ValueError, match="pose 0"):
        drive.trajectory("raw")
