"""Tileable textures with detail at every scale, filtered so that nothing flickers.

Each texture is drawn once as an RGB tile, and its mip pyramid goes into one atlas. A lookup takes
three taps along the longer axis of the pixel's footprint, each between two levels of the pyramid,
as graphics cards do (Williams 1983; EXT_texture_filter_anisotropic).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import cv2
import numpy as np

from vo.datasets.camera import Array

SIDE = 512  # texels of the finest level
LEVELS = 9  # 512 ... 2
TAPS = 2
_SHRINK = np.float32(0.5) ** np.arange(LEVELS + 1)
_SIDES = SIDE * _SHRINK
_PAD = 1  # wrapped border around every level, so that bilinear taps may cross the edge


class Texture(IntEnum):
    """What the tiles show."""

    ASPHALT = 0
    PAVING = 1
    GRASS = 2
    PLASTER = 3
    BRICK = 4
    TILES = 5
    WOOD = 6
    LEAVES = 7
    BARK = 8
    PLAIN = 9


# Side of each tile in metres.
TILE_M = np.array([11.0, 6.4, 9.0, 6.0, 3.84, 4.0, 2.0, 5.0, 2.0, 4.0], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """All textures and all their levels in one picture.

    Attributes:
        picture: (rows, columns, 3) uint8; 255 stands for an albedo of 1.
        x0, y0: (LEVELS,) position of the first texel of each level in the column of a texture.
        column: width of the column of one texture.
    """

    picture: Array
    x0: Array
    y0: Array
    column: int

    def sample(self, texture: Array, uv: Array, du: Array, dv: Array) -> Array:
        """Filtered albedo (N, 3) float32 in [0, 1].

        Args:
            texture: (N,) index of the texture of each sample.
            uv: (N, 2) surface coordinates, metres.
            du: (N, 2) change of uv from one pixel to the next along the image's x axis.
            dv: (N, 2) the same along y.
        """
        tile = TILE_M[texture]
        scale = (SIDE / tile).astype(np.float32)
        lengths = np.hypot(du[:, 0], du[:, 1]), np.hypot(dv[:, 0], dv[:, 1])
        along_x = lengths[0] > lengths[1]
        major = np.where(along_x[:, None], du, dv) * scale[:, None]
        longer, shorter = np.maximum(*lengths) * scale, np.minimum(*lengths) * scale
        width = np.maximum(np.maximum(shorter, longer / TAPS), 1e-3)
        level = np.clip(np.log2(width), 0, LEVELS - 1.001).astype(np.float32)
        fine = level.astype(np.int32)
        blend = (level - fine)[:, None]
        st, major = (uv * scale[:, None]).T.copy(), major.T.copy()
        column = texture * np.float32(self.column)
        out = np.zeros((len(texture), 3), np.float32)
        for tap in range(TAPS):
            at = st + major * ((tap - (TAPS - 1) / 2) / TAPS)
            near, far = (self._fetch(column, at, level) for level in (fine, fine + 1))
            out += near + (far - near) * blend
        return out * np.float32(1 / (255 * TAPS))

    def _fetch(self, column: Array, st: Array, level: Array) -> Array:
        """Bilinear lookup at finest-level texel coordinates ``st`` (2, N) in the given levels."""
        shrink, side = _SHRINK[level], _SIDES[level]
        # Texel centres are at integers + 1/2 of the surface coordinate.
        x, y = st[0] * shrink - 0.5, st[1] * shrink - 0.5
        x -= np.floor(x / side) * side - self.x0[level]
        y -= np.floor(y / side) * side - self.y0[level]
        return remap(self.picture, x + column, y)


def remap(picture: Array, x: Array, y: Array) -> Array:
    """Bilinear values (N, channels) float32 at points (N,); OpenCV wants maps of few rows."""
    n, row = len(x), 1024
    shape = (-(-n // row), row)
    padded = np.zeros((2, shape[0] * row), np.float32)
    padded[0, :n], padded[1, :n] = x, y
    maps = padded.reshape(2, *shape)
    return (
        cv2.remap(picture, maps[0], maps[1], cv2.INTER_LINEAR)
        .reshape(len(padded[0]), -1)[:n]
        .astype(np.float32)
    )


@cache
def atlas() -> Atlas:
    """The atlas; its tiles are the same in every world."""
    sides = [SIDE >> level for level in range(LEVELS)]
    # The finest level stands on top, the others side by side below it.
    y0 = np.array([_PAD] + [SIDE + 3 * _PAD] * (LEVELS - 1), np.float32)
    x0 = np.array([_PAD] + [_PAD + sum(s + 2 * _PAD for s in sides[1:k]) for k in range(1, LEVELS)])
    column = int(max(SIDE + 2 * _PAD, x0[-1] + sides[-1] + _PAD))
    picture = np.zeros((SIDE + sides[1] + 4 * _PAD, column * len(Texture), 3), np.uint8)
    for texture in Texture:
        tile = _draw(texture)
        for level in range(LEVELS):
            x, y = texture * column + int(x0[level]) - _PAD, int(y0[level]) - _PAD
            padded = np.pad(tile, ((_PAD, _PAD), (_PAD, _PAD), (0, 0)), mode="wrap")
            h, w = padded.shape[:2]
            picture[y : y + h, x : x + w] = np.clip(padded * 255 + 0.5, 0, 255)
            tile = tile.reshape(len(tile) // 2, 2, -1, 2, 3).mean(axis=(1, 3))
    return Atlas(picture, x0.astype(np.float32), y0, column)


def noise(seed: int, slope: float, stretch: tuple[float, float] = (1.0, 1.0)) -> Array:
    """Tileable Gaussian noise (SIDE, SIDE), zero mean, unit variance, amplitude ~ frequency^-slope.

    ``stretch`` elongates its grains along (u, v).
    """
    white = np.fft.rfft2(np.random.default_rng([7, seed]).standard_normal((SIDE, SIDE)))
    fy, fx = np.fft.fftfreq(SIDE)[:, None] * stretch[1], np.fft.rfftfreq(SIDE)[None] * stretch[0]
    f = np.hypot(fx, fy)
    f[0, 0] = np.inf
    field = np.fft.irfft2(white * f**-slope, s=(SIDE, SIDE))
    return field / field.std()


def _tint(field: Array, dark: tuple[float, ...], light: tuple[float, ...]) -> Array:
    """Colours from ``dark`` to ``light`` as the field goes from -2 to 2; (..., 3)."""
    w = np.clip(field / 4 + 0.5, 0, 1)[..., None]
    return np.asarray(dark) * (1 - w) + np.asarray(light) * w


def _grid(rows: int, columns: int, shift: float, joint: float) -> tuple[Array, Array, Array]:
    """Bricks in courses: (row, column) number of every texel, and 1 in the joints."""
    v, u = np.meshgrid(
        np.arange(SIDE) / SIDE * rows, np.arange(SIDE) / SIDE * columns, indexing="ij"
    )
    row = v.astype(int)
    u = (u + shift * (row % 2)) % columns
    column = u.astype(int)
    edge = np.minimum(
        np.minimum(u - column, 1 - (u - column)) * rows / columns,
        np.minimum(v - row, 1 - (v - row)),
    )
    return row, column, (edge < joint).astype(float)


def _per_brick(seed: int, row: Array, column: Array) -> Array:
    """A random number of unit variance for every brick."""
    table = np.random.default_rng([11, seed]).standard_normal((row.max() + 1, column.max() + 1))
    return table[row, column]


def _draw(texture: Texture) -> Array:
    """One tile, (SIDE, SIDE, 3) in [0, 1]; rows run along v upwards, columns along u."""
    match texture:
        case Texture.ASPHALT:
            return _asphalt()
        case Texture.PAVING:
            row, column, joint = _grid(16, 16, 0.0, 0.05)
            field = 0.7 * _per_brick(1, row, column) + 0.9 * noise(11, 0.7) + 0.5 * noise(12, 1.4)
            return _tint(field - 2.0 * joint, (0.24, 0.23, 0.22), (0.55, 0.53, 0.50))
        case Texture.GRASS:
            field = 0.9 * noise(20, 0.6) + 0.8 * noise(21, 1.5)
            dry = np.clip(noise(22, 1.6) * 0.5, 0, 1)[..., None]
            return _tint(field, (0.05, 0.09, 0.02), (0.26, 0.32, 0.12)) * (1 - dry) + dry * _tint(
                field, (0.16, 0.13, 0.07), (0.42, 0.36, 0.22)
            )
        case Texture.PLASTER:
            field = 0.8 * noise(30, 0.5) + 1.0 * noise(31, 1.4, (1.0, 2.5))
            return _tint(field, (0.52, 0.51, 0.50), (1.0, 1.0, 0.99))
        case Texture.BRICK:
            row, column, joint = _grid(48, 16, 0.5, 0.10)
            field = 0.8 * _per_brick(4, row, column) + 0.5 * noise(40, 0.6) + 0.5 * noise(41, 1.5)
            wall = _tint(field, (0.45, 0.40, 0.36), (1.0, 0.96, 0.90))
            return wall * (1 - joint[..., None]) + joint[..., None] * np.array([0.72, 0.70, 0.68])
        case Texture.TILES:
            row, column, joint = _grid(16, 16, 0.5, 0.08)
            shade = (np.arange(SIDE) / SIDE * 16 % 1)[:, None] * 1.2 - 0.6
            field = (
                0.8 * _per_brick(5, row, column)
                + 0.4 * noise(50, 0.7)
                + shade
                + 0.4 * noise(51, 1.5)
            )
            return _tint(field - 1.5 * joint, (0.35, 0.33, 0.31), (1.0, 0.97, 0.94))
        case Texture.WOOD:
            _, column, joint = _grid(1, 14, 0.0, 0.004)
            field = 0.7 * _per_brick(6, column * 0, column) + 0.9 * noise(60, 0.9, (1.0, 6.0))
            return _tint(field - 2.5 * joint, (0.30, 0.24, 0.18), (0.95, 0.85, 0.72))
        case Texture.LEAVES:
            field = 1.1 * noise(70, 0.35) + 0.9 * noise(71, 1.2)
            return _tint(field, (0.10, 0.13, 0.05), (0.95, 1.0, 0.62))
        case Texture.BARK:
            field = noise(80, 0.8, (1.0, 4.0))
            return _tint(field, (0.10, 0.08, 0.06), (0.42, 0.36, 0.30))
        case Texture.PLAIN:
            return _tint(
                0.5 * noise(90, 0.8) + 0.6 * noise(91, 1.6), (0.80, 0.80, 0.80), (1.0, 1.0, 1.0)
            )


def _asphalt() -> Array:
    """Grains, stains, cracks, and patches where the road was mended."""
    stains, cracks = noise(2, 1.5), noise(3, 1.3)
    grain = 0.8 * noise(0, 0.25) + 0.6 * noise(1, 0.9) + 0.7 * stains
    patch = ((noise(4, 2.2) > 1.15) | (noise(5, 2.2) > 1.3)).astype(float)
    crack = np.exp(-((cracks / 0.02) ** 2)) * (noise(6, 2.0) > 0.1)
    field = grain - 1.1 * patch - 2.2 * crack
    return _tint(field, (0.09, 0.09, 0.095), (0.36, 0.355, 0.345))
