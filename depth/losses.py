"""Losses of self-supervised depth. Pure functions of tensors.

After Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation" (ICCV 2019): the
minimum of photometric errors (`vo.depth.photometric`) over source views (eq. 4), the mask of pixels
that do not change between frames (eq. 5), and edge-aware smoothness (eq. 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vo.datasets.draws import Source, normal
from vo.depth.numbers import at_least_float32


@dataclass(frozen=True, slots=True, eq=False)
class MinimumReprojection:
    """The best explanation of every target pixel.

    Attributes:
        error: (B, 1, H, W) smallest photometric error, 0 where not ``counted``.
        winner: (B, 1, H, W) int64, the index of the source view that won, or -1 where the pixel is
            static or not counted.
        static: (B, 1, H, W) bool, True where an unwarped source explains the pixel at least as
            well as every warped one: it does not move relative to the camera. Its error is a
            constant, without gradient to depth and pose.
        counted: (B, 1, H, W) bool, False where no view was valid.
    """

    error: Tensor
    winner: Tensor
    static: Tensor
    counted: Tensor

    def mean(self) -> Tensor:
        """Mean error () over the counted pixels, static ones included, as published; 0 if none."""
        return self.error.sum() / self.counted.sum().clamp(min=1)


def minimum_reprojection(
    errors: Sequence[Tensor],
    identity_errors: Sequence[Tensor] | None = None,
    valid: Sequence[Tensor] | None = None,
    generator: Source | None = None,
    noise: float = 1e-5,
) -> MinimumReprojection:
    """Per-pixel minimum over source views, and the mask of pixels that do not move.

    Args:
        errors: per source view, photometric error (B, 1, H, W) of the warped view.
        identity_errors: per source view, error (B, 1, H, W) of the unwarped view; None switches
            the mask off.
        valid: per source view, (B, 1, H, W) bool; a view never wins where it is False. None, as
            published, takes every pixel.
        generator: source of the noise, which decides between equal errors (a camera that stands
            still). Required with ``identity_errors`` unless ``noise`` is 0.
        noise: standard deviation of what is added to the unwarped error for the comparison only.
            With 0 the unwarped view wins a tie.

    Raises:
        ValueError: when shapes or counts differ, or the generator is missing.
    """
    _check_views(errors, identity_errors, valid)
    warped = torch.cat(list(errors), dim=1)
    if valid is not None:
        warped = torch.where(torch.cat(list(valid), dim=1), warped, torch.inf)
    error, winner = warped.min(dim=1, keepdim=True)
    static = torch.zeros_like(error, dtype=torch.bool)
    if identity_errors is not None:
        still = torch.cat(list(identity_errors), dim=1).min(dim=1, keepdim=True).values
        static = still + _noise_like(still, generator, noise) <= error
        error = torch.where(static, still, error)
    counted = error != torch.inf
    return MinimumReprojection(
        error=torch.where(counted, error, 0),
        winner=torch.where(static | ~counted, -1, winner),
        static=static,
        counted=counted,
    )


def smoothness(values: Tensor, image: Tensor) -> Tensor:
    """Edge-aware smoothness of mean-normalised disparity or depth.

    |dx d*| exp(-|dx I|) + |dy d*| exp(-|dy I|), each a mean over pixels, with d* = d / mean(d)
    per item, so that shrinking the values does not pay.

    Args:
        values: (B, 1, h, w) disparity or depth, positive.
        image: (B, C, h, w) image of the same size.

    Returns:
        () scalar.

    Raises:
        ValueError: when shapes do not fit.
    """
    B, _, h, w = image.shape if image.ndim == 4 else (-1, -1, -1, -1)
    if tuple(values.shape) != (B, 1, h, w):
        raise ValueError(
            f"values must be (B, 1, h, w) and image (B, C, h, w), got {tuple(values.shape)} "
            f"and {tuple(image.shape)}"
        )
    if min(h, w) < 2:
        raise ValueError(f"smoothness needs at least 2 x 2 pixels, got {tuple(values.shape)}")
    values, image = at_least_float32(values), at_least_float32(image)
    values = values / (values.mean(dim=(2, 3), keepdim=True) + 1e-7)
    total = values.new_zeros(())
    for axis in (-1, -2):
        step = values.diff(dim=axis).abs()
        edge = image.diff(dim=axis).abs().mean(dim=1, keepdim=True)
        total = total + (step * torch.exp(-edge)).mean()
    return total


def _noise_like(x: Tensor, generator: Source | None, noise: float) -> Tensor | float:
    if noise == 0:
        return 0.0
    if generator is None:
        raise ValueError("give a torch.Generator for the tie-break, or noise=0")
    return noise * normal(x.shape, generator, x.dtype).to(x.device)


def _check_views(
    errors: Sequence[Tensor], still: Sequence[Tensor] | None, valid: Sequence[Tensor] | None
) -> None:
    if not errors:
        raise ValueError("minimum_reprojection needs the error of at least one view")
    if valid is not None and len(valid) != len(errors):
        raise ValueError(f"{len(errors)} errors but {len(valid)} valid masks")
    if still is not None and not still:
        raise ValueError("identity_errors is empty; give None to switch the mask off")
    shapes = {tuple(x.shape) for group in (errors, still, valid) for x in group or ()}
    shape = tuple(errors[0].shape)
    if len(shapes) > 1 or len(shape) != 4 or shape[1] != 1:
        raise ValueError(f"errors and masks must all be (B, 1, H, W), got {sorted(shapes)}")
