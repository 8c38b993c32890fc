"""Rigid motions as matrices: equal to PyPose's, in values and in gradients."""

import pypose as pp
import pytest
import torch

from vo.refine.motion import as_SE3, exponential

ANGLES = [0.0, 1e-9, 1e-6, 9e-5, 1.1e-4, 1e-2, 1.0, 3.0]


def tangents(angle: float) -> torch.Tensor:
    """Six random motions (6, 6) that turn by so much."""
    xi = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.cat([xi[:, :3], angle * torch.nn.functional.normalize(xi[:, 3:])], -1)


def by_the_series(xi: torch.Tensor) -> torch.Tensor:
    """Exp of (B, 6) as (B, 4, 4) without a formula that small angles could spoil."""
    tx, ty, tz, wx, wy, wz = xi.unbind(-1)
    o = torch.zeros_like(tx)
    rows = [[o, -wz, wy, tx], [wz, o, -wx, ty], [-wy, wx, o, tz], [o, o, o, o]]
    return torch.linalg.matrix_exp(torch.stack([torch.stack(row, -1) for row in rows], -2))


@pytest.mark.parametrize("angle", ANGLES)
def test_exponential_is_pyposes(angle):
    xi = tangents(angle)
    assert torch.allclose(exponential(xi), by_the_series(xi), rtol=0, atol=1e-12)
    # At small angles PyPose's loses digits in 1 - cos t; its gradient is off by up to the angle.
    near = 1e-8 if angle < 1e-3 else 1e-12
    assert torch.allclose(exponential(xi), pp.se3(xi).Exp().matrix(), rtol=0, atol=near)
    weights = torch.randn(6, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for form in (by_the_series, exponential):
        x = xi.clone().requires_grad_()
        gradients.append(torch.autograd.grad((weights * form(x)).sum(), x)[0])
    assert torch.allclose(*gradients, rtol=0, atol=1e-10)


@pytest.mark.parametrize("angle", ANGLES)
def test_poses_of_matrices_are_pyposes_with_the_right_gradient(angle):
    weights = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    start, values, gradients = pp.se3(tangents(0.4).flip(0)).Exp(), [], []
    for way in (lambda x: x.Exp() @ start, lambda x: as_SE3(x.Exp().matrix() @ start.matrix())):
        x = pp.se3(tangents(angle)).requires_grad_()
        pose = way(x)
        values.append(pose.matrix().detach())
        gradients.append(torch.autograd.grad((weights * pose.Log().tensor()).sum(), x)[0])
    assert torch.allclose(*values, rtol=0, atol=1e-12)
    assert torch.allclose(*gradients, rtol=0, atol=1e-9)
