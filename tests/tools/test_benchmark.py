"""The benchmark of the refinement: what it compares is comparable, and what it counts is right."""

from __future__ import annotations

import json
import subprocess
import sys

import pypose as pp
import pytest
import torch

from vo.depth.feature_net import FeatureLevel
from vo.refine import FeatureMetricLM, PoseModel, PoseRefiner, RefineConfig, feature_pair
from vo.tools import benchmark
from vo.tools.benchmarks.ablation import ablation
from vo.tools.benchmarks.depth import depth
from vo.tools.benchmarks.measure import Timing, peak_mb, take_turns
from vo.tools.benchmarks.refine import (
    against_depth_net,
    iterations,
    learn,
    refinements,
    stock_steps,
    training,
)
from vo.tools.benchmarks.refine_baselines import (
    CompressedModel,
    PerPointJacobian,
    StockModel,
    compressed_refine,
)
from vo.tools.benchmarks.refine_basin import Share, basin, draw_basin
from vo.tools.benchmarks.refine_input import canyon_input, drawn_motion, pose_errors
from vo.tools.benchmarks.refine_rows import Plan, Report
from vo.tools.benchmarks.run import run_speed
from vo.tools.benchmarks.scenes import scenes
from vo.tools.benchmarks.train import train

SMALL = (64, 128)
TINY_PLAN = Plan(
    seconds=0,
    rounds=1,
    backends=("eager",),
    training_backends=("eager",),
    dense_backwards=("unroll",),
    size=SMALL,
)
MB = 1_000_000


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vo.tools.benchmark", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def level_pair(
    data, points=None, derivative="central", source_confidence=True, dtype=torch.float64
):
    source, target = (
        FeatureLevel(l.maps.to(dtype), l.stride) for l in (data.source[-1], data.target[-1])
    )
    return feature_pair(
        source, target, data.depth.to(dtype), data.K.to(dtype), num_points=points, seed=0,
        derivative=derivative, source_confidence=source_confidence, min_depth=0.0,
    )  # fmt: skip


# --- measuring ----------------------------------------------------------------------------------


def test_memory_counts_what_lives_at_the_same_time():
    x = torch.zeros(MB // 4)  # 1 MB

    def three_of_which_two_live():
        y = x + 1
        z = y + 1
        del y
        return z + 1

    assert peak_mb(three_of_which_two_live) == pytest.approx(2, rel=1e-3)


def test_memory_released_but_allocated_before_is_no_credit():
    before = [torch.zeros(4 * MB)]

    def release_then_allocate():
        before.clear()
        return torch.zeros(MB // 4)

    assert peak_mb(release_then_allocate) == pytest.approx(1, rel=1e-3)


def test_turns_alternate_and_each_is_called_once_before():
    calls = []
    timings = take_turns(
        {name: lambda name=name: calls.append(name) for name in "ab"}, 0, at_least=3
    )
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert [len(t.rounds_ms) for t in timings.values()] == [3, 3]


def test_a_ratio_is_that_of_rounds_so_that_a_slow_minute_cancels_out():
    other, ours = Timing((10.0, 100.0, 10.0)), Timing((5.0, 50.0, 4.0))
    assert other.over(ours) == 2
    with pytest.raises(ValueError, match="not side by side"):
        other.over(Timing((1.0,)))


# --- the input ----------------------------------------------------------------------------------


def test_true_pose_of_the_canyon_explains_its_features():
    data = canyon_input(2, 8, SMALL, off_m=0.5, off_deg=2.0)
    energy = {
        name: PoseModel(pose)(level_pair(data)).energy
        for name, pose in (("truth", data.truth), ("start", data.T_init))
    }
    assert (energy["truth"] < 0.2 * energy["start"]).all()
    metres, degrees = pose_errors(data.T_init, data.truth)
    assert torch.allclose(degrees, torch.full_like(degrees, 2.0), atol=1e-9)
    assert ((metres > 0.4) & (metres < 0.6)).all()
    assert not torch.allclose(data.source[0].features[0], data.source[0].features[1])


# --- the other ways -----------------------------------------------------------------------------


def test_stock_lm_on_plain_residuals_takes_the_same_step():
    """With the same derivative, kernel and damping, both are the same algorithm."""
    data = canyon_input(1, 4, SMALL)
    pair = level_pair(data, points=50, derivative="exact", source_confidence=False)
    model = StockModel(data.T_init, pair, data.source[-1].features.double())
    stock = pp.optim.LM(model, strategy=pp.optim.strategy.Adaptive(1e-3))
    ours = FeatureMetricLM(PoseModel(data.T_init), strategy=pp.optim.strategy.Adaptive(1e-3))
    start = ours.pose_model(pair).energy.detach()
    assert float(model(None).detach().square().sum()) == pytest.approx(float(start), rel=1e-12)
    loss = stock.step(None)
    assert float(loss) == pytest.approx(float(ours.step(pair)), rel=1e-10)
    assert loss < start
    assert torch.allclose(model.pose.tensor(), ours.pose_model.pose.tensor(), atol=1e-10)


def test_stock_lm_on_the_compressed_residual_has_and_reduces_the_same_energy():
    data = canyon_input(1, 8, SMALL)
    pair, kernel = level_pair(data), pp.optim.kernel.Cauchy(1.0)
    model = CompressedModel(data.T_init, pair, kernel)
    energy = PoseModel(data.T_init, kernel)(pair).energy
    assert float(model(None).square().sum()) == pytest.approx(float(energy), rel=1e-12)
    loss = pp.optim.LM(model, strategy=pp.optim.strategy.Adaptive(1e-3)).step(None)
    assert loss < energy


@pytest.mark.parametrize("points", [None, 300])
def test_all_ways_land_at_the_same_pose(points):
    data = canyon_input(2, 8, SMALL)
    count = (10, 10, 10)
    config = RefineConfig(iterations=count, num_points=points, tolerance_px=0.0, prior=False)
    with torch.no_grad():
        ours = PoseRefiner(config)(data.source, data.target, data.depth, data.K, data.T_init)
        other = PerPointJacobian(iterations=count, num_points=points)
        pose = other(data.source, data.target, data.depth, data.K, data.T_init)[-1]
    assert ours.success.all()
    # The accept test stops where the energy does, the other where g is 0: not quite the same place
    # with central differences. The first guess is 0.3 m and 0.5 degrees off.
    metres, degrees = pose_errors(pose, ours.pose)
    assert metres.max() < 0.01
    assert degrees.max() < 0.1
    equations = PoseModel(pose, pp.optim.kernel.Cauchy(1.0))(level_pair(data, points))
    step = torch.linalg.solve(equations.hessian, equations.gradient)
    assert step.abs().max() < 1e-4, "our g is 0 where the other ends"


def test_compressed_refinement_lands_where_ours_does():
    data = canyon_input(1, 8, SMALL)
    config = RefineConfig(num_points=None, tolerance_px=0.0, prior=False)
    with torch.no_grad():
        ours = PoseRefiner(config)(data.source, data.target, data.depth, data.K, data.T_init)
    pairs = [
        feature_pair(
            s, t, data.depth, data.K, num_points=None, seed=0, derivative="central",
            source_confidence=True, min_depth=0.0,
        )
        for s, t in zip(data.source, data.target, strict=True)
    ]  # fmt: skip
    pose = compressed_refine(pairs, data.T_init, pp.optim.kernel.Cauchy(1.0), config.iterations)
    # It keeps the last of its rejected steps, so that it goes on where ours stays.
    assert pose_errors(pose, ours.pose)[0].max() < 0.01


def test_gradient_reaches_the_first_guess_of_the_other_way():
    data = canyon_input(1, 8, SMALL)
    start = data.T_init.tensor().requires_grad_()
    way = PerPointJacobian(iterations=(1, 1, 1))
    poses = way(data.source, data.target, data.depth, data.K, pp.SE3(start))
    (slope,) = torch.autograd.grad(poses[0].matrix()[:, :3, 3].sum(), start)
    assert torch.isfinite(slope).all()
    assert slope.abs().max() > 0


def test_training_takes_gradients_of_both_ways():
    data = canyon_input(1, 8, SMALL)
    result = learn(lambda d: PerPointJacobian()(d.source, d.target, d.depth, d.K, d.T_init), data)
    assert isinstance(result, pp.LieTensor)
    assert not data.depth.requires_grad, "the input stays as it was"


# --- rows and ratios ----------------------------------------------------------------------------


def names(report: Report) -> set[str]:
    assert all(ratio > 0 for ratio in report.ratios.values())
    assert all(row.ms > 0 and row.rounds >= 1 for row in report.rows)
    return set(report.ratios)


def test_refinement_rows_tell_method_time_memory_and_where_they_land():
    report = refinements(1, 8, TINY_PLAN)
    assert {
        "per_point_jacobian_over_ours_time_batch1_c8",
        "per_point_jacobian_over_ours_time_batch1_c8_2000_points",
        "compressed_pypose_lm_over_ours_time_batch1_c8",
    } <= names(report)
    assert {row.setting.method for row in report.rows} == {
        "ours", "per-point Jacobian", "PyPose LM, compressed",
    }  # fmt: skip
    for row in report.rows:
        assert row.peak_mb > 0
        assert row.error_m < 0.1, row
    ours = {r.setting.variant: r.iterations for r in report.rows if r.setting.method == "ours"}
    assert ours["to the end"] == 15
    assert ours["early stop"] < 15


def test_training_rows_hold_ratios_of_time_and_memory():
    assert {
        "per_point_jacobian_over_ours_time_batch1_c8_training_2000_points",
        "per_point_jacobian_over_ours_memory_batch1_c8_training",
    } <= names(training(1, 8, TINY_PLAN))


def test_other_groups_have_their_ratios():
    assert names(stock_steps((20,), TINY_PLAN)) == {"stock_pypose_lm_over_ours_step_time_20_points"}
    assert names(against_depth_net(TINY_PLAN)) == {"refine_over_depthnet_time_batch1"}
    assert names(iterations(1, 4, TINY_PLAN)) == set()


# --- basin --------------------------------------------------------------------------------------


def test_basin_shrinks_with_distance_and_is_drawn():
    data = canyon_input(3, 8, SMALL)
    shares = basin([data], derivatives=("central",))
    by_start = {(s.off_m, s.off_deg): s for s in shares}
    assert by_start[0.1, 0.2].pairs == 3
    assert by_start[0.1, 0.2].share >= by_start[3.0, 0.2].share
    assert by_start[0.1, 0.2].share == 1
    assert by_start[0.1, 0.2].median_m < 0.05
    assert draw_basin(shares).startswith(b"\x89PNG")


# --- the command --------------------------------------------------------------------------------


def test_help_names_the_flags_without_loading_torch():
    done = command("refine", "--help")
    assert done.returncode == 0
    for flag in ("--quick", "--json", "--plot", "--threads", "--eager-only"):
        assert flag in done.stdout
    code = "import sys, vo.tools.benchmark; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--json", "nowhere/at.json"], "--json nowhere/at.json: there is no folder nowhere; "),
        (["--plot", "basin.pdf"], "--plot basin.pdf: is no .png; "),
        (["--threads", "0"], "--threads: is 0; give 1 or more"),
    ],
)
def test_bad_flags_are_refused_at_once_in_one_line(flags, message):
    done = command("refine", "--quick", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("measure", [ablation, depth, run_speed, scenes, train])
def test_a_place_for_json_is_demanded_before_anything_is_measured(measure, tmp_path):
    with pytest.raises(benchmark.InputError, match=r"--json .*no/at\.json: there is no folder"):
        measure(json_file=tmp_path / "no/at.json")


def test_no_compiler_is_said_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(benchmark.InputError, match=r"needs a C\+\+ compiler.*--eager-only"):
        benchmark._check_flags(None, None, eager_only=False, threads=None)
    benchmark._check_flags(None, None, eager_only=True, threads=None)


def test_json_and_table_hold_every_row(tmp_path, capsys):
    report = stock_steps((20,), TINY_PLAN)
    shares = [Share("central", 0.1, 0.2, 3, 1.0, 0.001, 0.01)]
    benchmark._print([report], shares)
    benchmark._write(tmp_path / "refine.json", {"threads": 2}, [report], shares)
    found = json.loads((tmp_path / "refine.json").read_text())
    assert set(found) == {"machine", "rows", "ratios", "basin"}
    assert found["ratios"] == report.ratios
    assert [row["method"] for row in found["rows"]] == ["ours", "PyPose LM"]
    assert found["rows"][0]["points"] == 20
    assert found["rows"][0]["ms"] > 0
    printed = capsys.readouterr().out
    assert "stock_pypose_lm_over_ours_step_time_20_points" in printed


def test_motions_are_those_of_a_car():
    motion = drawn_motion(50, torch.Generator().manual_seed(0)).matrix()
    assert (motion[:, 2, 3] < 0).all(), "a camera that drives ahead sees points come nearer"
