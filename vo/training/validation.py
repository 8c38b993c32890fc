"""Validation by whole drives: what a checkpoint is good for is the trajectory that it gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vo.datasets.frame import Sequence as Drives
from vo.datasets.sequence import prefetch
from vo.drive import Drive, Verdict, judge, run
from vo.model import Model
from vo.odometry import Odometry
from vo.ranks import ALONE, Ranks
from vo.refine import RefineConfig
from vo.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Validation:
    """What some weights make of drives that were not trained on.

    Attributes:
        step: steps that the weights had been trained for.
        score: what chooses the best weights, smaller is better: the mean over the drives of the
            refined trajectory's error, see `score_of`, or abs_rel where depth alone is learned.
        numbers: every number by name, ``09/refined_t_rel_percent`` and so on; what could not be
            measured is left out.
        is_best: whether no earlier score was as small.
    """

    step: int
    score: float
    numbers: dict[str, float]
    is_best: bool


def validate(
    model: Model,
    drives: Sequence[Drives],
    refine: RefineConfig,
    device: str = "cpu",
    ranks: Ranks = ALONE,
) -> tuple[float, dict[str, float]]:
    """Run the odometry over drives.

    Args:
        model: the networks; left in evaluation mode.
        drives: sequences of the model's size.
        refine: settings of the refinement.
        device: to compute on.
        ranks: of the processes, which share the drives.

    Returns:
        the score, and all numbers by name; the same on all processes.
    """
    found = ranks.unshare([_run(model, d, refine, device) for d in ranks.share(drives)])
    numbers = {
        f"{sequence.name}/{name}": value
        for sequence, of_drive in zip(drives, found, strict=True)
        for name, value in of_drive.items()
    }
    scores = [score_of(of_drive) for of_drive in found]
    return (float(np.mean(scores)) if scores else math.inf), numbers


def score_of(numbers: dict[str, float]) -> float:
    """The refined trajectory's t_rel in percent; on drives too short for it the translation error
    of a step in percent of its length; without truth the median feature cost after refinement."""
    for name in ("refined_t_rel_percent", "refined_rpe_percent", "residual"):
        if name in numbers:
            return numbers[name]
    return math.inf


def _run(model: Model, sequence: Drives, refine: RefineConfig, device: str) -> dict[str, float]:
    odometry = Odometry(model, refine, device=device)
    drive = Drive()
    for frame, estimate in run(odometry, prefetch(sequence)):
        drive.add(frame, estimate)
    return _numbers(drive, sequence)


def _numbers(drive: Drive, sequence: Drives) -> dict[str, float]:
    consistency = drive.consistency()
    residual = [row.energy for row in drive.rows if math.isfinite(row.energy)]
    numbers = {
        "scale_median": consistency.median,
        "scale_spread": consistency.spread,
        "tracked": float(np.mean([row.tracked for row in drive.rows])),
        "residual": float(np.median(residual)) if residual else math.nan,
    }
    if sequence.T_w_c is not None:
        times = np.array([row.time_s for row in drive.rows])
        frames = np.array([row.frame for row in drive.rows])
        numbers |= _judged(judge(drive, Trajectory(times, sequence.T_w_c, frames)))
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _judged(verdict: Verdict) -> dict[str, float]:
    numbers: dict[str, float] = {
        "abs_rel": verdict.abs_rel,
        "depth_scale": verdict.depth_scale,
        "depth_scale_spread": verdict.depth_scale_spread,
    }
    for name, part in (("raw", verdict.raw), ("refined", verdict.refined)):
        scores = part.scores
        step_m = scores.path_length_m / max(scores.frames - 1, 1)
        numbers |= {
            f"{name}_t_rel_percent": scores.t_rel_percent,
            f"{name}_r_rel_deg_per_100m": scores.r_rel_deg_per_100m,
            f"{name}_ate_m": scores.ate_m,
            f"{name}_rpe_trans_m": scores.rpe_trans_m,
            f"{name}_rpe_rot_deg": scores.rpe_rot_deg,
            f"{name}_rpe_percent": 100 * scores.rpe_trans_m / step_m if step_m > 0 else math.nan,
        }
    for name, part in (("raw", verdict.scale_raw), ("refined", verdict.scale_refined)):
        if part is not None:
            numbers[f"{name}_scale_error"] = part.mean_error
            numbers[f"{name}_scale_spread"] = part.spread
    return numbers
