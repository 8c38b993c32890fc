"""What the charts of a report show: runs of the same frames as named arrays, and lines of them.

Everything here ends up as JSON in the page, where ``assets/report.js`` draws it. Arrays are
kept once and lines name them, so that a long drive stays small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vo.datasets.camera import Array
from vo.segments import LENGTHS_M
from vo.tools.running.flags import KINDS
from vo.tools.running.result import Result
from vo.trajectory import Trajectory

DIGITS = 6
LEAST_MOTION = 0.05  # of the median true motion: slower pairs say nothing of the scale of a pose
FRAME, TRUTH = "frame", "truth"


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A run as the charts name it.

    Attributes:
        label: what its lines are called; empty where it is the only run.
        result: the run.
    """

    label: str
    result: Result

    def line(self, kind: str) -> str:
        """Name of the line of one of its trajectories."""
        return f"{self.label} {kind}".strip()


@dataclass(slots=True, eq=False)
class Charts:
    """Charts of runs of the same frames.

    Args:
        runs: at least one; all with the same frames and the same truth.
        truth: true poses of these frames, or None.
    """

    runs: list[Shown]
    truth: Trajectory | None
    arrays: dict[str, list[Any]] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """``arrays`` by name, ``charts`` of them, and the frames that were not tracked."""
        rows = self.runs[0].result.drive.rows
        self._put(FRAME, [row.frame for row in rows])
        self._put("time", [row.time_s - rows[0].time_s for row in rows])
        charts = [
            self._trajectories(), self._position_error(),
            self._segments("t_rel", "t_rel_percent", "%"),
            self._segments("r_rel", "r_rel_deg_per_100m", "deg/100 m"),
            self._consistency(), self._alignment(), self._scales(), self._residual(), self._valid(),
        ]  # fmt: skip
        return {
            "arrays": self.arrays,
            "charts": [chart for chart in charts if chart is not None and chart["lines"]],
            "names": [run.label for run in self.runs],
            "lost": self._lost(),
        }

    def _trajectories(self) -> dict[str, Any]:
        unit, lines = self._unit(), []
        if self.truth is not None:
            look = {"label": TRUTH, "colour": TRUTH}
            lines.append(look | self._from_above(TRUTH, self.truth.rebased()))
        for number, kind, run in self._each():
            key, evaluation = f"{number}.{kind}", run.evaluation(kind)
            shown = run.trajectory(kind) if evaluation is None else evaluation.aligned
            line = self._look(number, kind) | {"unit": unit} | self._from_above(key, shown)
            if evaluation is not None:
                errors = self._put(f"{key}.error", evaluation.position_errors_m)
                line |= {"value": errors, "unit": "m off"}
            lines.append(line)
        return {
            "id": "trajectory",
            "title": "Trajectory from above",
            "note": self._how_aligned(),
            "equal": True,
            "linked": True,
            "x": f"x, to the right ({unit})",
            "y": f"z, forward ({unit})",
            "lines": lines,
        }

    def _position_error(self) -> dict[str, Any] | None:
        if self.truth is None:
            return None
        distance, lines = self._put("distance", self.truth.distances), []
        for number, kind, run in self._each():
            evaluation = run.evaluation(kind)
            if evaluation is not None:
                errors = self._put(f"{number}.{kind}.error", evaluation.position_errors_m)
                line = {"x": distance, "y": errors, "unit": "m"}
                lines.append(self._look(number, kind) | line)
        return {
            "id": "error",
            "title": "Error along the path",
            "note": self._how_aligned(),
            "zero": True,
            "linked": True,
            "x": "distance along the truth (m)",
            "y": "position error (m)",
            "lines": lines,
        }

    def _segments(self, name: str, attribute: str, unit: str) -> dict[str, Any]:
        length, lines = self._put("length", LENGTHS_M), []
        for number, kind, run in self._each():
            evaluation = run.evaluation(kind)
            if evaluation is not None and len(evaluation.segments):
                parts = [evaluation.segments.of_length(each) for each in LENGTHS_M]
                means = [getattr(part, attribute) for part in parts]
                line = {"x": length, "y": self._put(f"{number}.{kind}.{name}", means)}
                lines.append(self._look(number, kind) | line | {"unit": unit, "dots": True})
        return {
            "id": name,
            "title": f"Errors of sub-sequences: {name}",
            "note": self._how_aligned(),
            "zero": True,
            "x": "length of sub-sequence (m)",
            "y": f"{name} ({unit})",
            "lines": lines,
        }

    def _consistency(self) -> dict[str, Any] | None:
        def ratio(result: Result, kind: str) -> Array | None:
            found = result.consistency() if kind == "raw" else None
            return None if found is None else _from_pairs(found.r)

        note = "1: the pose network has the scale of the depth; gaps: no parallax, or not tracked"
        return self._of_frames(
            "ratio", "Raw over refined scale", note, "raw over refined translation", ratio,
            reference=1, robust=True,
        )  # fmt: skip

    def _alignment(self) -> dict[str, Any] | None:
        def a(result: Result, kind: str) -> Array | None:
            found = result.alignment(kind)
            return None if found is None else _from_pairs(found.a)

        note = "both by the truth; 1: the pose has the scale of the depth that it was refined by"
        return self._of_frames(
            "alignment", "Pose scale over depth scale", note, "pose over depth scale", a,
            reference=1, robust=True,
        )  # fmt: skip

    def _scales(self) -> dict[str, Any] | None:
        """Depth and poses each against the truth, of a single run."""
        if self.truth is None or len(self.runs) > 1:
            return None
        (run,), lines = self.runs, []
        true_m = np.linalg.norm(self.truth.T_c_next()[:, :3, 3], axis=1)
        moving = true_m > LEAST_MOTION * np.median(true_m) if len(true_m) else true_m > 0
        drive = run.result.drive
        for kind in run.result.kinds:
            length = np.array([np.linalg.norm(T[:3, 3]) for T in drive.motions(kind)[1:]])
            scale = np.full(len(true_m), math.nan)
            np.divide(length, true_m, out=scale, where=moving)
            line = {"x": FRAME, "y": self._put(f"0.{kind}.scale", _from_pairs(scale))}
            lines.append(self._look(0, kind) | line | {"label": f"pose, {kind}"})
        depth = np.array([row.depth_scale for row in drive.rows])
        if np.isfinite(depth).any():
            line = {"x": FRAME, "y": self._put("0.depth.scale", depth)}
            lines.append({"label": "depth", "run": 0, "colour": 2} | line)
        unit = "" if run.result.metric else ", in scene units a metre"
        return {
            "id": "scales",
            "title": "Depth scale and pose scale",
            "note": f"median depth and |t| of each frame over the true ones{unit}",
            "linked": True,
            "robust": True,
            "reference": 1 if run.result.metric else None,
            "x": FRAME,
            "y": "estimate over truth",
            "lines": lines,
        }

    def _residual(self) -> dict[str, Any] | None:
        def energy(result: Result, kind: str) -> Array | None:
            if "refined" not in result.kinds:
                return None
            before = kind == "raw"
            rows = result.drive.rows
            return np.array([row.energy_before if before else row.energy for row in rows])

        note = "mean robust feature cost after refinement"
        if any(run.result.kinds == KINDS for run in self.runs):
            note = (
                "mean robust feature cost at the pose network's motion (raw) and after refinement"
            )
        return self._of_frames(
            "residual", "Residual", note, "feature cost", energy, zero=True, robust=True
        )

    def _valid(self) -> dict[str, Any] | None:
        def share(result: Result, kind: str) -> Array | None:
            if kind == "raw":
                return None
            return np.array([row.valid_share for row in result.drive.rows])

        note = "points of the refinement that are seen in both frames"
        return self._of_frames("valid", "Valid share", note, "share of points", share)

    def _of_frames(
        self,
        name: str,
        title: str,
        note: str,
        label: str,
        values: Callable[[Result, str], Array | None],
        **options: Any,
    ) -> dict[str, Any]:
        """A chart with a number of each frame, of every run and kind that has it."""
        lines = []
        for number, kind, run in self._each():
            found = values(run, kind)
            if found is not None and np.isfinite(found).any():
                line = {"x": FRAME, "y": self._put(f"{number}.{kind}.{name}", found)}
                lines.append(self._look(number, kind) | line)
        return {
            "id": name, "title": title, "note": note, "linked": True, "x": FRAME, "y": label,
            "lines": lines, **options,
        }  # fmt: skip

    def _each(self) -> Iterator[tuple[int, str, Result]]:
        """Number of the run, kind and run of every trajectory."""
        for number, run in enumerate(self.runs):
            for kind in run.result.kinds:
                yield number, kind, run.result

    def _look(self, number: int, kind: str) -> dict[str, Any]:
        """One run's kinds differ in colour; of several, runs differ in colour, kinds in dashes."""
        several = len(self.runs) > 1
        colour = number if several else KINDS.index(kind)
        label = self.runs[number].line(kind)
        dashed = several and kind == "raw"
        return {"label": label, "run": number, "colour": colour, "dashed": dashed}

    def _from_above(self, key: str, trajectory: Trajectory) -> dict[str, str]:
        x, z = trajectory.positions[:, [0, 2]].T
        return {"x": self._put(f"{key}.x", x), "y": self._put(f"{key}.z", z)}

    def _put(self, key: str, values: Iterable[float]) -> str:
        """Keep an array under a name, which it returns."""
        self.arrays[key] = [_short(float(value)) for value in values]
        return key

    def _lost(self) -> list[list[Any]]:
        """Position, number of the run and reason of every frame that was not tracked."""
        return [
            [position, number, row.reason]
            for number, run in enumerate(self.runs)
            for position, row in enumerate(run.result.drive.rows)
            if not row.tracked
        ]

    def _unit(self) -> str:
        units = {"m" if run.result.verdict else run.result.unit for run in self.runs}
        return units.pop() if len(units) == 1 else "own unit"

    def _how_aligned(self) -> str:
        evaluations = [run.evaluation(kind) for _, kind, run in self._each()]
        found = {e.scores.alignment for e in evaluations if e is not None}
        return f"alignment: {', '.join(sorted(found))}" if found else "as estimated, not aligned"


def _from_pairs(values: Array) -> Array:
    """Numbers of pairs (N - 1,) for frames (N,): the first frame has no motion."""
    return np.concatenate([[math.nan], values])


def _short(value: float) -> float | int | None:
    """A number with few digits for JSON, None where it is none."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short == int(short) else short
