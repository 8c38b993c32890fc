"""Networks that know the truth, or nearly, so that an odometry can be judged by numbers."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pypose as pp
import torch
from torch import Tensor, nn

from vo.datasets.camera import Array
from vo.datasets.frame import Frame
from vo.depth.encoder import EncoderConfig
from vo.depth.feature_net import FeatureConfig
from vo.depth.net import Depth, DepthConfig
from vo.model import Model, ModelConfig
from vo.pose_net import PoseConfig, PoseOutput

FAR_M = 80.0  # what the depth of the sky is taken for


def tiny_model(
    source: Literal["stem", "encoder", "grey"] = "stem", size: tuple[int, int] = (96, 64)
) -> Model:
    """Small networks with random weights, always the same."""
    torch.manual_seed(0)
    return Model(
        ModelConfig(
            width=size[0],
            height=size[1],
            depth=DepthConfig(EncoderConfig("regnetx_002"), (8, 8, 8, 16, 16), min_depth=1.0),
            pose=PoseConfig(EncoderConfig("regnetx_002", in_channels=6), 16, 1),
            features=FeatureConfig(source=source),
        )
    )


class Known:
    """Which frame an image is: what networks of the tests look their answers up in."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = frames
        self.index = {frame.image.tobytes(): i for i, frame in enumerate(frames)}

    def find(self, image: Tensor) -> int | None:
        pixels = (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
        return self.index.get(pixels.contiguous().cpu().numpy().tobytes())


class TrueDepth(nn.Module):
    """Knows the depth of the frames; takes anything else for a wall."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self.known = known

    def forward(self, image: Tensor) -> Depth:
        i = self.known.find(image)
        depth = torch.full_like(image[:, :1], 10.0)
        if i is not None:
            truth = self.known.frames[i].depth
            assert truth is not None
            depth = torch.from_numpy(np.where(truth > 0, truth, FAR_M))[None, None].float()
        return Depth(depth, (), ())


class DisturbedPose(nn.Module):
    """Knows the motion but for 0.3 m and 0.5 degrees, in another direction for each pair; takes
    frames that do not follow each other for a camera that stands still."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self.known = known

    def forward(self, first: Tensor, second: Tensor) -> PoseOutput:
        i, j = self.known.find(first), self.known.find(second)
        far = i is None or j is None or abs(i - j) > 3
        T = np.eye(4) if far else motion(self.known.frames, j or 0, i or 0)
        direction = np.random.default_rng([i or 0, j or 0]).normal(size=(2, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        xi = np.concatenate([0.3 * direction[0], np.radians(0.5) * direction[1]])
        off = pp.se3(torch.from_numpy(xi)).Exp() @ pp.mat2SE3(torch.from_numpy(T), check=False)
        turn = off.rotation().Log().tensor()
        return PoseOutput(turn[None].float(), off.translation()[None].float())


def motion(frames: list[Frame], i: int, j: int) -> Array:
    """True T_ci_cj."""
    T_w_i, T_w_j = frames[i].T_w_c, frames[j].T_w_c
    assert T_w_i is not None
    assert T_w_j is not None
    return np.linalg.inv(T_w_i) @ T_w_j


def off_by(T: Array, T_true: Array) -> tuple[float, float]:
    """Distance in metres and angle in degrees."""
    E = np.linalg.inv(T_true) @ T
    angle = np.arccos(np.clip((np.trace(E[:3, :3]) - 1) / 2, -1, 1))
    return float(np.linalg.norm(E[:3, 3])), float(np.degrees(angle))
