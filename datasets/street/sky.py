"""The sky: a gradient, the glow around the sun, clouds, and woods on the horizon."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.street.textures import SIDE, noise, remap

if TYPE_CHECKING:
    from vo.datasets.street.world import Light


def sky_radiance(light: Light, directions: Array, step: float) -> Array:
    """Radiance (N, 3) of the sky along directions (N, 3); ``step`` is the sample's angle, rad."""
    if len(directions) == 0:
        return np.empty((0, 3), np.float32)
    d = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    up = np.clip(d[:, 2], 0, 1)[:, None]
    zenith, horizon = light.sky * [0.65, 0.95, 1.45], light.sky * [2.0, 1.9, 1.7]
    radiance = horizon + (zenith - horizon) * up**0.5
    glow = np.clip(d @ light.to_sun, 0, 1)[:, None]
    radiance = radiance + light.sun * (0.25 * glow**24 + 2.0 * glow**900)
    cover = _clouds(d, light.clouds)[:, None]
    radiance = radiance + ((light.sky * 1.7 + light.sun * 0.28) - radiance) * cover
    woods = np.clip((_tree_line(d) - d[:, 2]) / step + 0.5, 0, 1)[:, None]
    far_green = np.array([0.08, 0.12, 0.07]) + 0.5 * light.sky
    return (radiance + (far_green - radiance) * woods).astype(np.float32)


def _clouds(d: Array, cover: float) -> Array:
    """Share of cloud (N,) in front of the sky: a flat layer, seen in perspective."""
    at = d[:, :2] / (np.maximum(d[:, 2:], 0) + 0.12) * (0.09 * SIDE)
    density = _look_up(_cloud_field(), at[:, 0], at[:, 1])
    return np.clip((density - 1.4 + 2.4 * cover) * 0.55, 0, 0.92)


def _tree_line(d: Array) -> Array:
    """Sine of the elevation (N,) up to which woods and hills hide the sky."""
    azimuth = np.arctan2(d[:, 1], d[:, 0]) * (SIDE / (2 * np.pi))
    hills = _look_up(_cloud_field(), azimuth, azimuth * 0)
    crowns = _look_up(_crown_field(), azimuth * 5, azimuth * 0)
    return 0.022 + 0.008 * hills + 0.0025 * crowns


@cache
def _cloud_field() -> Array:
    return noise(100, 1.9).astype(np.float32)


@cache
def _crown_field() -> Array:
    return noise(101, 1.1).astype(np.float32)


def _look_up(field: Array, x: Array, y: Array) -> Array:
    """Bilinear value (N,) of a tileable field at texel coordinates."""
    padded = np.pad(field, ((0, 1), (0, 1)), mode="wrap")
    x, y = np.mod(x, SIDE).astype(np.float32), np.mod(y, SIDE).astype(np.float32)
    return remap(padded, x, y)[:, 0]
