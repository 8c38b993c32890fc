"""Poses to numbers: how far an estimated trajectory is from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vo.alignment import align
from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.protocol import Alignment
from vo.segments import SegmentErrors, segment_errors, trace_angles
from vo.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Scores:
    """One row of a results table. Every number depends on ``alignment``.

    Attributes:
        t_rel_percent: mean translation error over sub-sequences of 100 to 800 m, in percent; NaN
            where the drive is shorter than 100 m.
        r_rel_deg_per_100m: mean rotation error over the same sub-sequences; NaN likewise.
        ate_m: absolute trajectory error, root mean square of position errors, in metres.
        rpe_trans_m: relative pose error, mean translation error from one pose to the next, metres.
        rpe_rot_deg: the same for rotations, degrees.
        rpe_rot_acos_deg: rpe_rot_deg as kitti-odom-eval computes it, with KITTI's arccos of the
            trace. For motions of a tenth of a degree it measures the rounding of KITTI's pose
            files more than the estimate (`vo.segments.trace_angles`); kept to compare with
            published tables.
        alignment: what was adjusted before measuring (`vo.alignment.align`).
        scale: positions of the estimate were multiplied by it; 1 where scale is not adjusted.
        frames: number of poses compared.
        path_length_m: way along the truth through these poses, metres.
    """

    t_rel_percent: float
    r_rel_deg_per_100m: float
    ate_m: float
    rpe_trans_m: float
    rpe_rot_deg: float
    rpe_rot_acos_deg: float
    alignment: Alignment
    scale: float
    frames: int
    path_length_m: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Scores and what they were computed from, for plots.

    Attributes:
        scores: the numbers.
        truth: the ground truth with its first camera as the world.
        aligned: the estimate in the same world.
        position_errors_m: (N,) float64 distance between aligned estimate and truth at each pose.
        segments: errors of all sub-sequences.
    """

    scores: Scores
    truth: Trajectory
    aligned: Trajectory
    position_errors_m: Array
    segments: SegmentErrors


def evaluate(
    truth: Trajectory, estimate: Trajectory, alignment: Alignment, where: str = "estimate"
) -> Evaluation:
    """Compare an estimate with the truth, pose i with pose i (see `vo.association.associate`).

    Both are first re-based, so that each starts at the identity, as kitti-odom-eval does; then the
    estimate is aligned. ATE and RPE (Sturm et al., IROS 2012) are computed by evo.

    Args:
        truth: the ground truth.
        estimate: as many poses, in the same order.
        alignment: what may be adjusted.
        where: what messages call the estimate, for example its file.

    Raises:
        InputError: when there are fewer than 2 poses or the alignment is undefined.
        ValueError: when the trajectories differ in length.
    """
    if len(truth) != len(estimate):
        raise ValueError(f"truth has {len(truth)} poses, the estimate {len(estimate)}")
    if len(truth) < 2:
        raise InputError(where, "one common pose is no trajectory", "give 2 poses or more")
    truth = truth.rebased()
    fit = align(truth, estimate.rebased(), alignment, where)
    segments = segment_errors(truth, fit.trajectory)
    position_errors_m, rpe_trans_m, rpe_rot_deg = _evo_errors(truth, fit.trajectory)
    step_errors = np.linalg.inv(truth.T_c_next()) @ fit.trajectory.T_c_next()
    scores = Scores(
        t_rel_percent=segments.t_rel_percent,
        r_rel_deg_per_100m=segments.r_rel_deg_per_100m,
        ate_m=math.sqrt(float(np.mean(position_errors_m**2))),
        rpe_trans_m=float(np.mean(rpe_trans_m)),
        rpe_rot_deg=float(np.mean(rpe_rot_deg)),
        rpe_rot_acos_deg=math.degrees(float(np.mean(trace_angles(step_errors)))),
        alignment=alignment,
        scale=fit.scale,
        frames=len(truth),
        path_length_m=truth.path_length_m,
    )
    return Evaluation(scores, truth, fit.trajectory, position_errors_m, segments)


def _evo_errors(truth: Trajectory, estimate: Trajectory) -> tuple[Array, Array, Array]:
    """Position errors (N,) in metres, step errors (N-1,) in metres and (N-1,) in degrees."""
    from evo.core.metrics import APE, RPE, PoseRelation, Unit

    pair = (truth.to_evo(), estimate.to_evo())
    metrics = (
        APE(PoseRelation.translation_part),
        RPE(PoseRelation.translation_part, delta=1, delta_unit=Unit.frames),
        RPE(PoseRelation.rotation_angle_deg, delta=1, delta_unit=Unit.frames),
    )
    for metric in metrics:
        metric.process_data(pair)
    position, translation, rotation = (np.asarray(metric.error) for metric in metrics)
    return position, translation, rotation
