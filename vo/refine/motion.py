"""Rigid motions as matrices: the exponential of se(3), and the way back to PyPose."""

from __future__ import annotations

import pypose as pp
import torch
from torch import Tensor


def exponential(xi: Tensor) -> Tensor:
    """Exp(xi) as a matrix (B, 4, 4) for xi = (translation, rotation), (B, 6): PyPose's retraction.

    With X = [[w]x, v; 0, 0] and t = |w|, Exp = I + X + B X^2 + C X^3, where B = (1 - cos t) / t^2
    and C = (t - sin t) / t^3: X^4 = -t^2 X^2 ends the series (Murray, Li and Sastry 1994, ch. 2).
    PyPose's own takes as long as half of an iteration at 2000 points, and cannot be compiled.
    """
    squared = xi[:, 3:].square().sum(-1)[:, None, None]
    # Below, the next term of the series is t^4 / 720 = 1e-19.
    near = squared < 1e-8
    safe = torch.where(near, 1.0, squared)
    t = safe.sqrt()
    B = torch.where(near, 0.5 - squared / 24, 2 * (t / 2).sin().square() / safe)
    C = torch.where(near, 1 / 6 - squared / 120, (1 - t.sin() / t) / safe)
    x, y, z, a, b, c = xi.unbind(-1)
    o = torch.zeros_like(x)
    X = torch.stack([o, -c, b, x, c, o, -a, y, -b, a, o, z, o, o, o, o], -1).view(-1, 4, 4)
    XX = X @ X
    return torch.eye(4, dtype=xi.dtype, device=xi.device) + X + B * XX + C * (XX @ X)


def as_SE3(T: Tensor) -> pp.LieTensor:
    """Rigid motions (B, 4, 4) as `pypose.SE3` (B,), with their gradient.

    `pypose.mat2SE3` passes a wrong gradient without a word. At T' = (I + [e]x) T the first six
    numbers of PyPose's gradient are those by e, which the exponential of e at 0 hands on.
    """
    pose = pp.mat2SE3(T.detach(), check=False)  # pyright: ignore[reportCallIssue]
    if not T.requires_grad:
        return pose
    here = T.detach()
    R = T[:, :3, :3] @ here[:, :3, :3].mT
    shift = T[:, :3, 3] - (R @ here[:, :3, 3:])[..., 0]
    e = torch.cat([shift, vee(R)], -1)
    return pp.se3(e - e.detach()).Exp() @ pose


def vee(R: Tensor) -> Tensor:
    """The vector (B, 3) of the skew part of R (B, 3, 3), sin t times the axis for a rotation."""
    skew = (R - R.mT) / 2
    return torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], -1)
