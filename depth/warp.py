"""Warping one view into another: back-project, project, sample. Pure functions of tensors.

Pixel centres are at integers, u to the right and v down; ``K`` (B, 3, 3) belongs to the resolution
of its image and has no skew; ``T_s_t`` (B, 4, 4) maps points of the target camera t into the
source camera s. Everything is computed in the precision of the depth, in float32 at least, and
without matrix products, so that neither autocast nor TF32 can round coordinates to a few bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vo.depth.numbers import at_least_float32

Padding = Literal["border", "zeros"]

Z_MIN = 1e-3  # nearer points are taken for behind the camera; depth networks give 0.1 and more


@dataclass(frozen=True, slots=True, eq=False)
class Warped:
    """A source image seen from the target camera.

    Attributes:
        image: (B, C, H, W) source image sampled at ``pixels``; outside the source it is padding,
            and where there is no usable point, what lies on the ray that did not move.
        pixels: (B, 2, H, W) where each target pixel lies in the source image, (u, v), finite.
        valid: (B, 1, H, W) bool, True where the depth is usable, the point lies in front of the
            source camera and falls inside the source image.
    """

    image: Tensor
    pixels: Tensor
    valid: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Padded:
    """An image that can be looked up without rounding; made once for several look-ups.

    Attributes:
        values: (B, C, 2^j + 1, 2^k + 1) the image, and 0 to the right of it and below.
        size: (H, W) of the image.
    """

    values: Tensor
    size: tuple[int, int]


def padded(image: Tensor) -> Padded:
    """An image (B, C, H, W) with sides of 2^k + 1, in float32 at least.

    There the grid of `grid_of` is a division by a power of two, which float32 does without
    rounding. At a width of 640 the rounding would otherwise be 2e-5 pixels.
    """
    _check_image("image", image, None)
    H, W = image.shape[-2:]
    image = at_least_float32(image)
    return Padded(F.pad(image, (0, _next_exact(W) - W, 0, _next_exact(H) - H)), (H, W))


def warp(
    image_s: Tensor | Padded,
    depth_t: Tensor,
    K_t: Tensor,
    T_s_t: Tensor,
    K_s: Tensor | None = None,
    padding: Padding = "border",
) -> Warped:
    """Look up every target pixel in the source image.

    With q = R r the ray r = K_t^-1 (u, v, 1) turned into the source camera, the pixel moves by
    ``f_s (d (q_x - r_x q_z) + t_x - r_x t_z) / (d q_z + t_z)``: differences that are exactly zero
    for the identity, so that it gives its input back bit for bit; K_s (R d r + t) would miss it by
    1e-5 pixels in float32. Gradients stay finite everywhere.

    Args:
        image_s: (B, C, Hs, Ws) source image or features, or such an image as `padded` gives it.
        depth_t: (B, 1, H, W) depth of the target along z. Where it is not finite or below
            ``Z_MIN``, or the point ends up behind the source, the pixel is masked, never mirrored.
        K_t: (B, 3, 3) intrinsics of the target at H x W.
        T_s_t: (B, 4, 4) target camera to source camera.
        K_s: (B, 3, 3) intrinsics of the source at Hs x Ws; None for those of the target.
        padding: what lies outside the source image: its nearest ``border`` pixel, or ``zeros``.

    Raises:
        ValueError: when shapes do not fit, or when K_s is missing for images of different size.
    """
    _check_geometry("depth_t", depth_t, 1, K_t, T_s_t)
    given = image_s.values if isinstance(image_s, Padded) else image_s
    _check_image("image_s", given, depth_t.shape[0])
    image_s = image_s if isinstance(image_s, Padded) else padded(image_s)
    if K_s is None:
        if image_s.size != depth_t.shape[-2:]:
            shape = *given.shape[:2], *image_s.size
            raise ValueError(f"K_s is needed: image_s is {shape}, depth_t {tuple(depth_t.shape)}")
        K_s = K_t
    _check_matrix("K_s", K_s, (depth_t.shape[0], 3, 3))
    depth_t = at_least_float32(depth_t)
    K_t, K_s, T_s_t = (x.to(depth_t.dtype) for x in (K_t, K_s, T_s_t))
    pixels, in_front = _displaced(depth_t, K_t, K_s, T_s_t)
    valid = in_front & in_view(pixels, *image_s.size)
    return Warped(sample(image_s, pixels, padding), pixels, valid)


def back_project(depth: Tensor, K: Tensor) -> Tensor:
    """Points X = d K^-1 (u, v, 1) of a depth map, in the frame of its camera.

    Args:
        depth: (B, 1, H, W) depth along z. A depth that is not finite gives the camera's centre
            (0, 0, 0), which `project` masks.
        K: (B, 3, 3) intrinsics at H x W.

    Returns:
        (B, 3, H, W) points, in the unit of the depth.

    Raises:
        ValueError: when shapes do not fit.
    """
    _check_image("depth", depth, None, channels=1)
    _check_matrix("K", K, (depth.shape[0], 3, 3))
    depth = at_least_float32(depth)
    depth = torch.where(depth.isfinite(), depth, 0)
    x, y = _rays(K.to(depth.dtype), depth.shape[-2], depth.shape[-1])
    return torch.cat([depth * x, depth * y, depth], dim=1)


def project(points: Tensor, K: Tensor, T_s_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of the target's points in the source camera.

    Args:
        points: (B, 3, H, W) points in the target camera's frame, as from `back_project`.
        K: (B, 3, 3) intrinsics of the source.
        T_s_t: (B, 4, 4) target camera to source camera.

    Returns:
        pixels (B, 2, H, W), (u, v), and 0 where not valid; depth (B, 1, H, W) along the source's
        z axis, 1 where not valid; valid (B, 1, H, W) bool: the point was in front of the target
        camera, is in front of the source camera, and is finite. Whether it falls inside the image
        is told by `in_view`.

    Raises:
        ValueError: when shapes do not fit.
    """
    _check_geometry("points", points, 3, K, T_s_t)
    points = at_least_float32(points)
    K, T_s_t = K.to(points.dtype), T_s_t.to(points.dtype)
    ok = points.isfinite().all(dim=1, keepdim=True) & (points[:, 2:] > Z_MIN)
    X, Y, Z = torch.where(ok, points, 1).split(1, dim=1)
    x, y, z = (
        _entry(T_s_t, i, 0) * X + _entry(T_s_t, i, 1) * Y + _entry(T_s_t, i, 2) * Z
        + _entry(T_s_t, i, 3)
        for i in range(3)
    )  # fmt: skip
    valid = ok & (z > Z_MIN) & x.isfinite() & y.isfinite() & z.isfinite()
    z = torch.where(valid, z, 1)
    u = _entry(K, 0, 0) * torch.where(valid, x, 0) / z + _entry(K, 0, 2)
    v = _entry(K, 1, 1) * torch.where(valid, y, 0) / z + _entry(K, 1, 2)
    return torch.where(valid, torch.cat([u, v], dim=1), 0), z, valid


def sample(image: Tensor | Padded, pixels: Tensor, padding: Padding = "border") -> Tensor:
    """Bilinear look-up of an image at pixels; exactly the image's value at integer pixels.

    Args:
        image: (B, C, H, W), or such an image as `padded` gives it.
        pixels: (B, 2, h, w) coordinates (u, v), finite.
        padding: ``border`` repeats the outermost pixels, with zero gradient to the coordinates
            out there; ``zeros`` fades to zero within one pixel.

    Returns:
        (B, C, h, w) in the image's precision, in float32 at least.

    Raises:
        ValueError: when shapes do not fit or the padding is unknown.
    """
    image = image if isinstance(image, Padded) else padded(image)
    values, (H, W) = image.values, image.size
    _check_image("pixels", pixels, values.shape[0], channels=2)
    pixels = pixels.to(values.dtype)
    if padding == "border":
        last = pixels.new_tensor([W - 1, H - 1]).view(2, 1, 1)
        pixels = pixels.clamp(torch.zeros_like(last), last)
    elif padding != "zeros":
        raise ValueError(f"padding must be 'border' or 'zeros', got {padding!r}")
    grid = grid_of(pixels, *values.shape[-2:])
    return F.grid_sample(values, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def grid_of(pixels: Tensor, H: int, W: int) -> Tensor:
    """The grid that `torch.nn.functional.grid_sample` wants with ``align_corners=True``.

    Args:
        pixels: (B, 2, h, w) coordinates (u, v) in an image of H x W.
        H: height of the image, at least 2.
        W: width of the image, at least 2.

    Returns:
        (B, h, w, 2): 2 u / (W - 1) - 1 and 2 v / (H - 1) - 1.
    """
    half = pixels.new_tensor([(W - 1) / 2, (H - 1) / 2]).view(2, 1, 1)
    return (pixels / half - 1).permute(0, 2, 3, 1)


def in_view(pixels: Tensor, H: int, W: int) -> Tensor:
    """Whether pixels (B, 2, h, w) lie within the centres of an H x W image's outermost pixels.

    Returns:
        (B, 1, h, w) bool.
    """
    u, v = pixels[:, :1], pixels[:, 1:]
    return (u >= 0) & (u <= W - 1) & (v >= 0) & (v <= H - 1)


def scale_intrinsics(K: Tensor, sx: float, sy: float) -> Tensor:
    """Intrinsics of the image resized by ``sx`` and ``sy``: c' = (c + 1/2) s - 1/2.

    Args:
        K: (..., 3, 3) intrinsics.
        sx: new width / old width.
        sy: new height / old height.
    """
    if K.shape[-2:] != (3, 3):
        raise ValueError(f"K must be (..., 3, 3), got {tuple(K.shape)}")
    factor = K.new_tensor([[sx], [sy], [1]])
    shift = K.new_tensor([[0, 0, (sx - 1) / 2], [0, 0, (sy - 1) / 2], [0, 0, 0]])
    return K * factor + shift


def _displaced(depth: Tensor, K_t: Tensor, K_s: Tensor, T: Tensor) -> tuple[Tensor, Tensor]:
    """Source pixels (B, 2, H, W) of all target pixels and whether they are in front (B, 1, H, W).

    Masked points get a displacement of zero before the division, so that no gradient of 1 / z
    blows up behind a mask.
    """
    H, W = depth.shape[-2:]
    x, y = _rays(K_t, H, W)
    q_x, q_y, q_z = (_entry(T, i, 0) * x + _entry(T, i, 1) * y + _entry(T, i, 2) for i in range(3))
    t_x, t_y, t_z = (_entry(T, i, 3) for i in range(3))
    ok = depth.isfinite() & (depth > Z_MIN)
    d = torch.where(ok, depth, 1)
    z = d * q_z + t_z
    a = d * (q_x - x * q_z) + t_x - x * t_z
    b = d * (q_y - y * q_z) + t_y - y * t_z
    ok = ok & (z > Z_MIN) & z.isfinite() & a.isfinite() & b.isfinite()
    z = torch.where(ok, z, 1)
    f_x, f_y = _entry(K_s, 0, 0), _entry(K_s, 1, 1)
    u, v = _still_pixels(K_t, K_s, H, W)
    du = f_x * torch.where(ok, a, 0) / z
    dv = f_y * torch.where(ok, b, 0) / z
    return torch.cat([u + du, v + dv], dim=1), ok


def _still_pixels(K_t: Tensor, K_s: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
    """Source pixels of the target's rays without motion: exactly (u, v) when K_s equals K_t."""
    u, v = _pixel_grid(H, W, K_t)
    s_x, s_y = (_entry(K_s, i, i) / _entry(K_t, i, i) for i in range(2))
    u = u * s_x + (_entry(K_s, 0, 2) - _entry(K_t, 0, 2) * s_x)
    v = v * s_y + (_entry(K_s, 1, 2) - _entry(K_t, 1, 2) * s_y)
    return u.expand(-1, -1, H, -1), v.expand(-1, -1, -1, W)


def _rays(K: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
    """x (B, 1, H, W) and y (B, 1, H, W) of the rays with z = 1."""
    u, v = _pixel_grid(H, W, K)
    x = (u - _entry(K, 0, 2)) / _entry(K, 0, 0)
    y = (v - _entry(K, 1, 2)) / _entry(K, 1, 1)
    return x.expand(-1, -1, H, -1), y.expand(-1, -1, -1, W)


def _pixel_grid(H: int, W: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """u (1, 1, 1, W) and v (1, 1, H, 1)."""
    u = torch.arange(W, dtype=like.dtype, device=like.device).view(1, 1, 1, W)
    v = torch.arange(H, dtype=like.dtype, device=like.device).view(1, 1, H, 1)
    return u, v


def _entry(matrix: Tensor, row: int, column: int) -> Tensor:
    """One entry of a batch of matrices as (B, 1, 1, 1)."""
    return matrix[:, row, column].view(-1, 1, 1, 1)


def _next_exact(side: int) -> int:
    """The smallest 2^k + 1, k >= 1, that is at least ``side``."""
    return 2 ** max(1, (side - 2).bit_length()) + 1


def _check_geometry(name: str, x: Tensor, channels: int, K: Tensor, T: Tensor) -> None:
    _check_image(name, x, None, channels)
    _check_matrix("K", K, (x.shape[0], 3, 3))
    _check_matrix("T_s_t", T, (x.shape[0], 4, 4))


def _check_image(name: str, x: Tensor, batch: int | None, channels: int | None = None) -> None:
    B, C = "B" if batch is None else batch, "C" if channels is None else channels
    fits = x.ndim == 4 and batch in (None, x.shape[0]) and channels in (None, x.shape[1])
    if not fits:
        raise ValueError(f"{name} must be ({B}, {C}, H, W), got {tuple(x.shape)}")


def _check_matrix(name: str, x: Tensor, shape: tuple[int, int, int]) -> None:
    if tuple(x.shape) != shape:
        raise ValueError(f"{name} must be {shape}, got {tuple(x.shape)}")
