"""Depth in colours."""

from __future__ import annotations

import cv2
import numpy as np

from vo.datasets.camera import Array

NEAR = 4.0


def depth_colours(depth: Array, near: float = NEAR) -> Array:
    """Depth (H, W) by its inverse as RGB (H, W, 3) uint8: near is bright, unknown is black.

    Args:
        depth: 0 where unknown.
        near: depth of the brightest colour.
    """
    known = depth > 0
    share = np.where(known, near / np.where(known, depth, 1), 0)
    levels = (255 * np.clip(share, 0, 1) ** 0.6).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.where(known[..., None], colours, 0).astype(np.uint8)
