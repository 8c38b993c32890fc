"""Points to compare: pixels of the target with depth, features and confidence, level by level."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vo.depth.feature_net import FeatureLevel
from vo.depth.warp import scale_intrinsics
from vo.refine.energy import NEAREST, Derivative, FeaturePair, feature_rows

FORBIDDEN_PX = 2  # bilinear taps and central differences reach so far


def feature_pair(
    source: FeatureLevel,
    target: FeatureLevel,
    depth: Tensor,
    K: Tensor,
    *,
    num_points: int | None,
    seed: int,
    derivative: Derivative,
    source_confidence: bool,
    min_depth: float,
    static: Tensor | None = None,
    median: Tensor | None = None,
) -> FeaturePair:
    """The data of one level.

    Args:
        source: features (B, C, h, w) and confidence (B, 1, h, w) of the source.
        target: the same of the target.
        depth: (B, 1, H, W) depth of the target; values that are not finite or not above
            ``min_depth`` are unknown.
        K: (B, 3, 3) intrinsics of the H x W image.
        num_points: pixels drawn uniformly, the same for every item; None is all.
        seed: of the drawing.
        derivative: how features are differentiated.
        source_confidence: whether the source's confidence weighs as well.
        min_depth: see ``depth``.
        static: (B, 1, H, W) 1 where the scene stands still; None is everywhere.
        median: (B,) median depth where it is known already.
    """
    height, width = target.features.shape[-2:]
    dtype = torch.float64 if target.features.dtype == torch.float64 else torch.float32
    index = drawn_pixels(height * width, num_points, seed, target.features.device)
    z, known = level_depth(depth.to(dtype), static, (height, width), min_depth)
    scale_y, scale_x = height / depth.shape[-2], width / depth.shape[-1]
    K = scale_intrinsics(K.to(dtype), scale_x, scale_y)
    f_t, c_t = clean(target.features.to(dtype), target.confidence.to(dtype))
    f_s, c_s = clean(source.features.to(dtype), source.confidence.to(dtype))
    if not source_confidence:
        c_s = (c_s > 0).to(dtype)
    z, known, f_t, c_t = (m.flatten(2)[:, :, index] for m in (z, known, f_t, c_t))
    x = (index % width - K[:, 0, 2, None]) / K[:, 0, 0, None]
    y = (index // width - K[:, 1, 2, None]) / K[:, 1, 1, None]
    points = torch.stack([x, y, torch.ones_like(x)], -1) * z.mT
    if median is None:
        median = median_depth(depth, min_depth)
    return FeaturePair(
        rows=feature_rows(f_s, c_s),
        size=(height, width),
        target=f_t.mT.contiguous(),
        weight=(c_t * known.to(dtype))[:, 0],
        points=points,
        K=K,
        nearest=NEAREST * median.to(dtype),
        derivative=derivative,
    )


@cache
def drawn_pixels(pixels: int, num_points: int | None, seed: int, device: torch.device) -> Tensor:
    """Flat indices (N,) of pixels drawn without repetition, the same on every device."""
    if num_points is None or num_points >= pixels:
        return torch.arange(pixels, device=device)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(pixels, generator=generator)[:num_points].sort().values.to(device)


def level_depth(
    depth: Tensor, static: Tensor | None, size: tuple[int, int], min_depth: float
) -> tuple[Tensor, Tensor]:
    """Depth at the pixels of a level (B, 1, h, w), 1 where unknown, and whether it is known.

    The centre of a level's pixel lies between pixels of the image; their depths are averaged where
    all of them are known.
    """
    known = torch.isfinite(depth) & (depth > min_depth)
    if static is not None:
        known = known & (static > 0.5)
    z = torch.where(known, depth, 1.0)
    if tuple(depth.shape[-2:]) == size:
        return z, known
    z, share = (
        F.interpolate(m, size=size, mode="bilinear", align_corners=False)
        for m in (z, known.to(depth))
    )
    known = share > 0.999
    return torch.where(known, z, 1.0), known


def median_depth(depth: Tensor, min_depth: float) -> Tensor:
    """Median of the known depths of each item, (B,); 1 where none is known. No gradient."""
    flat = depth.detach().flatten(1)
    known = torch.isfinite(flat) & (flat > min_depth)
    median = torch.where(known, flat, torch.nan).nanmedian(1).values
    return torch.where(torch.isfinite(median), median, 1.0)


def clean(features: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Features with 0 for what is not finite, and confidence 0 wherever a look-up would reach it.

    0 * NaN is NaN, in gradients as well, so that a weight of 0 alone would not help.
    """
    bad = ~(torch.isfinite(features).all(1, keepdim=True) & torch.isfinite(confidence))
    # A look at values cannot be recorded in a graph; without it the result is the same.
    if not torch.compiler.is_compiling() and not bad.any():
        return features, confidence
    reach = F.max_pool2d(bad.to(features), 2 * FORBIDDEN_PX + 1, 1, FORBIDDEN_PX) > 0
    features = torch.where(torch.isfinite(features), features, 0.0)
    confidence = torch.where(torch.isfinite(confidence) & ~reach, confidence, 0.0)
    return features, confidence
