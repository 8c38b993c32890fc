"""What a run came to: ``metrics.json``, the table, and the lines below it."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from vo.datasets.errors import InputError
from vo.drive import Drive, Verdict, judge
from vo.evaluation import Evaluation
from vo.protocol import Alignment
from vo.scale import ScaleAlignment, ScaleConsistency
from vo.tools.running.flags import KINDS
from vo.tools.running.score_table import Scored, score_table
from vo.tools.strict_json import strict
from vo.trajectory import Trajectory

METRICS_FILE = "metrics.json"
SCORES = (
    "t_rel_percent", "r_rel_deg_per_100m", "ate_m", "rpe_trans_m", "rpe_rot_deg", "alignment",
    "scale",
)  # fmt: skip
FEW = 5  # untracked frames that are named; all of them are in the log


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A run that came to its end.

    Attributes:
        name: of the sequence.
        folder: where its files lie.
        drive: what was run.
        kinds: of poses: raw, refined, or both.
        metric: whether the checkpoint's unit of length is the metre.
        verdict: errors by the truth, or None.
        unjudged: why there is no verdict although there is truth, or empty.
        frames_per_s: of the whole run, reading and writing included.
    """

    name: str
    folder: Path
    drive: Drive
    kinds: tuple[str, ...]
    metric: bool
    verdict: Verdict | None
    unjudged: str
    frames_per_s: float

    @property
    def unit(self) -> str:
        """Unit of length of the estimates."""
        return "m" if self.metric else "scene units"

    @property
    def tracked(self) -> float:
        """Share of the frames that were tracked."""
        return float(np.mean([row.tracked for row in self.drive.rows]))

    @property
    def residual(self) -> float:
        """Median feature cost after refinement; NaN without."""
        found = [row.energy for row in self.drive.rows if math.isfinite(row.energy)]
        return float(np.median(found)) if found else math.nan

    def trajectory(self, kind: str) -> Trajectory:
        """The trajectory of that kind, poses counted from 0 as in the written files."""
        whole = self.drive.trajectory(kind)
        return Trajectory(whole.timestamps, whole.T_w_c)

    def evaluation(self, kind: str) -> Evaluation | None:
        """Errors of that kind, or None."""
        return None if self.verdict is None else self.verdict.errors.get(kind)

    def alignment(self, kind: str) -> ScaleAlignment | None:
        """Scale of the poses over that of the depth, or None without true depth."""
        return None if self.verdict is None else self.verdict.scales.get(kind)

    def consistency(self) -> ScaleConsistency | None:
        """Scale of raw over refined translations, or None where there is only one of them."""
        return self.drive.consistency() if self.kinds == KINDS else None


def judged(
    name: str,
    folder: Path,
    drive: Drive,
    kinds: tuple[str, ...],
    metric: bool,
    truth: Trajectory | None,
    alignment: Alignment,
    frames_per_s: float,
) -> Result:
    """A run with its verdict, or with the reason why there is none; see `Result`."""
    verdict, unjudged = None, ""
    if truth is not None:
        try:
            verdict = judge(drive, truth, alignment, kinds)
        except InputError as error:  # too short, or does not move: the poses are there all the same
            unjudged = str(error)
    return Result(name, folder, drive, kinds, metric, verdict, unjudged, frames_per_s)


def metrics_json(result: Result) -> str:
    """Content of ``metrics.json``."""
    return json.dumps(metrics(result), indent=2, allow_nan=False) + "\n"


def metrics(result: Result) -> dict[str, Any]:
    """All numbers of a run; None is what could not be measured."""
    verdict, consistency = result.verdict, result.consistency()
    depth = scale = None
    if verdict is not None and verdict.scales:
        depth = {
            "abs_rel": verdict.abs_rel,
            "depth_scale": verdict.depth_scale,
            "depth_scale_spread": verdict.depth_scale_spread,
        }
    if consistency is not None:
        scale = _without_series(asdict(consistency)) | {"mean": mean_ratio(consistency)}
    content: dict[str, Any] = {
        **{kind: _scores(result, kind) if kind in result.kinds else None for kind in KINDS},
        "scale": {
            "consistency": scale,
            "alignment": {
                kind: None if part is None else _without_series(asdict(part))
                for kind in result.kinds
                for part in [result.alignment(kind)]
            },
        },
        "depth": depth,
        "frames_per_s": result.frames_per_s,
        "tracked": result.tracked,
        "residual": result.residual,
        "sequence": result.name,
        "unit": result.unit,
        "refinement": "refined" in result.kinds,
        "unjudged": result.unjudged or None,
    }
    return strict(content)


def mean_ratio(consistency: ScaleConsistency) -> float:
    """Mean of raw over refined scale; NaN where no pair says anything."""
    return float(np.nanmean(consistency.r)) if consistency.used else math.nan


def table(results: list[Result]) -> Table:
    """Raw and refined in rows, numbers in columns; all runs in one, for which all have a name."""
    several = len(results) > 1
    return score_table(
        [Scored(metrics(r), {"sequence": r.name} if several else {}) for r in results]
    )


def lines(result: Result) -> list[str]:
    """What is said below the table."""
    said = remarks(result)
    said.append(f"{len(result.drive.rows)} frames in {result.folder}/")
    if (result.folder / "gt.txt").exists():
        estimate = result.folder / f"{result.kinds[-1]}.txt"
        # Without metres only a scale makes the two comparable.
        how = "-a" if result.metric else "-as"
        truth = shlex.quote(str(result.folder / "gt.txt"))
        said.append(f"evo_ape kitti {truth} {shlex.quote(str(estimate))} {how} --plot")
    return said


def remarks(result: Result) -> list[str]:
    """What is missing from the numbers, or went wrong."""
    said = []
    if result.unjudged:
        said.append(f"errors could not be measured: {result.unjudged}")
    evaluation = result.evaluation(result.kinds[0])
    if evaluation is not None and math.isnan(evaluation.scores.t_rel_percent):
        said.append("t_rel, r_rel: no sub-sequence of 100 m or more to measure")
    if result.kinds == ("raw",):
        said.append("refinement was off (--no-refine): raw poses only")
    if result.kinds == ("refined",):
        said.append("raw motions were not asked for (--first-guess motion): refined poses only")
    return said + _untracked(result)


def _scores(result: Result, kind: str) -> dict[str, Any]:
    evaluation = result.evaluation(kind)
    scores: dict[str, Any] = dict.fromkeys(SCORES)
    if evaluation is not None:
        scores = asdict(evaluation.scores)
    scores["frames"] = len(result.drive.rows)
    scores["estimated_path_length"] = result.trajectory(kind).path_length_m
    return scores


def _without_series(numbers: dict[str, Any]) -> dict[str, Any]:
    """Numbers of the whole run; those of each frame are in ``scale.csv``."""
    return {key: value for key, value in numbers.items() if not isinstance(value, np.ndarray)}


def _untracked(result: Result) -> list[str]:
    lost = [row for row in result.drive.rows if not row.tracked]
    if not lost:
        return []
    first = ", ".join(f"{row.frame} ({row.reason})" for row in lost[:FEW])
    more = f", and {len(lost) - FEW} more" if len(lost) > FEW else ""
    return [f"not tracked: {len(lost)} of {len(result.drive.rows)} frames: {first}{more}"]
