"""A frame by itself: what the networks are given, and what they say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vo.datasets.camera import Array, Camera
from vo.datasets.frame import Frame
from vo.datasets.sequence import resize_image
from vo.depth.feature_net import FeatureLevel


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """All that is computed of a frame by itself, in batches of one: what `Odometry.follow` takes,
    and keeps for the next pair.

    Attributes:
        image: (1, 3, H, W) float32 in [0, 1], as the networks are given it.
        depth: (1, 1, H, W) along z.
        features: coarse to fine; none without refinement.
        K: (1, 3, 3) float32 intrinsics of the image.
        camera: the same.
        time_s: time stamp.
        blind: why nothing can be tracked in it, or an empty string.
    """

    image: Tensor
    depth: Tensor
    features: tuple[FeatureLevel, ...]
    K: Tensor
    camera: Camera
    time_s: float
    blind: str

    def depth_map(self) -> Array:
        """(H, W) float32, a copy: whatever becomes of it, the next estimate does not change."""
        return _copied(self.depth)

    def confidence_map(self) -> Array | None:
        """(h, w) float32 of the finest features, a copy; None without refinement."""
        return _copied(self.features[-1].confidence) if self.features else None


def as_frame(image: Array | Frame, camera: Camera | None, time_s: float | None) -> Frame:
    """An image with its camera and its time, whether they come in a frame or one by one.

    Raises:
        ValueError: when one is missing, or the image is not uint8 RGB of its camera's size.
    """
    if isinstance(image, Frame):
        image, camera, time_s = image.image, image.camera, image.time_s
    if camera is None or time_s is None or not np.isfinite(time_s):
        raise ValueError(f"an image needs its camera and its time, got {camera} and {time_s}")
    shape = (camera.height, camera.width, 3)
    if image.shape != shape or image.dtype != np.uint8:
        got = f"{image.shape} {image.dtype}"
        raise ValueError(f"image must be {shape} uint8 as its camera, got {got}")
    return Frame(0, float(time_s), image, camera)


def as_tensor(image: Array, size: tuple[int, int], device: str) -> Tensor:
    """An image (H, W, 3) uint8 as (1, 3, height, width) float32 in [0, 1] of that size."""
    image = np.ascontiguousarray(resize_image(image, size))
    x = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].contiguous()
    return x.float() / 255


def _copied(maps: Tensor) -> Array:
    return maps[0, 0].to("cpu", torch.float32, copy=True).numpy()
