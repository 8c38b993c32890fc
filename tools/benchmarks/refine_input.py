"""Input to measure the refinement on, whose true pose is known: a drive down a street canyon.

Road, walls, sky and the end of the street are planes, so that depth is exact and quick to get.
Features are sums of waves in space, as unit vectors times 4 as the feature network gives them; a
wave is about twelve pixels of its level long at ten metres. Both frames look at the same waves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pypose as pp
import torch
from torch import Tensor

from vo.depth.feature_net import FEATURE_NORM, FeatureLevel
from vo.depth.warp import back_project, scale_intrinsics

WIDTH_PER_FOCAL = 0.58  # of KITTI's cameras
ROAD, SKY, WALL, END = 1.65, -9.0, 7.0, 30.0  # metres: y, y, |x| and z of the planes
WAVES = 4
STEP_M = 0.8  # from the target to the source camera
TURN_DEG = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class RefineInput:
    """What a refinement needs, B items.

    Attributes:
        source: pyramid of the source frame, coarse to fine.
        target: pyramid of the target frame.
        depth: (B, 1, H, W) of the target in metres, 0 where unknown.
        K: (B, 3, 3).
        T_init: (B,) SE3, first guess of T_s_t.
        truth: (B,) SE3, true T_s_t.
    """

    source: tuple[FeatureLevel, ...]
    target: tuple[FeatureLevel, ...]
    depth: Tensor
    K: Tensor
    T_init: pp.LieTensor
    truth: pp.LieTensor


def canyon_input(
    batch: int,
    channels: int,
    size: tuple[int, int] = (192, 640),
    strides: tuple[int, ...] = (8, 4, 2),
    off_m: float = 0.3,
    off_deg: float = 0.5,
    seed: int = 0,
) -> RefineInput:
    """A batch of different pairs.

    Args:
        batch: number of pairs B.
        channels: of the features.
        size: (H, W) of the images.
        strides: of the levels, coarse to fine.
        off_m: error of the first guess in metres, in a random direction.
        off_deg: and in degrees, about a random axis.
        seed: of everything that is random.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = drawn_motion(batch, generator)
    waves = torch.randn(batch, channels * WAVES, 3, generator=generator)
    phases = torch.rand(batch, channels * WAVES, generator=generator) * 2 * math.pi
    K = intrinsics(*size)
    T_t_s = truth.Inv().matrix()
    here = torch.eye(4, dtype=torch.float64).expand(batch, 4, 4)
    frames = []
    for T_t_c in (T_t_s, here):
        levels = (_level(T_t_c, K, size, stride, waves, phases, generator) for stride in strides)
        frames.append(tuple(levels))
    depth = torch.cat([canyon_depth(T, K, *size) for T in here])
    T_init = disturbed(truth, off_m, off_deg, generator)
    return RefineInput(
        frames[0], frames[1], depth.float(), K.float().expand(batch, 3, 3), T_init, truth
    )


def intrinsics(height: int, width: int) -> Tensor:
    """A camera like KITTI's, (1, 3, 3) float64."""
    focal = WIDTH_PER_FOCAL * width
    rows = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
    return torch.tensor([rows], dtype=torch.float64)


def drawn_motion(batch: int, generator: torch.Generator) -> pp.LieTensor:
    """T_s_t of cameras that drive ahead and turn a little, (B,) SE3 float64."""
    noise = torch.randn(batch, 6, generator=generator, dtype=torch.float64)
    ahead = torch.tensor([0, 0, -STEP_M, 0, 0, 0], dtype=torch.float64)
    spread = torch.tensor([0.02, 0.02, 0.1] + [math.radians(0.1)] * 3, dtype=torch.float64)
    spread[4] = math.radians(TURN_DEG)
    return pp.se3(ahead + spread * noise).Exp()


def disturbed(
    truth: pp.LieTensor, off_m: float, off_deg: float, generator: torch.Generator
) -> pp.LieTensor:
    """Poses that miss ``truth`` by so much, each in a random direction and about a random axis."""
    noise = torch.randn(len(truth), 2, 3, generator=generator, dtype=torch.float64)
    noise = noise / noise.norm(dim=-1, keepdim=True)
    return (
        pp.se3(torch.cat([off_m * noise[:, 0], math.radians(off_deg) * noise[:, 1]], -1)).Exp()
        @ truth
    )


def pose_errors(pose: pp.LieTensor, truth: pp.LieTensor) -> tuple[Tensor, Tensor]:
    """Error in metres and in degrees, (B,) each."""
    error = pose.matrix().detach().double() @ truth.Inv().matrix()
    cosine = (error[:, :3, :3].diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
    return error[:, :3, 3].norm(dim=1), torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))


def canyon_depth(T_w_c: Tensor, K: Tensor, height: int, width: int) -> Tensor:
    """Depth (1, 1, H, W) seen from a camera (4, 4) in the canyon."""
    rays = back_project(torch.ones(1, 1, height, width, dtype=torch.float64), K)
    x, y, z = torch.einsum("ij,jhw->ihw", T_w_c[:3, :3], rays[0])
    origin = T_w_c[:3, 3]
    planes = (
        (torch.where(y > 0, ROAD, SKY) - origin[1]) / y,
        (torch.where(x > 0, WALL, -WALL) - origin[0]) / x,
        (END - origin[2]) / z,
    )
    return torch.stack([d.nan_to_num(nan=torch.inf) for d in planes]).amin(0)[None, None]


def _level(
    T_w_c: Tensor,
    K: Tensor,
    size: tuple[int, int],
    stride: int,
    waves: Tensor,
    phases: Tensor,
    generator: torch.Generator,
) -> FeatureLevel:
    seen = [_waves_seen(T, K, size, stride, *w) for T, *w in zip(T_w_c, waves, phases, strict=True)]
    vectors = torch.stack(seen)
    vectors = FEATURE_NORM * vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-3)
    confidence = 0.3 + 0.6 * torch.rand(vectors[:, :1].shape, generator=generator)
    return FeatureLevel.of(vectors, confidence, stride)


def _waves_seen(
    T_w_c: Tensor, K: Tensor, size: tuple[int, int], stride: int, waves: Tensor, phases: Tensor
) -> Tensor:
    """Sums of waves on what a camera sees, (C, h, w) float32."""
    height, width = size[0] // stride, size[1] // stride
    K = scale_intrinsics(K, 1 / stride, 1 / stride)
    points = back_project(canyon_depth(T_w_c, K, height, width), K)[0].flatten(1)
    points = (T_w_c[:3, :3] @ points + T_w_c[:3, 3:]).float()
    focal = float(K[0, 0, 0])
    per_metre = 2 * math.pi * focal / (10 * 12 * 3**0.5)
    angles = per_metre * waves @ points + phases[:, None]
    return angles.sin().view(-1, WAVES, height, width).sum(1)
