"""A whole world: what stands along a road, the light, and the others who drive on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.street import things
from vo.datasets.street.drive import FRAME_S, Drive, make_drive, road_length_for
from vo.datasets.street.ground import CROWN_M, Land, road_surface, side_street_surface
from vo.datasets.street.materials import Look
from vo.datasets.street.mesh import Mesh, join
from vo.datasets.street.road import (
    HALF_WIDTH_M,
    KERB_HEIGHT_M,
    LANE_OFFSET_M,
    PAVEMENT_M,
    Road,
    SideStreet,
    make_road,
)


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """Where the light comes from.

    Attributes:
        to_sun: (3,) unit vector towards the sun.
        sun: (3,) radiance of sunlit white, linear RGB.
        sky: (3,) radiance that the open sky gives to white, linear RGB.
        haze: share of contrast that is lost per metre.
        clouds: how much of the sky is covered, 0 to 1.
    """

    to_sun: Array
    sun: Array
    sky: Array
    haze: float
    clouds: float


@dataclass(frozen=True, slots=True, eq=False)
class Traveller:
    """A moving car.

    Attributes:
        mesh: its surface around its own origin, x forward.
        s_at: metres along the road at a time in seconds.
        lane: metres to the left of the centreline.
        way: +1 when it drives along the road, -1 against it.
    """

    mesh: Mesh
    s_at: Callable[[float], float]
    lane: float
    way: int


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Everything that can be seen, and the drive through it.

    Attributes:
        road: the road that is driven.
        drive: where the camera's car is at each frame.
        mesh: all that stands still.
        looks: (T, 18) float32 table of things, one row a thing (`Look.row`).
        light: sun, sky and haze.
        travellers: the moving cars.
        seed: the number that all of it follows from.
    """

    road: Road
    drive: Drive
    mesh: Mesh
    looks: Array
    light: Light
    travellers: tuple[Traveller, ...]
    seed: int


def make_route(seed: int, frames: int) -> tuple[Road, Drive]:
    """The road of a world and the drive along it, without anything beside them."""
    road = make_road(np.random.default_rng([seed, 0]), road_length_for(frames))
    return road, make_drive(np.random.default_rng([seed, 1]), road, frames)


def make_world(seed: int, frames: int, traffic: bool) -> World:
    """Build the world of a seed, large enough for a drive of that many frames."""
    road, drive = make_route(seed, frames)
    site = _Site(road, np.random.default_rng([seed, 2]))
    site.lay_ground()
    _line_with_houses(site, np.random.default_rng([seed, 3]))
    _park_cars(site, np.random.default_rng([seed, 4]))
    _furnish(site, np.random.default_rng([seed, 5]))
    _plant_land(site, np.random.default_rng([seed, 6]))
    travellers = _traffic(site, np.random.default_rng([seed, 7]), drive) if traffic else ()
    looks = np.array([look.row() for look in site.looks], np.float32)
    light = _draw_light(np.random.default_rng([seed, 8]))
    return World(road, drive, join(site.meshes), looks, light, travellers, seed)


class _Site:
    """The building site: collects meshes and looks, and knows which ground is taken."""

    CELL_M = 0.5

    def __init__(self, road: Road, rng: np.random.Generator) -> None:
        self.road = road
        self.land = Land(rng, road)
        self.meshes: list[Mesh] = []
        self.looks: list[Look] = [Look()]
        shape = np.ceil((self.land.high - self.land.low) / self.CELL_M).astype(int)
        self._taken = np.zeros(shape, bool)
        # Trees and cars come from a nursery and a showroom: a few of each, set down many times.
        self.trees = [things.tree(rng, rng.uniform(4.0, 8.5)) for _ in range(24)]
        self.far_trees = [things.tree(rng, rng.uniform(5, 12), fine=False) for _ in range(24)]
        self.cars = [things.car(rng) for _ in range(16)]

    def lay_ground(self) -> None:
        """Road, side streets and land; streets are taken ground."""
        self.meshes += [road_surface(self.road), self.land.surface()]
        s = np.arange(0, self.road.length, 0.4)
        d = np.arange(-PAVEMENT_M, PAVEMENT_M + 0.1, 0.4)
        self._mark(self.road.at(s[:, None], d[None])[..., :2])
        for street in self.road.side_streets:
            self.meshes.append(side_street_surface(street))
            d = np.arange(-street.half_width - 2, street.half_width + 2.1, 0.4)
            along = np.arange(0, street.length + 2, 0.4)
            self._mark(street.at(along[:, None], d[None])[..., :2])

    def add(self, mesh: Mesh, look: Look, at: Array, yaw: float) -> None:
        """Set a thing down at a point of the world, turned by ``yaw`` radians."""
        self.looks.append(look)
        self.meshes.append(mesh.of_thing(len(self.looks) - 1).moved(turn(yaw), np.asarray(at)))

    def claim(self, centre: Array, size: tuple[float, float], yaw: float) -> bool:
        """Take a rectangle of ground if all of it is free."""
        l, w = np.asarray(size) / 2
        a, b = np.arange(-l, l + 0.4, 0.4), np.arange(-w, w + 0.4, 0.4)
        local = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1)
        cells = self._cells(centre[:2] + local @ turn(yaw)[:2, :2].T)
        if self._taken[cells].any():
            return False
        self._taken[cells] = True
        return True

    def _mark(self, xy: Array) -> None:
        self._taken[self._cells(xy)] = True

    def _cells(self, xy: Array) -> tuple[Array, Array]:
        ij = ((xy - self.land.low) / self.CELL_M).astype(int)
        ij = np.clip(ij, 0, np.array(self._taken.shape) - 1)
        return ij[..., 0], ij[..., 1]


def turn(yaw: float) -> Array:
    """Rotation (3, 3) about the vertical by ``yaw`` radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0, 0, 1.0]])


def _line_with_houses(site: _Site, rng: np.random.Generator) -> None:
    """Houses and gardens on both sides of the road and of every side street."""
    road = site.road
    for side in (-1, 1):
        _house_row(site, rng, road, side, (4.0, road.length - 4), PAVEMENT_M)
    for street in road.side_streets:
        edge = street.half_width + 2.0
        for side in (-1, 1):
            _house_row(site, rng, street, side, (street.clear + 1, street.length), edge)
        _close_street(site, rng, street)


def _house_row(
    site: _Site, rng: np.random.Generator, street: Road | SideStreet, side: int,
    stretch: tuple[float, float], edge: float,
) -> None:  # fmt: skip
    """One side of a street: rows of town houses, detached houses with gardens, and gaps."""
    s, urban = stretch[0], bool(rng.random() < 0.6)
    change = s + rng.uniform(60, 160)
    while s < stretch[1]:
        if s > change:
            urban, change = not urban, s + rng.uniform(60, 160)
        if rng.random() < (0.06 if urban else 0.15):
            length = rng.uniform(6, 11)
            _garden(site, rng, street, side, s + length / 2, edge, length)
            s += length
            continue
        look, width, depth = things.draw_house(rng, urban)
        front = edge + (rng.uniform(0.1, 0.5) if urban else rng.uniform(3.0, 5.0))
        placed = False
        for back in (0.0, 2.5, 6.0, 10.0):
            at, yaw = _beside(street, s + width / 2, side, front + back + depth / 2)
            if site.claim(at, (width - 0.2, depth), yaw):
                site.add(things.house(rng, look, width, depth), look, at, yaw)
                placed = True
                break
        if placed and not urban:
            _garden(site, rng, street, side, s + width / 2, edge, width, trees=1)
        s += width + (0.0 if urban else rng.uniform(2.5, 6.0)) if placed else 2.0


def _beside(street: Road | SideStreet, s: float, side: int, d: float) -> tuple[Array, float]:
    """Point beside a street, and the yaw of a thing there whose front (-y) looks at the street."""
    yaw = street.heading_at(s) if isinstance(street, Road) else street.heading
    return street.at(s, side * d), float(yaw) + (0.0 if side > 0 else np.pi)


def _garden(
    site: _Site, rng: np.random.Generator, street: Road | SideStreet, side: int, s: float,
    edge: float, length: float, trees: int = 2,
) -> None:  # fmt: skip
    """A hedge or a fence along the pavement with trees behind it."""
    at, yaw = _beside(street, s, side, edge + 0.7)
    if site.claim(at, (length, 0.5), yaw):
        if rng.random() < 0.55:
            site.add(things.hedge(rng, length), things.draw_tree_look(rng), at, yaw)
        else:
            site.add(things.fence(rng, length), things.draw_fence_look(rng), at, yaw)
    for _ in range(trees):
        at, _ = _beside(
            street, s + rng.uniform(-0.4, 0.4) * length, side, edge + rng.uniform(2.2, 8.0)
        )
        if site.claim(at, (1.2, 1.2), 0.0):
            _tree(site, rng, at, site.trees)


def _tree(site: _Site, rng: np.random.Generator, at: Array, kinds: list[Mesh]) -> None:
    mesh = kinds[rng.integers(len(kinds))]
    site.add(mesh, things.draw_tree_look(rng), at, rng.uniform(0, 2 * np.pi))


def _any_car(site: _Site, rng: np.random.Generator) -> Mesh:
    return site.cars[rng.integers(len(site.cars))]


def _close_street(site: _Site, rng: np.random.Generator, street: SideStreet) -> None:
    """A large house across the end of a side street, so that it leads somewhere."""
    look, width, depth = things.draw_house(rng, urban=True)
    at = street.at(street.length + 2.5 + depth / 2)
    site.claim(at, (width, depth), street.heading - np.pi / 2)
    site.add(things.house(rng, look, width, depth), look, at, street.heading - np.pi / 2)


def _park_cars(site: _Site, rng: np.random.Generator) -> None:
    """Cars along both kerbs, denser here and thinner there, clear of crossings and side streets."""
    road = site.road
    for side in (-1, 1):
        s, density = rng.uniform(2, 8), rng.uniform(0.2, 0.9)
        while s < road.length - 5:
            s += rng.uniform(5.3, 7.5)
            if rng.random() < 0.07:
                density = rng.uniform(0.1, 0.9)
            if rng.random() > density or not _may_park(road, s, side):
                continue
            d = side * (HALF_WIDTH_M - 0.95 + rng.uniform(-0.08, 0.12))
            yaw = float(road.heading_at(s)) + (np.pi if side > 0 else 0.0) + rng.normal() * 0.02
            at = road.at(s, d, -CROWN_M * abs(d) / HALF_WIDTH_M)
            site.add(_any_car(site, rng), things.draw_car_look(rng), at, yaw)


def _may_park(road: Road, s: float, side: int) -> bool:
    in_turn = any(begin - 12 < s < end + 12 for begin, end in road.turns)
    at_opening = any(
        street.side == side and street.opening[0] - 5 < s < street.opening[1] + 5
        for street in road.side_streets
    )
    return not in_turn and not at_opening


def _furnish(site: _Site, rng: np.random.Generator) -> None:
    """Lamps, signs, bins and trees on the pavement."""
    road = site.road
    steps = {"lamp": 27.0, "tree": rng.uniform(9, 16), "sign": 41.0, "box": 23.0}
    for kind, step in steps.items():
        for s in np.arange(rng.uniform(4, 12), road.length - 4, step):
            s = float(s + rng.uniform(-2, 2))
            side = int(rng.choice([-1, 1]))
            wooded = np.sin(s / 57.0 + side) > 0.1
            if not _may_park(road, s, side) or (kind == "tree" and not wooded):
                continue
            _put_on_pavement(site, rng, kind, s, side)


def _put_on_pavement(site: _Site, rng: np.random.Generator, kind: str, s: float, side: int) -> None:
    road = site.road
    heading = float(road.heading_at(s))
    match kind:
        case "lamp":
            at = road.at(s, side * (HALF_WIDTH_M + 0.5), KERB_HEIGHT_M)
            site.add(things.lamp_post(), things.plain_look(rng), at, heading - side * np.pi / 2)
        case "tree":
            at = road.at(s, side * (HALF_WIDTH_M + 0.9), KERB_HEIGHT_M)
            _tree(site, rng, at, site.trees)
        case "sign":
            at = road.at(s, side * (HALF_WIDTH_M + 0.5), KERB_HEIGHT_M)
            look = things.draw_sign_look(rng)
            site.add(things.sign_post(rng), look, at, heading if side < 0 else heading + np.pi)
        case "box":
            at = road.at(s, side * (PAVEMENT_M - 0.5), KERB_HEIGHT_M)
            site.add(things.bin_or_box(rng), things.plain_look(rng), at, heading)


def _plant_land(site: _Site, rng: np.random.Generator) -> None:
    """Trees and further houses behind the first row."""
    xy = rng.uniform(site.land.low, site.land.high, (4000, 2))
    distance = site.land.distance(xy)
    near = (distance > 13) & (distance < 85)
    xy = xy[near][: int(1.3 * site.road.length)]
    at = np.concatenate([xy, site.land.height(xy)[:, None]], axis=1)
    for point in at:
        if rng.random() < 0.12:
            look, width, depth = things.draw_house(rng, urban=rng.random() < 0.5)
            yaw = rng.uniform(0, 2 * np.pi)
            if site.claim(point, (width, depth), yaw):
                site.add(things.house(rng, look, width, depth), look, point, yaw)
        elif site.claim(point, (3.0, 3.0), 0.0):
            _tree(site, rng, point, site.far_trees)


def _traffic(site: _Site, rng: np.random.Generator, drive: Drive) -> tuple[Traveller, ...]:
    """Cars that come the other way, and one that drives ahead and slowly draws away."""
    travellers = []
    duration = drive.frames * FRAME_S
    for meet in np.arange(rng.uniform(3, 8), duration, 9.0):
        meet = float(meet + rng.uniform(-3, 3))
        speed, place = float(rng.uniform(6.0, 9.0)), float(drive.s_at(meet))
        travellers.append(
            Traveller(
                _painted_car(site, rng), _constant_speed(place, meet, -speed), -LANE_OFFSET_M, -1
            )
        )

    def ahead(time_s: float) -> float:
        headway = 1.8 + 8.0 * max(time_s / duration - 0.15, 0.0)
        return float(drive.s_at(time_s + headway)) + 9.0

    travellers.append(Traveller(_painted_car(site, rng), ahead, LANE_OFFSET_M, 1))
    return tuple(travellers)


def _constant_speed(place: float, time: float, speed: float) -> Callable[[float], float]:
    return lambda time_s: place + speed * (time_s - time)


def _painted_car(site: _Site, rng: np.random.Generator) -> Mesh:
    site.looks.append(things.draw_car_look(rng))
    return _any_car(site, rng).of_thing(len(site.looks) - 1)


def _draw_light(rng: np.random.Generator) -> Light:
    """Morning or afternoon, clear or with clouds."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(28, 58))
    to_sun = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    clouds = rng.uniform(0.15, 0.75)
    warm = 1 - np.sin(elevation)
    sun = (
        np.array([1.0, 0.93 - 0.08 * warm, 0.82 - 0.22 * warm])
        * rng.uniform(3.0, 3.8)
        * (1 - 0.4 * clouds)
    )
    sky = np.array([0.62, 0.74, 0.95]) * 0.52 + clouds * np.array([0.20, 0.18, 0.14])
    f32 = np.float32
    return Light(
        to_sun.astype(f32), sun.astype(f32), sky.astype(f32), rng.uniform(5e-4, 2e-3), clouds
    )
