"""Levenberg-Marquardt: the same algorithm as PyPose's, for each item of a batch."""

from dataclasses import replace

import pypose as pp
import pytest
import torch
from feature_scene import disturbed, errors, make_scene

from vo.refine import Adaptive, FeatureMetricLM, PoseModel, feature_pair
from vo.refine.iteration import accepts, damped_step
from vo.tools.benchmarks.refine_baselines import CompressedModel


def pair_of(scene, source_confidence=False, level=2):
    return feature_pair(
        scene.source[level], scene.target[level], scene.depth, scene.K, num_points=None, seed=0,
        derivative="central", source_confidence=source_confidence, min_depth=1e-3,
    )  # fmt: skip


@pytest.mark.parametrize("kernel", [None, pp.optim.kernel.Cauchy(1.0)], ids=["none", "cauchy"])
def test_equals_stock_pypose_lm_on_the_compressed_residual(kernel):
    scene = make_scene(batch=1)
    pair, start = pair_of(scene), disturbed(scene.truth, 0.08, 0.8)
    ours = FeatureMetricLM(PoseModel(start, kernel), strategy=pp.optim.strategy.Adaptive(1e-3))
    model = CompressedModel(start, pair, kernel)
    stock = pp.optim.LM(model, strategy=pp.optim.strategy.Adaptive(1e-3), reject=1)
    # Until there is nothing to gain: then stock LM keeps the last of its rejected steps.
    for _ in range(3):
        ours.step(pair)
        stock.step(None)
        a, b = ours.pose_model.pose.tensor(), model.pose.tensor()
        assert torch.allclose(a, b, atol=1e-8), "the same pose after each iteration"
    assert errors(ours.pose_model.pose, scene.truth)[0] < 0.01


def test_works_under_pyposes_scheduler_and_leaves_the_callers_pose_alone():
    scene = make_scene(batch=3)
    pair, start = pair_of(scene, source_confidence=True), disturbed(scene.truth, 0.08, 0.8)
    before = start.tensor().clone()
    optimizer = FeatureMetricLM(PoseModel(start, pp.optim.kernel.Cauchy(1.0)))
    scheduler = pp.optim.scheduler.StopOnPlateau(optimizer, steps=10, patience=2, decreasing=1e-6)
    scheduler.optimize(pair)
    assert torch.equal(start.tensor(), before)
    t, r = errors(optimizer.pose_model.pose, scene.truth)
    assert t.max() < 0.01
    assert r.max() < 0.1


@pytest.mark.parametrize(
    "strategy",
    [
        pp.optim.strategy.Constant(1e-3),
        pp.optim.strategy.Adaptive(1e-3),
        pp.optim.strategy.TrustRegion(1e3),
        Adaptive(1e-3),
    ],
    ids=lambda s: f"{type(s).__module__.split('.')[0]}.{type(s).__name__}",
)
@pytest.mark.parametrize(
    "solver",
    [pp.optim.solver.Cholesky(), pp.optim.solver.PINV(), pp.optim.solver.LSTSQ()],
    ids=lambda s: type(s).__name__,
)
def test_takes_pyposes_strategies_and_solvers(strategy, solver):
    if isinstance(strategy, pp.optim.strategy.TrustRegion):
        strategy.defaults["damping"] = 1e-3
    scene = make_scene(batch=1)
    optimizer = FeatureMetricLM(
        PoseModel(disturbed(scene.truth, 0.05, 0.5)), solver=solver, strategy=strategy
    )
    pair = pair_of(scene)
    losses = [float(optimizer.step(pair)) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert errors(optimizer.pose_model.pose, scene.truth)[0] < 0.01


def test_energy_never_rises_and_other_data_are_judged_by_their_own_energy():
    """PyPose's optimizers compare with the energy of the last call, whatever its data were."""
    scene = make_scene(batch=2)
    optimizer = FeatureMetricLM(PoseModel(disturbed(scene.truth, 0.1, 1.0)))
    for level in (0, 1, 2):
        pair = pair_of(scene, level=level)
        for _ in range(3):
            loss = optimizer.step(pair)
            assert loss <= optimizer.last
    assert errors(optimizer.pose_model.pose, scene.truth)[0].max() < 0.01


def test_targets_and_weights_are_refused():
    scene = make_scene(batch=1)
    optimizer = FeatureMetricLM(PoseModel(scene.truth))
    with pytest.raises(ValueError, match="belong into the FeaturePair"):
        optimizer.step(pair_of(scene), weight=torch.eye(6))


def test_damping_is_relative_and_per_item():
    scene = make_scene(batch=3)
    with torch.no_grad():
        equations = PoseModel(disturbed(scene.truth, 0.05, 0.5))(pair_of(scene))
    damping = torch.tensor([0.0, 1.0, 1e9]).double()
    xi, solvable = damped_step(equations, damping, pp.optim.solver.Cholesky())
    assert solvable.all()
    for b in range(3):
        H = equations.hessian[b]
        A = H + damping[b] * torch.diag(H.diagonal())
        assert torch.allclose(A @ xi[b], -equations.gradient[b], atol=1e-9 * float(A.abs().max()))
    assert xi[2].norm() < 1e-6 * xi[0].norm()


def test_leaving_the_picture_is_no_way_to_lower_the_energy():
    scene = make_scene(batch=1)
    before = PoseModel(disturbed(scene.truth, 0.02, 0.1))(pair_of(scene))
    stays = torch.arange(before.weight.shape[1]) % 3 > 0
    after = replace(before, weight=before.weight * stays, cost=before.cost * 1.01)
    assert after.energy < before.energy, "the sum over all points falls"
    accepted, last, loss = accepts(before, after)
    assert loss == pytest.approx(1.01 * last)
    assert not accepted
    better = replace(after, cost=before.cost * 0.99)
    assert accepts(before, better)[0]
    few = replace(better, weight=before.weight * (torch.arange(before.weight.shape[1]) % 3 == 0))
    assert not accepts(before, few)[0], "fewer than half of the points are too few to judge"
