"""Residual, Jacobian and normal equations against float64 autograd."""

import pypose as pp
import pytest
import torch
from feature_scene import disturbed, make_scene
from torch.func import jacrev
from torch.nn.functional import grid_sample

from vo.refine import FeaturePair, feature_pair, normal_equations
from vo.refine.energy import pixel_jacobian, project, robust, robust_law
from vo.refine.lookup import (
    bag_rows,
    feature_rows,
    gather_rows,
    square_of,
)

KERNELS = [
    None,
    pp.optim.kernel.Cauchy(0.7),
    pp.optim.kernel.Huber(0.5),
    pp.optim.kernel.PseudoHuber(0.6),
]


def pair_of(scene, level: int = 2, derivative="exact", **options) -> FeaturePair:
    settings = {
        "num_points": 60, "seed": 3, "source_confidence": False, "min_depth": 1e-3,
    }  # fmt: skip
    return feature_pair(
        scene.source[level], scene.target[level], scene.depth, scene.K,
        derivative=derivative, **(settings | options),
    )  # fmt: skip


def se3(xi: torch.Tensor) -> torch.Tensor:
    """Exp of (B, 6) as (B, 4, 4) by the matrix exponential: not PyPose's formula."""
    tx, ty, tz, wx, wy, wz = xi.unbind(-1)
    o = torch.zeros_like(tx)
    rows = [[o, -wz, wy, tx], [wz, o, -wx, ty], [-wy, wx, o, tz], [o, o, o, o]]
    return torch.linalg.matrix_exp(torch.stack([torch.stack(row, -1) for row in rows], -2))


def test_pixel_jacobian_is_the_derivative_of_the_projection():
    scene = make_scene(batch=2)
    pair, T = pair_of(scene), scene.truth.matrix()

    def pixels(xi):
        M = se3(xi) @ T
        return project(pair, M)[1].mT

    J = jacrev(pixels)(torch.zeros(2, 6).double())  # (B, N, 2, B, 6)
    J = torch.stack([J[b, :, :, b] for b in range(2)])
    seen, _, q = project(pair, T)
    J_u, J_v = pixel_jacobian(q, pair.K)
    for mine, axis in ((J_u, 0), (J_v, 1)):
        assert torch.allclose(mine.mT[seen], J[:, :, axis][seen], atol=1e-10, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_gradient_and_hessian_equal_autograd(kernel):
    """With the exact derivative, 2 g is the gradient of the energy, and H is sum w rho' J^T J."""
    scene = make_scene(batch=2)
    pair, start = pair_of(scene), disturbed(scene.truth, 0.05, 0.5).matrix()
    equations = normal_equations(pair, start, kernel)

    xi = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    energy = normal_equations(pair, se3(xi) @ start, kernel).energy.sum()
    (gradient,) = torch.autograd.grad(energy, xi)
    assert torch.allclose(gradient, 2 * equations.gradient, rtol=1e-10, atol=1e-10)

    def residual(xi):
        _, pixels, _ = project(pair, se3(xi) @ start)
        square = square_of(pixels, pair.size)
        found = gather_rows(pair.rows, square, pair.size[1], "exact")[0][:, :-1]
        return found.view(pair.target.shape) - pair.target

    J = jacrev(residual)(torch.zeros(2, 6).double())  # (B, N, C, B, 6)
    r = residual(torch.zeros(2, 6).double())
    _, slope = robust(robust_law(kernel), (r * r).sum(-1))
    for b in range(2):
        w = equations.weight[b] * slope[b]
        H = torch.einsum("n,ncj,nck->jk", w, J[b, :, :, b], J[b, :, :, b])
        g = torch.einsum("n,ncj,nc->j", w, J[b, :, :, b], r[b])
        assert torch.allclose(equations.hessian[b], H, rtol=1e-10, atol=1e-10)
        assert torch.allclose(equations.gradient[b], g, rtol=1e-10, atol=1e-10)


def test_central_differences_are_those_of_the_interpolated_map():
    scene = make_scene(batch=2)
    maps = scene.source[2].maps
    rows, size = feature_rows(maps), tuple(maps.shape[-2:])
    last = torch.tensor([size[1] - 2.0, size[0] - 2.0], dtype=torch.float64)
    inner = 2 + torch.rand(2, 50, 2, dtype=torch.float64) * (last - 3)
    pixels = torch.cat([inner, torch.ones(2, 1, 2), last.expand(2, 1, 2)], 1)  # and both corners

    def value(at):
        grid = 2 * at[:, None] / (torch.tensor(size[::-1]) - 1) - 1
        return grid_sample(maps, grid, align_corners=True)[:, :, 0].mT

    along = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])]
    wanted = [value(pixels)]
    wanted += [(value(pixels + step) - value(pixels - step)) / 2 for step in along]
    found = bag_rows(rows, square_of(pixels.mT, size), size[1], "central")
    for mine, other in zip(found, wanted, strict=True):
        assert torch.allclose(mine.view(other.shape), other, atol=1e-12)


@pytest.mark.parametrize("derivative", ["central", "exact"])
def test_both_ways_of_looking_up_agree(derivative):
    level = make_scene(batch=2).source[2]
    rows = feature_rows(level.maps).requires_grad_()
    size = tuple(level.features.shape[-2:])
    pixels = 1 + torch.rand(2, 2, 90, dtype=torch.float64) * (torch.tensor([[77.0], [45.0]]))
    pixels.requires_grad_()
    square = square_of(pixels, size)
    bags = bag_rows(rows, square, size[1], derivative)
    gathered = gather_rows(rows, square, size[1], derivative)
    factors = [torch.randn_like(found) for found in bags]
    grads = [
        torch.autograd.grad(found, (rows, pixels), factors, retain_graph=True)
        for found in (bags, gathered)
    ]
    for a, b in zip((*bags, *grads[0]), (*gathered, *grads[1]), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS[1:], ids=str)
def test_kernels_are_pyposes(kernel):
    s = torch.linspace(0, 9, 200, dtype=torch.float64, requires_grad=True)
    rho, slope = robust(robust_law(kernel), s)
    assert torch.allclose(rho, kernel(s), atol=1e-12)
    (expected,) = torch.autograd.grad(rho.sum(), s)
    assert torch.allclose(slope, expected, atol=1e-12)


def test_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel must be Huber, PseudoHuber, Cauchy or None"):
        robust_law(pp.optim.kernel.SoftLOne())


def test_points_behind_or_outside_count_nothing_and_hurt_nothing():
    scene = make_scene(batch=2)
    pair = pair_of(scene)
    T = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    T[0, 2, 3] = -50  # everything of item 0 lies behind the source camera
    T[1, 0, 3] = 1e6  # everything of item 1 lies far beside its image
    T.requires_grad_()
    equations = normal_equations(pair, T, KERNELS[1])
    assert (equations.weight == 0).all()
    assert (equations.energy == 0).all()
    assert (equations.hessian == 0).all()
    (equations.hessian.sum() + equations.gradient.sum() + equations.energy.sum()).backward()
    assert torch.isfinite(T.grad).all()


def test_backends_agree():
    scene = make_scene(batch=2, dtype=torch.float32)
    for derivative in ("central", "exact"):
        pair = pair_of(scene, derivative=derivative, source_confidence=True, num_points=None)
        results = [
            normal_equations(pair, scene.truth.matrix(), KERNELS[1], backend)
            for backend in ("eager", "compiled")
        ]
        for name in ("hessian", "gradient", "cost", "weight", "motion"):
            a, b = (getattr(r, name) for r in results)
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-5 * float(a.abs().max())), name


def test_points_are_uniform_the_same_for_all_and_follow_the_seed():
    scene = make_scene(batch=2)
    first, again, other = (pair_of(scene, seed=s).points for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    pixels = first / first[..., 2:] @ scene.K.mT
    assert torch.allclose(pixels[0, :, :2], pixels[1, :, :2], atol=1e-9)
    assert torch.allclose(pixels[..., :2], pixels[..., :2].round(), atol=1e-9)


def test_unknown_depth_and_moving_things_have_no_weight():
    scene = make_scene(batch=1)
    depth = scene.depth.clone()
    depth[..., :20, :] = torch.tensor([torch.nan, torch.inf, 0.0, -1.0]).repeat(20)
    static = torch.ones_like(depth)
    static[..., 40:] = 0
    pair = feature_pair(
        scene.source[1], scene.target[1], depth, scene.K, num_points=None, seed=0,
        derivative="central", source_confidence=True, min_depth=1e-3, static=static,
    )  # fmt: skip
    weight = pair.weight.view(24, 40)
    assert torch.isfinite(pair.points).all()
    assert (weight[:10] == 0).all()
    assert (weight[:, 20:] == 0).all()
    assert (weight[10:, :20] > 0).all()
