"""From encoder features to disparity at several scales.

The U-Net decoder of Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation"
(ICCV 2019), supplementary table 1, for the pyramid of any encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vo.datasets.errors import InputError


class DisparityDecoder(nn.Module):
    """Disparity in (0, 1) at strides 1, 2, 4, 8, from the deepest features upwards.

    Level i works at stride 2^(i+1): a convolution narrows its input to ``channels[i]``, which is
    doubled in size, joined with the encoder's features of stride 2^i where there are any, and
    fused by a second convolution. A ConvNeXt has nothing at strides 2 and 1: its last two levels
    double without a skip.
    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        encoder_strides: Sequence[int],
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        scales: int = 4,
    ) -> None:
        """Build the layers.

        Args:
            encoder_channels: channels of the encoder's levels, finest first.
            encoder_strides: their strides, powers of two, each twice the one before.
            channels: channels of the levels 0, 1, ..., finest first, one for every doubling from
                the deepest stride to full size.
            scales: number of disparities: strides 1, 2, 4, ...

        Raises:
            InputError: when ``channels`` or ``scales`` do not fit the encoder.
        """
        super().__init__()
        self.skips = dict(zip(encoder_strides, encoder_channels, strict=True))
        levels = encoder_strides[-1].bit_length() - 1
        if len(channels) != levels or min(channels) < 1:
            problem = f"{len(channels)} widths {tuple(channels)} for {levels} levels"
            remedy = f"this backbone ends at stride {encoder_strides[-1]}: give {levels} widths"
            raise InputError("--decoder-channels", problem, remedy)
        if not 1 <= scales <= levels:
            raise InputError("--scales", f"is {scales}", f"it must be 1 to {levels}")
        narrow, fuse = [], []
        width = encoder_channels[-1]
        for level in reversed(range(levels)):
            narrow.insert(0, _convolution(width, channels[level]))
            width = channels[level]
            fuse.insert(0, _convolution(width + self.skips.get(2**level, 0), width))
        self.narrow = nn.ModuleList(narrow)
        self.fuse = nn.ModuleList(fuse)
        self.heads = nn.ModuleList(_convolution(channels[i], 1) for i in range(scales))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Disparities of a batch.

        Args:
            features: the encoder's (B, C_i, H / stride_i, W / stride_i), finest first; at least
                two pixels high and wide at the deepest level, as the reflection at the border
                needs.

        Returns:
            sigmoid outputs (B, 1, H / 2^s, W / 2^s) in float32 at least, for s = 0, 1, ...
        """
        x = features[-1]
        outputs: list[Tensor] = []
        for level in reversed(range(len(self.narrow))):
            x = F.elu(self.fuse[level](torch.cat(self._joined(x, features, level), dim=1)))
            if level < len(self.heads):
                outputs.insert(0, _sigmoid(self.heads[level](x)))
        return tuple(outputs)

    def fusion_inputs(self, features: Sequence[Tensor], level: int) -> tuple[Tensor, ...]:
        """What the second convolution of a level is given.

        Args:
            features: see `forward`.
            level: its number.

        Returns:
            the level's own maps (B, channels, H / 2^level, W / 2^level), and the encoder's of the
            same size where there are any.
        """
        x = features[-1]
        for deeper in reversed(range(level + 1, len(self.narrow))):
            x = F.elu(self.fuse[deeper](torch.cat(self._joined(x, features, deeper), dim=1)))
        return self._joined(x, features, level)

    def _joined(self, x: Tensor, features: Sequence[Tensor], level: int) -> tuple[Tensor, ...]:
        x = F.interpolate(F.elu(self.narrow[level](x)), scale_factor=2, mode="nearest")
        skips = dict(zip(self.skips, features, strict=True))
        return (x, skips[2**level]) if 2**level in skips else (x,)


def _convolution(inside: int, outside: int) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, padding=1, padding_mode="reflect")


def _sigmoid(x: Tensor) -> Tensor:
    """In float32 at least: eight bits of bfloat16 would put depth on a visible staircase."""
    return torch.sigmoid(x if x.dtype == torch.float64 else x.float())
