"""How the car with the camera moves along the road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.street.road import LANE_OFFSET_M, STEP_M, Road

FRAME_S = 0.1
CAMERA_HEIGHT_M = 1.65
_AXLES_M = 1.3  # half the distance between the axles
_MARGIN_M = 130.0  # road that is left beyond the end of the drive, so that one never sees it end


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """Positions along the road, one every FRAME_S.

    Attributes:
        s: (F,) metres along the road; more entries than frames, so that others can drive ahead.
        frames: number of frames that are recorded.
    """

    s: Array
    frames: int

    def s_at(self, time_s: Array | float) -> Array:
        """Metres along the road at a time in seconds; held at the ends."""
        return np.interp(np.asarray(time_s) / FRAME_S, np.arange(len(self.s)), self.s)


def road_length_for(frames: int) -> float:
    """Length of road that is enough for that many frames, metres."""
    return frames * 0.95 + 60.0 + _MARGIN_M


def make_drive(rng: np.random.Generator, road: Road, frames: int) -> Drive:
    """Drive along ``road``: slower in bends, to a halt at some crossings, never past its end."""
    s = np.arange(0, road.length - _MARGIN_M, STEP_M)
    stops = _draw_stops(rng, road, s[-1])
    speed = _speed(rng, road, s, stops)
    dt = STEP_M / np.maximum((speed[:-1] + speed[1:]) / 2, 0.15)
    for stop in stops:
        dt[min(int(stop / STEP_M), len(dt) - 1)] += rng.uniform(0.5, 1.5)
    time = np.concatenate([[0], np.cumsum(dt)])
    start = np.interp(14.0, s, time)  # the first frames see road behind them, too
    seen = np.interp(start + np.arange(frames + 200) * FRAME_S, time, s)
    return Drive(seen, frames)


def _draw_stops(rng: np.random.Generator, road: Road, last: float) -> list[float]:
    """Before about half of the junction turns, and once or twice at a side street."""
    places = [begin - 7.5 for begin, _ in road.turns if rng.random() < 0.4]
    openings = [street.opening[0] - 5.0 for street in road.side_streets]
    places += [s for s in openings if rng.random() < 0.08]
    return sorted(float(s) for s in places if 35 < s < last - 10)


def _speed(rng: np.random.Generator, road: Road, s: Array, stops: list[float]) -> Array:
    """Speed (m/s) at every s: cruise, bends, stops; then what brakes and engine can do."""
    knots = np.arange(0, s[-1] + 60, 60.0)
    cruise = np.interp(s, knots, rng.uniform(9.0, 15.0, len(knots)))
    lateral = 2.4  # m/s^2
    speed = np.minimum(cruise, np.sqrt(lateral / np.maximum(np.abs(road.curvature_at(s)), 1e-6)))
    for stop in stops:
        speed[np.abs(s - stop) < STEP_M] = 0.15
    slow = rng.uniform(0.2, 0.8) * s[-1]  # one slow stretch, as behind a bicycle
    speed = np.where((s > slow) & (s < slow + 25), np.minimum(speed, 3.0), speed)
    for order, limit in ((range(len(s) - 2, -1, -1), 2.0), (range(1, len(s)), 1.6)):
        step = -1 if order.step < 0 else 1
        for i in order:
            before = speed[i - step]
            speed[i] = min(speed[i], np.sqrt(before**2 + 2 * limit * STEP_M))
    return speed


def camera_poses(rng: np.random.Generator, road: Road, drive: Drive) -> Array:
    """(F, 4, 4) poses T_w_c of the recorded frames: camera to the world with z up.

    The car lies on two axles, so the camera turns with the chord between them, and its springs add
    a little roll, pitch and heave that depend on where it is, not on time: a halt is a halt.
    """
    s = drive.s[: drive.frames]
    wander = LANE_OFFSET_M + _ripple(rng, s, (140.0, 61.0), 0.14)
    heave = CAMERA_HEIGHT_M + _ripple(rng, s, (23.0, 7.1, 3.3), 0.012)
    pitch, roll = (_ripple(rng, s, (29.0, 11.0, 4.1), np.deg2rad(a)) for a in (0.16, 0.22))
    ahead, behind = (road.at(s + sign * _AXLES_M, wander) for sign in (1, -1))
    forward = _unit(ahead - behind)
    right = _unit(np.cross(forward, [0.0, 0.0, 1.0]))
    down = np.cross(forward, right)
    c, n = np.cos(pitch)[:, None], np.sin(pitch)[:, None]
    forward, down = c * forward + n * down, c * down - n * forward
    c, n = np.cos(roll)[:, None], np.sin(roll)[:, None]
    right, down = c * right + n * down, c * down - n * right
    T_w_c = np.tile(np.eye(4), (len(s), 1, 1))
    T_w_c[:, :3, :3] = np.stack([right, down, forward], axis=-1)
    T_w_c[:, :3, 3] = (ahead + behind) / 2 + heave[:, None] * [0, 0, 1]
    return T_w_c


def _ripple(
    rng: np.random.Generator, s: Array, wavelengths: tuple[float, ...], size: float
) -> Array:
    """A smooth wobble over the way s, of about ``size`` at most."""
    waves = [np.sin(2 * np.pi * s / w + rng.uniform(0, 2 * np.pi)) for w in wavelengths]
    return size * np.sum(waves, axis=0) / len(waves) ** 0.5


def _unit(v: Array) -> Array:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)
