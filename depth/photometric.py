"""How different two images look: SSIM and L1. Pure functions of tensors.

After Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation" (ICCV 2019), eq. 2.
In training this is what costs most beside the networks: windows are summed along rows and columns,
the moments of the image that others are compared with are computed once, and the gradient is
written down instead of recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vo.depth.numbers import at_least_float32

_C1, _C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for images in [0, 1]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Means over the window around each pixel of an image.

    Attributes:
        mean: (B, C, H, W) of the values.
        square: (B, C, H, W) of their squares.
    """

    mean: Tensor
    square: Tensor

    def of(self, items: slice) -> Moments:
        """Those of some of the images."""
        return Moments(self.mean[items], self.square[items])


def moments_of(image: Tensor, window: int = 3) -> Moments:
    """Moments of an image (B, C, H, W), which is reflected at its border.

    Raises:
        ValueError: when the window is even or too large for the image.
    """
    half = window // 2
    if window < 1 or window % 2 == 0 or half >= min(image.shape[-2:]):
        raise ValueError(f"window must be odd and fit into {tuple(image.shape)}, got {window}")
    image = at_least_float32(image)
    return Moments(_window_mean(image, window), _window_mean(image * image, window))


def ssim_dissimilarity(a: Tensor, b: Tensor, window: int = 3) -> Tensor:
    """Structural dissimilarity clamp((1 - SSIM) / 2, 0, 1), with uniform windows.

    Wang et al., "Image Quality Assessment" (2004), eq. 13; the image is reflected at its border.

    Args:
        a: (B, C, H, W) image in [0, 1].
        b: (B, C, H, W) image in [0, 1].
        window: odd side of the window: 3 in monodepth2, 7 in SQLdepth and SPIdepth.

    Returns:
        (B, C, H, W), 0 where the images are equal.

    Raises:
        ValueError: when shapes differ, or the window is even or too large for the image.
    """
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(
            f"images must both be (B, C, H, W), got {tuple(a.shape)}, {tuple(b.shape)}"
        )
    a, b = at_least_float32(a), at_least_float32(b)
    moments = moments_of(a, window), moments_of(b, window)
    return _Ssim(*moments, _window_mean(a * b, window)).dissimilarity.clamp(0, 1)


def photometric_error(
    a: Tensor, b: Tensor, window: int = 3, alpha: float = 0.85, moments: Moments | None = None
) -> Tensor:
    """How different images look: alpha SSIM + (1 - alpha) L1, mean over channels.

    Args:
        a: (V B, C, H, W) images in [0, 1]: V views of each of ``b``, view after view.
        b: (B, C, H, W) images in [0, 1]; where they want a gradient it takes several times as long.
        window: side of the SSIM window, odd.
        alpha: weight of the structural part; 0 leaves L1 alone.
        moments: `moments_of` ``b``, for those who have them.

    Returns:
        (V B, 1, H, W) in float32 at least.

    Raises:
        ValueError: when shapes do not fit, or the window is even or too large for the image.
    """
    if a.ndim != 4 or a.shape[1:] != b.shape[1:] or len(a) % len(b):
        raise ValueError(
            f"images must be (V B, C, H, W) and (B, C, H, W), got {tuple(a.shape)}, "
            f"{tuple(b.shape)}"
        )
    a, b = at_least_float32(a), at_least_float32(b)
    if alpha == 0 or b.requires_grad:
        b = b.repeat(len(a) // len(b), 1, 1, 1)
        absolute = (a - b).abs().mean(dim=1, keepdim=True)
        if alpha == 0:
            return absolute
        structure = ssim_dissimilarity(a, b, window).mean(dim=1, keepdim=True)
        return alpha * structure + (1 - alpha) * absolute
    moments = moments_of(b, window) if moments is None else moments
    error = _PhotometricError.apply(a, b, moments, window, alpha)
    assert isinstance(error, Tensor)
    return error


class _Ssim:
    """Eq. 13 of Wang et al. as luminance and structure, numerators over denominators.

    In this order of operations everything is exactly one for equal images.
    """

    def __init__(self, a: Moments, b: Moments, product: Tensor) -> None:
        both = a.mean * b.mean
        squares = a.mean * a.mean + b.mean * b.mean
        self.a, self.b = a, b
        self.luminance, self.luminance_scale = 2 * both + _C1, squares + _C1
        self.structure = 2 * (product - both) + _C2
        self.structure_scale = (a.square + b.square) - squares + _C2
        self.scale = self.luminance_scale * self.structure_scale
        self.value = self.luminance * self.structure / self.scale

    @property
    def dissimilarity(self) -> Tensor:
        """(1 - SSIM) / 2, which rounding may put out of [0, 1]."""
        return (1 - self.value) / 2

    def derivatives(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of the dissimilarity by the means of a, of a^2 and of a b."""
        by_product = -self.luminance / self.scale
        by_luminance, by_structure = (
            self.value / self.luminance_scale,
            self.value / self.structure_scale,
        )
        by_mean = self.b.mean * ((self.luminance - self.structure) / self.scale)
        by_mean += self.a.mean * (by_luminance - by_structure)
        return by_mean, by_structure.div_(2), by_product


class _PhotometricError(torch.autograd.Function):
    """The error, and its gradient by ``a``, written down.

    On a CPU image by image: the megabytes of one stay in its cache.
    """

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, moments: Moments, window: int, alpha: float
    ) -> Tensor:
        ctx.parts = _parts(a, b)
        ctx.window, ctx.alpha = window, alpha
        errors, ctx.derivatives = [], []
        for views, items in ctx.parts:
            x, y = a[views], b[items]
            product = _window_mean(x * y, window)
            ssim = _Ssim(moments_of(x, window), moments.of(items), product)
            structure = ssim.dissimilarity.clamp_(0, 1).mean(dim=1, keepdim=True)
            absolute = (x - y).abs_().mean(dim=1, keepdim=True)
            errors.append(alpha * structure + (1 - alpha) * absolute)
            if ctx.needs_input_grad[0]:
                ctx.derivatives.append(ssim.derivatives())
        ctx.save_for_backward(a, b)
        return torch.cat(errors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        a, b = ctx.saved_tensors
        result = torch.empty_like(a)
        for (views, items), derivatives in zip(ctx.parts, ctx.derivatives, strict=True):
            x, y, g = a[views], b[items], gradient[views] / a.shape[1]
            by_mean, by_square, by_product = (
                _window_mean_adjoint(ctx.alpha * g * d, ctx.window) for d in derivatives
            )
            by_mean += by_square.mul_(2).mul_(x)
            by_mean += by_product.mul_(y)
            by_mean += (x - y).sign_().mul_((1 - ctx.alpha) * g)
            result[views] = by_mean
        return result, None, None, None, None


def _parts(a: Tensor, b: Tensor) -> list[tuple[slice, slice]]:
    """Images of ``a`` that are compared at a time, and those of ``b`` that they go with."""
    size = 1 if a.device.type == "cpu" else len(b)
    starts = [(start, start % len(b)) for start in range(0, len(a), size)]
    return [(slice(i, i + size), slice(j, j + size)) for i, j in starts]


def _window_mean(x: Tensor, window: int) -> Tensor:
    """Mean over the window around each pixel, the image being reflected at its border."""
    half = window // 2
    x = F.pad(x, (half, half, half, half), mode="reflect")
    return _window_sum(x, window).div_(window**2)


def _window_mean_adjoint(g: Tensor, window: int) -> Tensor:
    """What `_window_mean` makes of a gradient; ``g`` is its gradient by the means."""
    half = window // 2
    g = _window_sum(F.pad(g, (2 * half,) * 4), window).div_(window**2)
    for axis in (-2, -1):  # what fell on the reflected border goes back to where it came from
        last = g.shape[axis] - 1
        for i in range(half):
            g.select(axis, 2 * half - i).add_(g.select(axis, i))
            g.select(axis, last - 2 * half + i).add_(g.select(axis, last - i))
        g = g.narrow(axis, half, last + 1 - 2 * half)
    return g


def _window_sum(x: Tensor, window: int) -> Tensor:
    """(B, C, H, W) to (B, C, H - window + 1, W - window + 1): sums along columns, then rows."""
    for axis in (-2, -1):
        size = x.shape[axis] - window + 1
        total = x.narrow(axis, 0, size) + x.narrow(axis, 1, size) if window > 1 else x.clone()
        for i in range(2, window):
            total.add_(x.narrow(axis, i, size))
        x = total
    return x
