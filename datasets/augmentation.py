"""Other light and another camera: what is done to images before networks see them.

Parameters are drawn once per sample and are the same for all frames of it, because neither light
nor camera changes within a tenth of a second; only the noise differs from frame to frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vo.datasets.draws import Source, normal, uniform
from vo.datasets.errors import InputError

# Brightness and two axes of colour (NTSC's YIQ), in which a change of hue is a rotation.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_LUMA = (0.299, 0.587, 0.114)

# The blur has seven taps, which reach two standard deviations of the widest.
_MOST = {
    "share": 1, "brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5, "gamma": 10,
    "grey": 1, "blur": 1.5, "noise": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """How far light and camera may change. Zero switches a change off.

    Attributes:
        share: share of samples that are changed at all.
        brightness: images are multiplied by 1 - b to 1 + b.
        contrast: distances from the mean likewise.
        saturation: colours likewise.
        hue: turn of all colours, in turns (0.1 is 36 degrees), either way.
        gamma: exponent from 1 / (1 + g) to 1 + g.
        grey: share of the changed samples that lose their colour.
        blur: largest standard deviation of a Gaussian blur in pixels, at most 1.5.
        noise: largest standard deviation of independent noise, images being in [0, 1].

    Raises:
        InputError: naming the flag, when a number is out of its range.
    """

    share: float = 0.8
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.1
    gamma: float = 0.2
    grey: float = 0.3
    blur: float = 0.8
    noise: float = 0.02

    def __post_init__(self) -> None:
        """Refuse what would turn images inside out, or be cut off without a word."""
        refuse_out_of_range(self, _MOST, "--data.augment")


def refuse_out_of_range(config: object, most: Mapping[str, float], flag: str) -> None:
    """Refuse fields below 0, above what is given for each, or NaN.

    Raises:
        InputError: naming the flag of the field, which ``flag`` begins.
    """
    for name, largest in most.items():
        value = getattr(config, name)
        if not 0 <= value <= largest:
            field_flag = f"{flag}.{name.replace('_', '-')}"
            raise InputError(field_flag, f"is {value:g}", f"give a number from 0 to {largest:g}")


def augment(images: Tensor, config: AugmentConfig, generator: Source) -> Tensor:
    """Change light and camera of samples.

    Args:
        images: (B, N, 3, H, W) in [0, 1], N frames each.
        config: how far.
        generator: source of all random numbers, on the CPU; that of a part of a batch gives it the
            same changes as the whole batch.

    Returns:
        (B, N, 3, H, W) in [0, 1]; ``images`` is left as it is.

    Raises:
        ValueError: when the shape is another one.
    """
    if images.ndim != 5 or images.shape[2] != 3:
        raise ValueError(f"images must be (B, N, 3, H, W), got {tuple(images.shape)}")
    draw = _Draw(len(images), generator, images.device)
    changed = draw.happens(config.share)
    x = _coloured(images, config, draw)
    gamma = draw.between(-1, 1).mul(torch.log1p(torch.tensor(config.gamma))).exp()
    x = x.clamp(1e-4, 1).pow(gamma) if config.gamma else x
    if config.blur:
        x = _blurred(x, draw.between(0, config.blur))
    if config.noise:
        x = x + draw.between(0, config.noise) * draw.normal(x.shape)
    return torch.where(changed, x.clamp(0, 1), images)


class _Draw:
    """Random numbers (B, 1, 1, 1, 1), the same on every device."""

    def __init__(self, batch: int, generator: Source, device: torch.device) -> None:
        self.batch, self.generator, self.device = batch, generator, device

    def between(self, low: float, high: float) -> Tensor:
        unit = uniform((self.batch, 1, 1, 1, 1), self.generator)
        return (low + (high - low) * unit).to(self.device)

    def happens(self, share: float) -> Tensor:
        return self.between(0, 1) < share

    def normal(self, shape: torch.Size) -> Tensor:
        return normal(shape, self.generator).to(self.device)


def _coloured(images: Tensor, config: AugmentConfig, draw: _Draw) -> Tensor:
    """Brightness, hue and saturation as one matrix of colours; then contrast about the mean."""
    brightness = draw.between(1 - config.brightness, 1 + config.brightness)
    contrast = draw.between(1 - config.contrast, 1 + config.contrast)
    saturation = draw.between(1 - config.saturation, 1 + config.saturation)
    saturation = torch.where(draw.happens(config.grey), 0.0, saturation)
    angle = (2 * torch.pi * draw.between(-config.hue, config.hue)).flatten()
    turn = torch.zeros(len(angle), 3, 3, device=images.device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos() * saturation.flatten()
    turn[:, 1, 2] = -angle.sin() * saturation.flatten()
    turn[:, 2, 1] = angle.sin() * saturation.flatten()
    yiq = _YIQ.to(images.device)
    matrix = brightness.view(-1, 1, 1) * (torch.linalg.inv(yiq) @ turn @ yiq)
    x = torch.einsum("bij,bnjhw->bnihw", matrix, images)
    luma = x.new_tensor(_LUMA).view(1, 1, 3, 1, 1)
    mean = (x * luma).sum(2, keepdim=True).mean((1, 3, 4), keepdim=True)
    return mean + contrast * (x - mean)


def _blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with a kernel of seven taps, of each sample's own width (B, 1, 1, 1, 1)."""
    B, N, C, H, W = x.shape
    offset = torch.arange(-3, 4, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offset / sigma.view(B, 1).clamp(min=1e-3)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(N * C, dim=0)
    x = F.pad(x.reshape(B * N, C, H, W), (3, 3, 3, 3), mode="replicate")
    x = x.view(1, B * N * C, H + 6, W + 6)
    x = F.conv2d(x, kernel.view(-1, 1, 7, 1), groups=B * N * C)
    x = F.conv2d(x, kernel.view(-1, 1, 1, 7), groups=B * N * C)
    return x.view(B, N, C, H, W)
