"""Rigid motions as matrices: the exponential of se(3), and the way back to PyPose."""

from __future__ import annotations

import pypose as pp
import torch
from torch import Tensor


def exponential(xi: Tensor) -> Tensor:
    """Exp(xi) as a matrix (B, 4, 4) for xi = (translation, rotation), (B, 6), by PyPose."""
    return pp.se3(xi).Exp().matrix()


def exponential_in_closed_form(xi: Tensor) -> Tensor:
    """The same in operations on tensors only, for the compiler: PyPose's cannot be compiled.

    With W = [w]x and t = |w|: R = I + A W + B W^2 and V = I + B W + C W^2 with A = sin t / t,
    B = (1 - cos t) / t^2, C = (1 - A) / t^2 (Rodrigues).
    """
    v, w = xi.split(3, -1)
    squared = w.square().sum(-1)[:, None, None]
    # Below, the next term of the series is t^4 / 120 = 1e-18.
    near = squared < 1e-8
    safe = torch.where(near, 1.0, squared)
    t = safe.sqrt()
    A = torch.where(near, 1 - squared / 6, t.sin() / t)
    B = torch.where(near, 0.5 - squared / 24, 2 * (t / 2).sin().square() / safe)
    C = torch.where(near, 1 / 6 - squared / 120, (1 - t.sin() / t) / safe)
    x, y, z = w.unbind(-1)
    none = torch.zeros_like(x)
    W = torch.stack([none, -z, y, z, none, -x, -y, x, none], -1).view(-1, 3, 3)
    WW, I = W @ W, torch.eye(3, dtype=xi.dtype, device=xi.device)
    R, V = I + A * W + B * WW, I + B * W + C * WW
    top = torch.cat([R, V @ v[..., None]], -1)
    return torch.cat([top, top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(xi), 1, 4)], 1)


def as_SE3(T: Tensor) -> pp.LieTensor:
    """Rigid motions (B, 4, 4) as `pypose.SE3` (B,), with their gradient.

    `pypose.mat2SE3` passes a wrong gradient without a word. At T' = (I + [e]x) T the first six
    numbers of PyPose's gradient are those by e, which the exponential of e at 0 hands on.
    """
    pose = pp.mat2SE3(T.detach(), check=False)
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
