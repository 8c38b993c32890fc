"""Other ways to the same pose, which the refinement is measured against.

`StockModel`: the residuals of all points and channels as they are, handed to PyPose's
Levenberg-Marquardt, which takes their Jacobian by autograd.

`CompressedModel`: seven numbers an item in place of them, which have the same normal equations and
the same energy, under the same optimizer of PyPose.

`PerPointJacobian`: what learned direct alignment does by hand (Sarlin et al., "Back to the
Feature", CVPR 2021): look-up by ``grid_sample``, a Jacobian of N x C x 6 numbers, a sum over them,
a Cholesky factorisation; a fixed number of iterations with constant damping, every step taken. The
derivatives of the features are looked up in maps of central differences, which is less work than
the four displaced look-ups of the published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pypose as pp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vo.depth.feature_net import FeatureLevel
from vo.depth.warp import grid_of, scale_intrinsics
from vo.refine import FeaturePair, NormalEquations, PoseModel

NEAREST_M = 1e-3
MARGIN_PX = 1.0


class StockModel(nn.Module):
    """Residuals sqrt(w) (F_s(u) - F_t), (N, C), of one pair for `pypose.optim` to square.

    Args:
        pose: (1,) SE3, copied.
        pair: points, target features and weights of one level, B = 1, made without the source's
            confidence.
        features: (1, C, h, w) of the source.
    """

    def __init__(self, pose: pp.LieTensor, pair: FeaturePair, features: Tensor) -> None:
        super().__init__()
        if len(pose) != 1:
            raise ValueError(f"one pair at a time, got poses {tuple(pose.shape)}")
        self.pose = pp.Parameter(pp.SE3(pose.tensor().to(features)).detach().clone())
        self.pair, self.features = pair, features

    def forward(self, _: None) -> Tensor:
        """Residuals at the parameter, (N, C); 0 at points that are not seen."""
        pair, (height, width) = self.pair, self.pair.size
        q = pp.Act(self.pose, pair.points)
        pixels, seen = _seen_at(q, pair.K, pair.nearest, height, width)
        seen = seen & (pair.weight > 0)
        pixels = torch.where(seen[..., None], pixels, MARGIN_PX)
        found = _look_up(self.features, pixels)
        root = torch.where(seen, pair.weight, 0).sqrt()
        return (root[..., None] * (found - pair.target)).squeeze(0)


class Compressed(torch.autograd.Function):
    """Seven residuals that stand for all of one item: [L^-1 g, sqrt(E - |L^-1 g|^2)], H = L L^T.

    Their Jacobian by the left perturbation is [L^T; 0], so that J^T J = H, J^T R = g, |R|^2 = E.
    """

    @staticmethod
    def forward(ctx: Any, tangent: Tensor, equations: NormalEquations) -> Tensor:
        """Seven residuals (B, 7) in float64 for the (B, 7) numbers of poses."""
        hessian, gradient = equations.hessian.double(), equations.gradient.double()
        L = torch.linalg.cholesky(hessian)
        r = torch.linalg.solve_triangular(L, gradient[..., None], upper=False)[..., 0]
        rest = (equations.energy.double() - (r * r).sum(-1)).clamp(min=0).sqrt()
        ctx.save_for_backward(L)
        return torch.cat([r, rest[:, None]], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Gradient to the poses: PyPose keeps the tangent in the first six of seven numbers."""
        (L,) = ctx.saved_tensors
        tangent = (L @ grads[0][:, :6, None])[..., 0]
        return torch.cat([tangent, torch.zeros_like(tangent[:, :1])], -1), None


class CompressedModel(nn.Module):
    """What stock `pypose.optim.LM` optimizes by the seven residuals of `Compressed`.

    Args:
        pose: (B,) SE3 float64, copied.
        pair: one level.
        kernel: robust kernel of PyPose, or None.
    """

    def __init__(self, pose: pp.LieTensor, pair: FeaturePair, kernel: nn.Module | None) -> None:
        super().__init__()
        self.pose = pp.Parameter(pose.detach().clone())
        self.energy = [PoseModel(pose, kernel)]  # in a list: its pose is no parameter of this model
        self.pair = pair

    def forward(self, _: None) -> Tensor:
        """Residuals at the parameter, (B, 7) float64."""
        with torch.no_grad():
            equations = self.energy[0](self.pair, pp.SE3(self.pose.detach()))
        return Compressed.apply(pp.SE3(self.pose).tensor(), equations)


def compressed_refine(
    pairs: Sequence[FeaturePair],
    T_init: pp.LieTensor,
    kernel: nn.Module | None,
    iterations: Sequence[int],
    damping: float = 1e-3,
) -> pp.LieTensor:
    """Coarse to fine with stock LM on the compressed residual, B = 1.

    Each level has an optimizer of its own, because PyPose's compares with the last energy whatever
    its data were, and a step may be rejected once, because it keeps the last rejected one.
    """
    pose = T_init
    for pair, count in zip(pairs, iterations, strict=True):
        model = CompressedModel(pose, pair, kernel)
        stock = pp.optim.LM(model, strategy=pp.optim.strategy.Adaptive(damping), reject=1)
        for _ in range(count):
            stock.step(None)
        pose = pp.SE3(model.pose.detach())
    return pose


@dataclass(frozen=True, slots=True)
class PerPointJacobian:
    """Coarse-to-fine alignment with one 6-vector for each point and channel.

    Attributes:
        iterations: on each level.
        kernel_scale: of the Cauchy kernel over the squared feature distance.
        num_points: pixels of each level, drawn with ``seed``; None is all.
        damping: lambda of (H + lambda diag H) xi = -g.
        seed: of the drawing.
    """

    iterations: tuple[int, ...] = (5, 5, 5)
    kernel_scale: float = 1.0
    num_points: int | None = None
    damping: float = 1e-3
    seed: int = 0

    def __call__(
        self,
        source: Sequence[FeatureLevel],
        target: Sequence[FeatureLevel],
        depth: Tensor,
        K: Tensor,
        T_init: pp.LieTensor,
    ) -> tuple[pp.LieTensor, ...]:
        """Poses T_s_t (B,) after each level, which starts from the last without its gradient.

        Args:
            source: pyramid of the source frame, coarse to fine.
            target: the same of the target frame.
            depth: (B, 1, H, W) of the target; 0 where unknown.
            K: (B, 3, 3) intrinsics of the H x W image.
            T_init: (B,) SE3.
        """
        pose, poses = T_init, []
        for s, t, count in zip(source, target, self.iterations, strict=True):
            # As in ours, depth has a gradient from the finest level alone.
            level = self._level(s, t, depth if t is target[-1] else depth.detach(), K)
            for _ in range(count):
                pose = pp.se3(self._step(level, pose.matrix().to(depth))).Exp() @ pose
            poses.append(pose)
            pose = pp.SE3(pose.tensor().detach())
        return tuple(poses)

    def _level(self, s: FeatureLevel, t: FeatureLevel, depth: Tensor, K: Tensor) -> _Level:
        height, width = t.features.shape[-2:]
        K = scale_intrinsics(K, width / depth.shape[-1], height / depth.shape[-2])
        index = self._pixels(height * width)
        known = F.interpolate((depth > 0).to(depth), (height, width), mode="bilinear") > 0.999
        z = F.interpolate(depth, (height, width), mode="bilinear")
        z, c_t, f_t, known = (
            m.flatten(2)[:, :, index] for m in (z, t.confidence, t.features, known)
        )
        x = (index % width - K[:, 0, 2, None]) / K[:, 0, 0, None]
        y = (index // width - K[:, 1, 2, None]) / K[:, 1, 1, None]
        points = torch.stack([x, y, torch.ones_like(x)], -1) * z.mT
        maps = torch.cat([_with_derivatives(s.features), s.confidence], 1)
        return _Level(maps, f_t.mT, (c_t * known)[:, 0], points, K)

    def _pixels(self, count: int) -> Tensor:
        if self.num_points is None or self.num_points >= count:
            return torch.arange(count)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(count, generator=generator)[: self.num_points].sort().values

    def _step(self, level: _Level, T_s_t: Tensor) -> Tensor:
        """xi (B, 6) float64 of one Gauss-Newton step with constant damping."""
        q = level.points @ T_s_t[:, :3, :3].mT + T_s_t[:, None, :3, 3]
        pixels, seen = _seen_at(q, level.K, NEAREST_M, *level.maps.shape[-2:])
        channels = level.target.shape[-1]
        found = _look_up(level.maps, pixels.clamp(-1e4, 1e4))
        residual = found[..., :channels] - level.target
        J_f_u = torch.stack(
            [found[..., channels:-1][..., :channels], found[..., 2 * channels : -1]], -1
        )
        J = J_f_u @ _projection_jacobian(q, level.K)  # (B, N, C, 6)
        slope = 1 / (residual.square().sum(-1) / self.kernel_scale**2 + 1)
        weight = torch.where(seen, level.weight * found[..., -1] * slope, 0)
        g = (weight[..., None] * torch.einsum("bnci,bnc->bni", J, residual)).sum(1)
        H = (weight[..., None, None] * torch.einsum("bnci,bncj->bnij", J, J)).sum(1)
        g, H = g.double(), H.double()
        H = H + self.damping * torch.diag_embed(H.diagonal(dim1=1, dim2=2))
        return -torch.cholesky_solve(g[..., None], torch.linalg.cholesky(H)).squeeze(-1)


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """One level: source maps (B, 3C + 1, h, w), target (B, N, C), weight, points, K."""

    maps: Tensor
    target: Tensor
    weight: Tensor
    points: Tensor
    K: Tensor


def _with_derivatives(features: Tensor) -> Tensor:
    """Features and their central differences along u and v, (B, 3C, h, w)."""
    padded = F.pad(features, (1, 1, 1, 1), mode="replicate")
    along_u = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    along_v = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    return torch.cat([features, along_u, along_v], 1)


def _seen_at(
    q: Tensor, K: Tensor, nearest: Tensor | float, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Pixels (B, N, 2) of points q (B, N, 3) and whether they lie well within the image."""
    nearest = nearest[:, None] if isinstance(nearest, Tensor) else nearest
    in_front = q[..., 2] > nearest
    z = torch.where(in_front, q[..., 2], 1)[..., None]
    pixels = K[:, None, (0, 1), (0, 1)] * q[..., :2] / z + K[:, None, :2, 2]
    last = pixels.new_tensor([width - 1, height - 1]) - MARGIN_PX
    return pixels, in_front & ((pixels >= MARGIN_PX) & (pixels <= last)).all(-1)


def _look_up(maps: Tensor, pixels: Tensor) -> Tensor:
    """(B, C, h, w) at pixels (B, N, 2): (B, N, C)."""
    grid = grid_of(pixels.mT[:, :, None], *maps.shape[-2:])
    return F.grid_sample(maps, grid, mode="bilinear", align_corners=True)[:, :, 0].mT


def _projection_jacobian(q: Tensor, K: Tensor) -> Tensor:
    """du/dxi (B, N, 2, 6) by the chain rule: du/dq (2, 3) times dq/dxi = [I | -q^] (3, 6)."""
    x, y = q[..., 0], q[..., 1]
    z = torch.where(q[..., 2] > NEAREST_M, q[..., 2], 1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    fx, fy = K[:, 0, 0, None], K[:, 1, 1, None]
    J_u_q = torch.stack([fx / z, zero, -fx * x / z**2, zero, fy / z, -fy * y / z**2], -1)
    J_q_xi = torch.stack(
        [
            one, zero, zero, zero, z, -y,
            zero, one, zero, -z, zero, x,
            zero, zero, one, y, -x, zero,
        ],
        -1,
    )  # fmt: skip
    return J_u_q.unflatten(-1, (2, 3)) @ J_q_xi.unflatten(-1, (3, 6))
