"""What goes wrong with a camera, done to frames of a sound drive: black frames, a stop, a glare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.frame import Frame

NOISE = 2.0  # of 255, standard deviation of a sensor's noise
TURN_DEG = 0.5  # a frame
Pixels = Callable[[Array, int], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A drive in which something goes wrong.

    Attributes:
        name: what goes wrong.
        frames: images, times, and true pose of what each image shows.
        stretch: frames whose motion it concerns, the first sound one after it included.
        lost: frames whose motion nobody can see; it must be flagged, and no other.
    """

    name: str
    frames: list[Frame]
    stretch: range
    lost: frozenset[int]


def scenes(frames: list[Frame], first: int, count: int) -> list[Scene]:
    """All scenes, and at first the drive as it is.

    Args:
        frames: of a drive with true poses.
        first: frame at which it begins to go wrong, 2 or more.
        count: of frames that it lasts, an even number.

    Raises:
        ValueError: when the drive is too short, or ``count`` odd.
    """
    if first < 2 or count % 2 or first + count + 2 > len(frames):
        raise ValueError(f"{count} frames from {first} on do not fit into {len(frames)}")
    change = partial(_changed, frames, first)
    return [
        Scene("undisturbed", frames, range(first, first + count + 1), frozenset()),
        _standing_still(frames, first, count),
        _repeated(frames, first, count),
        _pure_rotation(frames, first, count),
        _half_rate(frames, first, count),
        change("one black frame", 1, _black, True),
        change("black frames", count, _black, True),
        change("saturated frames", count // 2, _white, True),
        change("lens blocked", count, _blocked, True),
        change("lower half black", count, partial(_half, value=0), True),
        change("lower half grey", count, partial(_half, value=128), True),
        change("exposure x 0.3", count, partial(_exposed, gain=0.3), False),
        change("exposure x 2", count, partial(_exposed, gain=2.0), False),
    ]


def _changed(
    frames: list[Frame], first: int, name: str, count: int, change: Pixels, is_lost: bool
) -> Scene:
    """Other pixels in ``count`` frames."""
    changed = list(frames)
    for i in range(first, first + count):
        changed[i] = replace(frames[i], image=change(frames[i].image, i))
    stretch = range(first, first + count + 1)
    return Scene(name, changed, stretch, frozenset(stretch if is_lost else ()))


def _standing_still(frames: list[Frame], first: int, count: int) -> Scene:
    """The camera stops; its images differ by noise alone."""
    held = frames[first - 1]
    stop = [replace(held, image=_noisy(held.image, i)) for i in range(count)]
    drive = _timed(frames, [*frames[:first], *stop, *frames[first:]])
    return Scene("standing still", drive, range(first, first + count + 1), frozenset())


def _repeated(frames: list[Frame], first: int, count: int) -> Scene:
    """Each second frame is its predecessor once more."""
    drive = list(frames)
    for i in range(first, first + count, 2):
        drive[i] = replace(frames[i], image=frames[i - 1].image, T_w_c=frames[i - 1].T_w_c)
    return Scene("repeated frames", drive, range(first, first + count + 1), frozenset())


def _pure_rotation(frames: list[Frame], first: int, count: int) -> Scene:
    """The camera stops, turns aside and back, and drives on."""
    held = frames[first - 1]
    angles_deg = [TURN_DEG * min(i + 1, count - 1 - i) for i in range(count)]
    turn = [_turned(held, angle_deg) for angle_deg in angles_deg]
    drive = _timed(frames, [*frames[:first], *turn, *frames[first:]])
    return Scene("pure rotation", drive, range(first, first + count + 1), frozenset())


def _half_rate(frames: list[Frame], first: int, count: int) -> Scene:
    """Each second frame is missing; the times tell."""
    drive = [*frames[:first], *frames[first + 1 : first + count : 2], *frames[first + count :]]
    return Scene("half the rate", drive, range(first, first + count // 2 + 1), frozenset())


def _timed(frames: list[Frame], drive: Iterable[Frame]) -> list[Frame]:
    """At the drive's own rate."""
    period_s = frames[1].time_s - frames[0].time_s
    start_s = frames[0].time_s
    return [replace(f, time_s=start_s + i * period_s) for i, f in enumerate(drive)]


def _turned(frame: Frame, angle_deg: float) -> Frame:
    """The frame after a turn about the camera's y: the homography K R^T K^-1, exact for any depth;
    what comes into view from aside is mirrored."""
    import cv2

    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    T_c_turned = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1.0]])
    K = frame.camera.K
    H = K @ T_c_turned[:3, :3].T @ np.linalg.inv(K)
    image = cv2.warpPerspective(
        frame.image, H, frame.camera.size, borderMode=cv2.BORDER_REFLECT_101
    )
    assert frame.T_w_c is not None
    return replace(frame, image=image, T_w_c=frame.T_w_c @ T_c_turned, depth=None)


def _black(image: Array, seed: int) -> Array:
    return np.zeros_like(image)


def _white(image: Array, seed: int) -> Array:
    return np.full_like(image, 255)


def _blocked(image: Array, seed: int) -> Array:
    """A hand on the lens: dark, a little lighter at the rim, noisy."""
    h, w = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    return _noisy(np.repeat((15 + 15 * (x * x + y * y))[..., None], 3, 2), seed)


def _half(image: Array, seed: int, value: int) -> Array:
    half = image.copy()
    half[len(half) // 2 :] = value
    return half


def _exposed(image: Array, seed: int, gain: float) -> Array:
    return np.clip(gain * image.astype(np.float32), 0, 255).astype(np.uint8)


def _noisy(image: Array, seed: int) -> Array:
    noise = np.random.default_rng(seed).normal(0, NOISE, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)
