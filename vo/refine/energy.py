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
from typing import Literal

import pypose as pp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Derivative = Literal["central", "exact"]
"""dF_s/du by central differences over two pixels, whose basin is twice as wide, or exactly."""

Backend = Literal["eager", "compiled"]

MARGIN_PX = 1.0  # central differences reach one pixel beyond the point
NEAREST = 1e-3  # points nearer than this share of the median depth count as behind the camera


@dataclass(frozen=True, slots=True, eq=False)
class FeaturePair:
    """What one level of the pyramid gives to the alignment; real tensors of one dtype.

    Attributes:
        rows: (B H W, C + 1) source features, pixel by pixel, and the pixel's confidence.
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
    compiled = backend == "compiled"
    # Three pieces: compiled as one, the projection would be repeated for every channel.
    see, compare, add_up = _compiled() if compiled else (project, feature_reductions, assemble)
    lookup = gather_rows if compiled or torch.compiler.is_compiling() else bag_rows
    R, t = T_s_t[:, :3, :3].to(pair.points), T_s_t[:, :3, 3].to(pair.points)
    seen, pixels, q = see(pair.points, pair.weight, pair.K, pair.nearest, R, t, pair.size)
    found = compare(pair.rows, pair.target, pixels, pair.size, pair.derivative, lookup)
    return NormalEquations(*add_up(seen, q, found, pair.weight, pair.K, robust_law(kernel)))


def assemble(
    seen: Tensor,
    q: Tensor,
    found: tuple[Tensor, ...],
    weight: Tensor,
    K: Tensor,
    law: tuple[str, float],
) -> tuple[Tensor, ...]:
    """The fields of `NormalEquations` from what `project` and `feature_reductions` give."""
    a, b, c, p, s, squared, confidence = found
    weight = torch.where(seen, weight * confidence, 0)
    rho, slope = robust(law, squared)
    w = weight * slope
    J_u, J_v = pixel_jacobian(q, K)
    # P^T (G^T G) P with G^T G = [[a, b], [b, c]], and P^T (G^T r) with G^T r = (p, s): all sums
    # over points, and over u and v, in one product with P^T, (6, 2 N).
    a, b, c, p, s, n = (m[:, None] for m in (w * a, w * b, w * c, w * p, w * s, (weight > 0).to(w)))
    beside_u = torch.cat([a * J_u + b * J_v, p, (n * J_u).detach()], 1)
    beside_v = torch.cat([b * J_u + c * J_v, s, (n * J_v).detach()], 1)
    sums = torch.cat([J_u, J_v], 2) @ torch.cat([beside_u, beside_v], 2).mT
    hessian, gradient, motion = sums.split([6, 1, 6], -1)
    motion = motion.detach() / n.sum(2, keepdim=True).clamp(min=1)
    cost = torch.where(seen, rho, 0)
    return hessian, gradient[..., 0], cost, weight, motion, torch.zeros_like(cost[:, 0])


def project(
    points: Tensor,
    weight: Tensor,
    K: Tensor,
    nearest: Tensor,
    R: Tensor,
    t: Tensor,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Which points the source sees (B, N), their pixels (B, N, 2) and q = R X + t (B, N, 3).

    A point that is not seen (behind the camera, less than a pixel from the border, or without
    weight) gets harmless numbers, so that neither values nor gradients can become NaN.
    """
    q = points @ R.mT + t[:, None]
    in_front = q[..., 2] > nearest[:, None]
    q = torch.where(in_front[..., None], q, 1.0)
    focal = torch.stack([K[:, 0, 0], K[:, 1, 1]], -1)[:, None]
    pixels = focal * q[..., :2] / q[..., 2:] + K[:, None, :2, 2]
    height, width = size
    u, v = pixels[..., 0], pixels[..., 1]
    inside = (u >= MARGIN_PX) & (u <= width - 1 - MARGIN_PX)
    inside = inside & (v >= MARGIN_PX) & (v <= height - 1 - MARGIN_PX)
    seen = in_front & inside & (weight > 0)
    pixels = torch.where(seen[..., None], pixels, MARGIN_PX)
    return seen, pixels, torch.where(seen[..., None], q, 1.0)


def pixel_jacobian(q: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """P = du/dxi at points q (B, N, 3) of the source camera: its two rows, (B, 6, N) each.

    du/dxi = fx [1/z, 0, -x/z, -x y, 1 + x^2, -y],  dv/dxi = fy [0, 1/z, -y/z, -1 - y^2, x y, x]
    with x, y, z = qx/qz, qy/qz, qz.
    """
    inverse = 1 / q[..., 2]
    x, y = q[..., 0] * inverse, q[..., 1] * inverse
    zero, xy = torch.zeros_like(x), x * y
    J_u = torch.stack([inverse, zero, -x * inverse, -xy, 1 + x * x, -y], 1)
    J_v = torch.stack([zero, inverse, -y * inverse, -1 - y * y, xy, x], 1)
    return K[:, 0, 0, None, None] * J_u, K[:, 1, 1, None, None] * J_v


def robust_law(kernel: nn.Module | None) -> tuple[str, float]:
    """Name and scale of a kernel of PyPose; ValueError for those that are not supported."""
    match kernel:
        case None:
            return "none", 1.0
        case pp.optim.kernel.Cauchy() | pp.optim.kernel.PseudoHuber():
            return type(kernel).__name__, float(kernel.delta2) ** 0.5
        case pp.optim.kernel.Huber():
            return "Huber", float(kernel.delta)
    raise ValueError(f"kernel must be Huber, PseudoHuber, Cauchy or None, got {kernel!r}")


def robust(law: tuple[str, float], squared: Tensor) -> tuple[Tensor, Tensor]:
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


# --- features at pixels -------------------------------------------------------------------------

Lookup = Callable[[Tensor, Tensor, Tensor], Tensor]


def feature_rows(features: Tensor, confidence: Tensor) -> Tensor:
    """Source features (B, C, H, W) and confidence (B, 1, H, W) as rows for `FeaturePair`."""
    stacked = torch.cat([features, confidence], 1)
    # One pixel's values must lie side by side: for a single item reshape alone would give a view.
    return stacked.permute(0, 2, 3, 1).contiguous().view(-1, stacked.shape[1])


def feature_reductions(
    rows: Tensor,
    target: Tensor,
    pixels: Tensor,
    size: tuple[int, int],
    derivative: Derivative,
    lookup: Lookup,
) -> tuple[Tensor, ...]:
    """Everything that leaves the channels, (B, N) each.

    Returns Fu.Fu, Fu.Fv, Fv.Fv (the structure tensor G^T G), Fu.r, Fv.r (G^T r), |r|^2, and the
    confidence of the source at the pixels.
    """
    index, weights = bilinear_taps(pixels, size)
    shape, channels = target.shape[:2], target.shape[-1]
    found = lookup(rows, index, weights[0]).view(*shape, -1)
    if derivative == "central":
        # Half the difference of the bilinear values one pixel ahead and one pixel behind.
        half = torch.cat([weights[0], -weights[0]], 1) / 2
        taps = [(torch.cat([index + step, index - step], 1), half) for step in (1, size[1])]
    else:
        taps = [(index, w) for w in weights[1:]]
    f_u, f_v = (lookup(rows, *tap).view(*shape, -1)[..., :channels] for tap in taps)
    r = found[..., :channels] - target
    products = ((f_u, f_u), (f_u, f_v), (f_v, f_v), (f_u, r), (f_v, r), (r, r))
    return (*((m * n).sum(-1) for m, n in products), found[..., -1])


def bilinear_taps(
    pixels: Tensor, size: tuple[int, int]
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Rows (B N, 4) of the four pixels around each point, and their weights.

    The weights (B N, 4) are those of the bilinear value and of its derivatives along u and v. The
    four have a neighbour on every side for points that are MARGIN_PX inside.
    """
    height, width = size
    batch, n = pixels.shape[:2]
    u, v = pixels.reshape(-1, 2).unbind(-1)
    u0 = u.detach().floor().clamp(1, width - 3)
    v0 = v.detach().floor().clamp(1, height - 3)
    a, b = u - u0, v - v0
    item = torch.arange(batch, device=pixels.device).repeat_interleave(n)
    first = (item * height + v0.long()) * width + u0.long()
    index = torch.stack([first, first + 1, first + width, first + width + 1], -1)
    value = torch.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b], -1)
    along_u = torch.stack([b - 1, 1 - b, -b, b], -1)
    along_v = torch.stack([a - 1, -a, 1 - a, a], -1)
    return index, (value, along_u, along_v)


def bag_rows(rows: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """sum_k weights_k rows[index_k], (M, R): one pass over memory, 3 to 12 times grid_sample."""
    return F.embedding_bag(index, rows, per_sample_weights=weights, mode="sum")


def gather_rows(rows: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """The same in operations that the compiler fuses with what follows."""
    if index.shape[1] == 8:  # two squares of four, opposite weights: their difference first
        ahead, behind = index.split(4, 1)
        w = weights[:, :4]
        return sum((rows[ahead[:, k]] - rows[behind[:, k]]) * w[:, k, None] for k in range(4))
    return sum(rows[index[:, k]] * weights[:, k, None] for k in range(4))


@cache
def _compiled() -> tuple[Callable[..., tuple[Tensor, ...]], ...]:
    return tuple(_compile(piece) for piece in (project, feature_reductions, assemble))


def _compile(piece: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    compiled = torch.compile(piece, dynamic=True, fullgraph=True)

    def call(*arguments: object) -> tuple[Tensor, ...]:
        # One batch or many, with gradients to this or to that, dense or not: each is compiled by
        # itself, and a process that trains and validates needs more than the usual eight.
        with torch.compiler.config.patch(recompile_limit=64):
            return compiled(*arguments)

    return call
