"""Points to compare: pixels of the target with depth, features and confidence, level by level."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vo.depth.feature_net import FeatureLevel
from vo.depth.warp import scale_intrinsics
from vo.refine.energy import NEAREST, FeaturePair
from vo.refine.lookup import Derivative, feature_rows

MEDIAN_OF = 8000  # pixels at least
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
    views: int = 1,
) -> FeaturePair:
    """The data of one level.

    Args:
        source: features and confidence (views B, C + 1, h, w) of the sources.
        target: the same of the targets, (B, C + 1, h, w).
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
        views: sources of each target: pair i is that of source i and target i % B.
    """
    height, width = size = target.maps.shape[-2], target.maps.shape[-1]
    dtype = torch.float64 if target.maps.dtype == torch.float64 else torch.float32
    index = drawn_pixels(height * width, num_points, seed, target.maps.device)
    u, v = index % width, index // width
    z, known = depth_at(u, v, size, depth, static, min_depth)
    z = z.to(dtype)
    scale_y, scale_x = height / depth.shape[-2], width / depth.shape[-1]
    K = scale_intrinsics(K.to(dtype), scale_x, scale_y)
    sources, targets = clean(source.maps.to(dtype)), clean(target.maps.to(dtype))
    if not source_confidence:
        sources = torch.cat([sources[:, :-1], (sources[:, -1:] > 0).to(dtype)], 1)
    x = (u - K[:, 0, 2, None]) / K[:, 0, 0, None]
    y = (v - K[:, 1, 2, None]) / K[:, 1, 1, None]
    points = torch.stack([x * z, y * z, z], 1).mT
    if median is None:
        median = median_depth(depth, min_depth)
    drawn = targets.flatten(2).mT[:, index]
    features, confidence = drawn[..., :-1], drawn[..., -1]
    return FeaturePair(
        rows=feature_rows(sources),
        size=size,
        target=for_views(features, views),
        weight=for_views(confidence * known, views),
        points=for_views(points, views),
        K=for_views(K, views),
        nearest=for_views(NEAREST * median.to(dtype), views),
        derivative=derivative,
    )


def for_views(x: Tensor, views: int) -> Tensor:
    """What belongs to B targets (B, ...) for each of their pairs, (views B, ...)."""
    return x if views == 1 else x.repeat(views, *[1] * (x.ndim - 1))


@cache
def drawn_pixels(pixels: int, num_points: int | None, seed: int, device: torch.device) -> Tensor:
    """Flat indices (N,) of pixels drawn without repetition, the same on every device."""
    with torch.inference_mode(False):  # what is kept serves training, too
        if num_points is None or num_points >= pixels:
            return torch.arange(pixels, device=device)
        generator = torch.Generator().manual_seed(seed)
        return torch.randperm(pixels, generator=generator)[:num_points].sort().values.to(device)


def depth_at(
    u: Tensor,
    v: Tensor,
    size: tuple[int, int],
    depth: Tensor,
    static: Tensor | None,
    min_depth: float,
) -> tuple[Tensor, Tensor]:
    """Depth (B, N) at pixels u, v (N,) of a level of that size, 1 where unknown, and where known.

    The centre of a level's pixel lies between pixels of the image; their depths are averaged where
    all of them are known.
    """
    height, width = depth.shape[-2:]
    (left, right, a), (top, bottom, b) = (
        _neighbours(u, size[1], width), _neighbours(v, size[0], height)
    )  # fmt: skip
    shares = torch.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b])
    around = torch.stack([top * width + left, top * width + right,
                          bottom * width + left, bottom * width + right])  # fmt: skip
    z = depth.flatten(1)[:, around]  # (B, 4, N)
    known = (z > min_depth) & (z < torch.inf)
    if static is not None:
        known = known & (static.flatten(1)[:, around] > 0.5)
    known = (known | (shares < 1e-3)).all(1)
    return torch.where(known, (torch.where(known[:, None], z, 1.0) * shares).sum(1), 1.0), known


def _neighbours(at: Tensor, count: int, of: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels before and after the centre of pixel ``at`` of ``count`` in a line of ``of``
    pixels, and how near the one after is, from 0 to 1."""
    centre = ((at + 0.5) * (of / count) - 0.5).clamp(0, of - 1)
    before = centre.floor().long()
    return before, (before + 1).clamp(max=of - 1), centre - before


def median_depth(depth: Tensor, min_depth: float) -> Tensor:
    """Median of the known depths of each item, (B,); 1 where none is known. No gradient.

    Of large maps every so many pixels will do: it is a unit of length, no measurement.
    """
    flat = depth.detach().flatten(1)
    flat = flat[:, :: max(1, flat.shape[1] // MEDIAN_OF)]
    known = torch.isfinite(flat) & (flat > min_depth)
    median = torch.where(known, flat, torch.nan).nanmedian(1).values
    return torch.where(torch.isfinite(median), median, 1.0)


def clean(maps: Tensor) -> Tensor:
    """Features and, last, confidence (B, C + 1, h, w) with 0 for what is not finite, and confidence
    0 wherever a look-up would reach it.

    0 * NaN is NaN, in gradients as well, so that a weight of 0 alone would not help.
    """
    # A look at values cannot be recorded in a graph; without it the result is the same. A sum is
    # finite only where all its terms are.
    if not torch.compiler.is_compiling() and torch.isfinite(maps.detach().sum()):
        return maps
    finite = torch.isfinite(maps)
    bad = ~finite.all(1, keepdim=True)
    reach = F.max_pool2d(bad.to(maps), 2 * FORBIDDEN_PX + 1, 1, FORBIDDEN_PX) > 0
    maps = torch.where(finite, maps, 0.0)
    return torch.cat([maps[:, :-1], torch.where(reach, 0.0, maps[:, -1:])], 1)
