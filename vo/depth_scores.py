"""How far a predicted depth is from the true one: the numbers of the depth tables of papers.

With a true depth g and a predicted one p over the N pixels of an image that count,

    abs_rel  = mean |g - p| / g                    rmse     = sqrt mean (g - p)^2
    sq_rel   = mean (g - p)^2 / g                  rmse_log = sqrt mean (ln g - ln p)^2
    log10    = mean |log10 g - log10 p|            a_k      = share of max(g / p, p / g) < 1.25^k

(Eigen et al., NeurIPS 2014; sq_rel is divided by g, as in everyone's code, and not by g^2), for
each image, and then their mean over images. Which pixels count, how the prediction gets the size of
the truth, and whether it may be scaled first, differ from table to table and change the numbers
more than many a method does: they are fields of `DepthProtocol`, and `vo.depth_protocols` holds
those of the published tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vo.datasets.camera import Array
from vo.datasets.depth_kind import DepthKind
from vo.protocol import DepthCrop, DepthDomain, DepthScaling

METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "a1", "a2", "a3")
"""Names of the numbers of `DepthScores` that are averaged over images, in the order of tables."""

_BORDER = 0.05  # of the width, at either side: where blending takes one of the two images alone
_FRACTIONS = {  # (top, bottom, left, right) of height and width, cut down to whole pixels
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),  # Garg et al., ECCV 2016
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),  # Eigen et al., NeurIPS 2014
}
_PIXELS = {  # (height, width) of the truth, and (top, bottom, left, right)
    "cityscapes": ((768, 2048), (256, 768, 192, 1856)),  # manydepth, CVPR 2021
    "nyu": ((480, 640), (45, 471, 41, 601)),  # Eigen et al., NeurIPS 2014
}


@dataclass(frozen=True, slots=True)
class Box:
    """Part of an image of one size, in pixels: rows top to bottom - 1, columns left to right - 1.

    Attributes:
        width: of the whole image.
        height: of the whole image.
        top: first row.
        bottom: row after the last.
        left: first column.
        right: column after the last.
    """

    width: int
    height: int
    top: int
    bottom: int
    left: int
    right: int

    def cut(self, image: Array) -> Array:
        """The part of an image (height, width, ...).

        Raises:
            ValueError: when the image has another size.
        """
        if image.shape[:2] != (self.height, self.width):
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise ValueError(f"an image of {self.width}x{self.height} pixels is asked, got {size}")
        return image[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True, slots=True)
class DepthProtocol:
    """What is done to a prediction and its truth before they are compared.

    Attributes:
        name: of the protocol.
        crop: part of the truth that counts.
        min_depth: in metres; predictions are set to it where they are smaller.
        max_depth: in metres; predictions are set to it where they are larger.
        scaling: ``median`` multiplies each prediction by median(g) / median(p), ``least-squares``
            by sum(g p) / sum(p^2), over the pixels that count; ``none`` leaves it.
        resize: what is interpolated when the prediction is brought to the size of the truth, and
            averaged by `blend_flipped`: the disparity 1 / p or the depth p.
        flip_tta: whether the prediction is blended with that of the mirrored image.
        only_within: whether only true depths strictly between min_depth and max_depth count, or
            all that are known.
        nearest: whether resizing takes the nearest pixel, and is bilinear otherwise.
        log10_rms: whether log10 is the root of the mean square, and the mean otherwise.
        factor: that predictions are multiplied by, before all else: 5.4 where a network learned
            with a stereo baseline of 0.1 for KITTI's 0.54 m.
        image_box: part of the image that the network sees; None is all of it.
        truth_box: part of the true depth that the prediction is then compared with.
        truth: which true depth.
    """

    name: str
    crop: DepthCrop = "none"
    min_depth: float = 1e-3
    max_depth: float = 80.0
    scaling: DepthScaling = "median"
    resize: DepthDomain = "disparity"
    flip_tta: bool = False
    only_within: bool = True
    nearest: bool = False
    log10_rms: bool = False
    factor: float = 1.0
    image_box: Box | None = None
    truth_box: Box | None = None
    truth: DepthKind = "own"

    def __post_init__(self) -> None:
        """Refuse depths and factors that mean nothing."""
        if not 0 < self.min_depth < self.max_depth < math.inf:
            range_m = f"{self.min_depth} to {self.max_depth}"
            raise ValueError(
                f"min_depth and max_depth must be positive and in order, got {range_m}"
            )
        if not 0 < self.factor < math.inf:
            raise ValueError(f"factor must be positive, got {self.factor}")


@dataclass(frozen=True, slots=True)
class DepthScores:
    """Errors of one predicted depth; NaN, with no pixels, where no true depth counts.

    Attributes:
        abs_rel: no unit.
        sq_rel: metres.
        rmse: metres.
        rmse_log: natural logarithms.
        log10: decimal logarithms.
        a1: share below 1.25, 0 to 1.
        a2: share below 1.25^2.
        a3: share below 1.25^3.
        ratio: scale of the truth over the prediction: what it is multiplied by where the protocol
            scales, and median(g) / median(p) where it does not.
        pixels: that count.
    """

    abs_rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    log10: float
    a1: float
    a2: float
    a3: float
    ratio: float
    pixels: int


@dataclass(frozen=True, slots=True)
class DepthSummary:
    """Errors over many images.

    Attributes:
        images: that were scored.
        unscored: images without a true depth that counts; they are in no number.
        mean: of each of `METRICS` over images.
        ratio_median: of the images' ratios.
        ratio_spread: standard deviation of ratio / ratio_median.
    """

    images: int
    unscored: int
    mean: Mapping[str, float]
    ratio_median: float
    ratio_spread: float


@dataclass(frozen=True, slots=True)
class DepthScaleSpread:
    """How steady the scale of depth is, by our definition (papers that report it give none).

    With the ratios r_i of a sequence's images and their median m,

    Attributes:
        sequences: std(r_i / m) of each, by name.
        within: mean of these.
        across: std(m_s / M) of the medians m_s of all sequences with M their median; NaN for one.
    """

    sequences: Mapping[str, float]
    within: float
    across: float


def score_depth(depth: Array, truth: Array, protocol: DepthProtocol) -> DepthScores:
    """Compare one predicted depth with the true one.

    Args:
        depth: (h, w) positive prediction, of any size and unit; metres where the protocol does not
            scale.
        truth: (H, W) true depth in metres, 0 where unknown; already cut where the protocol has a
            ``truth_box``.
        protocol: how.

    Returns:
        the scores; NaN where the prediction is not finite on a pixel that counts.

    Raises:
        ValueError: when an array has not two dimensions, and when the truth has not the size that a
            crop in pixels is made for.
    """
    if depth.ndim != 2 or truth.ndim != 2:
        raise ValueError(f"depth and truth must be (h, w), got {depth.shape} and {truth.shape}")
    counts = pixels_that_count(truth, protocol)
    if not counts.any():
        return DepthScores(*[math.nan] * (len(METRICS) + 1), pixels=0)
    p = _resized(depth, truth.shape, protocol)[counts].astype(np.float64)
    return _scores(truth[counts].astype(np.float64), p, protocol)


def as_compared(
    depth: Array, shape: tuple[int, ...], ratio: float, protocol: DepthProtocol
) -> Array:
    """A prediction as it is compared with its truth.

    Args:
        depth: (h, w) as predicted.
        shape: (H, W) of the truth.
        ratio: `DepthScores.ratio`.
        protocol: how.

    Returns:
        (H, W) of the size of the truth, scaled where the protocol scales, within its bounds.
    """
    return _scaled(_resized(depth, shape, protocol), ratio, protocol)


def pixels_that_count(truth: Array, protocol: DepthProtocol) -> Array:
    """(H, W) bool: within the crop, and with a true depth (H, W) that the protocol takes."""
    inside = np.zeros(truth.shape, bool)
    inside[crop_of(protocol.crop, *truth.shape)] = True
    if protocol.only_within:
        return inside & (truth > protocol.min_depth) & (truth < protocol.max_depth)
    return inside & (truth > 0)


def crop_of(crop: DepthCrop, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a true depth that a crop leaves.

    Raises:
        ValueError: when the crop is in pixels of another size.
    """
    if crop == "none":
        return slice(None), slice(None)
    if crop in _PIXELS:
        size, (top, bottom, left, right) = _PIXELS[crop]
        if size != (height, width):
            asked = f"{size[1]}x{size[0]}"
            raise ValueError(f"crop {crop} is made for {asked} pixels, got {width}x{height}")
        return slice(top, bottom), slice(left, right)
    top, bottom, left, right = _FRACTIONS[crop]
    return (
        slice(int(top * height), int(bottom * height)),
        slice(int(left * width), int(right * width)),
    )


def blend_flipped(depth: Array, depth_of_mirrored: Array, domain: DepthDomain) -> Array:
    """Blend a prediction with that of the mirrored image (Godard et al., CVPR 2017).

    The mean of both, but near the left border, where a network that learned from stereo pairs sees
    no match, of the mirrored one alone, near the right border of the direct one; ramps lead from
    one to the other from 5 % to 10 % of the width.

    Args:
        depth: (h, w) of the image.
        depth_of_mirrored: (h, w) of the mirrored image, as predicted: not mirrored back.
        domain: whether disparities (monodepth2) or depths (SQLdepth, SPIdepth) are averaged.

    Raises:
        ValueError: when the shapes differ or are not (h, w).
    """
    if depth.ndim != 2 or depth.shape != depth_of_mirrored.shape:
        raise ValueError(
            f"both must be (h, w) of one size, got {depth.shape} and {depth_of_mirrored.shape}"
        )
    direct, back = depth, depth_of_mirrored[:, ::-1]
    if domain == "disparity":
        direct, back = 1 / direct, 1 / back
    x = np.linspace(0, 1, depth.shape[1])
    left = 1 - np.clip((x - _BORDER) / _BORDER, 0, 1)
    right = left[::-1]
    blended = right * direct + left * back + (1 - left - right) * (direct + back) / 2
    return (1 / blended if domain == "disparity" else blended).astype(depth.dtype)


def summarise(scores: Iterable[DepthScores]) -> DepthSummary:
    """Means over images; those without a pixel that counts are only counted."""
    scores = list(scores)
    scored = [row for row in scores if row.pixels > 0]
    ratios = [row.ratio for row in scored]
    mean = {
        name: float(np.mean([getattr(row, name) for row in scored])) if scored else math.nan
        for name in METRICS
    }
    middle = float(np.median(ratios)) if ratios else math.nan
    return DepthSummary(len(scored), len(scores) - len(scored), mean, middle, _spread(ratios))


def depth_scale_spread(ratios: Mapping[str, Sequence[float]]) -> DepthScaleSpread:
    """Spread of the scale of depth within sequences and across them.

    Args:
        ratios: `DepthScores.ratio` of the images of each sequence; NaN where nothing counted.
    """
    known = {name: [r for r in some if math.isfinite(r)] for name, some in ratios.items()}
    known = {name: some for name, some in known.items() if some}
    spreads = {name: _spread(some) for name, some in known.items()}
    medians = [float(np.median(some)) for some in known.values()]
    return DepthScaleSpread(
        sequences=spreads,
        within=float(np.mean(list(spreads.values()))) if spreads else math.nan,
        across=_spread(medians) if len(medians) > 1 else math.nan,
    )


def _spread(ratios: Sequence[float]) -> float:
    return float(np.std(np.array(ratios) / np.median(ratios))) if len(ratios) else math.nan


def _resized(depth: Array, shape: tuple[int, ...], protocol: DepthProtocol) -> Array:
    """The prediction times its factor, at the size of the truth."""
    depth = depth * protocol.factor
    if depth.shape == shape:
        return depth
    how = cv2.INTER_NEAREST if protocol.nearest else cv2.INTER_LINEAR
    size = (shape[1], shape[0])
    if protocol.resize == "depth":
        return cv2.resize(depth, size, interpolation=how)
    return 1 / cv2.resize(1 / depth, size, interpolation=how)


def _scaled(depth: Array, ratio: float, protocol: DepthProtocol) -> Array:
    scaled = depth if protocol.scaling == "none" else depth * ratio
    return np.clip(scaled, protocol.min_depth, protocol.max_depth)


def _scores(g: Array, p: Array, protocol: DepthProtocol) -> DepthScores:
    """Errors of predictions p (N,) for the true depths g (N,), both float64."""
    ratio = float(np.median(g) / np.median(p))
    if protocol.scaling == "least-squares":
        ratio = float(g @ p / (p @ p))
    p = _scaled(p, ratio, protocol)
    error, log_error = g - p, np.log(g) - np.log(p)
    worst, square = np.maximum(g / p, p / g), error**2
    log10 = np.abs(log_error) / math.log(10)
    return DepthScores(
        abs_rel=float(np.mean(np.abs(error) / g)),
        sq_rel=float(np.mean(square / g)),
        rmse=math.sqrt(np.mean(square)),
        rmse_log=math.sqrt(np.mean(log_error**2)),
        log10=math.sqrt(np.mean(log10**2)) if protocol.log10_rms else float(np.mean(log10)),
        a1=float(np.mean(worst < 1.25)),
        a2=float(np.mean(worst < 1.25**2)),
        a3=float(np.mean(worst < 1.25**3)),
        ratio=ratio,
        pixels=len(g),
    )
