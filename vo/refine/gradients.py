"""Gradients of a solution without its iterations."""

from __future__ import annotations

from dataclasses import replace

import pypose as pp
import torch
from torch import Tensor

from vo.refine.config import RefineConfig
from vo.refine.energy import FeaturePair
from vo.refine.iteration import Prior, State
from vo.refine.optimizer import PoseModel


def attach(
    pair: FeaturePair,
    pose: pp.LieTensor,
    state: State,
    model: PoseModel,
    config: RefineConfig,
) -> pp.LieTensor:
    """The pose that a level has come to, with a gradient to features, confidence, depth and prior.

    At the solution g(xi; theta) = 0, so that dxi/dtheta = -(dg/dxi)^-1 dg/dtheta (implicit function
    theorem). ``implicit`` takes dg/dxi as it is, by six vector-Jacobian products; ``one_step``
    takes H for it, which neglects how P, G and rho' change.
    """
    pose, prior = pp.SE3(pose.tensor().detach()), state.prior
    if config.backward == "implicit":
        pose = _to_the_root(pair, pose, model, prior, config)
        slope = _gradient_slope(pair, pose, model, prior)
    else:
        slope = state.equations.hessian.detach().double()
    xi = _newton_step(slope, model.gradient(pair, pose, prior))
    return pp.se3(xi - xi.detach()).Exp() @ pose


@torch.no_grad()
def _to_the_root(
    pair: FeaturePair,
    pose: pp.LieTensor,
    model: PoseModel,
    prior: Prior | None,
    config: RefineConfig,
) -> pp.LieTensor:
    """Bring g to 0 by Newton's method: the accept test stops where E does, which is elsewhere,
    because central differences are not the derivative of E."""
    for _ in range(config.newton_steps):
        gradient = model.gradient(pair, pose, prior)
        xi = _newton_step(_gradient_slope(pair, pose, model, prior), gradient)
        pose = pp.se3(xi).Exp() @ pose
    return pose


def _newton_step(slope: Tensor, gradient: Tensor) -> Tensor:
    """-(dg/dxi)^-1 g, (B, 6); 0 for items where it does not exist."""
    regular = torch.isfinite(slope).all(-1).all(-1) & torch.isfinite(gradient).all(-1)
    identity = torch.eye(6, dtype=slope.dtype, device=slope.device)
    slope = torch.where(regular[:, None, None], slope, identity)
    # Translation and rotation have their own units: judge the matrix without them.
    unit = slope.diagonal(dim1=1, dim2=2).abs().clamp(min=1e-300).rsqrt()
    singular = torch.linalg.svdvals(unit[:, :, None] * slope * unit[:, None])
    regular = regular & (singular[:, -1] > 1e-10 * singular[:, 0])
    slope = torch.where(regular[:, None, None], slope, identity)
    right = torch.where(regular[:, None], gradient, 0)
    return -torch.linalg.solve(slope, right[..., None]).squeeze(-1)


def _gradient_slope(
    pair: FeaturePair, pose: pp.LieTensor, model: PoseModel, prior: Prior | None
) -> Tensor:
    """dg/dxi at the pose, (B, 6, 6) float64, without gradient of its own."""
    fixed = replace(pair, rows=pair.rows.detach(), target=pair.target.detach(),
                    weight=pair.weight.detach(), points=pair.points.detach())  # fmt: skip
    if prior is not None:
        prior = Prior(prior.T_0.detach(), prior.precision.detach())
    with torch.enable_grad():
        xi = torch.zeros(len(pose), 6, dtype=torch.float64, device=pose.device, requires_grad=True)
        g = model.gradient(fixed, pp.se3(xi).Exp() @ pose, prior)
        rows = [torch.autograd.grad(g[:, k].sum(), xi, retain_graph=True)[0] for k in range(6)]
    return torch.stack(rows, 1)
