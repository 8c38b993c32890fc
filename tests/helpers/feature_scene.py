"""A small world with exact truth: bumpy depth, smooth random features, a known motion."""

from dataclasses import dataclass

import pypose as pp
import torch
from torch import Tensor

from vo.depth.feature_net import FeatureLevel


@dataclass(frozen=True)
class Scene:
    """Two pyramids (B), the depth of the target, and the true pose T_s_t."""

    source: tuple[FeatureLevel, ...]
    target: tuple[FeatureLevel, ...]
    depth: Tensor
    K: Tensor
    truth: pp.LieTensor


def make_scene(
    batch: int = 3,
    size: tuple[int, int] = (48, 80),
    channels: int = 6,
    strides: tuple[int, ...] = (4, 2, 1),
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    noise: float = 0.0,
) -> Scene:
    """The texture is a sum of waves on the target's surface, drawn in the source by inverse warp.

    Features are functions of the 3-D point, so that both frames see the same value there; the
    source's map is found by following each of its rays to the surface (fixed-point iteration).
    """
    g = torch.Generator().manual_seed(seed)
    height, width = size
    K = torch.tensor(
        [[0.6 * width, 0, width / 2], [0, 0.6 * width, height / 2], [0, 0, 1.0]]
    ).double()
    waves = torch.randn(batch, channels, 12, 3, generator=g, dtype=torch.float64) * 2.2
    phases = torch.rand(batch, channels, 12, generator=g, dtype=torch.float64) * 6.28
    t = (
        torch.randn(batch, 3, generator=g, dtype=torch.float64) * 0.08
        + torch.tensor([0, 0, 0.25]).double()
    )
    r = torch.randn(batch, 3, generator=g, dtype=torch.float64) * 0.01
    truth = pp.se3(torch.cat([t, r], -1)).Exp()  # T_s_t
    depth_t = surface_depth(torch.eye(4).double().expand(batch, 4, 4), K, size)
    depth_s = surface_depth(truth.Inv().matrix(), K, size)
    target, source = [], []
    for stride in strides:
        h, w = height // stride, width // stride
        for frames, depth, T_t_c in (
            (target, depth_t, torch.eye(4).double().expand(batch, 4, 4)),
            (source, depth_s, truth.Inv().matrix()),
        ):
            points = (
                back_project(depth, K, (h, w), stride) @ T_t_c[:, :3, :3].mT + T_t_c[:, None, :3, 3]
            )
            angle = torch.einsum("bnk,bcwk->bcnw", points, waves) / stride**0.5 + phases[:, :, None]
            features = angle.sin().sum(-1).view(batch, channels, h, w) / 6**0.5
            features = features + noise * torch.randn(
                features.shape, generator=g, dtype=torch.float64
            )
            confidence = 0.3 + 0.6 * torch.rand(batch, 1, h, w, generator=g, dtype=torch.float64)
            frames.append(FeatureLevel.of(features.to(dtype), confidence.to(dtype), stride))
    K = K.expand(batch, 3, 3).to(dtype)
    return Scene(tuple(source), tuple(target), depth_t.to(dtype), K, truth)


def surface_depth(T_t_c: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
    """Depth (B, 1, H, W) of the surface z = f(x, y) of the target's frame, seen from T_t_c."""
    height, width = size
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rays = torch.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], torch.ones_like(u)], -1)
    rays = rays.double().reshape(-1, 3) @ T_t_c[:, :3, :3].mT
    z = torch.full((*rays.shape[:2], 1), 4.0).double()
    for _ in range(200):
        p = rays * z + T_t_c[:, None, :3, 3]
        f = 4 + 0.5 * torch.sin(1.3 * p[..., :1]) + 0.4 * torch.cos(1.1 * p[..., 1:2] + 0.4)
        z = z + 0.5 * (f - p[..., 2:]) / rays[..., 2:]
    return z.mT.reshape(-1, 1, height, width)


def back_project(depth: Tensor, K: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Points (B, h w, 3) at the centres of a level's pixels, with exact depth at strides of one."""
    h, w = size
    z = torch.nn.functional.interpolate(depth, size=size, mode="bilinear", align_corners=False)
    v, u = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    u, v = (u + 0.5) * stride - 0.5, (v + 0.5) * stride - 0.5
    rays = torch.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], torch.ones_like(u)], -1)
    return rays.double().reshape(-1, 3) * z.flatten(2).mT


def disturbed(truth: pp.LieTensor, t: float, rotation_deg: float, seed: int = 1) -> pp.LieTensor:
    """Poses that are off by exactly ``t`` in translation and ``rotation_deg`` in rotation."""
    g = torch.Generator().manual_seed(seed)
    direction = torch.randn(len(truth), 2, 3, generator=g, dtype=torch.float64)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    xi = torch.cat(
        [t * direction[:, 0], torch.deg2rad(torch.tensor(rotation_deg)) * direction[:, 1]], -1
    )
    return pp.se3(xi).Exp() @ truth


def errors(pose: pp.LieTensor, truth: pp.LieTensor) -> tuple[Tensor, Tensor]:
    """Translation error and rotation error in degrees, (B,) each."""
    e = (pose @ truth.Inv()).Log().tensor().detach()
    return e[:, :3].norm(dim=1), torch.rad2deg(e[:, 3:].norm(dim=1))
