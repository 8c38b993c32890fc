"""The small pose network: seven convolutions from a pair of frames to the motion between them.

Zhou et al., "Unsupervised Learning of Depth and Ego-Motion from Video" (CVPR 2017), without its
mask, as monodepth2 and SQLdepth use it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vo.pose_net import PoseOutput, stacked_pair

# Kernel and channels of the convolutions; each halves the size.
_LAYERS = ((7, 16), (5, 32), (3, 64), (3, 128), (3, 256), (3, 256), (3, 256))


@dataclass(frozen=True, slots=True)
class PoseCNNConfig:
    """A small pose network; see `vo.pose_net.PoseConfig` for the scales.

    Attributes:
        rotation_scale: factor of the rotation vector.
        translation_scale: factor of the translation.
    """

    rotation_scale: float = 0.01
    translation_scale: float = 0.01


class PoseCNN(nn.Module):
    """Two frames in temporal order to the motion between them."""

    def __init__(self, config: PoseCNNConfig) -> None:
        """Build the layers."""
        super().__init__()
        self.config = config
        inputs = (6, *(width for _, width in _LAYERS[:-1]))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside, width, kernel, stride=2, padding=kernel // 2)
            for inside, (kernel, width) in zip(inputs, _LAYERS, strict=True)
        )
        self.motion = nn.Conv2d(_LAYERS[-1][1], 6, 1)

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
        x = stacked_pair(first, second).contiguous(memory_format=torch.channels_last)
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        output = self.motion(x)
        output = output if output.dtype == torch.float64 else output.float()
        motion = output.mean(dim=(2, 3))
        return PoseOutput(
            axis_angle=self.config.rotation_scale * motion[:, :3],
            translation=self.config.translation_scale * motion[:, 3:],
        )
