"""What the odometry says of a frame."""

from __future__ import annotations

from dataclasses import dataclass

from vo.datasets.camera import Array, Camera


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What the odometry says of one frame. World is the first camera.

    Lengths are in the unit of the depth: metres where the checkpoint is metric.

    Attributes:
        index: number of the frame, from 0.
        time_s: time stamp in seconds.
        T_w_c: (4, 4) float64 pose after refinement.
        T_w_c_raw: (4, 4) float64 pose by the pose network alone; NaN, as is the raw motion, where
            the network is not the first guess, and on from there.
        T_last_c: (4, 4) float64 motion since the last frame, after refinement; the first frame has
            the identity.
        T_last_c_raw: (4, 4) float64 by the pose network alone.
        depth: (H, W) float32 along z, at the size of the network.
        camera: of ``depth``.
        tracked: False where the motion could not be refined: it is the one before it, or, with none
            before it, that of the pose network.
        reason: why it is not tracked, or an empty string.
        energy_before: mean robust feature cost at the first guess; NaN for the first frame, where
            there is nothing to see, and without refinement, as the following two.
        energy: the same after refinement.
        valid_share: share of points that were compared.
        iterations: of the refinement, both directions together.
        confidence: (h, w) float32 in (0, 1), how far the finest features are trusted, at their
            size; None without refinement.
    """

    index: int
    time_s: float
    T_w_c: Array
    T_w_c_raw: Array
    T_last_c: Array
    T_last_c_raw: Array
    depth: Array
    camera: Camera
    tracked: bool
    reason: str
    energy_before: float
    energy: float
    valid_share: float
    iterations: int
    confidence: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is seen in a single frame; fields as those of `Estimate`."""

    depth: Array
    confidence: Array | None
    camera: Camera
