"""What the refinement costs: time and memory, side by side with other ways to the same pose.

Input: pairs in a made-up street canyon (`refine_input`) of 192 x 640 pixels, levels at strides 8,
4 and 2, first guesses 0.3 m and 0.5 degrees off; five iterations a level, float32 features. A full
refinement goes from features, depth and a pose to the verdict on it: points are drawn, features
laid out, levels aligned. ``to the end`` is without early stop, 15 iterations, as the other ways
do; with ``early stop``, the default, it ends when the next step would move less than 0.05 pixels.

An iteration is `FeatureMetricLM.iterate` on the finest level. A training row is a full refinement
forward, and backward to features, confidence, depth and first guess, of the squared difference to
the true pose matrix after each level; whole steps of a training are those of ``benchmark train``.
Three steps are the first three `step` of a new optimizer on the finest level, without a kernel.

Names of ratios: the other way has all pixels; so has ours, unless ``_2000_points`` stands at the
end. ``_both_2000_points``: both have 2000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import pypose as pp
import torch
from torch import Tensor

from vo.depth.feature_net import FeatureLevel
from vo.depth.net import DepthConfig, DepthNet
from vo.refine import (
    FeatureMetricLM,
    FeaturePair,
    PoseModel,
    PoseRefiner,
    RefineConfig,
    Refinement,
    feature_pair,
)
from vo.tools.benchmarks.measure import Call, Timing, take_turns
from vo.tools.benchmarks.refine_baselines import PerPointJacobian, StockModel, compressed_refine
from vo.tools.benchmarks.refine_input import RefineInput, canyon_input
from vo.tools.benchmarks.refine_rows import Plan, Report, Setting, make_row, measure

FEW = 2000  # points
STOCK_POINTS = (64, 256, 1000)
STEPS = 3
PER_POINT, COMPRESSED, STOCK = "per-point Jacobian", "PyPose LM, compressed", "PyPose LM"
RATIO = "per_point_jacobian_over_ours"


def measure_all(plan: Plan, tell: Callable[[str], None]) -> Iterator[Report]:
    """Everything in turn; ``tell`` hears what begins."""
    tell("steps of PyPose's optimizer")
    yield stock_steps(STOCK_POINTS, plan)
    for batch in plan.batches:
        for channels in plan.channels:
            tell(f"refinement, batch {batch}, {channels} channels")
            yield refinements(batch, channels, plan)
            yield iterations(batch, channels, plan)
    tell("depth net")
    yield against_depth_net(plan)
    for batch in plan.training_batches:
        tell(f"training through the refinement, batch {batch}")
        yield training(batch, 16, plan)


def refinements(batch: int, channels: int, plan: Plan) -> Report:
    """Full refinements, with and without early stop, against the other ways."""
    data = canyon_input(batch, channels, plan.size)
    task = partial(Setting, "refinement", batch=batch, channels=channels)
    calls: dict[Setting, Call] = {}
    for points in (None, FEW):
        for backend in plan.backends:
            for variant, tolerance in (("to the end", 0.0), ("early stop", 0.05)):
                refiner = PoseRefiner(
                    RefineConfig(num_points=points, backend=backend, tolerance_px=tolerance)
                )
                calls[task("ours", points=points, backend=backend, variant=variant)] = partial(
                    refined, refiner, data
                )
        other = PerPointJacobian(num_points=points)
        calls[task(PER_POINT, points=points, variant="to the end")] = partial(others, other, data)
    if batch == 1:
        calls[task(COMPRESSED, variant="to the end")] = partial(compressed, data)
    with torch.no_grad():
        rows, timings = measure(calls, plan, data.truth)
    tail = f"time_batch{batch}_c{channels}"
    ratios = _against_per_point(timings, task(variant="to the end"), tail)
    if batch == 1:
        ours, stock = task(variant="to the end"), task(COMPRESSED, variant="to the end")
        ratios[f"compressed_pypose_lm_over_ours_{tail}"] = timings[stock].over(timings[ours])
    return Report(rows, ratios)


def iterations(batch: int, channels: int, plan: Plan) -> Report:
    """Single iterations on the finest level."""
    data = canyon_input(batch, channels, plan.size)
    calls: dict[Setting, Call] = {}
    with torch.no_grad():
        for points in (None, FEW):
            pair = finest_pair(data, points)
            for backend in plan.backends:
                model = PoseModel(data.T_init, pp.optim.kernel.Cauchy(1.0), backend)
                optimizer = FeatureMetricLM(model)
                setting = Setting("iteration", "ours", batch, channels, points, backend)
                calls[setting] = partial(optimizer.iterate, pair, optimizer.begin(pair))
        rows, _ = measure(calls, plan)
    return Report(rows, {})


def stock_steps(counts: tuple[int, ...], plan: Plan) -> Report:
    """PyPose's own optimizer on the residuals as they are: seconds a step at 1000 points."""
    data, rows, ratios = canyon_input(1, 16, plan.size), (), {}
    for count in counts:
        pair = finest_pair(data, count, source_confidence=False)
        setting = partial(Setting, "three steps", points=count)
        calls: dict[Setting, Call] = {
            setting("ours"): partial(our_steps, data, pair),
            setting(STOCK): partial(pypose_steps, data, pair),
        }
        our_steps(data, pair)
        timings = take_turns(calls, plan.seconds, at_least=2, at_most=31, warm_up=False)
        rows += tuple(make_row(s, timing) for s, timing in timings.items())
        ratio = timings[setting(STOCK)].over(timings[setting("ours")])
        ratios[f"stock_pypose_lm_over_ours_step_time_{count}_points"] = ratio
    return Report(rows, ratios)


def against_depth_net(plan: Plan) -> Report:
    """The refinement as it is by default, beside the depth network that a frame needs anyway."""
    data = canyon_input(1, 16, plan.size)
    net, image = DepthNet(DepthConfig()).eval(), torch.rand(1, 3, *plan.size)
    yardstick = Setting("depth net", "ResNet-18", channels=0)
    calls: dict[Setting, Call] = {yardstick: partial(net, image)}
    for backend in plan.backends:
        refiner = PoseRefiner(RefineConfig(num_points=FEW, backend=backend))
        setting = Setting("refinement", points=FEW, backend=backend, variant="early stop")
        calls[setting] = partial(refined, refiner, data)
    with torch.no_grad():
        rows, timings = measure(calls, plan)
    ratios = {
        "refine_over_depthnet_time_batch1" + _suffix(setting): timing.over(timings[yardstick])
        for setting, timing in timings.items()
        if setting != yardstick
    }
    return Report(rows[:1], ratios)


def training(batch: int, channels: int, plan: Plan) -> Report:
    """Refinements forward and backward, in all ways that gradients can take."""
    data = canyon_input(batch, channels, plan.size)
    task = partial(Setting, "training", batch=batch, channels=channels)
    calls: dict[Setting, Call] = {}
    for points in (None, FEW):
        for backend in plan.training_backends:
            for backward in ("unroll", "one_step", "implicit"):
                dense_too = points is not None or backward in plan.dense_backwards
                if not dense_too or (backend == "compiled" and backward != "unroll"):
                    continue
                config = RefineConfig(
                    num_points=points, backend=backend, tolerance_px=0.0, backward=backward
                )
                setting = task("ours", points=points, backend=backend, variant=backward)
                calls[setting] = partial(learn, partial(refined, PoseRefiner(config)), data)
        other = partial(others_by_level, PerPointJacobian(num_points=points))
        calls[task(PER_POINT, points=points, variant="unroll")] = partial(learn, other, data)
    rows, timings = measure(calls, plan, data.truth)
    tail = f"batch{batch}_c{channels}_training"
    ratios = _against_per_point(timings, task(variant="unroll"), f"time_{tail}")
    memory = {row.setting: row.peak_mb or 0.0 for row in rows}
    ratios |= _against_per_point(memory, task(variant="unroll"), f"memory_{tail}")
    return Report(rows, ratios)


# --- what is called -----------------------------------------------------------------------------


def refined(refiner: PoseRefiner, data: RefineInput) -> Refinement:
    """Ours."""
    return refiner(data.source, data.target, data.depth, data.K, data.T_init)


def others(method: PerPointJacobian, data: RefineInput) -> pp.LieTensor:
    """Poses by the per-point Jacobian."""
    return others_by_level(method, data)[-1]


def others_by_level(method: PerPointJacobian, data: RefineInput) -> tuple[pp.LieTensor, ...]:
    """Poses by the per-point Jacobian after each level."""
    return method(data.source, data.target, data.depth, data.K, data.T_init)


def compressed(data: RefineInput) -> pp.LieTensor:
    """Pose by PyPose's optimizer on the compressed residual."""
    config = RefineConfig(num_points=None)
    pairs = [_pair(s, t, data, None, True) for s, t in zip(data.source, data.target, strict=True)]
    kernel = pp.optim.kernel.Cauchy(config.kernel_scale)
    return compressed_refine(pairs, data.T_init, kernel, config.iterations, config.damping)


def our_steps(data: RefineInput, pair: FeaturePair) -> list[Tensor]:
    """Energies () after each step of ours, without a kernel."""
    optimizer = FeatureMetricLM(PoseModel(data.T_init))
    return [optimizer.step(pair) for _ in range(STEPS)]


def pypose_steps(data: RefineInput, pair: FeaturePair) -> list[object]:
    """Energies () after each step of PyPose's optimizer on the same points."""
    model = StockModel(data.T_init, pair, data.source[-1].features)
    optimizer = pp.optim.LM(model, strategy=pp.optim.strategy.Adaptive(1e-3))
    return [optimizer.step(None) for _ in range(STEPS)]


Poses = Refinement | tuple[pp.LieTensor, ...]


def learn(refine: Callable[[RefineInput], Poses], data: RefineInput) -> Refinement | pp.LieTensor:
    """Refine, and take the gradient of the poses' error by everything that goes in."""
    depth, pose = (x.detach().requires_grad_() for x in (data.depth, data.T_init.tensor()))
    source, target = (tuple(map(_leaf, frame)) for frame in (data.source, data.target))
    result = refine(RefineInput(source, target, depth, data.K, pp.SE3(pose), data.truth))
    poses = result.levels if isinstance(result, Refinement) else result
    error = torch.stack([p.matrix() for p in poses]) - data.truth.matrix()
    inputs = [depth, pose]
    inputs += [level.maps for level in (*source, *target)]
    torch.autograd.grad(error.square().sum(), inputs, allow_unused=True)
    return result if isinstance(result, Refinement) else result[-1]


def finest_pair(
    data: RefineInput, points: int | None, source_confidence: bool = True
) -> FeaturePair:
    """The finest level, laid out."""
    return _pair(data.source[-1], data.target[-1], data, points, source_confidence)


def _pair(
    source: FeatureLevel,
    target: FeatureLevel,
    data: RefineInput,
    points: int | None,
    source_confidence: bool,
) -> FeaturePair:
    return feature_pair(
        source, target, data.depth, data.K, num_points=points, seed=0, derivative="central",
        source_confidence=source_confidence, min_depth=0.0,
    )  # fmt: skip


def _leaf(level: FeatureLevel) -> FeatureLevel:
    return FeatureLevel(level.maps.detach().requires_grad_(), level.stride)


def _against_per_point(
    values: Mapping[Setting, Timing] | Mapping[Setting, float], ours: Setting, tail: str
) -> dict[str, float]:
    """The other way over ours, for the points and back ends that were measured."""
    ratios = {}
    dense, few = (replace(ours, method=PER_POINT, points=points) for points in (None, FEW))
    for backend in ("eager", "compiled"):
        mine = replace(ours, backend=backend)
        if mine not in values:
            continue
        end, mine_few = _suffix(mine), replace(mine, points=FEW)
        ratios[f"{RATIO}_{tail}{end}"] = _over(values[dense], values[mine])
        ratios[f"{RATIO}_{tail}_2000_points{end}"] = _over(values[dense], values[mine_few])
        ratios[f"{RATIO}_{tail}_both_2000_points{end}"] = _over(values[few], values[mine_few])
    return ratios


def _over(a: Timing | float, b: Timing | float) -> float:
    if isinstance(a, Timing) and isinstance(b, Timing):
        return a.over(b)
    if isinstance(a, Timing) or isinstance(b, Timing):
        raise ValueError("a time and a number are not comparable")
    return a / b


def _suffix(setting: Setting) -> str:
    return "_compiled" if setting.backend == "compiled" else ""
