"""Scale of poses against their depth: exact cases, invariances, and the refiner end to end."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pypose as pp
import pytest
import torch
from feature_scene import Scene, make_scene

from vo.datasets.camera import Camera
from vo.refine import PoseRefiner, RefineConfig
from vo.scale import (
    noise_floor,
    pair_scale,
    scale_consistency,
    scale_correlation,
    translation_flow_px,
    true_scale_alignment,
)

FORWARD = np.array([[0.0, 0.0, 1.0]])
CAMERA = Camera(100.0, 120.0, 20.0, 12.0, 41, 25)


@pytest.fixture(autouse=True)
def _no_warnings():
    """Degenerate input is ordinary here: nothing may warn of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def drive(pairs: int = 48, seed: int = 0) -> np.ndarray:
    """Translations of a car: about 0.9 m forward, a little sideways and down, (N, 3)."""
    return np.random.default_rng(seed).normal([0.02, 0.0, 0.9], [0.03, 0.01, 0.2], (pairs, 3))


def measured(t_net, t_ref):
    """The consistency when every pair may count."""
    return scale_consistency(t_net, t_ref, np.full(len(t_net), 5.0), np.ones(len(t_net), bool))


def motion(t=(0.0, 0.0, 0.0), yaw: float = 0.0) -> np.ndarray:
    c, s = math.cos(yaw), math.sin(yaw)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]], t
    return T


# --- scale of a pair ----------------------------------------------------------------------------


def test_pair_scale_of_known_pairs():
    t_ref = np.array([[0.0, 0, 2], [0, 0, 2], [0, 0, 2], [0, 0, 2], [3, 0, 4]])
    t_net = np.array([[0.0, 0, 2], [0, 0, 3], [0, 0, -1], [7, 0, 2], [3, 0, 0]])
    # The part across t_ref does not count: 7 sideways leaves 1, and <(3,0,0), (3,0,4)> / 25 = 9/25.
    np.testing.assert_allclose(pair_scale(t_net, t_ref), [1, 1.5, -0.5, 1, 0.36], rtol=1e-15)


def test_poses_are_as_good_as_translations():
    t_net, t_ref = drive(seed=1), drive(seed=2)
    poses = [np.stack([motion(t, 0.1 * i) for i, t in enumerate(x)]) for x in (t_net, t_ref)]
    assert np.array_equal(pair_scale(*poses), pair_scale(t_net, t_ref))


def test_pair_scale_of_nothing_is_nan_without_a_warning():
    t_ref = np.array([[0.0, 0, 0], [np.nan, 0, 1], [0, 0, 1], [0, 0, np.inf], [0, 0, 1e-200]])
    t_net = np.array([[0.0, 0, 1], [0, 0, 1], [0, np.inf, 1], [0, 0, 1], [0, 0, 1]])
    assert np.isnan(pair_scale(t_net, t_ref)).all()


# --- consistency of a drive ---------------------------------------------------------------------


def test_consistency_of_known_scales():
    """r = 1, 2, 3, 2, 2 has median 2; r / 2 deviates by 0.5 twice: std = sqrt(0.5 / 5)."""
    result = measured(np.array([[1.0], [2], [3], [2], [2]]) * FORWARD, np.repeat(FORWARD, 5, 0))
    assert np.array_equal(result.r, [1, 2, 3, 2, 2])
    assert result.median == 2
    assert result.spread == pytest.approx(math.sqrt(0.1), rel=1e-14)
    assert result.mad == 0, "most pairs have exactly the median"
    assert (result.coverage, result.used) == (1.0, 5)


def test_mad_equals_the_spread_of_normal_scales_and_withstands_outliers():
    factors = np.random.default_rng(0).normal(3.0, 0.3, 20000)  # a tenth of the median
    factors[:1000] = 40.0
    result = measured(factors[:, None] * FORWARD, np.repeat(FORWARD, 20000, 0))
    assert result.median == pytest.approx(3.0, rel=0.01)
    assert result.mad == pytest.approx(0.1, rel=0.1)
    assert result.spread > 2


def test_only_parallax_and_success_count():
    t_ref = np.repeat(FORWARD, 6, 0)
    t_net = np.array([1.0, 1.2, 50, 60, 70, 80])[:, None] * FORWARD
    flow = np.array([1.0, 9.0, 0.99, np.nan, 5.0, 5.0])
    t_ref[5] = 0  # the refinement ended at a standstill: no scale, whatever it says
    success = np.array([True, True, True, True, False, True])
    result = scale_consistency(t_net, t_ref, flow, success)
    assert np.array_equal(result.r, [1, 1.2] + 4 * [np.nan], equal_nan=True)
    assert result.median == pytest.approx(1.1)
    assert (result.coverage, result.used) == (2 / 6, 2)
    assert scale_consistency(t_net, t_ref, flow, success, min_flow_px=0.9).used == 3


@pytest.mark.parametrize("pairs", [0, 4])
def test_nothing_used_is_nan_and_no_error(pairs):
    t = np.repeat(FORWARD, pairs, 0)
    result = scale_consistency(t, t, np.zeros(pairs), np.ones(pairs, bool))
    assert np.isnan([result.median, result.spread, result.mad, *result.r]).all()
    assert (result.coverage, result.used) == (0.0, 0)
    assert result.r.shape == (pairs,)


def test_one_pair_or_no_median_have_no_spread():
    one = measured(2 * FORWARD, FORWARD)
    assert one.median == 2
    assert math.isnan(one.spread), "one pair agrees with itself, which says nothing"
    opposite = measured(np.array([[0, 0, -1.0], [0, 0, 1]]), np.repeat(FORWARD, 2, 0))
    assert opposite.median == 0
    assert np.isnan([opposite.spread, opposite.mad]).all()


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_common_unit_of_poses_and_depth_does_not_matter(unit):
    t_net, t_ref = drive(seed=1), drive(seed=2)
    one, other = measured(t_net, t_ref), measured(t_net * unit, t_ref * unit)
    np.testing.assert_allclose(other.r, one.r, rtol=1e-12)
    assert other.spread == pytest.approx(one.spread, rel=1e-12)
    # A wrong but constant scale is no inconsistency: only the median tells of it.
    stretched = measured(t_net * unit, t_ref)
    assert stretched.median == pytest.approx(one.median * unit, rel=1e-12)
    assert stretched.spread == pytest.approx(one.spread, rel=1e-12)


@pytest.mark.parametrize(("jitter", "noise"), [(0.09, 0.0046), (0.09, 0.0092), (0.232, 0.0113)])
def test_recovers_a_known_jitter(jitter, noise):
    """``noise`` is the median error of r of refinements on a rendered street, 0.31 to 0.76 %, over
    0.67, as the standard deviation of t_ref. It must change the spread by less than 0.005."""
    g = np.random.default_rng(3)
    t = drive()
    factors = g.normal(1.0, jitter, len(t))
    t_ref = t + np.linalg.norm(t, axis=1)[:, None] * g.normal(0, noise, t.shape)
    result = measured(factors[:, None] * t, t_ref)
    assert result.spread == pytest.approx(np.std(factors / np.median(factors)), abs=0.005)
    assert np.median(np.abs(result.r / factors - 1)) < 0.01
    assert scale_correlation(result.r, factors) > 0.99


# --- parallax -----------------------------------------------------------------------------------


def test_flow_of_a_sideways_motion_is_the_disparity():
    depth = np.full((25, 41), 4.0)
    assert translation_flow_px(depth, CAMERA, motion((0.2, 0, 0))) == pytest.approx(100 * 0.2 / 4)
    assert translation_flow_px(depth, CAMERA, motion((0, 0.2, 0))) == pytest.approx(120 * 0.2 / 4)


@pytest.mark.parametrize("yaw", [0.0, 0.05, -0.3])
def test_flow_without_translation_is_zero(yaw):
    depth = np.random.default_rng(0).uniform(2, 20, (25, 41))
    assert translation_flow_px(depth, CAMERA, motion(yaw=yaw)) == 0.0


def test_flow_is_that_of_the_pair_minus_that_of_the_rotation():
    """Against projecting every pixel twice."""
    depth = np.random.default_rng(0).uniform(2, 20, (25, 41))
    T = motion((0.1, -0.05, -0.6), 0.04)
    points = CAMERA.rays() * depth[..., None]
    turned = points @ T[:3, :3].T
    flow = CAMERA.project(turned + T[:3, 3]) - CAMERA.project(turned)
    expected = np.linalg.norm(flow, axis=-1).mean()
    assert expected > 1
    assert translation_flow_px(depth, CAMERA, T) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_flow_does_not_depend_on_the_unit(unit):
    depth = np.random.default_rng(0).uniform(2, 20, (25, 41))
    one = translation_flow_px(depth, CAMERA, motion((0.1, 0, -0.5), 0.1))
    other = translation_flow_px(depth * unit, CAMERA, motion((0.1 * unit, 0, -0.5 * unit), 0.1))
    assert other == pytest.approx(one, rel=1e-12)


def test_flow_leaves_out_missing_depth_and_points_behind_the_camera():
    depth = np.full((25, 41), 4.0)
    depth[0, :4] = [np.nan, np.inf, 0, -1]
    depth[1] = 0.5  # behind the camera, or on its plane, after the motion
    depth[2] = 0.6
    T = motion((0.2, 0, -0.6))
    seen = depth == 4
    turned = CAMERA.rays()[seen] * 4.0
    flow = CAMERA.project(turned + T[:3, 3]) - CAMERA.project(turned)
    expected = np.linalg.norm(flow, axis=-1).mean()
    assert translation_flow_px(depth, CAMERA, T) == pytest.approx(expected, rel=1e-12)


def test_flow_of_sparse_depth_leaves_out_what_is_too_near_to_be_true():
    depth = np.zeros((25, 41))  # the median is that of the known depths, not of the zeros
    depth[5], depth[5, 0] = 4.0, 1e-5
    assert translation_flow_px(depth, CAMERA, motion((0.2, 0, 0))) == pytest.approx(5.0)


def test_flow_of_nothing_is_nan():
    depth = np.full((25, 41), 4.0)
    assert math.isnan(translation_flow_px(np.zeros((25, 41)), CAMERA, motion((0.2, 0, 0))))
    assert math.isnan(translation_flow_px(depth, CAMERA, motion((0, 0, -5))))
    assert math.isnan(translation_flow_px(depth, CAMERA, motion((0, 0, np.nan))))


# --- against ground truth -----------------------------------------------------------------------


def test_alignment_of_known_scales():
    """Depth in a unit of 0.1 m, poses in one of 0.1 m, too, but for the 2nd (+20 %)."""
    t_gt = np.array([0.8, 1.0, 1.2, 1.0])[:, None] * FORWARD
    t = np.array([8.0, 12.0, 12.0, 10.0])[:, None] * FORWARD
    result = true_scale_alignment(t, t_gt, np.array([100.0, 90, 80, 70]), np.array([10.0, 9, 8, 7]))
    np.testing.assert_allclose(result.a, [1, 1.2, 1, 1], rtol=1e-14)
    assert result.mean_error == pytest.approx(0.05)
    assert result.median == pytest.approx(1)
    assert result.spread == pytest.approx(math.sqrt(0.03 / 4), rel=1e-12)  # std of 1, 1.2, 1, 1
    assert (result.coverage, result.used) == (1.0, 4)


def test_alignment_sees_a_depth_that_changes_its_scale():
    t = drive()
    s = np.random.default_rng(1).uniform(0.8, 1.2, len(t))
    d = np.full(len(t), 12.0)
    wrong = true_scale_alignment(t, t, s * d, d)
    right = true_scale_alignment(s[:, None] * t, t, s * d, d)
    np.testing.assert_allclose(wrong.a, 1 / s, rtol=1e-12)
    assert wrong.mean_error > 0.05
    assert right.mean_error < 1e-12
    assert right.spread < 1e-12


def test_alignment_leaves_out_standing_still_failures_and_missing_depth():
    t_gt = np.array([1.0, 0.09, 0.11, 0.0, 1.0, 1.0, 1.0, 1.0])[:, None] * FORWARD
    t, d_gt = np.repeat(FORWARD, 8, 0), np.full(8, 10.0)
    d = np.array([10.0, 10, 10, 10, 0, np.nan, 10, -10])
    success = np.array([True] * 6 + [False, True])
    result = true_scale_alignment(t, t_gt, d, d_gt, success)
    assert np.array_equal(np.isfinite(result.a), [True, False, True] + 5 * [False])
    assert (result.coverage, result.used) == (2 / 8, 2)
    moving = true_scale_alignment(t, t_gt, d, d_gt, success, min_motion=0.0)
    assert moving.used == 3, "0.09 m counts then; |t_gt| = 0 never does"
    nothing = true_scale_alignment(t, t_gt, d, d_gt, np.zeros(8, bool))
    assert np.isnan([nothing.mean_error, nothing.median, *nothing.a]).all()
    assert (nothing.coverage, nothing.used) == (0.0, 0)


def test_correlation():
    r = np.array([1.0, np.nan, 2, 3, 9])
    a = np.array([2.0, 5, 4, 6, np.nan])
    assert scale_correlation(r, a) == pytest.approx(1.0)
    assert scale_correlation(r, -a) == pytest.approx(-1.0)
    x, y = drive(seed=1)[:, 2], drive(seed=2)[:, 2]
    assert scale_correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-12)
    assert math.isnan(scale_correlation(r[:3], a[:3])), "any two points correlate perfectly"
    assert math.isnan(scale_correlation(np.full(9, 0.1), np.arange(9.0))), "0.1 does not vary"


# --- noise floor --------------------------------------------------------------------------------


def test_noise_floor_is_the_noise_of_one_refinement():
    """The floor of pairs without any jitter equals the spread that the measure then reports."""
    g = np.random.default_rng(5)
    t = np.repeat(drive(), 100, 0)
    size, along = np.linalg.norm(t, axis=1)[:, None], t / np.linalg.norm(t, axis=1)[:, None]
    a, b = (t + 0.02 * size * g.normal(size=(len(t), 1)) * along for _ in range(2))
    flow, success = np.full(len(t), 3.0), np.ones(len(t), bool)
    floor = noise_floor(a, b, flow, success)
    assert floor.spread == pytest.approx(0.02, rel=0.04)
    assert floor.mad == pytest.approx(0.02, rel=0.04)
    assert floor.spread == pytest.approx(scale_consistency(t, a, flow, success).spread, rel=0.04)
    assert (floor.coverage, floor.used) == (1.0, len(t))
    # What both share, here a scale that jitters by a third, is no noise.
    shared = g.uniform(0.7, 1.3, (len(t), 1))
    assert noise_floor(shared * a, shared * b, flow, success).spread == pytest.approx(floor.spread)


def test_noise_floor_of_equal_or_no_refinements():
    t = drive()
    flow, success = np.full(len(t), 3.0), np.ones(len(t), bool)
    assert noise_floor(t, t, flow, success).spread < 1e-15
    nothing = noise_floor(t, t, 0 * flow, success)
    assert math.isnan(nothing.spread)
    assert nothing.used == 0


# --- wrong input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t_net": np.ones((4, 4))}, r"t_net must be \(N, 3\) or \(N, 4, 4\), got \(4, 4\)"),
        ({"t_ref": np.ones((5, 3))}, r"t_ref must be \(4, 3\) or \(4, 4, 4\), got \(5, 3\)"),
        ({"flow_px": np.ones((4, 1))}, r"flow_px must be \(4,\), got \(4, 1\)"),
        ({"success": np.ones(3, bool)}, r"success must be \(4,\) bool, got \(3,\) bool"),
        ({"success": np.zeros(4, int)}, r"success must be \(4,\) bool, got \(4,\) int64"),
        ({"min_flow_px": -1.0}, "min_flow_px must be 0 or more, got -1.0"),
    ],
)
def test_wrong_shapes_are_named(change, message):
    t = np.ones((4, 3))
    good = {"t_net": t, "t_ref": t, "flow_px": np.ones(4), "success": np.ones(4, bool)}
    with pytest.raises(ValueError, match=message):
        scale_consistency(**(good | change))


def test_wrong_shapes_of_the_others_are_named():
    t, one = np.ones((4, 3)), np.ones(4)
    with pytest.raises(ValueError, match=r"depth_median must be \(4,\), got \(5,\)"):
        true_scale_alignment(t, t, np.ones(5), one)
    with pytest.raises(ValueError, match=r"t_gt must be \(4, 3\) or \(4, 4, 4\), got \(2, 3\)"):
        true_scale_alignment(t, t[:2], one, one)
    with pytest.raises(ValueError, match="min_motion must be 0 or more, got nan"):
        true_scale_alignment(t, t, one, one, min_motion=math.nan)
    with pytest.raises(ValueError, match=r"a must be \(4,\), got \(3,\)"):
        scale_correlation(one, np.ones(3))
    with pytest.raises(ValueError, match=r"depth must be \(25, 41\), got \(41, 25\)"):
        translation_flow_px(np.ones((41, 25)), CAMERA, np.eye(4))
    with pytest.raises(ValueError, match=r"T_s_t must be \(4, 4\), got \(3, 4\)"):
        translation_flow_px(np.ones((25, 41)), CAMERA, np.eye(4)[:3])


# --- with the refiner ---------------------------------------------------------------------------


def refined(scene: Scene, start: pp.LieTensor, depth: torch.Tensor, config: RefineConfig):
    """Refined poses (N, 4, 4), success (N,) and flow (N,)."""
    result = PoseRefiner(config)(scene.source, scene.target, depth, scene.K, start)
    T_s_t, K = result.pose.matrix().numpy(), scene.K[0].numpy()
    camera = Camera(K[0, 0], K[1, 1], K[0, 2], K[1, 2], depth.shape[3], depth.shape[2])
    flow = [translation_flow_px(d[0].numpy(), camera, T) for d, T in zip(depth, T_s_t, strict=True)]
    return T_s_t, result.success.numpy(), np.array(flow)


def stretched(pose: pp.LieTensor, factors: np.ndarray) -> pp.LieTensor:
    """Poses with their translations multiplied by ``factors`` (N,)."""
    numbers = pose.tensor().clone()
    numbers[:, :3] *= torch.from_numpy(factors)[:, None]
    return pp.SE3(numbers)


DENSE = RefineConfig(num_points=None)


def test_refinement_finds_the_scale_of_every_pose():
    """Poses off by known factors, exact depth: r is the factor, and the spread that of them."""
    scene = make_scene(batch=24, seed=3)
    factors = np.random.default_rng(2).normal(1.0, 0.09, 24)
    start = stretched(scene.truth, factors)
    t_ref, success, flow = refined(scene, start, scene.depth, DENSE)
    assert success.all()
    result, used = scale_consistency(start.matrix().numpy(), t_ref, flow, success), flow >= 1
    assert result.used == used.sum() >= 20
    np.testing.assert_allclose(result.r[used], factors[used], rtol=0.02)
    assert np.median(np.abs(result.r[used] / factors[used] - 1)) < 0.0031
    truth = np.std(factors[used] / np.median(factors[used]))
    assert result.spread == pytest.approx(truth, abs=0.003)


def test_refinement_gives_poses_the_scale_of_their_depth():
    """True poses, but a depth whose scale jitters: the poses follow, and r foretells by how much.

    The trajectory itself gets worse by it, which is why consistency is no accuracy.
    """
    scene = make_scene(batch=24, seed=4)
    s = np.random.default_rng(6).uniform(0.85, 1.15, 24)
    depth = scene.depth * torch.from_numpy(s)[:, None, None, None]
    T_gt = scene.truth.matrix().numpy()
    T_ref, success, flow = refined(scene, scene.truth, depth, DENSE)
    d, d_gt = (np.median(x.numpy().reshape(24, -1), axis=1) for x in (depth, scene.depth))
    before = true_scale_alignment(T_gt, T_gt, d, d_gt, success)
    after = true_scale_alignment(T_ref, T_gt, d, d_gt, success)
    assert before.used == after.used >= 20
    assert after.mean_error < 0.01 < 0.05 < before.mean_error
    assert after.spread < 0.2 * before.spread
    consistency = scale_consistency(T_gt, T_ref, flow, success)
    assert scale_correlation(consistency.r, before.a) > 0.99


def test_noise_floor_of_two_seeds_tells_most_of_the_noise():
    """Noisy features, poses in the scale of the depth: what spread remains is the measure's own."""
    scene = make_scene(batch=24, seed=5, noise=0.1)
    few = RefineConfig(num_points=480)  # an eighth of the pixels of the finest level
    a, success_a, flow = refined(scene, scene.truth, scene.depth, few)
    b, success_b, _ = refined(scene, scene.truth, scene.depth, replace(few, seed=1))
    floor = noise_floor(a, b, flow, success_a & success_b)
    noise = scale_consistency(scene.truth.matrix().numpy(), a, flow, success_a).spread
    assert noise > 0.005
    assert 0.4 * noise < floor.spread < 1.4 * noise
