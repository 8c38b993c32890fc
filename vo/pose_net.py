"""The pose network: two frames to the motion between them.

The separate pose network of Godard et al., "Digging Into Self-Supervised Monocular Depth
Estimation" (ICCV 2019), on any backbone; the pose is a `pypose.SE3` in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pypose as pp
import torch
from torch import Tensor, nn

from vo.datasets.errors import InputError
from vo.depth.encoder import Encoder, EncoderConfig


@dataclass(frozen=True, slots=True)
class PoseConfig:
    """A pose network.

    Attributes:
        encoder: its backbone, on the six channels of a pair.
        hidden: channels of the decoder.
        motions: motions that the last layer gives, of which the first is used: 2 in the published
            weights of monodepth2, 1 in SPIdepth's.
        rotation_scale: factor of the rotation vector; 0.01 makes the first guesses small motions.
        translation_scale: factor of the translation; 0.01 as published, where the unit of length is
            free; more where it is the metre and a camera moves by one from frame to frame.
    """

    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(in_channels=6))
    hidden: int = 256
    motions: int = 2
    rotation_scale: float = 0.01
    translation_scale: float = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class PoseOutput:
    """The motion between two frames, as T_second_first: ``p_second = T_second_first @ p_first``.

    It maps points of the first camera into the second. A camera that drives forward has negative
    z in ``translation``. In warping, with the earlier frame as target, this is T_s_t; with the
    later frame as target it is `inverse` that is T_s_t.

    Attributes:
        axis_angle: (B, 3) rotation vector in radians.
        translation: (B, 3) in scene units.
    """

    axis_angle: Tensor
    translation: Tensor

    def se3(self) -> pp.LieTensor:
        """T_second_first as `pypose.SE3`, (B, 7) float64, differentiable.

        Composed of a pure translation and a pure rotation. PyPose's gradient of a pose is that of
        a left perturbation: a pose put together from both halves in one tensor would silently get
        a wrong gradient, since the rotation also swings the translation.
        """
        translation, axis_angle = self.translation.double(), self.axis_angle.double()
        none = torch.zeros_like(translation)
        unit = torch.zeros_like(translation[:, :1])
        unit_quaternion = torch.cat([none, unit + 1], dim=1)
        rotation = pp.so3(axis_angle).Exp().tensor()
        T_shift = pp.SE3(torch.cat([translation, unit_quaternion], dim=1))
        T_turn = pp.SE3(torch.cat([none, rotation], dim=1))
        return T_shift @ T_turn

    def matrix(self) -> Tensor:
        """T_second_first as (B, 4, 4) in the precision of the output, differentiable."""
        return self.se3().matrix().to(self.axis_angle.dtype)

    def inverse(self) -> PoseOutput:
        """T_first_second: rotation vector -w, translation -R(-w) t."""
        R_first_second = pp.so3(-self.axis_angle.double()).Exp().matrix()
        translation = -(R_first_second * self.translation.double()[:, None, :]).sum(dim=2)
        return PoseOutput(-self.axis_angle, translation.to(self.translation.dtype))


class PoseNet(nn.Module):
    """Two frames in temporal order to the motion between them."""

    def __init__(self, config: PoseConfig) -> None:
        """Build the network.

        Raises:
            InputError: when the configuration cannot be met; see also `Encoder`.
            ValueError: when the encoder does not take six channels.
        """
        super().__init__()
        if config.encoder.in_channels != 6:
            raise ValueError(f"a pair has 6 channels, got in_channels {config.encoder.in_channels}")
        if config.hidden < 1 or config.motions < 1:
            problem = f"hidden {config.hidden}, motions {config.motions}"
            raise InputError("--pose", problem, "both must be at least 1")
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.decoder = nn.Sequential(
            nn.Conv2d(self.encoder.channels[-1], config.hidden, 1),
            nn.ReLU(),
            nn.Conv2d(config.hidden, config.hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.hidden, config.hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.hidden, 6 * config.motions, 1),
        )

    def forward(self, first: Tensor, second: Tensor) -> PoseOutput:
        """Motion of a batch of pairs.

        The network only ever sees the earlier frame first: to go back in time, swap nothing and
        take `PoseOutput.inverse`.

        Args:
            first: (B, 3, H, W) the earlier frames, in [0, 1].
            second: (B, 3, H, W) the later frames.

        Returns:
            T_second_first in float32 at least, (B, 3) and (B, 3).

        Raises:
            ValueError: when shapes differ or are others.
        """
        deepest = self.encoder(stacked_pair(first, second))[-1]
        output = self.decoder(deepest)
        output = output if output.dtype == torch.float64 else output.float()
        motion = output.mean(dim=(2, 3))
        return PoseOutput(
            axis_angle=self.config.rotation_scale * motion[:, :3],
            translation=self.config.translation_scale * motion[:, 3:6],
        )


def stacked_pair(first: Tensor, second: Tensor) -> Tensor:
    """Two frames (B, 3, H, W) as (B, 6, H, W); ValueError when shapes differ or are others."""
    if first.ndim != 4 or first.shape[1] != 3 or first.shape != second.shape:
        raise ValueError(
            f"frames must both be (B, 3, H, W), got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    return torch.cat([first, second], dim=1)
