"""How well features agree under a pose: residual, Jacobian and normal equations.

For a point X_p of the target camera with features F_t(p), seen by the source camera at
u = pi(K T X_p) with T = T_s_t, the energy is

    E(T) = sum_p w_p rho(|r_p|^2),    r_p = F_s(u) - F_t(p),                                 (1)

and a left perturbation T <- Exp(xi) T with xi = (translation, rotation) moves the pixel by
P_p = du/dxi, (2, 6). With G_p = dF_s/du, (C, 2), the Gauss-Newton system is

    H = sum_p w_p rho' P^T (G^T G) P,    g = sum_p w_p rho' P^T (G^T r),    dE/dxi = 2 g.     (2)

Only the 2x2 structure tensor G^T G and the 2-vector G^T r leave the channels, so that no
(N, C, 6) tensor exists. (Lucas and Kanade 1981; Baker and Matthews 2004; Sarlin et al. 2021.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, ParamSpec, TypeVar

import pypose as pp
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as shape_config

from vo.refine.lookup import (
    MARGIN_PX,
    Derivative,
    bag_rows,
    gather_rows,
    square_of,
)

Backend = Literal["eager", "compiled"]

NEAREST = 1e-3  # points nearer than this share of the median depth count as behind the camera


@dataclass(frozen=True, slots=True, eq=False)
class FeaturePair:
    """What one level of the pyramid gives to the alignment; real tensors of one dtype.

    Attributes:
        rows: (B H W, C + 1) source features and, last, confidence, pixel by pixel.
        size: (H, W) of the source features.
        target: (B, N, C) target features at the points.
        weight: (B, N) confidence of the target at the points, 0 where a point is not valid.
        points: (B, N, 3) in the target camera, finite everywhere.
        K: (B, 3, 3) intrinsics of this level's pixels.
        nearest: (B,) smallest depth that counts as in front of the camera.
        derivative: how dF_s/du is taken.
    """

    rows: Tensor
    size: tuple[int, int]
    target: Tensor
    weight: Tensor
    points: Tensor
    K: Tensor
    nearest: Tensor
    derivative: Derivative = "central"


@dataclass(frozen=True, slots=True, eq=False)
class NormalEquations:
    """The energy around a pose.

    Attributes:
        hessian: (B, 6, 6) H of eq. 2.
        gradient: (B, 6) g of eq. 2.
        cost: (B, N) rho(|r|^2) of each point, 0 where it is not seen.
        weight: (B, N) w of each point, 0 where it is not seen.
        motion: (B, 6, 6) mean of P^T P: xi^T motion xi is the mean squared motion in pixels^2.
        prior: (B,) energy of a prior, part of hessian and gradient but of no point.
    """

    hessian: Tensor
    gradient: Tensor
    cost: Tensor
    weight: Tensor
    motion: Tensor
    prior: Tensor

    @property
    def energy(self) -> Tensor:
        """E of eq. 1 with the prior's part, (B,)."""
        return (self.weight * self.cost).sum(1) + self.prior


def normal_equations(
    pair: FeaturePair, T_s_t: Tensor, kernel: nn.Module | None, backend: Backend = "eager"
) -> NormalEquations:
    """Evaluate eq. 1 and 2 at poses T_s_t (B, 4, 4), which map target points to the source.

    Args:
        pair: features and points of one level.
        T_s_t: (B, 4, 4); cast to the dtype of the features.
        kernel: a robust kernel of PyPose: Huber, PseudoHuber or Cauchy, over |r|^2; None is none.
        backend: ``compiled`` fuses look-up and reductions; the first call takes seconds.
    """
    T_s_t = T_s_t.to(pair.points)
    run = _compiled(evaluate) if backend == "compiled" else evaluate
    return run(pair, T_s_t, robust_law(kernel))


def gradient(
    pair: FeaturePair, T_s_t: Tensor, kernel: nn.Module | None, backend: Backend = "eager"
) -> Tensor:
    """g of eq. 2 alone, (B, 6), as `normal_equations` gives it: what gradients of a solution pass
    through, by half the work."""
    T_s_t = T_s_t.to(pair.points)
    run = _compiled(evaluate_gradient) if backend == "compiled" else evaluate_gradient
    return run(pair, T_s_t, robust_law(kernel))


def evaluate(pair: FeaturePair, T_s_t: Tensor, law: Law) -> NormalEquations:
    """Eq. 1 and 2 from top to bottom."""
    seen, q, (G_u, G_v, r), weight, rho, w = compare(pair, T_s_t, law)
    J_u, J_v = pixel_jacobian(q, pair.K)  # P
    # P^T (G^T G) P with G^T G = [[a, b], [b, c]], and P^T (G^T r) with G^T r = (p, s): all sums
    # over points, and over u and v, in one product with P^T, (6, 2 N).
    a, b, c = w * _dot(G_u, G_u), w * _dot(G_u, G_v), w * _dot(G_v, G_v)
    p, s = w * _dot(G_u, r), w * _dot(G_v, r)
    n = (weight > 0).to(w)
    a, b, c, p, s, n = (m[:, None] for m in (a, b, c, p, s, n))
    beside_u = torch.cat([a * J_u + b * J_v, p, (n * J_u).detach()], 1)
    beside_v = torch.cat([b * J_u + c * J_v, s, (n * J_v).detach()], 1)
    sums = torch.cat([J_u, J_v], 2) @ torch.cat([beside_u, beside_v], 2).mT
    hessian, gradient, motion = sums.split([6, 1, 6], -1)
    motion = motion.detach() / n.sum(2, keepdim=True).clamp(min=1)
    cost = torch.where(seen, rho, 0)
    none = torch.zeros_like(cost[:, 0])
    return NormalEquations(hessian, gradient[..., 0], cost, weight, motion, none)


def evaluate_gradient(pair: FeaturePair, T_s_t: Tensor, law: Law) -> Tensor:
    """g of eq. 2, (B, 6)."""
    _, q, (G_u, G_v, r), _, _, w = compare(pair, T_s_t, law)
    J_u, J_v = pixel_jacobian(q, pair.K)
    p, s = w * _dot(G_u, r), w * _dot(G_v, r)
    return (J_u @ p[..., None] + J_v @ s[..., None])[..., 0]


def compare(
    pair: FeaturePair, T_s_t: Tensor, law: Law
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor], Tensor, Tensor, Tensor]:
    """What is seen (B, N) and where, q (B, 3, N); (G_u, G_v, r); w, rho and w rho' (B, N)."""
    seen, pixels, q = project(pair, T_s_t)
    G_u, G_v, r, confidence = residual(pair, pixels)
    weight = torch.where(seen, pair.weight * confidence, 0)
    rho, slope = robust(law, _dot(r, r))
    return seen, q, (G_u, G_v, r), weight, rho, weight * slope


def project(pair: FeaturePair, T_s_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which points the source sees (B, N), their pixels (B, 2, N) and q = R X + t (B, 3, N).

    A point that is not seen (behind the camera, less than a pixel from the border, or without
    weight) gets harmless numbers, so that neither values nor gradients can become NaN.
    """
    K, (height, width) = pair.K, pair.size
    q = torch.baddbmm(T_s_t[:, :3, 3:], T_s_t[:, :3, :3], pair.points.mT)
    in_front = q[:, 2] > pair.nearest[:, None]
    q = torch.where(in_front[:, None], q, 1.0)
    focal = torch.stack([K[:, 0, 0], K[:, 1, 1]], -1)[..., None]
    pixels = focal * (q[:, :2] / q[:, 2:]) + K[:, :2, 2:]
    u, v = pixels.unbind(1)
    inside = (u >= MARGIN_PX) & (u <= width - 1 - MARGIN_PX)
    inside = inside & (v >= MARGIN_PX) & (v <= height - 1 - MARGIN_PX)
    seen = in_front & inside & (pair.weight > 0)
    pixels = torch.where(seen[:, None], pixels, MARGIN_PX)
    return seen, pixels, torch.where(seen[:, None], q, 1.0)


def residual(pair: FeaturePair, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """G_u, G_v and r (B, N, C) at pixels (B, 2, N), and the confidence there (B, N)."""
    square, width = square_of(pixels, pair.size), pair.size[1]
    look_up = gather_rows if torch.compiler.is_compiling() else bag_rows
    found = look_up(pair.rows, square, width, pair.derivative)
    F_s, G_u, G_v = (m.unflatten(0, pair.weight.shape) for m in found)
    return G_u[..., :-1], G_v[..., :-1], F_s[..., :-1] - pair.target, F_s[..., -1]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum over the channels, (B, N)."""
    return (a * b).sum(-1)


def pixel_jacobian(q: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """P = du/dxi at points q (B, 3, N) of the source camera: its two rows, (B, 6, N) each.

    du/dxi = fx [1/z, 0, -x/z, -x y, 1 + x^2, -y],  dv/dxi = fy [0, 1/z, -y/z, -1 - y^2, x y, x]
    with x, y, z = qx/qz, qy/qz, qz.
    """
    inverse = 1 / q[:, 2]
    x, y = q[:, 0] * inverse, q[:, 1] * inverse
    zero, xy = torch.zeros_like(x), x * y
    J_u = torch.stack([inverse, zero, -x * inverse, -xy, 1 + x * x, -y], 1)
    J_v = torch.stack([zero, inverse, -y * inverse, -1 - y * y, xy, x], 1)
    return K[:, 0, 0, None, None] * J_u, K[:, 1, 1, None, None] * J_v


Law = tuple[str, float]
"""Name and scale of a robust kernel."""


def robust_law(kernel: nn.Module | None) -> Law:
    """Name and scale of a kernel of PyPose; ValueError for those that are not supported."""
    match kernel:
        case None:
            return "none", 1.0
        case pp.optim.kernel.Cauchy() | pp.optim.kernel.PseudoHuber():
            return type(kernel).__name__, float(kernel.delta2) ** 0.5
        case pp.optim.kernel.Huber():
            return "Huber", float(kernel.delta)
    raise ValueError(f"kernel must be Huber, PseudoHuber, Cauchy or None, got {kernel!r}")


def robust(law: Law, squared: Tensor) -> tuple[Tensor, Tensor]:
    """rho(s) and rho'(s) of PyPose's kernels in closed form, so that both are differentiable."""
    name, delta = law
    if name == "Cauchy":
        shifted = squared / delta**2 + 1
        return delta**2 * shifted.log(), 1 / shifted
    if name == "PseudoHuber":
        root = (squared / delta**2 + 1).sqrt()
        return 2 * delta**2 * (root - 1), 1 / root
    if name == "Huber":
        root = squared.clamp(min=delta**2).sqrt()
        near = squared < delta**2
        return torch.where(near, squared, 2 * delta * root - delta**2), delta / root
    return squared, torch.ones_like(squared)


Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, fused at its first call for each kind of arguments."""
    fused = torch.compile(function, dynamic=True, fullgraph=True)

    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        # One batch or many, with gradients to this or to that, dense or not: each is compiled by
        # itself, and a process that trains and validates needs more than the usual eight. Sizes
        # that are equal by chance (a level with as many pixels as points are drawn) are no kind.
        with (
            torch.compiler.config.patch(recompile_limit=64),  # pyright: ignore[reportAttributeAccessIssue]
            shape_config.patch(use_duck_shape=False),  # pyright: ignore[reportAttributeAccessIssue]
        ):
            return fused(*args, **kwargs)

    return call


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return compiled(function)
