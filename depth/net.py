"""The depth network: one image to depth.

Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation" (ICCV 2019), with any
backbone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from vo.datasets.errors import InputError
from vo.depth.disparity_decoder import DisparityDecoder
from vo.depth.encoder import Encoder, EncoderConfig


@dataclass(frozen=True, slots=True)
class DepthConfig:
    """A depth network.

    Attributes:
        encoder: its backbone.
        decoder_channels: widths of the decoder, finest level first.
        scales: number of disparities for training, at strides 1, 2, 4, ...
        min_depth: depth at disparity 1, in scene units.
        max_depth: depth at disparity 0, in scene units.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder_channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    scales: int = 4
    min_depth: float = 0.1
    max_depth: float = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Depth:
    """What the depth network says of a batch of images.

    Attributes:
        depth: (B, 1, H, W) depth along z at full size, min_depth to max_depth, in scene units.
        disparities: per scale s = 0, 1, ..., (B, 1, H / 2^s, W / 2^s) in (0, 1): the network's
            sigmoid outputs, which `disparity_to_depth` turns into depth; none where a network
            learns depth itself.
        encoder_features: the encoder's (B, C_i, H / stride_i, W / stride_i), finest first.
    """

    depth: Tensor
    disparities: tuple[Tensor, ...]
    encoder_features: tuple[Tensor, ...]


class DepthNet(nn.Module):
    """One image to depth: encoder, decoder, and the bounded map from disparity to depth."""

    def __init__(self, config: DepthConfig) -> None:
        """Build the network.

        Raises:
            InputError: when the configuration cannot be met; see also `Encoder`.
        """
        super().__init__()
        if not 0 < config.min_depth < config.max_depth < float("inf"):
            problem = f"is {config.min_depth:g} with --max-depth {config.max_depth:g}"
            raise InputError("--min-depth", problem, "it must be 0 < min-depth < max-depth")
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.decoder = DisparityDecoder(
            self.encoder.channels, self.encoder.strides, config.decoder_channels, config.scales
        )

    def forward(self, image: Tensor) -> Depth:
        """Depth of a batch of images.

        Args:
            image: (B, 3, H, W) in [0, 1]; H and W multiples of the deepest stride (32), and at
                least twice that.

        Raises:
            ValueError: when the shape is another one.
            InputError: when the backbone cuts borders off, as inception_v3 does: its features do
                not lie over the image.
        """
        step = self.encoder.strides[-1]
        H, W = image.shape[-2:]
        if image.ndim != 4 or H % step or W % step or min(H, W) < 2 * step:
            raise ValueError(
                f"image must be (B, 3, H, W) with H and W multiples of {step}, at least "
                f"{2 * step}, got {tuple(image.shape)}"
            )
        features = self.encoder.aligned(image)
        disparities = self.decoder(features)
        depth = disparity_to_depth(disparities[0], self.config.min_depth, self.config.max_depth)
        return Depth(depth, disparities, features)


def disparity_to_depth(disparity: Tensor, min_depth: float, max_depth: float) -> Tensor:
    """1 / (1 / max + (1 / min - 1 / max) disparity): 1 gives min_depth, 0 gives max_depth.

    Args:
        disparity: any shape, in [0, 1].
        min_depth: smallest depth, positive.
        max_depth: largest depth.

    Returns:
        depth of the same shape, in the unit of the bounds.
    """
    low, high = 1 / max_depth, 1 / min_depth
    return 1 / (low + (high - low) * disparity)


def full_size_depths(depth: Depth, min_depth: float, max_depth: float) -> tuple[Tensor, ...]:
    """Depth of every scale at the size of the finest: disparities are enlarged, then inverted.

    Errors of all scales are measured at full size, which keeps holes out of low-texture regions
    (section 3.3 of the paper).

    Returns:
        (B, 1, H, W) per scale, in the unit of the bounds.
    """
    H, W = depth.depth.shape[-2:]
    enlarged = (F.interpolate(d, (H, W), mode="bilinear") for d in depth.disparities[1:])
    rest = (disparity_to_depth(d, min_depth, max_depth) for d in enlarged)
    return (depth.depth, *rest)
