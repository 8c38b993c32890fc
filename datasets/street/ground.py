"""The road with its kerbs and pavements, the side streets, and the land around them."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from vo.datasets.camera import Array
from vo.datasets.street.materials import Material
from vo.datasets.street.mesh import Mesh, from_grid, join
from vo.datasets.street.road import HALF_WIDTH_M, KERB_HEIGHT_M, PAVEMENT_M, Road, SideStreet

CROWN_M = 0.06  # the middle of the road lies higher than its gutters
_BANK_M = 10.0  # where the bank beside the pavement reaches the land
_CELL_M = 5.0  # of the land


def road_surface(road: Road) -> Mesh:
    """Carriageway, kerbs, pavements and banks along the road."""
    s = np.arange(0, road.length, 1.0)
    parts = [
        _strip(
            road,
            s,
            np.array([-HALF_WIDTH_M, 0.0, HALF_WIDTH_M]),
            np.array([-CROWN_M, 0.0, -CROWN_M]),
        )
    ]
    for side in (-1, 1):
        opened = np.zeros(len(s), bool)
        for street in road.side_streets:
            if street.side == side:
                opened |= (s >= street.opening[0]) & (s <= street.opening[1])
        parts.append(_pavement(road, s, side, opened))
    return join(parts)


def _strip(road: Road, s: Array, d: Array, up: Array) -> Mesh:
    points = road.at(s[:, None], d[None], up[None])
    return from_grid(points, _coordinates(s, d), Material.CARRIAGEWAY)


def _coordinates(s: Array, d: Array) -> Array:
    return np.stack(np.broadcast_arrays(s[:, None], d[None]), axis=-1)


def _pavement(road: Road, s: Array, side: int, opened: Array) -> Mesh:
    """Kerb and pavement of one side, lowered where a side street comes in."""
    d = np.array([HALF_WIDTH_M, HALF_WIDTH_M + 0.01, HALF_WIDTH_M + 0.15, PAVEMENT_M, _BANK_M])
    raised = np.array([-CROWN_M, KERB_HEIGHT_M - 0.02, KERB_HEIGHT_M, KERB_HEIGHT_M + 0.04, -0.45])
    lowered = np.array([-CROWN_M, -CROWN_M, -CROWN_M, -CROWN_M, -CROWN_M - 0.06])
    up = np.where(opened[:, None], lowered, raised)
    points = road.at(s[:, None], side * d[None], up)
    mesh = from_grid(points, _coordinates(s, side * d), Material.PAVEMENT)
    material = np.full((len(s) - 1, len(d) - 1, 2), Material.PAVEMENT, np.uint8)
    material[:, -1] = Material.LAND
    material[opened[:-1] & opened[1:]] = Material.SIDE_ROAD
    return Mesh(mesh.vertices, mesh.uv, mesh.normals, material.reshape(-1), mesh.thing)


def side_street_surface(street: SideStreet) -> Mesh:
    """Carriageway and pavements of a side street; it lies a little lower than the road."""
    along = np.array([0.0, street.clear, street.length])
    w = street.half_width
    lane = np.array([-w, 0.0, w])
    low = -CROWN_M - 0.03
    points = street.at(along[:, None], lane[None], np.array([[low, low + 0.03, low]]))
    parts = [from_grid(points, _coordinates(along, lane), Material.SIDE_ROAD)]
    for side in (-1, 1):
        d = np.array([w, w + 0.01, w + 0.15, w + 1.8, w + 4.0])
        up = np.array([[low, 0.08, KERB_HEIGHT_M - 0.02, KERB_HEIGHT_M, -0.45]])
        s = np.linspace(street.clear - 0.5, street.length, 12)
        # The kerb's drawing looks for it where the road has it.
        coords = _coordinates(s, side * (d - w + HALF_WIDTH_M))
        mesh = from_grid(street.at(s[:, None], side * d[None], up), coords, Material.PAVEMENT)
        material = mesh.material.reshape(len(s) - 1, len(d) - 1, 2).copy()
        material[:, -1] = Material.LAND
        parts.append(Mesh(mesh.vertices, mesh.uv, mesh.normals, material.reshape(-1), mesh.thing))
    return join(parts)


class Land:
    """Heights of the open land: level with the nearest street, rolling further away."""

    def __init__(self, rng: np.random.Generator, road: Road) -> None:
        points = [road.xyz[::8]]
        for street in road.side_streets:
            points.append(street.at(np.arange(0, street.length + 4, 2.0)))
        known = np.concatenate(points)
        self._tree, self._z = KDTree(known[:, :2]), known[:, 2]
        self._waves = [(rng.normal(size=2) * 0.02, rng.uniform(0, 2 * np.pi)) for _ in range(6)]
        self.low = known[:, :2].min(axis=0) - 160.0
        self.high = known[:, :2].max(axis=0) + 160.0

    def distance(self, xy: Array) -> Array:
        """Distance from points (..., 2) to the nearest centreline of a street, metres."""
        return self._tree.query(xy)[0]

    def height(self, xy: Array) -> Array:
        """Height above the world's zero at points (..., 2), metres."""
        distance, nearest = self._tree.query(xy, k=4)
        weight = 1 / (distance + 0.5) ** 2
        z = (self._z[nearest] * weight).sum(-1) / weight.sum(-1)
        relief = sum(np.sin(xy @ k + phase) for k, phase in self._waves)
        away = np.clip((distance[..., 0] - 18) / 60, 0, 1)
        return z - 0.4 + away * (2.0 + 1.6 * relief)

    def surface(self) -> Mesh:
        """The land as a mesh."""
        x, y = (np.arange(self.low[k], self.high[k], _CELL_M) for k in (0, 1))
        xy = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
        points = np.concatenate([xy, self.height(xy)[..., None]], axis=-1)
        return from_grid(points, xy, Material.LAND)
