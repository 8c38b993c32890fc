"""How steady the scale of depth and of poses is over a drive, by ground truth.

With the medians over the pixels of frame i whose true depth is known, and the motion t_i from frame
i to the next, the scales of depth and of poses are the factors that truth and estimate differ by,

    r_i = median d_i* / median d_i                    p_i = |t_i*| / |t_i|

A drive of one scale has a constant r, one whose poses have the scale of the depth r = p.
`vo.depth_scores.depth_scale_spread` says how far they vary within drives and across them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.depth_truth import TruthFrames
from vo.datasets.sequence import prefetch
from vo.depth_scores import DepthProtocol, pixels_that_count, score_depth
from vo.odometry import Estimate, Odometry
from vo.scale import ScaleAlignment, true_scale_alignment

STANDSTILL_M = 0.05  # true motions that are shorter tell no scale


@dataclass(frozen=True, slots=True, eq=False)
class DriveScales:
    """Scales of one drive, truth over estimate.

    Attributes:
        name: of the drive.
        side: of its camera.
        frames: (N,) int64 numbers.
        depth: (N,) r of each frame; NaN where no true depth counts.
        poses: by kind, ``raw`` and ``refined``, (N - 1,) p of each motion; NaN where the camera
            stands. Empty without true poses.
        alignments: by kind, pose scale over depth scale (`vo.scale`).
    """

    name: str
    side: str
    frames: Array
    depth: Array
    poses: dict[str, Array]
    alignments: dict[str, ScaleAlignment]


def measure_scales(
    odometry: Odometry,
    frames: TruthFrames,
    protocol: DepthProtocol,
    refined: bool,
    progress: Callable[[int], None] = lambda done: None,
) -> DriveScales:
    """Predict depth, and where true poses are known motion, of a whole drive.

    Args:
        odometry: that is reset first.
        frames: the drive.
        protocol: which true depths count.
        refined: whether the odometry refines poses.
        progress: called with the number of frames that are done.

    Raises:
        InputError: when an image or a true depth is damaged.
    """
    odometry.reset()
    moves = frames.T_w_c is not None and len(frames) > 1
    scales: list[tuple[float, float]] = []
    motions: dict[str, list[Array]] = {"raw": [], "refined": []} if refined else {"raw": []}
    for frame in prefetch(frames):
        seen = odometry.step(frame) if moves else odometry.look(frame)
        if isinstance(seen, Estimate):
            for kind, some in motions.items():
                T = seen.T_last_c_raw if kind == "raw" else seen.T_last_c
                some.append(T[:3, 3])
        scales.append(_depth_scale(seen.depth, frame.depth, protocol))
        progress(len(scales))
    numbers = frames.recording.numbers[frames.indices]
    r, true_median = np.array(scales).T
    if not moves:
        return DriveScales(frames.name, frames.side, numbers, r, {}, {})
    t = {kind: np.array(some[1:]) for kind, some in motions.items()}
    poses, alignments = _of_poses(t, frames, r, true_median)
    return DriveScales(frames.name, frames.side, numbers, r, poses, alignments)


def _of_poses(
    t: dict[str, Array], frames: TruthFrames, r: Array, true_median: Array
) -> tuple[dict[str, Array], dict[str, ScaleAlignment]]:
    """Scales of motions t (N - 1, 3) by kind, and those over the scale of the depth."""
    T_w_c = frames.T_w_c
    if T_w_c is None:
        raise ValueError(f"{frames.name} has no true poses")
    t_true = (np.linalg.inv(T_w_c[:-1]) @ T_w_c[1:])[:, :3, 3]
    # A motion is compared with the depth of the frame before it, as in `vo.drive`.
    depth_true, depth = true_median[:-1], true_median[:-1] / r[:-1]
    return (
        {kind: _pose_scale(some, t_true) for kind, some in t.items()},
        {kind: true_scale_alignment(some, t_true, depth, depth_true) for kind, some in t.items()},
    )


def _depth_scale(depth: Array, truth: Array | None, protocol: DepthProtocol) -> tuple[float, float]:
    """r of a frame, and the median of its true depth in metres; NaN where none counts."""
    if truth is None:
        return math.nan, math.nan
    scores = score_depth(depth, truth, protocol)
    if not scores.pixels:
        return math.nan, math.nan
    return scores.ratio, float(np.median(truth[pixels_that_count(truth, protocol)]))


def _pose_scale(t: Array, t_true: Array) -> Array:
    true, length = np.linalg.norm(t_true, axis=1), np.linalg.norm(t, axis=1)
    moves = (true > STANDSTILL_M) & (length > 0)
    return np.where(moves, true / np.where(moves, length, 1), np.nan)
