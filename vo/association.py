"""Which pose of an estimate belongs to which pose of the truth."""

from __future__ import annotations

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.protocol import Match
from vo.trajectory import Trajectory

SAME_TIME_S = 1e-4  # TUM files print times with four decimals


def associate(
    truth: Trajectory,
    estimate: Trajectory,
    match: Match = "strict",
    max_time_difference_s: float = 0.02,
    where: str = "estimate",
) -> tuple[Trajectory, Trajectory]:
    """Poses of truth and estimate that belong together, two trajectories of equal length.

    Args:
        truth: the ground truth.
        estimate: the trajectory to judge.
        match: ``strict`` demands the frames of the truth (its times, where frames are unknown);
            ``index`` takes the frames that both have; ``time`` pairs the nearest times.
        max_time_difference_s: pairs farther apart are dropped by ``time``.
        where: what messages call the estimate, for example its file.

    Raises:
        InputError: when the frames differ under ``strict`` (naming them), when frames are unknown
            under ``index``, and when nothing is left.
    """
    if match == "time":
        pair = _nearest_times(truth.timestamps, estimate.timestamps, max_time_difference_s)
        remedy = f"no times are within {max_time_difference_s:g} s: check their origin and unit"
    elif truth.frames is None or estimate.frames is None:
        if match == "index":
            problem = "it or the ground truth has no frame indices"
            raise InputError(where, problem, "use --match time")
        _demand_same_times(truth, estimate, where)
        return truth, estimate
    else:
        if match == "strict":
            _demand_same_frames(truth.frames, estimate.frames, where)
        _, *pair = np.intersect1d(
            truth.frames, estimate.frames, assume_unique=True, return_indices=True
        )
        remedy = "check that both belong to the same sequence"
    if len(pair[0]) == 0:
        raise InputError(where, "has no pose in common with the ground truth", remedy)
    return truth.subset(pair[0]), estimate.subset(pair[1])


def _nearest_times(truth_s: Array, estimate_s: Array, limit_s: float) -> tuple[Array, Array]:
    """Positions (M,) and (M,) of the poses that are nearest to each other in time."""
    from evo.core.sync import matching_time_indices

    truth_shorter = len(truth_s) < len(estimate_s)
    short, long = (truth_s, estimate_s) if truth_shorter else (estimate_s, truth_s)
    i, j = (np.array(k, np.int64) for k in matching_time_indices(short, long, limit_s))
    # Two poses of the shorter may share one of the longer: the nearer keeps it.
    order = np.lexsort((np.abs(short[i] - long[j]), j))
    _, first = np.unique(j[order], return_index=True)
    kept = np.sort(order[first])
    i, j = i[kept], j[kept]
    return (i, j) if truth_shorter else (j, i)


def _demand_same_times(truth: Trajectory, estimate: Trajectory, where: str) -> None:
    n, m = len(truth), len(estimate)
    remedy = "--match time pairs the nearest times"
    if n != m:
        raise InputError(where, f"has {m} poses, the ground truth {n}", remedy)
    difference_s = float(np.abs(truth.timestamps - estimate.timestamps).max())
    if difference_s > SAME_TIME_S:
        problem = f"times differ from the ground truth by up to {difference_s:.3g} s"
        raise InputError(where, problem, remedy)


def _demand_same_frames(truth: Array, estimate: Array, where: str) -> None:
    missing = np.setdiff1d(truth, estimate)
    surplus = np.setdiff1d(estimate, truth)
    problems = []
    if len(missing):
        problems.append(
            f"{len(missing)} of {len(truth)} frames of the ground truth have no pose: "
            + _ranges(missing)
        )
    if len(surplus):
        problems.append(f"{len(surplus)} frames are not in the ground truth: {_ranges(surplus)}")
    if problems:
        remedy = "--match index evaluates the frames that both have, --match time the nearest times"
        raise InputError(where, "; ".join(problems), remedy)


def _ranges(frames: Array, most: int = 8) -> str:
    """Sorted frames as ranges, for example ``0-1, 1591``; the rest of a long list is counted."""
    runs = np.split(frames, np.nonzero(np.diff(frames) > 1)[0] + 1)
    texts = [f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs[:most]]
    if len(runs) > most:
        texts.append(f"and {sum(len(r) for r in runs[most:])} more")
    return ", ".join(texts)
