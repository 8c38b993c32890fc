"""Features and confidence for the alignment of two frames, at several scales.

The refinement compares these instead of colours. They come from a small network of their own, from
a head on the depth encoder, or, for ablations and tests without training, from fixed filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vo.datasets.errors import InputError
from vo.depth.numbers import at_least_float32

# Unit vectors times 4 have a mean square of one per channel at 16 channels, for which a robust
# kernel of scale 1 fits. It is the same for any number of channels, so that a kernel of scale 1
# always means the same angle between two features, about 14 degrees.
FEATURE_NORM = 4.0

_STEM_CHANNELS = (16, 24, 32, 48, 64, 64)  # of the own network, at strides 2, 4, 8, ...
_SURE = 1e-4  # confidence stays this far from 0 and 1: its logarithm and gradient remain finite


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """Features for the alignment.

    Attributes:
        channels: channels C of every level; ``grey`` always has 3.
        levels: number of levels, at strides 2, 4, ..., 2^levels; 1 to 5.
        normalise: ``l2`` gives every feature vector the length `FEATURE_NORM`; ``scale``
            multiplies each level by one learned positive number instead. ``grey`` ignores it.
        source: ``stem``, a small network of its own; ``encoder``, a head on the features of the
            depth network's encoder; ``grey``, fixed filters without weights.
        confidence: whether points are weighed by a learned confidence; off, all count alike.
    """

    channels: int = 16
    levels: int = 3
    normalise: Literal["l2", "scale"] = "l2"
    source: Literal["stem", "encoder", "grey"] = "stem"
    confidence: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class FeatureLevel:
    """Features at one scale.

    With stride s, feature pixel i covers the image's pixels s i ... s i + s - 1: the intrinsics
    that belong to it are ``scale_intrinsics(K, 1 / s, 1 / s)``.

    Attributes:
        maps: (B, C + 1, H / stride, W / stride) features and, last, confidence, in float32 at
            least. Channels last in memory, they are the rows that the refinement looks up.
        stride: image pixels per feature pixel.
    """

    maps: Tensor
    stride: int

    @classmethod
    def of(cls, features: Tensor, confidence: Tensor, stride: int) -> FeatureLevel:
        """A level of features (B, C, h, w) and confidence (B, 1, h, w)."""
        parts = (part.permute(0, 2, 3, 1) for part in (features, confidence))
        return cls(torch.cat(list(parts), -1).permute(0, 3, 1, 2), stride)

    @property
    def features(self) -> Tensor:
        """(B, C, H / stride, W / stride)."""
        return self.maps[:, :-1]

    @property
    def confidence(self) -> Tensor:
        """(B, 1, H / stride, W / stride) in (0, 1), how far to trust each of them."""
        return self.maps[:, -1:]


def stack_levels(
    first: Sequence[FeatureLevel], second: Sequence[FeatureLevel]
) -> list[FeatureLevel]:
    """Two pyramids of (B, ...) as one of (2B, ...)."""
    pairs = zip(first, second, strict=True)
    return [FeatureLevel(torch.cat([a.maps, b.maps]), a.stride) for a, b in pairs]


class FeatureNet(nn.Module):
    """Image to features and confidence, coarse to fine: strides 8, 4, 2 by default.

    Nothing in it depends on the other images of a batch, nor on training or evaluation mode, apart
    from a depth encoder whose features are handed in. Those of a ResNet are centred half a block
    off the place that `FeatureLevel` states, which shifts both frames alike.
    """

    def __init__(
        self,
        config: FeatureConfig,
        encoder_channels: Sequence[int] = (),
        encoder_strides: Sequence[int] = (),
    ) -> None:
        """Build the layers.

        Args:
            config: what to build.
            encoder_channels: with source ``encoder``, channels of its levels, finest first.
            encoder_strides: with source ``encoder``, their strides.

        Raises:
            InputError: when the configuration cannot be met.
        """
        super().__init__()
        _check_config(config, encoder_strides)
        self.config = config
        self.strides = tuple(2**level for level in range(config.levels, 0, -1))
        if config.source == "grey":
            return
        if config.source == "stem":
            encoder_channels, encoder_strides = _STEM_CHANNELS[: config.levels], self.strides[::-1]
            self.stem = Stem(encoder_channels)
        self.used = [i for i, s in enumerate(encoder_strides) if 2 <= s <= self.strides[0]]
        skips = {encoder_strides[i]: encoder_channels[i] for i in self.used}
        self.head = FeatureHead(config, skips, self.strides)

    def forward(
        self, image: Tensor, encoder_features: Sequence[Tensor] | None = None
    ) -> tuple[FeatureLevel, ...]:
        """Features of a batch of images.

        Args:
            image: (B, 3, H, W) in [0, 1], H and W multiples of the coarsest stride and at least
                twice that.
            encoder_features: what the depth encoder gave for this image (`Depth`), finest first;
                for the source ``encoder`` only. Gradients flow into it: detach it if they should
                not.

        Raises:
            ValueError: when shapes do not fit, or encoder features are missing or superfluous.
        """
        step = self.strides[0]
        H, W = image.shape[-2:]
        if image.ndim != 4 or image.shape[1] != 3 or H % step or W % step or min(H, W) < 2 * step:
            wanted = f"(B, 3, H, W) with H and W multiples of {step}, at least {2 * step}"
            raise ValueError(f"image must be {wanted}, got {tuple(image.shape)}")
        if (encoder_features is None) == (self.config.source == "encoder"):
            problem = "needs" if encoder_features is None else "takes no"
            raise ValueError(f"source {self.config.source!r} {problem} encoder_features")
        if self.config.source == "grey":
            return grey_features(image, self.config.levels)
        features = encoder_features
        if features is None:
            features = self.stem(image.contiguous(memory_format=torch.channels_last))
        return self.head([features[i] for i in self.used], (H, W))


class Stem(nn.Module):
    """A small encoder: per level, one convolution that halves the size and one that looks around.

    The halving kernels are 4 x 4, whose centre is that of the 2 x 2 block. Instance
    normalisation takes out brightness and contrast of the whole image.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        """Build the layers; ``channels`` of the levels, finest first."""
        super().__init__()
        levels, before = [], 3
        for width in channels:
            levels.append(
                nn.Sequential(
                    nn.Conv2d(before, width, 4, stride=2, padding=1),
                    InstanceNorm(width, affine=True),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.ReLU(inplace=True),
                )
            )
            before = width
        self.levels = nn.ModuleList(levels)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to (B, channels[i], H / 2^(i+1), W / 2^(i+1)), finest first."""
        features, x = [], image - 0.5
        for level in self.levels:
            x = level(x)
            features.append(x)
        return tuple(features)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation whose output lies in memory as its input: channels last on CPUs, where
    PyTorch's own turns all maps over, and all later layers of the training are slower for it."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same, each map of each item by its own mean and deviation."""
        if input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        x = input.contiguous(memory_format=torch.channels_last)
        return _ItemByItem.apply(x, self.weight, self.bias, self.eps)


class _ItemByItem(torch.autograd.Function):
    """Batch normalisation, which can leave the channels last, of one item after the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        result, ctx.eps = torch.empty_like(x), eps
        mean = torch.empty(x.shape[:2], dtype=weight.dtype)
        inverse_deviation = torch.empty_like(mean)
        for i in range(len(x)):
            torch.ops.aten.native_batch_norm.out(
                x[i : i + 1], weight, bias, None, None, True, 0.0, eps,
                out=result[i : i + 1], save_mean=mean[i], save_invstd=inverse_deviation[i],
            )  # fmt: skip
        ctx.save_for_backward(x, weight, mean, inverse_deviation)
        return result

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse_deviation = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        by_x, by_weight, by_bias = (torch.empty_like(m) for m in (x, mean, mean))
        for i in range(len(x)):
            torch.ops.aten.native_batch_norm_backward.out(
                grad[i : i + 1], x[i : i + 1], weight, None, None, mean[i], inverse_deviation[i],
                True, ctx.eps, [True] * 3, out0=by_x[i : i + 1], out1=by_weight[i], out2=by_bias[i],
            )  # fmt: skip
        return by_x, by_weight.sum(0), by_bias.sum(0), None


class FeatureHead(nn.Module):
    """From a pyramid of any widths to features and confidence, top down.

    Feature pyramid: Lin et al., "Feature Pyramid Networks" (CVPR 2017). A stride that the encoder
    lacks (2, for a ConvNeXt) gets what comes down from the coarser one.
    """

    def __init__(
        self, config: FeatureConfig, skips: dict[int, int], strides: Sequence[int]
    ) -> None:
        """Build the layers.

        Args:
            config: channels and normalisation.
            skips: stride -> channels of the encoder's levels in use.
            strides: strides of the output, coarsest first.
        """
        super().__init__()
        self.strides = tuple(strides)
        self.confidence = config.confidence
        self.skip_strides = tuple(skips)
        self.sides = nn.ModuleList(nn.Conv2d(n, config.channels, 1) for n in skips.values())
        # One channel more than the features: the confidence before its sigmoid.
        self.outputs = nn.ModuleList(
            nn.Conv2d(config.channels, config.channels + 1, 1 if stride == 2 else 3, padding="same")
            for stride in strides
        )
        self.log_scale = None
        if config.normalise == "scale":
            self.log_scale = nn.Parameter(torch.zeros(len(strides)))

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> tuple[FeatureLevel, ...]:
        """Encoder levels in use, finest first, of an image of ``size`` (H, W)."""
        sides = dict(zip(self.skip_strides, features, strict=True))
        layers = dict(zip(self.skip_strides, self.sides, strict=True))
        levels, x = [], None
        for i, stride in enumerate(self.strides):
            side = layers[stride](sides[stride]) if stride in sides else None
            if x is not None:
                x = F.interpolate(x, (size[0] // stride, size[1] // stride), mode="bilinear")
            x = side if x is None else x if side is None else (x + side).relu_()
            assert x is not None  # the coarsest stride has a level: checked at construction
            levels.append(self._level(self.outputs[i](x), i))
        return tuple(levels)

    def _level(self, output: Tensor, i: int) -> FeatureLevel:
        """Features and confidence from what the last layer of level ``i`` gave."""
        stride, plain = self.strides[i], self.log_scale is None and self.confidence
        if plain and torch.is_grad_enabled() and output.requires_grad:
            return FeatureLevel(_UnitAndSure.apply(output), stride)
        vectors, doubt = at_least_float32(output).split([output.shape[1] - 1, 1], 1)
        confidence = _confidence(doubt)
        if not self.confidence:
            confidence = torch.full_like(confidence, 1 - _SURE)
        scale = _stretch(vectors) if self.log_scale is None else self.log_scale[i].exp()
        return FeatureLevel.of(vectors * scale, confidence, stride)


def grey_features(image: Tensor, levels: int) -> tuple[FeatureLevel, ...]:
    """Blurred grey values and their gradients, without weights.

    Grey has mean 0 and deviation 1 over each image, so that a change of exposure does not matter;
    its central differences are doubled, for they are smaller. Confidence is the same everywhere.

    Args:
        image: (B, 3, H, W), H and W multiples of 2^levels.
        levels: number of levels.

    Returns:
        levels coarse to fine, of 3 channels: grey, right minus left, below minus above.
    """
    image = at_least_float32(image)
    grey = (image * image.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=1, keepdim=True)
    result = []
    for level in range(1, levels + 1):
        with torch.autocast(grey.device.type, enabled=False):
            grey = _halved(grey)
        centred = grey - grey.mean(dim=(2, 3), keepdim=True)
        # 0.01 of deviation is the noise of a camera: a blank wall is not blown up to texture.
        unit = centred / (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-4).sqrt()
        padded = F.pad(unit, (1, 1, 1, 1), mode="replicate")
        right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
        below = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
        features = torch.cat([unit, right, below], dim=1)
        result.insert(0, FeatureLevel.of(features, torch.full_like(grey, 1 - _SURE), 2**level))
    return tuple(result)


def _halved(x: Tensor) -> Tensor:
    """Half the size, each pixel in the middle of its 2 x 2 block: the kernel 1 3 3 1, separable."""
    weights = x.new_tensor([1, 3, 3, 1]) / 8
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = F.conv2d(x, weights.view(1, 1, 4, 1), stride=(2, 1))
    return F.conv2d(x, weights.view(1, 1, 1, 4), stride=(1, 2))


def _stretch(vectors: Tensor) -> Tensor:
    """What gives each vector (B, C, H, W) the length `FEATURE_NORM`, less below 0.001 so that 0 has
    a gradient; (B, 1, H, W)."""
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return FEATURE_NORM * (lengths.square() + 1e-6).rsqrt()


class _UnitAndSure(torch.autograd.Function):
    """Unit features y = s v, s their stretch, and confidence c, as one tensor, with its gradient:
    s (g - y <y, g> / `FEATURE_NORM`^2) and g dc/dx, in few passes over memory."""

    @staticmethod
    def forward(ctx: Any, output: Tensor) -> Tensor:
        dtype = torch.float64 if output.dtype == torch.float64 else torch.float32
        maps = output.to(dtype, copy=True, memory_format=torch.channels_last)
        vectors, doubt = maps[:, :-1], maps[:, -1:]
        stretch = _stretch(vectors)
        vectors.mul_(stretch)
        doubt.copy_(_confidence(doubt))
        ctx.save_for_backward(maps, stretch)
        ctx.dtype = output.dtype
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        maps, stretch = ctx.saved_tensors
        unit, confidence = maps[:, :-1], maps[:, -1:]
        by_unit, by_confidence = grads[0][:, :-1], grads[0][:, -1:]
        along = torch.einsum("bchw,bchw->bhw", unit, by_unit)[:, None] / FEATURE_NORM**2
        result = torch.empty_like(maps)
        torch.addcmul(by_unit, unit, along, value=-1, out=result[:, :-1]).mul_(stretch)
        slope = (confidence - _SURE) * (1 - _SURE - confidence) / (1 - 2 * _SURE)
        torch.mul(by_confidence, slope, out=result[:, -1:])
        return result.to(ctx.dtype)


def _confidence(x: Tensor) -> Tensor:
    return _SURE + (1 - 2 * _SURE) * torch.sigmoid(x)


def _check_config(config: FeatureConfig, encoder_strides: Sequence[int]) -> None:
    if not 1 <= config.levels <= 5:
        raise InputError("--features.levels", f"is {config.levels}", "it must be 1 to 5")
    if config.channels < 1:
        raise InputError("--features.channels", f"is {config.channels}", "it must be at least 1")
    if config.source == "encoder" and 2**config.levels not in encoder_strides:
        problem = f"{config.levels} levels need features at stride {2**config.levels}"
        remedy = f"this backbone has strides {', '.join(map(str, encoder_strides)) or 'none'}"
        raise InputError("--features.levels", problem, remedy)
