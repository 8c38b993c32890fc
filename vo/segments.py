"""KITTI's odometry errors: drift over sub-sequences of 100 to 800 metres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vo.datasets.camera import Array
from vo.trajectory import Trajectory

LENGTHS_M = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)
START_STEP = 10


@dataclass(frozen=True, slots=True, eq=False)
class SegmentErrors:
    """Errors of S sub-sequences.

    Attributes:
        starts: (S,) int64 position of the first pose in the trajectory.
        lengths_m: (S,) float64 nominal length along the truth.
        t_err: (S,) float64 translation error as a fraction of the length.
        r_err: (S,) float64 rotation error in rad/m.
    """

    starts: Array
    lengths_m: Array
    t_err: Array
    r_err: Array

    def __len__(self) -> int:
        """Number of sub-sequences."""
        return len(self.starts)

    @property
    def t_rel_percent(self) -> float:
        """Mean translation error in percent; NaN without sub-sequences."""
        return float(np.mean(self.t_err)) * 100 if len(self) else math.nan

    @property
    def r_rel_deg_per_100m(self) -> float:
        """Mean rotation error in degrees per 100 m; NaN without sub-sequences."""
        return math.degrees(float(np.mean(self.r_err))) * 100 if len(self) else math.nan

    def of_length(self, length_m: float) -> SegmentErrors:
        """The sub-sequences of one length."""
        kept = self.lengths_m == length_m
        return SegmentErrors(
            self.starts[kept], self.lengths_m[kept], self.t_err[kept], self.r_err[kept]
        )


def segment_errors(
    truth: Trajectory,
    estimate: Trajectory,
    lengths_m: tuple[float, ...] = LENGTHS_M,
    step: int = START_STEP,
) -> SegmentErrors:
    """Relative errors over sub-sequences, as KITTI's odometry benchmark (Geiger et al., CVPR 2012)
    and its common Python evaluation kitti-odom-eval measure them.

    A sub-sequence starts at every frame whose index is a multiple of ``step`` (every ``step``-th
    pose where frames are unknown) and ends at the first pose more than its length farther along
    the truth; where the truth ends before, there is none. Its error is E = (T_i_j of the
    estimate)^-1 (T_i_j of the truth). A drive shorter than 100 m has no sub-sequences.

    The cost is linear in the number of poses but for the binary search of the ends.

    Raises:
        ValueError: when the trajectories differ in length or ``step`` is not positive.
    """
    if len(truth) != len(estimate):
        raise ValueError(f"truth has {len(truth)} poses, the estimate {len(estimate)}")
    if step < 1:
        raise ValueError(f"step must be positive, got {step}")
    frames = np.arange(len(truth)) if truth.frames is None else truth.frames
    starts = np.nonzero(frames % step == 0)[0]
    i, lengths = (grid.ravel() for grid in np.meshgrid(starts, lengths_m, indexing="ij"))
    way = truth.distances
    j = np.searchsorted(way, way[i] + lengths, side="right")
    whole = j < len(way)
    i, j, lengths = i[whole], j[whole], lengths[whole]
    E = np.linalg.inv(_between(estimate, i, j)) @ _between(truth, i, j)
    t_err = np.linalg.norm(E[:, :3, 3], axis=1) / lengths
    return SegmentErrors(i, lengths, t_err, trace_angles(E) / lengths)


def trace_angles(T: Array) -> Array:
    """Rotation angles arccos((tr R - 1) / 2) of motions (S, 4, 4), (S,) float64 rad.

    This is KITTI's definition, kept so that numbers equal published ones to the last digit. It
    loses precision for small angles: KITTI's true poses have six digits, so that R is off
    orthonormal by 2e-7 and an angle below 1e-3 rad by some percent. Over 100 m and more this
    changes the mean in the fifth digit.
    """
    trace = np.trace(T[:, :3, :3], axis1=1, axis2=2)
    return np.arccos(np.clip((trace - 1) / 2, -1, 1))


def _between(trajectory: Trajectory, i: Array, j: Array) -> Array:
    """Motions T_i_j = T_w_i^-1 T_w_j, (S, 4, 4)."""
    return np.linalg.inv(trajectory.T_w_c[i]) @ trajectory.T_w_c[j]
