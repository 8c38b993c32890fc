"""Triangles with what shading needs to know of them, and the shapes that they are built from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from vo.datasets.camera import Array

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A triangle soup.

    Attributes:
        vertices: (F, 3, 3) float32 corners of each triangle, metres.
        uv: (F, 3, 2) float32 surface coordinates of the corners, metres.
        normals: (F, 3, 3) float32 unit normals at the corners.
        material: (F,) uint8 index of the material.
        thing: (F,) int32 row of the table of things (a house, a car, a tree).
    """

    vertices: Array
    uv: Array
    normals: Array
    material: Array
    thing: Array

    def __len__(self) -> int:
        """Number of triangles."""
        return len(self.material)

    def moved(self, rotation: Array, translation: Array) -> Mesh:
        """The mesh turned by ``rotation`` (3, 3), then shifted by ``translation`` (3,)."""
        R, t = rotation.astype(np.float32), translation.astype(np.float32)
        return Mesh(self.vertices @ R.T + t, self.uv, self.normals @ R.T, self.material, self.thing)

    def of_thing(self, thing: int) -> Mesh:
        """The same mesh as part of another thing."""
        things = np.full(len(self), thing, np.int32)
        return Mesh(self.vertices, self.uv, self.normals, self.material, things)


def join(meshes: list[Mesh]) -> Mesh:
    """One mesh of many."""
    return Mesh(
        *(
            np.concatenate([getattr(mesh, name) for mesh in meshes])
            for name in ("vertices", "uv", "normals", "material", "thing")
        )
    )


def from_grid(points: Array, uv: Array, material: int, thing: int = 0) -> Mesh:
    """Surface through a grid of points (R, C, 3) with coordinates (R, C, 2) and smooth normals."""
    a, b = points[:-1, :-1], points[1:, :-1]
    c, d = points[1:, 1:], points[:-1, 1:]
    corners = np.stack([np.stack([a, b, c], 2), np.stack([a, c, d], 2)], 2).reshape(-1, 3, 3)
    t = [uv[:-1, :-1], uv[1:, :-1], uv[1:, 1:], uv[:-1, 1:]]
    coords = np.stack([np.stack([t[0], t[1], t[2]], 2), np.stack([t[0], t[2], t[3]], 2)], 2)
    gr, gc = np.gradient(points, axis=0), np.gradient(points, axis=1)
    n = _unit(np.cross(gr, gc))
    m = [n[:-1, :-1], n[1:, :-1], n[1:, 1:], n[:-1, 1:]]
    normals = np.stack([np.stack([m[0], m[1], m[2]], 2), np.stack([m[0], m[2], m[3]], 2)], 2)
    return _mesh(corners, coords.reshape(-1, 3, 2), normals.reshape(-1, 3, 3), material, thing)


def _mesh(corners: Array, uv: Array, normals: Array, material: int, thing: int) -> Mesh:
    return Mesh(
        corners.astype(np.float32),
        uv.astype(np.float32),
        normals.astype(np.float32),
        np.full(len(corners), material, np.uint8),
        np.full(len(corners), thing, np.int32),
    )


def _unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


@dataclass(slots=True)
class Builder:
    """Collects flat-sided shapes of one thing; z is up."""

    thing: int = 0
    parts: list[Mesh] = field(default_factory=list)

    def build(self) -> Mesh:
        """Everything collected so far as one mesh."""
        return join(self.parts)

    def polygon(
        self, corners: ArrayLike, material: int, uv0: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        """A planar convex polygon (K, 3).

        u runs along its first edge and v at right angles to it, both in metres from ``uv0``.
        """
        corners = np.asarray(corners, np.float64)
        rel = corners - corners[0]
        eu = rel[1] / np.sqrt(rel[1] @ rel[1])
        ev = rel[2] - (rel[2] @ eu) * eu
        ev /= np.sqrt(ev @ ev)
        (ux, uy, uz), (vx, vy, vz) = eu.tolist(), ev.tolist()
        normal = np.array([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx])
        uv = rel @ np.stack([eu, ev], axis=1) + uv0
        fan = np.array([[0, i, i + 1] for i in range(1, len(corners) - 1)])
        normals = np.broadcast_to(normal, (len(fan), 3, 3))
        self.parts.append(_mesh(corners[fan], uv[fan], normals, material, self.thing))

    def box(
        self, centre: Array, size: Array, yaw: float, material: int, top: int | None = None
    ) -> None:
        """A box that stands on ``centre`` (3,) with ``size`` (length, width, height), no bottom."""
        c, s = np.cos(yaw), np.sin(yaw)
        ex, ey = np.array([c, s, 0.0]), np.array([-s, c, 0.0])
        l, w, h = np.asarray(size, np.float64) / [2, 2, 1]
        ring = [
            np.asarray(centre) + a * l * ex + b * w * ey
            for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))
        ]
        u = 0.0
        for i in range(4):
            p, q = ring[i], ring[(i + 1) % 4]
            self.polygon(np.array([p, q, q + h * UP, p + h * UP]), material, (u, 0.0))
            u += float(np.linalg.norm(q - p))
        self.polygon(np.array([p + h * UP for p in ring]), material if top is None else top)

    def tube(
        self, base: ArrayLike, tip: ArrayLike, radii: tuple[float, float], material: int,
        sides: int = 8,
    ) -> None:  # fmt: skip
        """A round bar from ``base`` to ``tip`` with the radii at its ends, closed at the tip."""
        base, tip = np.asarray(base, np.float64), np.asarray(tip, np.float64)
        axis = _unit(tip - base)
        ex = _unit(np.cross(axis, [1.0, 0, 0] if abs(axis[0]) < 0.9 else [0, 1.0, 0]))
        ey = np.cross(axis, ex)
        phi = np.linspace(0, 2 * np.pi, sides + 1)
        ring = np.cos(phi)[:, None] * ex + np.sin(phi)[:, None] * ey  # (S, 3)
        length = float(np.linalg.norm(tip - base))
        grid = np.stack([base + radii[0] * ring, tip + radii[1] * ring], axis=1)
        u = phi * max(radii)
        uv = np.stack(
            [np.stack([u, np.zeros_like(u)], -1), np.stack([u, np.full_like(u, length)], -1)], 1
        )
        side = from_grid(grid, uv, material, self.thing)
        self.parts.append(side)
        if radii[1] > 0:
            self.polygon(tip + radii[1] * ring[:-1], material)


def blob(
    rng: np.random.Generator, radii: Array, roughness: float, rings: int, material: int
) -> Mesh:
    """A bumpy ellipsoid around the origin with smooth normals: a clump of leaves."""
    theta = np.linspace(0.02, np.pi - 0.02, rings)
    phi = np.linspace(0, 2 * np.pi, 2 * rings + 1)
    ct, st = np.cos(theta)[:, None], np.sin(theta)[:, None]
    sphere = np.stack([st * np.cos(phi), st * np.sin(phi), ct * np.ones_like(phi)], axis=-1)
    bump = np.zeros(sphere.shape[:2])
    for _ in range(10):
        k = rng.normal(size=3) * rng.uniform(2, 6)
        bump += np.sin(sphere @ k + rng.uniform(0, 2 * np.pi)) / 10**0.5
    points = sphere * radii * (1 + roughness * bump)[..., None]
    uv = np.stack(np.broadcast_arrays(phi * radii[0], theta[:, None] * radii[2]), axis=-1)
    return from_grid(points, uv, material)
