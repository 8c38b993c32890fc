"""The centreline of a road: straights, clothoids, arcs and junction turns over gentle hills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vo.datasets.camera import Array

STEP_M = 0.25  # spacing of the stored centreline
HALF_WIDTH_M = 4.7  # centre to kerb: a lane of 2.9 m and a strip of 1.8 m where cars park
PAVEMENT_M = 7.2  # centre to the outer edge of the pavement
KERB_HEIGHT_M = 0.12
LANE_OFFSET_M = -1.4  # traffic keeps to the right, and d is positive to the left

TURN_RADIUS_M = 11.0
TURN_CLOTHOID_M = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class SideStreet:
    """A straight street that leaves the road.

    Attributes:
        origin: (3,) where its centreline begins, on the road.
        heading: radians, counter-clockwise from the x axis.
        half_width: half of its carriageway, metres.
        length: metres from the origin to its end.
        clear: metres from the origin after which it has left the road and its pavement.
        opening: stretch [begin, end) of the road, metres, whose kerb it interrupts.
        side: +1 where that kerb is the left one, -1 for the right one.
    """

    origin: Array
    heading: float
    half_width: float
    length: float
    clear: float
    opening: tuple[float, float]
    side: int

    def at(self, along: ArrayLike, left: ArrayLike = 0.0, up: ArrayLike = 0.0) -> Array:
        """World points (..., 3) ``along`` the street, to the ``left`` of it and ``up``, metres."""
        c, s = np.cos(self.heading), np.sin(self.heading)
        along, left, up = np.broadcast_arrays(*map(np.asarray, (along, left, up)))
        offset = np.stack([along * c - left * s, along * s + left * c, up], axis=-1)
        return self.origin + offset


@dataclass(frozen=True, slots=True, eq=False)
class Road:
    """A centreline sampled every STEP_M, in a world with z up.

    Attributes:
        xyz: (N, 3) points on the crown of the road, metres.
        heading: (N,) radians, counter-clockwise from the x axis.
        curvature: (N,) 1/m, positive where the road turns left.
        turns: (T, 2) stretches [begin, end) of the junction turns, metres along the road.
        side_streets: the streets that leave it.
    """

    xyz: Array
    heading: Array
    curvature: Array
    turns: Array
    side_streets: tuple[SideStreet, ...]

    @property
    def length(self) -> float:
        """Length of the centreline in the ground plane, metres."""
        return (len(self.heading) - 1) * STEP_M

    def at(self, s: ArrayLike, d: ArrayLike = 0.0, up: ArrayLike = 0.0) -> Array:
        """World points (..., 3) at s metres along the road, d to its left and ``up`` above it."""
        s = np.asarray(s, np.float64)
        knots = np.arange(len(self.heading)) * STEP_M
        heading = np.interp(s, knots, self.heading)
        point = np.stack([np.interp(s, knots, self.xyz[:, k]) for k in range(3)], axis=-1)
        left = np.stack([-np.sin(heading), np.cos(heading), np.zeros_like(heading)], axis=-1)
        return point + left * np.asarray(d)[..., None] + np.asarray(up)[..., None] * [0, 0, 1]

    def heading_at(self, s: Array | float) -> Array | np.float64:
        """Heading at s metres along the road, radians."""
        return np.interp(s, np.arange(len(self.heading)) * STEP_M, self.heading)

    def curvature_at(self, s: Array | float) -> Array | np.float64:
        """Curvature at s metres along the road, 1/m."""
        return np.interp(s, np.arange(len(self.heading)) * STEP_M, self.curvature)


def make_road(rng: np.random.Generator, length: float) -> Road:
    """Draw a road of at least ``length`` metres that never comes near itself again."""
    while True:
        curvature, turns = _draw_curvature(rng, length)
        heading = (
            rng.uniform(0, 2 * np.pi) + np.concatenate([[0], np.cumsum(curvature)[:-1]]) * STEP_M
        )
        xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=-1), axis=0) * STEP_M
        if not _meets_itself(xy):
            break
    z = _hills(rng, len(xy))
    xyz = np.concatenate([xy, z[:, None]], axis=-1)
    road = Road(xyz, heading, curvature, turns, ())
    return Road(xyz, heading, curvature, turns, _draw_side_streets(rng, road))


def _draw_curvature(rng: np.random.Generator, length: float) -> tuple[Array, Array]:
    """Curvature of every sample, and where the junction turns lie."""
    pieces, turns = [_straight(rng.uniform(60, 90))], []
    at = len(pieces[0]) * STEP_M
    while at < length:
        kind = rng.choice(["turn", "bend", "chicane"], p=[0.5, 0.35, 0.15])
        sign = rng.choice([-1.0, 1.0])
        if kind == "turn":
            piece = _bend(sign * np.pi / 2, TURN_RADIUS_M, TURN_CLOTHOID_M)
            turns.append((at, at + len(piece) * STEP_M))
        elif kind == "bend":
            piece = _bend(sign * rng.uniform(0.3, 1.0), rng.uniform(45, 110), 25.0)
        else:
            angle, radius = rng.uniform(0.2, 0.5), rng.uniform(50, 90)
            piece = np.concatenate([_bend(a, radius, 15.0) for a in (sign * angle, -sign * angle)])
        pieces += [piece, _straight(rng.uniform(45, 120))]
        at += (len(pieces[-2]) + len(pieces[-1])) * STEP_M
    return np.concatenate(pieces), np.array(turns, np.float64).reshape(-1, 2)


def _straight(length: float) -> Array:
    return np.zeros(round(length / STEP_M))


def _bend(angle: float, radius: float, clothoid: float) -> Array:
    """Curvature over a clothoid in, an arc and a clothoid out that turn by ``angle`` in all."""
    peak = np.sign(angle) / radius
    clothoid = min(clothoid, abs(angle) * radius)  # each clothoid turns by clothoid / (2 radius)
    ramp = np.linspace(0, peak, round(clothoid / STEP_M), endpoint=False)
    arc = np.full(round((abs(angle) * radius - clothoid) / STEP_M), peak)
    bend = np.concatenate([ramp, arc, ramp[::-1]])
    return bend * (angle / (bend.sum() * STEP_M))  # exactly ``angle`` in spite of the rounding


def _meets_itself(xy: Array, clearance: float = 62.0, apart: float = 130.0) -> bool:
    """Whether two points ``apart`` metres along the road lie nearer than ``clearance``."""
    coarse = xy[:: round(4 / STEP_M)]
    distance = np.linalg.norm(coarse[:, None] - coarse[None], axis=-1)
    along = np.abs(np.arange(len(coarse))[:, None] - np.arange(len(coarse))) * 4.0
    return bool(np.any((along > apart) & (distance < clearance)))


def _hills(rng: np.random.Generator, samples: int) -> Array:
    """Heights with slopes of at most a few per cent."""
    s = np.arange(samples) * STEP_M
    z = np.zeros(samples)
    for wavelength, slope in ((310.0, 0.022), (170.0, 0.012), (83.0, 0.006)):
        w = 2 * np.pi / (wavelength * rng.uniform(0.85, 1.15))
        z += slope * rng.uniform(0.5, 1.0) / w * np.sin(w * s + rng.uniform(0, 2 * np.pi))
    return z - z[0]


def _draw_side_streets(rng: np.random.Generator, road: Road) -> tuple[SideStreet, ...]:
    """Straight on at every junction turn, and here and there beside the straights."""
    streets = [_straight_on(rng, road, begin, end) for begin, end in road.turns]
    s = rng.uniform(25, 60)
    while s < road.length - 40:
        clear_of_turns = all(not begin - 40 < s < end + 40 for begin, end in road.turns)
        if clear_of_turns and np.abs(road.curvature_at(s + np.array([-8, 0, 8]))).max() < 1 / 400:
            streets.append(_across(rng, road, s))
        s += rng.uniform(45, 110)
    return tuple(sorted(streets, key=lambda street: street.opening))


def _straight_on(rng: np.random.Generator, road: Road, begin: float, end: float) -> SideStreet:
    """The street that a junction turn leaves: it goes on where the road turns off."""
    side = -int(np.sign(road.curvature_at((begin + end) / 2)))  # on the outer side of the turn
    return SideStreet(
        origin=road.at(begin),
        heading=float(road.heading_at(begin)),
        half_width=3.8,
        length=rng.uniform(60, 85),
        clear=TURN_RADIUS_M + TURN_CLOTHOID_M / 2 + PAVEMENT_M,
        opening=(begin + 5.0, begin + 0.8 * (end - begin)),
        side=side,
    )


def _across(rng: np.random.Generator, road: Road, s: float) -> SideStreet:
    """A street that leaves the road at a right angle."""
    side = int(rng.choice([-1, 1]))
    half_width = rng.uniform(2.8, 3.6)
    return SideStreet(
        origin=road.at(s),
        heading=float(road.heading_at(s)) + side * np.pi / 2,
        half_width=half_width,
        length=rng.uniform(35, 60),
        clear=PAVEMENT_M,
        opening=(s - half_width - 0.5, s + half_width + 0.5),
        side=side,
    )
