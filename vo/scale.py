"""Pose-depth scale consistency: do the poses of a drive have the scale of its depth?

A monocular network gives each pair of frames a pose and each frame a depth, both in a unit of its
own choice. They agree when the pose moves pixels as far as the images say that they moved. To
measure it, each pose is refined with its depth held fixed (`vo.refine`): this gives the translation
t_ref that the depth asks for, against t_net of the network, and the scale of the pair

    r_i = <t_net, t_ref> / |t_ref|^2                                                        (1)

which is 1 where both agree, and the same for any common unit of poses and depth. What varies in r
over a drive becomes drift of its trajectory that no single scale corrects: its spread is

    spread = std(r_i / median r)                                                            (2)

After refinement r is 1 by construction. Whether refinement helped can be told only with ground
truth, where the scale of the pose over that of the depth is

    a_i = (|t| / |t_gt|) / (median d / median d_gt)                                         (3)

for t = t_net (before) and t = t_ref (after).

All functions take translations (N, 3) or poses T_s_t (N, 4, 4) of the same N pairs, in any unit of
length that a pair's poses and depth have in common, and compute in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vo.datasets.camera import Array, Camera

MAD_TO_STD = 1.4826  # of a normal distribution
NEAREST = 1e-3  # in median depths: nearer points count as behind the camera


@dataclass(frozen=True, slots=True, eq=False)
class ScaleConsistency:
    """How well N poses keep the scale of their depth.

    Attributes:
        r: (N,) float64 scale of each pair, eq. 1, no unit; NaN where it was not used.
        median: of r; 1 where poses and depth have one scale. NaN when nothing was used.
        spread: standard deviation of r / median, eq. 2; NaN with fewer than two pairs.
        mad: 1.4826 times the median absolute deviation of r / median: what ``spread`` would be
            without outliers; NaN with fewer than two pairs.
        coverage: share of the pairs that were used, 0 to 1.
        used: number of pairs that were used.
    """

    r: Array
    median: float
    spread: float
    mad: float
    coverage: float
    used: int


@dataclass(frozen=True, slots=True, eq=False)
class ScaleAlignment:
    """How well N poses have the scale of their depth, by ground truth.

    Attributes:
        a: (N,) float64 scale of the pose over the scale of the depth, eq. 3, no unit; NaN where it
            was not used.
        mean_error: mean |a - 1|; NaN when nothing was used.
        median: of a.
        spread: standard deviation of a / median; NaN with fewer than two pairs.
        mad: 1.4826 times the median absolute deviation of a / median.
        coverage: share of the pairs that were used, 0 to 1.
        used: number of pairs that were used.
    """

    a: Array
    mean_error: float
    median: float
    spread: float
    mad: float
    coverage: float
    used: int


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """The spread that `scale_consistency` would report if poses and depth agreed perfectly.

    Attributes:
        spread: to compare with `ScaleConsistency.spread`; NaN with fewer than two pairs.
        mad: to compare with `ScaleConsistency.mad`.
        coverage: share of the pairs that were used, 0 to 1.
        used: number of pairs that were used.
    """

    spread: float
    mad: float
    coverage: float
    used: int


def scale_consistency(
    t_net: Array, t_ref: Array, flow_px: Array, success: Array, min_flow_px: float = 1.0
) -> ScaleConsistency:
    """Median and spread of the scales of N pairs, eq. 1 and 2.

    Pairs that show too little parallax, or whose refinement failed, say nothing about scale and are
    left out. Where none is left the numbers are NaN and the coverage is 0.

    A refinement that stops where it began gives r = 1 whatever the truth, so that features too
    noisy or too smooth to move a pose make the spread look small, and the noise floor, too; with
    ground truth `scale_correlation` tells.

    Args:
        t_net: (N, 3) or (N, 4, 4) before refinement.
        t_ref: (N, 3) or (N, 4, 4) after refinement with the same depth.
        flow_px: (N,) mean flow by translation in pixels, from `translation_flow_px`.
        success: (N,) bool, whether the refinement succeeded.
        min_flow_px: least flow in pixels.

    Raises:
        ValueError: when shapes do not fit, ``success`` is not bool, or ``min_flow_px`` is negative.
    """
    r = pair_scale(t_net, t_ref)
    flow_px = _series("flow_px", flow_px, len(r))
    if not min_flow_px >= 0:
        raise ValueError(f"min_flow_px must be 0 or more, got {min_flow_px}")
    used = _mask("success", success, len(r)) & (flow_px >= min_flow_px) & np.isfinite(r)
    return ScaleConsistency(np.where(used, r, np.nan), *_statistics(r[used]), *_count(used))


def pair_scale(t_net: Array, t_ref: Array) -> Array:
    """Scale r of each pair, eq. 1, (N,) float64: the factor of t_ref that comes nearest to t_net.

    It is negative where the two point away from each other, and NaN where t_ref is 0 or a number is
    not finite.

    Args:
        t_net: (N, 3) or (N, 4, 4) before refinement.
        t_ref: (N, 3) or (N, 4, 4) after refinement.

    Raises:
        ValueError: when shapes do not fit.
    """
    t_net, t_ref = _translations("t_net", t_net), _translations("t_ref", t_ref, len(t_net))
    with np.errstate(all="ignore"):  # what divides by 0 or overflows becomes NaN below
        r = np.sum(t_net * t_ref, axis=1) / np.sum(t_ref * t_ref, axis=1)
    return np.where(np.isfinite(r), r, np.nan)


def translation_flow_px(depth: Array, camera: Camera, T_s_t: Array) -> float:
    """Mean length of the flow that the translation adds to that of the rotation alone, in pixels.

    The rotation alone moves the pixel of the ray x to that of q = R x, at any depth. With
    the point d x, which goes to d q + t, the difference of the two pixels is

        f (t_xy - t_z q_xy / q_z) / (d q_z + t_z)

    It is the parallax, without which a translation cannot be seen. Pixels without depth (not
    finite, or not positive) and points that are or come behind the camera are left out.

    Args:
        depth: (H, W) depth of the target along z.
        camera: of the target and the source, with the size of ``depth``.
        T_s_t: (4, 4) target camera to source camera, in the unit of ``depth``.

    Returns:
        The mean in pixels of ``camera``; NaN when no pixel can be used.

    Raises:
        ValueError: when shapes do not fit.
    """
    depth, T_s_t = np.asarray(depth, np.float64), np.asarray(T_s_t, np.float64)
    if depth.shape != (camera.height, camera.width):
        raise ValueError(f"depth must be ({camera.height}, {camera.width}), got {depth.shape}")
    if T_s_t.shape != (4, 4):
        raise ValueError(f"T_s_t must be (4, 4), got {T_s_t.shape}")
    known = np.isfinite(depth) & (depth > 0)
    if not known.any() or not np.isfinite(T_s_t).all():
        return math.nan
    nearest, t = NEAREST * np.median(depth[known]), T_s_t[:3, 3]
    # A ray is (x of the column, y of the row, 1): three sums of a row and a column, not one product
    # for each pixel.
    x = (np.arange(camera.width) - camera.cx) / camera.fx
    y = (np.arange(camera.height)[:, None] - camera.cy) / camera.fy
    q_x, q_y, q_z = (row[0] * x + (row[1] * y + row[2]) for row in T_s_t[:3, :3])
    with np.errstate(all="ignore"):  # what is not in front is nothing, and is left out
        z = depth * q_z
        front = known & (z > nearest) & (z + t[2] > nearest)
        z += t[2]
        u = camera.fx * (t[0] - t[2] * q_x / q_z) / z
        v = camera.fy * (t[1] - t[2] * q_y / q_z) / z
        flow = np.sqrt(u * u + v * v)
    return float(flow[front].mean()) if front.any() else math.nan


def true_scale_alignment(
    t: Array,
    t_gt: Array,
    depth_median: Array,
    depth_gt_median: Array,
    success: Array | None = None,
    min_motion: float = 0.01,
) -> ScaleAlignment:
    """Scale of N poses over that of their depth, eq. 3, by ground truth.

    Call it with t before and with t after refinement, and with the same ``success``, so that both
    speak of the same pairs.

    Args:
        t: (N, 3) or (N, 4, 4) estimates.
        t_gt: (N, 3) or (N, 4, 4) true motion.
        depth_median: (N,) median of the estimated depth of each pair's target, over the pixels
            where the true depth is known, in the unit of ``t``.
        depth_gt_median: (N,) median of the true depth over the same pixels, in the unit of
            ``t_gt``.
        success: (N,) bool, pairs that may count; None is all.
        min_motion: pairs whose |t_gt| is a smaller share of the true median depth stand still, and
            do not count.

    Raises:
        ValueError: when shapes do not fit, ``success`` is not bool, or ``min_motion`` is negative.
    """
    t = _translations("t", t)
    t_gt = _translations("t_gt", t_gt, len(t))
    d = _series("depth_median", depth_median, len(t))
    d_gt = _series("depth_gt_median", depth_gt_median, len(t))
    if not min_motion >= 0:
        raise ValueError(f"min_motion must be 0 or more, got {min_motion}")
    motion = np.linalg.norm(t_gt, axis=1)
    used = np.ones(len(t), bool) if success is None else _mask("success", success, len(t))
    with np.errstate(all="ignore"):  # what divides by 0 or overflows is left out
        a = np.linalg.norm(t, axis=1) / motion * (d_gt / d)
        used = used & (motion >= min_motion * d_gt) & (d > 0) & (d_gt > 0) & np.isfinite(a)
    error = float(np.mean(np.abs(a[used] - 1))) if used.any() else math.nan
    return ScaleAlignment(np.where(used, a, np.nan), error, *_statistics(a[used]), *_count(used))


def scale_correlation(r: Array, a: Array) -> float:
    """Pearson's correlation of the measured scales r with the true ones a of the unrefined poses.

    Near 1 it says that r, which needs no ground truth, tells which poses are off and by how much.

    Args:
        r: (N,) from `scale_consistency`, NaN where not used.
        a: (N,) from `true_scale_alignment` before refinement, NaN where not used.

    Returns:
        -1 to 1 over the pairs that both used; NaN with fewer than three, of which two would always
        correlate perfectly, and where r or a does not vary.

    Raises:
        ValueError: when shapes do not fit.
    """
    r = np.asarray(r, np.float64)
    a = _series("a", a, len(_series("r", r, r.size)))
    both = np.isfinite(r) & np.isfinite(a)
    if both.sum() < 3:
        return math.nan
    x, y = r[both] - r[both].mean(), a[both] - a[both].mean()
    size_x, size_y = np.linalg.norm(x), np.linalg.norm(y)
    # A constant differs from its own mean by rounding, which correlates with anything.
    if size_x <= 1e-12 * np.linalg.norm(r[both]) or size_y <= 1e-12 * np.linalg.norm(a[both]):
        return math.nan
    return float(np.clip(np.sum(x * y) / (size_x * size_y), -1, 1))


def noise_floor(
    t_ref_a: Array, t_ref_b: Array, flow_px: Array, success: Array, min_flow_px: float = 1.0
) -> NoiseFloor:
    """The measure's own noise: how far r strays because t_ref is not exact.

    Two refinements a, b of the same pair, whose errors along the motion are independent and have
    the same relative standard deviation s, differ in scale by s sqrt(2). So s is the spread of
    <t_a, t_b> / |t_b|^2, divided by sqrt(2). Errors that both share are not seen: whatever the two
    are, the result is a lower bound.

    - Two seeds of `vo.refine.RefineConfig` come nearest, with ``num_points`` few against the
      pixels of a level, so that the points hardly overlap. They share what all points of a pair
      have in common, such as a depth that is wrong in a whole region. On made-up scenes they see
      0.7 to 0.9 of the true noise where features are noisy, and 0.55 to 0.9 where depth is wrong
      as well. The result belongs to refinement with so many points; with ``num_points=None`` both
      are equal and it is 0.
    - Forward and backward, T_s_t with the depth of t and the inverse of T_t_s with the depth of s,
      need no drawing of points and see that the two depths differ. But both compare the same
      images, and make the same errors with them: they see 0.4 to 0.6 of the true noise.

    A spread s_r of `scale_consistency` then stems from scales that vary by sqrt(s_r^2 - s^2).

    Args:
        t_ref_a: (N, 3) or (N, 4, 4) of the first refinement, from the same initial poses.
        t_ref_b: (N, 3) or (N, 4, 4) of the second.
        flow_px: (N,) mean flow by translation in pixels, from `translation_flow_px`.
        success: (N,) bool, whether both refinements succeeded.
        min_flow_px: least flow in pixels; as in `scale_consistency`.

    Raises:
        ValueError: when shapes do not fit, ``success`` is not bool, or ``min_flow_px`` is negative.
    """
    pairs = scale_consistency(t_ref_a, t_ref_b, flow_px, success, min_flow_px)
    one_of_two = math.sqrt(0.5)
    return NoiseFloor(pairs.spread * one_of_two, pairs.mad * one_of_two, pairs.coverage, pairs.used)


def _statistics(values: Array) -> tuple[float, float, float]:
    """Median, spread and MAD of values (M,); the last two relative to the median."""
    if len(values) == 0:
        return math.nan, math.nan, math.nan
    median = float(np.median(values))
    if len(values) < 2 or median == 0:
        return median, math.nan, math.nan
    with np.errstate(all="ignore"):
        relative = values / median
        mad = MAD_TO_STD * float(np.median(np.abs(relative - 1)))
        return median, float(np.std(relative)), mad


def _count(used: Array) -> tuple[float, int]:
    """Coverage and number of the pairs in a mask (N,)."""
    count = int(used.sum())
    return (count / len(used) if count else 0.0), count


def _translations(name: str, values: Array, length: int | None = None) -> Array:
    """Translations (N, 3) float64 of themselves or of poses."""
    values = np.asarray(values, np.float64)
    N = "N" if length is None else length
    fits = values.ndim > 1 and values.shape[1:] in ((3,), (4, 4))
    if not fits or length not in (None, len(values)):
        raise ValueError(f"{name} must be ({N}, 3) or ({N}, 4, 4), got {values.shape}")
    return values if values.ndim == 2 else values[:, :3, 3]


def _series(name: str, values: Array, length: int) -> Array:
    values = np.asarray(values, np.float64)
    if values.shape != (length,):
        raise ValueError(f"{name} must be ({length},), got {values.shape}")
    return values


def _mask(name: str, values: Array, length: int) -> Array:
    """Only bool: the refinement's ``reason`` is 0 for success, and would be taken the wrong way."""
    values = np.asarray(values)
    if values.shape != (length,) or values.dtype != bool:
        raise ValueError(f"{name} must be ({length},) bool, got {values.shape} {values.dtype}")
    return values
