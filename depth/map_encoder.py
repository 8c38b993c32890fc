"""One image to one map of features at half size: what the Self Query Layer looks at.

The encoder-decoders of Wang et al., "SQLdepth: Generalizable Self-Supervised Fine-Structured
Monocular Depth Estimation" (AAAI 2024), on any backbone; SPIdepth (Lavreniuk, 2024) uses the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vo.datasets.errors import InputError
from vo.depth.encoder import Encoder, EncoderConfig

_RESNET_STRIDES = (2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class MapConfig:
    """An encoder-decoder that gives one map.

    Attributes:
        encoder: its backbone. The published U-Nets see images in [0, 1] as they are
            (normalisation ``none``), the published ResNets (x - 0.45) / 0.225 (``monodepth2``).
        decoder: ``unet`` for any backbone; ``resnet`` for one of strides 2 to 32, as in AdaBins.
        widths: channels of the decoder, deepest first. ``unet``: one for each level of the
            backbone. ``resnet``: that of the bottleneck (published as num_features), then of the
            four levels above it; published are halves: 256, 128, 64, 32, 16.
        channels: channels of the map (published as model_dim).
    """

    encoder: EncoderConfig = field(
        default_factory=lambda: EncoderConfig(
            "convnext_large.fb_in22k_ft_in1k", normalisation="none"
        )
    )
    decoder: Literal["unet", "resnet"] = "unet"
    widths: tuple[int, ...] = (1024, 512, 256, 128)
    channels: int = 32


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMap:
    """What the encoder-decoder gives for a batch of images.

    Attributes:
        map: (B, channels, H / stride, W / stride).
        encoder_features: the encoder's (B, C_i, H / stride_i, W / stride_i), finest first.
    """

    map: Tensor
    encoder_features: tuple[Tensor, ...]


class MapEncoder(nn.Module):
    """Images to one map.

    Attributes:
        config: how it was built.
        stride: image pixels per pixel of the map: 2 for a ResNet and a ConvNeXt, 1 for a U-Net on
            a backbone that begins at stride 2, such as EfficientNet.
    """

    def __init__(self, config: MapConfig) -> None:
        """Build the layers.

        Raises:
            InputError: when the configuration cannot be met; see also `Encoder`.
        """
        super().__init__()
        if config.channels < 1:
            raise InputError("--map-channels", f"is {config.channels}", "it must be at least 1")
        self.config = config
        self.encoder = Encoder(config.encoder)
        channels, strides = self.encoder.channels, self.encoder.strides
        backbone = config.encoder.backbone
        if config.decoder == "resnet" and strides != _RESNET_STRIDES:
            problem = f"{backbone} has strides {', '.join(map(str, strides))}"
            remedy = "the resnet decoder needs 2, 4, 8, 16, 32: choose the unet decoder"
            raise InputError("--backbone", problem, remedy)
        if config.decoder == "unet" and strides[0] == 1:
            problem = f"{backbone} begins at stride 1, so that its map would be twice the image"
            raise InputError("--backbone", problem, "choose one that begins at 2 or 4")
        if len(config.widths) != len(strides) or min(config.widths) < 1:
            problem = f"{len(config.widths)} widths {config.widths} for {len(strides)} levels"
            raise InputError("--decoder-channels", problem, f"give {len(strides)} positive widths")
        kind = UNetDecoder if config.decoder == "unet" else ResNetDecoder
        self.decoder = kind(channels, config.widths, config.channels)
        self.stride = 2 if config.decoder == "resnet" else strides[0] // 2

    def forward(self, image: Tensor) -> FeatureMap:
        """The map of a batch of images.

        Args:
            image: (B, 3, H, W) in [0, 1]; H and W multiples of the deepest stride (32).

        Raises:
            ValueError: when the shape is another one.
            InputError: when the backbone cuts borders off, as inception_v3 does: its features do
                not lie over the image.
        """
        step = self.encoder.strides[-1]
        H, W = image.shape[-2:]
        if image.ndim != 4 or H % step or W % step or min(H, W) < step:
            wanted = f"(B, 3, H, W) with H and W multiples of {step}"
            raise ValueError(f"image must be {wanted}, got {tuple(image.shape)}")
        features = self.encoder.aligned(image)
        return FeatureMap(self.decoder(features), features)


class UNetDecoder(nn.Module):
    """A U-Net from the deepest level up to twice the finest one."""

    def __init__(self, channels: Sequence[int], widths: Sequence[int], outputs: int) -> None:
        """Build the layers.

        Args:
            channels: channels of the encoder's levels, finest first.
            widths: channels of the decoder's blocks, deepest first, as many.
            outputs: channels of the map.
        """
        super().__init__()
        skips = [*channels[-2::-1], 0]  # there is nothing finer for the last block
        before = [channels[-1], *widths[:-1]]
        self.blocks = nn.ModuleList(
            _two_convolutions(a + skip, b, nn.ReLU(), bias=False)
            for a, skip, b in zip(before, skips, widths, strict=True)
        )
        self.output = nn.Conv2d(widths[-1], outputs, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The encoder's levels, finest first, to (B, outputs, 2 H_0, 2 W_0)."""
        x = features[-1]
        for block, skip in zip(self.blocks, features[-2::-1], strict=False):
            x = block(_joined(x, skip))
        x = F.interpolate(x, scale_factor=2, mode="bilinear")
        return self.output(self.blocks[-1](x))


class ResNetDecoder(nn.Module):
    """A bottleneck and four levels up, each with a skip: to the encoder's finest level.

    The decoder of Bhat et al., "AdaBins: Depth Estimation using Adaptive Bins" (CVPR 2021).
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int], outputs: int) -> None:
        """Build the layers.

        Args:
            channels: channels of the encoder's five levels, finest first.
            widths: channels of the bottleneck and of the four levels above it.
            outputs: channels of the map.
        """
        super().__init__()
        # NOTE: a padded 1 x 1 convolution grows the map by a border that holds nothing but the
        # bias. The published weights have learned with it.
        self.bottleneck = nn.Conv2d(channels[-1], widths[0], 1, padding=1)
        self.blocks = nn.ModuleList(
            _two_convolutions(a + skip, b, nn.LeakyReLU(0.01), bias=True)
            for a, skip, b in zip(widths[:-1], channels[-2::-1], widths[1:], strict=True)
        )
        self.output = nn.Conv2d(widths[-1], outputs, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The encoder's levels, finest first, to (B, outputs, H_0, W_0)."""
        x = self.bottleneck(features[-1])
        for block, skip in zip(self.blocks, features[-2::-1], strict=True):
            x = block(_joined(x, skip))
        return self.output(x)


def _joined(x: Tensor, skip: Tensor) -> Tensor:
    """Enlarge ``x`` to the size of ``skip``, corner pixels onto corner pixels, and put them
    together: the published weights know no other alignment."""
    x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=True)
    return torch.cat([x, skip], dim=1)


def _two_convolutions(inside: int, outside: int, activation: nn.Module, bias: bool) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=bias),
        nn.BatchNorm2d(outside),
        activation,
        nn.Conv2d(outside, outside, 3, padding=1, bias=bias),
        nn.BatchNorm2d(outside),
        activation,
    )
