"""Bring an estimated trajectory to the truth: what may be corrected before errors are measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.protocol import Alignment
from vo.trajectory import Trajectory

STANDSTILL_M = 1e-9  # less than rounding errors of re-based positions


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """An estimate after alignment.

    Attributes:
        trajectory: the estimate in the world of the truth.
        scale: positions were multiplied by it, before T was applied; 1 where it is not adjusted.
        T_truth_estimate: (4, 4) float64 rigid motion between the two worlds, identity where it is
            not adjusted.
    """

    trajectory: Trajectory
    scale: float
    T_truth_estimate: Array


def align(
    truth: Trajectory, estimate: Trajectory, alignment: Alignment, where: str = "estimate"
) -> Aligned:
    """Align an estimate to the truth, pose i to pose i, by least squares over positions.

    ``none`` changes nothing; ``scale`` finds s alone, s = sum x.y / sum x.x over the positions x
    of the estimate and y of the truth as they are; ``se3`` a rotation and translation (6 degrees
    of freedom); ``sim3`` also the scale (7); ``scale_sim3`` takes only the scale of ``sim3``. The
    last three are Umeyama's solution (PAMI 1991), computed by evo.

    Raises:
        InputError: when the positions do not determine the alignment: fewer than 3 poses, a
            trajectory that does not move, or, where a rotation is needed, a straight line.
        ValueError: when the trajectories differ in length.
    """
    if len(truth) != len(estimate):
        raise ValueError(f"truth has {len(truth)} poses, the estimate {len(estimate)}")
    if alignment == "none":
        return Aligned(estimate, 1.0, np.eye(4))
    if alignment == "scale":
        return _align_scale(truth, estimate, where)
    R, t, scale = _umeyama(estimate, truth, alignment != "se3", where)
    T = np.eye(4)
    if alignment != "scale_sim3":
        T[:3, :3], T[:3, 3] = R, t
    return Aligned(estimate.scaled(scale).transformed(T), scale, T)


def _align_scale(truth: Trajectory, estimate: Trajectory, where: str) -> Aligned:
    _demand_motion(truth, estimate, where)
    x, y = estimate.positions, truth.positions
    scale = float(np.sum(x * y) / np.sum(x * x))
    return Aligned(estimate.scaled(scale), scale, np.eye(4))


def _umeyama(
    source: Trajectory, target: Trajectory, with_scale: bool, where: str
) -> tuple[Array, Array, float]:
    """Rotation (3, 3), translation (3,) and scale that bring source positions to the target's."""
    from evo.core.geometry import GeometryException, umeyama_alignment

    if len(source) < 3:
        problem = f"{len(source)} common poses do not determine a rotation"
        raise InputError(where, problem, "use --align none or scale, or give 3 poses or more")
    extent, target_extent = _demand_motion(target, source, where)
    # evo compares with an absolute threshold, so bring any unit of length to the size of 1.
    x, y = source.positions / extent, target.positions / target_extent
    try:
        R, _, ratio = umeyama_alignment(x.T, y.T, with_scale)
    except GeometryException as error:
        problem = "the positions lie on a straight line, which leaves the rotation about it open"
        raise InputError(where, problem, "use --align none or scale") from error
    scale = float(ratio) * target_extent / extent if with_scale else 1.0
    t = target.positions.mean(axis=0) - scale * R @ source.positions.mean(axis=0)  # eq. 41
    return R, t, scale


def _demand_motion(truth: Trajectory, estimate: Trajectory, where: str) -> tuple[float, float]:
    """Largest extent of the estimate and of the truth along an axis, both more than nothing."""
    extents = []
    for name, trajectory in (("the estimate", estimate), ("the ground truth", truth)):
        extents.append(float(np.ptp(trajectory.positions, axis=0).max()))
        if extents[-1] < STANDSTILL_M:
            problem = f"{name} does not move, so the alignment is undefined"
            raise InputError(where, problem, "use --align none")
    return extents[0], extents[1]
