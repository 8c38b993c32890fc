"""What a view shows of a frame, small enough to be sent for every frame. Pure functions."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from vo.datasets.camera import Array, Camera
from vo.datasets.sequence import resize_image

MOST_PIXELS = 500_000  # of an image; KITTI's have 467 000
MOST_WIDE = 320  # pixels, of depth and errors: a quarter of KITTI's width
JPEG_QUALITY = 75
FAR = 2.5  # times the median depth: what is farther is left out of clouds, sky above all
# Relative change of depth from pixel to pixel, right and down, at an edge, whose depth is nobody's;
# that of a road is large towards the horizon.
STEEP = 0.05, 0.2


def image_camera(camera: Camera) -> Camera:
    """The camera of an image made small enough to be sent."""
    scale = min(1.0, (MOST_PIXELS / (camera.width * camera.height)) ** 0.5)
    return camera.resized(round(scale * camera.width), round(scale * camera.height))


def map_camera(camera: Camera) -> Camera:
    """The camera of depth and errors: sides halved, once at least, to at most 320 columns."""
    halves = 2
    while camera.width / halves > MOST_WIDE:
        halves *= 2
    return camera.resized(max(camera.width // halves, 1), max(camera.height // halves, 1))


def jpeg(image: Array) -> bytes:
    """An image (H, W, 3) RGB or (H, W) grey, uint8, as a JPEG file."""
    pixels = image[..., ::-1] if image.ndim == 3 else image
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"cannot be written as JPEG: {image.shape} {image.dtype}")
    return data.tobytes()


def coloured(values: Array, colours: int) -> Array:
    """Values (H, W) from 0 to 1 as (H, W, 3) uint8 RGB in a colour map of OpenCV; NaN is 0."""
    levels = np.nan_to_num(np.clip(255 * values, 0, 255)).astype(np.uint8)
    return cv2.applyColorMap(levels, colours)[..., ::-1]


def stretched(values: Array) -> Array:
    """Values (H, W) with their 2nd and 98th percentile at 0 and 1: differences within the map."""
    low, high = np.percentile(values, (2, 98))
    return (values - low) / max(float(high - low), 1e-6)


def resized_map(values: Array, camera: Camera) -> Array:
    """The nearest values of a map (H, W) at the size of ``camera``: no mean of two depths."""
    return cv2.resize(values, camera.size, interpolation=cv2.INTER_NEAREST_EXACT)


def grey(image: Array, camera: Camera) -> Array:
    """An image (H, W, 3) uint8 as (h, w) float32 grey values from 0 to 1, at ``camera``'s size."""
    small = cv2.cvtColor(resize_image(image, camera.size), cv2.COLOR_RGB2GRAY)
    return small.astype(np.float32) / 255


def photometric_error(
    now: Array, last: Array, depth: Array, camera: Camera, T_last_c: Array
) -> Array:
    """How far the last image, warped into this view, is from this image.

    Args:
        now: (H, W) grey values of this image.
        last: (H, W) of the last one.
        depth: (H, W) of this one along z.
        camera: of all three.
        T_last_c: (4, 4) motion, this camera to the last one.

    Returns:
        (H, W) float32 absolute differences, NaN where the last image does not see the point.
    """
    rays = _rays(camera)
    x, y, z = T_last_c.astype(np.float32)[:3, :3] @ (rays * depth.reshape(-1))
    x, y, z = (a + t for a, t in zip((x, y, z), T_last_c[:3, 3].astype(np.float32), strict=True))
    z[z <= 0] = np.nan
    u = (camera.fx * x / z + camera.cx).reshape(depth.shape)
    v = (camera.fy * y / z + camera.cy).reshape(depth.shape)
    margin = 1e-3  # float32 puts the outermost pixels of a camera at rest this far outside
    inside = (u >= -margin) & (u <= camera.width - 1 + margin)
    inside &= (v >= -margin) & (v <= camera.height - 1 + margin)
    warped = cv2.remap(last, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where(inside, np.abs(now - warped), np.float32(np.nan))


@lru_cache(maxsize=4)
def _rays(camera: Camera) -> Array:
    """Viewing directions, (3, H W) float32; the same for every frame of a drive."""
    return np.ascontiguousarray(camera.rays().reshape(-1, 3).T, np.float32)


def cloud(image: Array, depth: Array, camera: Camera, most: int) -> tuple[Array, Array]:
    """Back-projected pixels of a frame: a sample that does not thin out with distance.

    Far points, and pixels on an edge of the depth, are left out.

    Args:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) along z.
        camera: of both.
        most: number of points that may come of it.

    Returns:
        points (N, 3) float32 in the camera's frame, colours (N, 3) uint8.
    """
    down, right = (np.abs(slope) / depth for slope in np.gradient(depth))
    good = (depth < FAR * np.median(depth)) & (right < STEEP[0]) & (down < STEEP[1])
    chosen = np.flatnonzero(good)
    if len(chosen) > most:
        weight = np.cumsum(depth.reshape(-1)[chosen].astype(np.float64))
        places = (np.random.default_rng(0).random(most) + np.arange(most)) / most
        chosen = np.unique(chosen[np.searchsorted(weight, places * weight[-1])])
    points = (_rays(camera)[:, chosen] * depth.reshape(-1)[chosen]).T
    return np.ascontiguousarray(points), image.reshape(-1, 3)[chosen]
