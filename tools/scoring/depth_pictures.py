"""Pictures of single depth maps: the image, what was predicted, the truth, and the error."""

from __future__ import annotations

import cv2
import numpy as np

from vo.datasets.camera import Array
from vo.depth_evaluation import Comparison
from vo.depth_scores import DepthProtocol, as_compared, pixels_that_count

WIDTH = 640  # of a panel in pixels
_LEAST_HEIGHT = 96
_WORST = 0.5  # relative error that has the last colour
_BAR = 24  # height of a title


def depth_picture(comparison: Comparison, protocol: DepthProtocol) -> Array:
    """Four panels below each other, (h, w, 3) uint8 RGB.

    Depths are drawn by their inverse with one range of colours for prediction and truth, yellow
    near and dark far; the prediction as the protocol has scaled it. The error is |g - p| / g on
    the pixels that count, from blue for none to red for a half or more.
    """
    truth = comparison.truth
    p = as_compared(comparison.depth, truth.shape, comparison.scores.ratio, protocol)
    counts = pixels_that_count(truth, protocol)
    near = 1 / np.percentile(truth[counts], 2) if counts.any() else 1 / p.min()
    error = np.abs(truth - p) / np.where(counts, truth, 1)
    size = (WIDTH, max(_LEAST_HEIGHT, round(WIDTH * truth.shape[0] / truth.shape[1])))
    frame, scores = comparison.frame, comparison.scores
    panels = {
        f"{frame.drive} {frame.number} {frame.side}": cv2.resize(comparison.image, size),
        f"prediction x {scores.ratio:.4g} ({protocol.scaling})": _coloured(
            1 / p / near, np.ones_like(counts), cv2.COLORMAP_INFERNO, size
        ),
        f"truth ({protocol.truth})": _coloured(
            1 / np.where(truth > 0, truth, 1) / near, truth > 0, cv2.COLORMAP_INFERNO, size
        ),
        f"error: abs_rel {scores.abs_rel:.4f}": _coloured(
            error / _WORST, counts, cv2.COLORMAP_TURBO, size
        ),
    }
    return np.concatenate([_titled(panel, title) for title, panel in panels.items()])


def png(picture: Array) -> bytes:
    """A picture (h, w, 3) uint8 RGB as the content of a PNG file."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"no PNG of a picture {picture.shape} {picture.dtype}")
    return data.tobytes()


def _coloured(values: Array, known: Array, colours: int, size: tuple[int, int]) -> Array:
    """Values (H, W) from 0 to 1 in colours, black where not known, at a size (width, height)."""
    levels = (255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)
    picture = cv2.cvtColor(cv2.applyColorMap(levels, colours), cv2.COLOR_BGR2RGB)
    picture[~known] = 0
    if known.mean() < 0.5:  # laser points are grown, or most would vanish when made smaller
        picture = cv2.dilate(picture, np.ones((3, 3), np.uint8))
    return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST_EXACT)


def _titled(panel: Array, title: str) -> Array:
    bar = np.zeros((_BAR, panel.shape[1], 3), np.uint8)
    place, white = (8, _BAR - 7), (255, 255, 255)
    cv2.putText(bar, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, white, 1, cv2.LINE_AA)
    return np.concatenate([bar, panel])
