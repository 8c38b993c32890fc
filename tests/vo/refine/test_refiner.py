"""Coarse to fine: how near it comes, what passes a gradient, and what it does with bad input."""

import math
from dataclasses import replace
from itertools import product

import pypose as pp
import pytest
import torch
from feature_scene import Scene, disturbed, errors, make_scene
from torch.autograd import gradcheck

from vo.depth.feature_net import FeatureLevel
from vo.refine import PoseRefiner, Reason, RefineConfig
from vo.refine.refiner import make_kernel

DENSE = RefineConfig(num_points=None)


def refine(scene: Scene, start: pp.LieTensor, config: RefineConfig = DENSE, **changed):
    inputs = {"source": scene.source, "target": scene.target, "depth": scene.depth, "K": scene.K}
    return PoseRefiner(config)(**(inputs | changed), T_init=start)


def with_item(levels, item: int, change) -> tuple[FeatureLevel, ...]:
    """The pyramid with one item's features changed."""
    result = []
    for level in levels:
        maps = level.maps.clone()
        maps[item, ..., :-1, :, :] = change(maps[item, ..., :-1, :, :])
        result.append(replace(level, maps=maps))
    return tuple(result)


# --- accuracy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_points", [None, 800])
@pytest.mark.parametrize("derivative", ["central", "exact"])
def test_finds_the_true_pose(num_points, derivative):
    scene = make_scene(batch=6)
    start = disturbed(scene.truth, 0.1, 1.0)
    result = refine(scene, start, replace(DENSE, num_points=num_points, derivative=derivative))
    t, r = errors(result.pose, scene.truth)
    assert t.max() < 0.006
    assert r.max() < 0.06
    assert result.success.all()
    assert (result.energy < 0.1 * result.energy_before).all()
    assert (result.valid_share > 0.8).all()
    assert len(result.levels) == 3
    assert (result.iterations >= 2).all()
    assert torch.linalg.eigvalsh(result.information).min() > 0


def test_from_the_truth_it_stays_there():
    scene = make_scene(batch=4)
    t, r = errors(refine(scene, scene.truth).pose, scene.truth)
    assert t.max() < 0.003
    assert r.max() < 0.03


@pytest.mark.parametrize("kernel", ["cauchy", "huber", "pseudo_huber", "none"])
def test_every_kernel(kernel):
    scene = make_scene(batch=3)
    result = refine(scene, disturbed(scene.truth, 0.05, 0.5), replace(DENSE, kernel=kernel))
    assert errors(result.pose, scene.truth)[0].max() < 0.006


def test_robust_kernel_and_static_mask_withstand_a_thing_that_moves():
    scene = make_scene(batch=3)
    broken = []
    for level in scene.source:
        maps = level.maps.clone()
        features = maps[:, :-1]
        w = features.shape[-1]
        features[..., w // 2 :] = features[..., w // 2 :].roll(3, -1) * 3
        broken.append(replace(level, maps=maps))
    static = torch.ones_like(scene.depth)
    static[..., 35:] = 0
    start = disturbed(scene.truth, 0.05, 0.5)
    plain = refine(scene, start, replace(DENSE, kernel="none"), source=tuple(broken))
    robust = refine(scene, start, replace(DENSE, kernel_scale=0.3), source=tuple(broken))
    masked = PoseRefiner(DENSE)(tuple(broken), scene.target, scene.depth, scene.K, start, static)
    off = [float(errors(result.pose, scene.truth)[0].mean()) for result in (plain, robust, masked)]
    assert off[1] < 0.3 * off[0]
    assert off[2] < 0.01


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_unit_of_length_does_not_matter(scale):
    scene = make_scene(batch=3)
    start = disturbed(scene.truth, 0.08, 0.8)
    one = refine(scene, start).pose.tensor()
    T = start.tensor().clone()
    T[:, :3] *= scale
    other = refine(scene, pp.SE3(T), depth=scene.depth * scale).pose.tensor()
    assert torch.allclose(one[:, :3], other[:, :3] / scale, atol=1e-6)
    assert torch.allclose(one[:, 3:], other[:, 3:], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_unit_of_the_features_does_not_matter_without_a_kernel(scale):
    scene = make_scene(batch=3)
    start, config = disturbed(scene.truth, 0.08, 0.8), replace(DENSE, kernel="none")
    scaled = {
        name: with_item(levels, slice(None), lambda f: f * scale)
        for name, levels in (("source", scene.source), ("target", scene.target))
    }
    one, other = refine(scene, start, config), refine(scene, start, config, **scaled)
    assert torch.allclose(one.pose.tensor(), other.pose.tensor(), atol=1e-6)


def test_float32_and_bf16_features_under_autocast_come_out_in_float64():
    scene = make_scene(batch=3)
    start = disturbed(scene.truth, 0.08, 0.8)
    exact = refine(scene, start)

    def cast(levels, dtype):
        return tuple(replace(l, maps=l.maps.to(dtype)) for l in levels)

    for dtype, near in ((torch.float32, 2e-6), (torch.bfloat16, 2e-3)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = refine(
                scene, start, source=cast(scene.source, dtype), target=cast(scene.target, dtype),
                depth=scene.depth.float(), K=scene.K.float(),
            )  # fmt: skip
        assert result.pose.dtype == torch.float64
        off, _ = errors(result.pose, exact.pose)
        assert off.max() < near


def test_items_depend_neither_on_their_neighbours_nor_on_the_size_of_the_batch():
    scene = make_scene(batch=4, dtype=torch.float32)
    start = disturbed(scene.truth, 0.1, 1.0)
    together = refine(scene, start)
    for b in range(4):
        item = slice(b, b + 1)
        source, target = (
            tuple(FeatureLevel(l.maps[item], l.stride) for l in levels)
            for levels in (scene.source, scene.target)
        )
        alone = PoseRefiner(DENSE)(source, target, scene.depth[item], scene.K[item], start[item])
        assert torch.allclose(alone.pose.tensor()[0], together.pose.tensor()[b], atol=1e-5)
        assert alone.iterations[0] == together.iterations[b]


def test_targets_may_have_several_sources_each():
    scene = make_scene(batch=2)
    starts = disturbed(pp.SE3(scene.truth.tensor().repeat(2, 1)), 0.08, 0.8)
    static = torch.ones_like(scene.depth)
    static[:, :, :5] = 0

    def repeated(levels):
        return tuple(FeatureLevel(l.maps.repeat(2, 1, 1, 1), l.stride) for l in levels)

    depth, K, mask = (scene.depth.repeat(2, 1, 1, 1), scene.K.repeat(2, 1, 1),
                      static.repeat(2, 1, 1, 1))  # fmt: skip
    source, refiner = repeated(scene.source), PoseRefiner(DENSE)
    each = refiner(source, repeated(scene.target), depth, K, starts, mask)
    shared = refiner(source, scene.target, scene.depth, scene.K, starts, static)
    assert torch.allclose(each.pose.tensor(), shared.pose.tensor(), atol=1e-10)
    assert torch.allclose(each.valid_share, shared.valid_share)
    assert shared.success.all()
    with pytest.raises(ValueError, match="each target needs as many sources, got 2 for 4"):
        refiner(scene.source, repeated(scene.target), depth, K, starts[:2])


def test_early_stop_saves_iterations_and_costs_no_accuracy():
    scene = make_scene(batch=4)
    start = disturbed(scene.truth, 0.1, 1.0)
    early, late = refine(scene, start), refine(scene, start, replace(DENSE, tolerance_px=0.0))
    assert early.iterations.max() < late.iterations.min()
    assert errors(early.pose, scene.truth)[0].max() < errors(late.pose, scene.truth)[0].max() + 2e-3


def test_prior_holds_what_the_scene_leaves_open():
    """Far away everything looks the same from every place: only the prior knows the translation."""
    scene = make_scene(batch=2, noise=0.3)
    start = disturbed(scene.truth, 0.02, 0.3)
    far = scene.depth * 1000
    held = refine(scene, start, depth=far)
    assert held.success.all()
    moved = (held.pose.tensor() - start.tensor())[:, :3].norm(dim=1)
    assert (moved < 0.2 * far.median()).all()
    scene = make_scene(batch=6, noise=0.3)
    start = disturbed(scene.truth, 0.02, 0.3)
    off = [
        float(errors(refine(scene, start, replace(DENSE, prior=prior)).pose, scene.truth)[0].mean())
        for prior in (True, False)
    ]
    assert off[0] <= off[1], "where it is not needed it does no harm"


# --- gradients ----------------------------------------------------------------------------------


def tiny() -> Scene:
    return make_scene(batch=2, size=(20, 28), channels=3, strides=(2, 1), seed=4)


def probed(levels: tuple[FeatureLevel, ...], field: str, weights: torch.Tensor, seed: int):
    """The pyramid whose finest map has moved along three random directions, by ``weights`` (3,)."""
    g = torch.Generator().manual_seed(seed)
    last = levels[-1]
    parts = {"features": last.features, "confidence": last.confidence}
    value = parts[field]
    directions = torch.randn(3, *value.shape, generator=g, dtype=torch.float64) * 0.01
    parts[field] = value + torch.einsum("k,kbchw->bchw", weights, directions)
    return (*levels[:-1], FeatureLevel.of(**parts, stride=last.stride))


def check(config: RefineConfig, names: tuple[str, ...]) -> None:
    """gradcheck of the error of the pose with respect to the named inputs."""
    scene = tiny()
    start = disturbed(scene.truth, 0.02, 0.2)
    values = {
        "source": torch.zeros(3).double(),
        "target": torch.zeros(3).double(),
        "confidence": torch.zeros(3).double(),
        "depth": torch.zeros(2, 1, 1, 1).double(),
        "start": torch.zeros(2, 6).double(),
        "damping": torch.full((2,), 1e-3).double(),
    }

    def error(*chosen):
        v = values | dict(zip(names, chosen, strict=True))
        target = probed(scene.target, "features", v["target"], 1)
        result = PoseRefiner(config)(
            probed(scene.source, "features", v["source"], 0),
            probed(target, "confidence", v["confidence"], 2),
            scene.depth * v["depth"].exp(),
            scene.K,
            pp.se3(v["start"]).Exp() @ start,
            damping=v["damping"],
        )
        assert result.success.all()
        return (result.pose @ scene.truth.Inv()).Log().tensor()

    inputs = [values[name].clone().requires_grad_() for name in names]
    assert gradcheck(error, inputs, eps=1e-6, atol=2e-5, rtol=2e-4)


UNROLL = replace(DENSE, iterations=(2, 2), tolerance_px=0.0, detach_levels=False, prior=False)


@pytest.mark.parametrize("kernel", ["cauchy", "none"])
@pytest.mark.parametrize("name", ["source", "target", "confidence", "depth", "start", "damping"])
def test_gradients_of_the_unrolled_iterations(name, kernel):
    check(replace(UNROLL, kernel=kernel), (name,))


def test_gradients_with_prior_and_of_several_inputs_at_once():
    """All but depth: the prior's unit of length, the median depth, passes no gradient."""
    check(replace(UNROLL, prior=True, kernel="huber"), ("source", "confidence", "start"))


@pytest.mark.parametrize("name", ["source", "target", "confidence", "depth", "start"])
def test_gradients_of_the_implicit_function(name):
    config = replace(UNROLL, backward="implicit", iterations=(3, 4), newton_steps=6)
    check(config, (name,))


def test_implicit_equals_unrolling_to_convergence():
    scene = tiny()
    start = disturbed(scene.truth, 0.02, 0.2)
    grads = []
    for config in (
        replace(UNROLL, iterations=(3, 60), derivative="exact", kernel="none"),
        replace(UNROLL, iterations=(3, 3), derivative="exact", kernel="none", backward="implicit"),
    ):
        depth = scene.depth.clone().requires_grad_()
        result = refine(scene, start, config, depth=depth)
        (grad,) = torch.autograd.grad(result.pose.Log().tensor().sum(), depth)
        grads.append(grad)
    assert torch.allclose(*grads, atol=1e-6 * float(grads[0].abs().max()))


def test_one_step_points_where_the_implicit_gradient_does():
    scene = tiny()
    start = disturbed(scene.truth, 0.02, 0.2)
    grads = []
    for backward in ("implicit", "one_step"):
        depth = scene.depth.clone().requires_grad_()
        pose = refine(
            scene, start, replace(UNROLL, iterations=(3, 9), backward=backward), depth=depth
        ).pose
        grads.append(torch.autograd.grad(pose.Log().tensor().sum(), depth)[0].flatten())
    assert torch.cosine_similarity(*grads, dim=0) > 0.95


@pytest.mark.parametrize("backward", ["one_step", "implicit"])
def test_the_start_has_a_gradient_by_the_prior(backward):
    scene = tiny()
    grads = []
    for way in ("unroll", backward):
        xi = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
        start = pp.se3(xi).Exp() @ disturbed(scene.truth, 0.02, 0.2)
        config = replace(UNROLL, iterations=(6, 12), prior=True, backward=way, detach_levels=True)
        pose = refine(scene, start, config).pose
        grads.append(torch.autograd.grad(pose.Log().tensor().sum(), xi)[0].flatten())
    assert torch.cosine_similarity(*grads, dim=0) > 0.98
    assert 0.5 < grads[0].norm() / grads[1].norm() < 2


def test_detached_levels_pass_no_gradient_to_the_start():
    scene = tiny()
    xi = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    start = pp.se3(xi).Exp() @ disturbed(scene.truth, 0.02, 0.2)
    result = refine(scene, start, replace(UNROLL, detach_levels=True))
    (grad,) = torch.autograd.grad(result.pose.Log().tensor().sum(), xi, allow_unused=True)
    assert grad is None or (grad == 0).all()


def test_pose_gradient_of_pypose_is_the_left_perturbation_here():
    """`T.translation()`, `mat2SE3` and a concatenated SE3 give wrong gradients without a word."""
    scene = tiny()
    result = refine(scene, disturbed(scene.truth, 0.02, 0.2), UNROLL)
    pose = pp.SE3(result.pose.tensor().detach()).requires_grad_()
    weights = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (pose.matrix()[:, :3] * weights).sum().backward()
    for k in range(6):
        step = torch.zeros(2, 6, dtype=torch.float64)
        step[:, k] = 1e-6
        ahead, behind = (
            ((pp.se3(s * step).Exp() @ pose.detach()).matrix()[:, :3] * weights).sum((1, 2))
            for s in (1, -1)
        )
        assert torch.allclose(pose.grad[:, k], (ahead - behind) / 2e-6, atol=1e-7)


# --- faults: item 0 is bad, the others must not notice --------------------------------------------

BEHIND = torch.tensor([0, 0, -90.0, 0, 0, 0, 1])
FAULTS = {
    "constant features": (Reason.NO_TEXTURE, {"both": lambda f: torch.ones_like(f)}),
    "all features NaN": (Reason.TOO_FEW_POINTS, {"both": lambda f: f * torch.nan}),
    "depth of zero": (Reason.TOO_FEW_POINTS, {"depth": lambda d: d * 0}),
    "depth negative": (Reason.TOO_FEW_POINTS, {"depth": lambda d: -d}),
    "depth all NaN": (Reason.TOO_FEW_POINTS, {"depth": lambda d: d * torch.nan}),
    "all behind the camera": (Reason.TOO_FEW_POINTS, {"start": BEHIND}),
    "start not finite": (Reason.NOT_FINITE, {"start": torch.full((7,), torch.nan)}),
    "some depth NaN and infinite": (Reason.REFINED, {"depth": "spots"}),
    "some features NaN": (Reason.REFINED, {"source": "spots"}),
}  # fmt: skip


def spots(m: torch.Tensor) -> torch.Tensor:
    m = m.clone()
    m[..., 5:9, 5:9] = torch.nan
    m[..., 7, 3] = torch.inf
    return m


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("backward", ["unroll", "implicit", "one_step"])
def test_a_bad_item_keeps_its_pose_says_why_and_disturbs_nobody(name, backward):
    reason, fault = FAULTS[name]
    config = replace(DENSE, backward=backward)
    scene = make_scene(batch=3)
    start = disturbed(scene.truth, 0.05, 0.5)
    good = refine(scene, start, config)
    source, target, depth, T = (
        scene.source,
        scene.target,
        scene.depth.clone(),
        start.tensor().clone(),
    )
    for what, change in fault.items():
        change = spots if change == "spots" else change
        if what in ("both", "source"):
            source = with_item(source, 0, change)
        if what == "both":
            target = with_item(target, 0, change)
        if what == "depth":
            depth[0] = change(depth[0])
        if what == "start":
            T[0] = change.double()
    maps = [l.maps.requires_grad_() for l in (*source, *target)] + [depth.requires_grad_()]
    bad = PoseRefiner(config)(source, target, depth, scene.K, pp.SE3(T))
    assert Reason(int(bad.reason[0])) == reason
    assert bool(bad.success[0]) == (reason == Reason.REFINED)
    if reason == Reason.REFINED:
        assert errors(bad.pose, scene.truth)[0][0] < 0.01
    elif reason == Reason.NOT_FINITE:
        assert torch.equal(bad.pose.tensor()[0], pp.identity_SE3(1).tensor()[0].double())
    else:
        assert torch.equal(bad.pose.tensor()[0], T[0])
    assert torch.equal(bad.pose.tensor()[1:], good.pose.tensor()[1:]), "bit for bit"
    assert bad.success[1:].all()
    for field in (bad.energy, bad.energy_before, bad.valid_share, bad.information):
        assert torch.isfinite(field).all()
    grads = torch.autograd.grad(bad.pose.matrix().sum(), maps, allow_unused=True)
    assert all(torch.isfinite(g).all() for g in grads if g is not None)
    assert any((g[1:] != 0).any() for g in grads if g is not None)


def test_texture_in_one_spot_only_does_not_run_away():
    scene = make_scene(batch=3)

    def spot(f):
        kept = torch.zeros_like(f)
        h, w = f.shape[-2:]
        kept[..., h // 2 - 2 : h // 2 + 2, w // 2 - 2 : w // 2 + 2] = 1
        return f * kept

    source, target = with_item(scene.source, 0, spot), with_item(scene.target, 0, spot)
    start = disturbed(scene.truth, 0.1, 1.0)
    result = refine(scene, start, source=source, target=target)
    assert errors(result.pose, start)[0][0] <= 0.5 * float(scene.depth[0].median())
    assert errors(result.pose, scene.truth)[0][1:].max() < 0.01


def test_gate_refuses_a_long_way():
    scene = make_scene(batch=2)
    start = disturbed(scene.truth, 0.1, 0.5)
    result = refine(scene, start, replace(DENSE, gate_translation=0.01))
    assert (result.reason == Reason.MOVED_TOO_FAR).all()
    assert torch.equal(result.pose.tensor(), start.tensor())
    result = refine(scene, start, replace(DENSE, gate_rotation_deg=0.1))
    assert (result.reason == Reason.MOVED_TOO_FAR).all()


def test_no_motion_and_pure_rotation():
    scene = make_scene(batch=2)
    identity = pp.identity_SE3(2, dtype=torch.float64)
    still = PoseRefiner(DENSE)(scene.target, scene.target, scene.depth, scene.K, identity)
    assert still.success.all()
    assert still.pose.Log().tensor().abs().max() < 1e-6


def test_works_without_gradients():
    scene = make_scene(batch=2)
    with torch.inference_mode():
        result = refine(scene, disturbed(scene.truth, 0.05, 0.5))
    assert errors(result.pose, scene.truth)[0].max() < 0.006


@pytest.mark.parametrize("num_points", [None, 300])
def test_whole_iterations_compiled_come_out_as_in_eager(num_points):
    """Without gradients an iteration is one graph, in which a bad item disturbs nobody."""
    scene = make_scene(batch=3, dtype=torch.float32)
    start = disturbed(scene.truth, 0.05, 0.5)
    blank = {
        name: with_item(levels, 0, torch.ones_like)
        for name, levels in (("source", scene.source), ("target", scene.target))
    }
    with torch.inference_mode():
        eager, compiled, bad = (
            refine(scene, start, replace(DENSE, num_points=num_points, backend=b), **changed)
            for b, changed in (("eager", {}), ("compiled", {}), ("compiled", blank))
        )
    for field in ("energy", "energy_before", "valid_share"):
        assert torch.allclose(getattr(eager, field), getattr(compiled, field), rtol=1e-5), field
    assert torch.allclose(eager.pose.tensor(), compiled.pose.tensor(), atol=1e-5)
    assert torch.equal(eager.iterations, compiled.iterations)
    assert bad.reason.tolist() == [Reason.NO_TEXTURE, Reason.REFINED, Reason.REFINED]
    assert torch.equal(bad.pose.tensor()[0], start.tensor()[0])
    assert torch.equal(bad.pose.tensor()[1:], compiled.pose.tensor()[1:]), "bit for bit"


def test_what_inference_has_kept_serves_training():
    """Points and stencils are made once and kept: tensors of inference mode pass no gradient."""
    scene = make_scene(batch=2)
    start, config = disturbed(scene.truth, 0.05, 0.5), replace(DENSE, num_points=311, seed=17)
    with torch.inference_mode():
        refine(scene, start, config)
    depth = scene.depth.clone().requires_grad_()
    source = with_item(scene.source, 0, lambda f: f)
    source[-1].maps.requires_grad_()
    pose = refine(scene, start, config, depth=depth, source=source).pose
    grads = torch.autograd.grad(pose.matrix().sum(), (depth, source[-1].maps))
    assert all((g != 0).any() for g in grads)


# --- misuse -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"source": s.source[:2]}, "3 levels are configured, got 2 and 3"),
        (lambda s: {"source": s.source[::-1]}, "features of source and target differ"),
        (lambda s: {"depth": s.depth[:1]}, r"depth must be \(2, 1, H, W\)"),
        (lambda s: {"K": s.K[0]}, r"K must be \(2, 3, 3\), got \(3, 3\)"),
    ],
)
def test_shapes_are_checked(change, message):
    scene = make_scene(batch=2)
    with pytest.raises(ValueError, match=message):
        refine(scene, scene.truth, **change(scene))


def test_pose_must_be_an_se3():
    scene = make_scene(batch=2)
    with pytest.raises(ValueError, match=r"T_init must be a pypose.SE3 of shape \(2, 7\)"):
        refine(scene, scene.truth.matrix())


def test_unknown_kernel():
    with pytest.raises(ValueError, match="kernel must be cauchy, huber, pseudo_huber or none"):
        make_kernel("tukey", 1.0)


def test_rotation_gate_is_in_degrees():
    assert math.isclose(math.radians(RefineConfig().gate_rotation_deg), 0.2618, rel_tol=1e-3)


def test_compiled_serves_many_kinds_of_calls_in_one_process():
    """Batches, points and gradients of all kinds: more variants than PyTorch allows by itself."""
    scene, single = make_scene(batch=2, dtype=torch.float32), make_scene(batch=1)
    both = (DENSE, replace(DENSE, num_points=300))
    kinds = [*product(both, (scene, single), ((), ("source", "depth")))]
    kinds.append((replace(DENSE, derivative="exact"), scene, ("depth",)))
    for config, s, wants in kinds:
        start = disturbed(s.truth, 0.03, 0.3)
        depth = s.depth.clone().requires_grad_("depth" in wants)
        source = with_item(s.source, 0, lambda f: f)
        for level in source if "source" in wants else ():
            level.maps.requires_grad_()
        eager, compiled = (
            refine(s, start, replace(config, backend=b), depth=depth, source=source).pose
            for b in ("eager", "compiled")
        )
        assert torch.allclose(eager.tensor(), compiled.tensor(), atol=1e-5)
        if wants:
            a, b = (
                torch.autograd.grad(p.matrix().sum(), depth, allow_unused=True)[0]
                for p in (eager, compiled)
            )
            assert torch.allclose(a, b, atol=1e-4 * float(a.abs().max()))
