"""``vo-eval``: judge results against the truth."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vo.datasets.errors import InputError
from vo.protocol import Alignment, Match
from vo.tools.console import console, run, table_width
from vo.tools.reporting.compare import compare
from vo.tools.scoring.depth import depth
from vo.tools.scoring.scale import scale

if TYPE_CHECKING:
    from rich.table import Table

    from vo.evaluation import Scores
    from vo.tools.plots import Curve
    from vo.trajectory import Trajectory

METRICS_FILE = "metrics.json"
SHORTEST_NAME = 8  # columns: names fold before a number would
File = Annotated[Path, tyro.conf.arg(metavar="FILE")]

app = tyro.extras.SubcommandApp()
app.command(depth)
app.command(scale)
app.command(compare)


def main() -> None:
    """Entry point of ``vo-eval``."""
    run(lambda: app.cli(prog="vo-eval", description="Judge results against the truth."))


@app.command
def trajectory(
    gt: File,
    est: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE [FILE ...]")],
    align: Alignment = "sim3",
    match: Match = "strict",
    max_time_difference: float = 0.02,
    times: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    overwrite: bool = False,
) -> None:
    """Compare estimated trajectories with the ground truth: t_rel, r_rel, ATE and RPE.

    Files are in the format of KITTI (12 numbers a line, or 13 with the frame first) or TUM
    (t tx ty tz qx qy qz qw). Both trajectories are re-based on their first common pose.

    Example: vo-eval trajectory --gt poses/09.txt --est mine/09.txt theirs/09.txt --out results

    Args:
        gt: ground truth trajectory.
        est: trajectories to judge, one row of the table each.
        align: what is adjusted before: nothing, scale alone, a rigid motion (se3), rigid motion
            and scale (sim3, usual for a single camera), or the scale of sim3 alone.
        match: demand the same frames, take those that both have, or pair the nearest times.
        max_time_difference: farthest apart that --match time pairs, in seconds.
        times: times.txt of the sequence for KITTI files, which else run at 10 Hz.
        out: folder for metrics.json and plots (PNG and PDF).
        overwrite: replace the results of an earlier evaluation in --out.
    """
    from vo.trajectory import Trajectory

    _check_flags(out, overwrite, max_time_difference)
    files, truth = _names(est), Trajectory.read(gt, times)
    curves: dict[str, Curve] = {}
    for name, path in files.items():
        estimate = Trajectory.read(path, times)
        _demand_times(times, truth, estimate, gt, path)
        curves[name] = _curve(truth, estimate, align, match, max_time_difference, str(path))
    _print({name: curve.evaluation.scores for name, curve in curves.items()})
    if out is not None:
        _write(out, gt, files, truth, curves)


def _demand_times(
    times: Path | None, truth: Trajectory, estimate: Trajectory, gt: Path, path: Path
) -> None:
    """Refuse to compare the nominal times of a KITTI file with the real ones of a TUM file."""
    if times is None and (truth.frames is None) != (estimate.frames is None):
        problem = f"one of it and {gt} is a KITTI file, which holds no times"
        raise InputError(path, problem, "give them with --times times.txt and --match time")


def _curve(
    truth: Trajectory,
    estimate: Trajectory,
    align: Alignment,
    match: Match,
    max_time_difference_s: float,
    where: str,
) -> Curve:
    """Associate and evaluate one estimate, and remember where its first pose stands."""
    import numpy as np

    from vo.association import associate
    from vo.evaluation import evaluate
    from vo.tools.plots import Curve

    common, estimate = associate(truth, estimate, match, max_time_difference_s, where)
    T_w_first = np.linalg.inv(truth.T_w_c[0]) @ common.T_w_c[0]
    return Curve(evaluate(common, estimate, align, where), T_w_first)


def _names(paths: tuple[Path, ...]) -> dict[str, Path]:
    """A short name for each file: its stem, with as many folders as make it unique."""
    if not paths:
        raise InputError("--est", "names no file", "give one trajectory or more")
    twice = [path for path, count in Counter(map(os.path.realpath, paths)).items() if count > 1]
    if twice:
        raise InputError("--est", f"{twice[0]} is given twice", "name each file once")
    shortenings = (
        lambda p: p.stem,
        lambda p: f"{p.parent.name}/{p.name}" if p.parent.name else p.name,
        lambda p: str(p),
    )
    for shorten in shortenings:
        names = [shorten(path) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    return {os.path.realpath(path): path for path in paths}


def _print(scores: dict[str, Scores]) -> None:
    """Print the table: in a pipe as wide as it is, in a terminal with long names folded."""
    from rich.console import Console

    table = _table(scores)
    width = table_width(table)
    if console.is_terminal:
        spare = max(len(name) for name in scores) - SHORTEST_NAME
        width = min(width, max(console.width, width - max(spare, 0)))
    Console(width=width, highlight=False).print(table, crop=False)
    if any(math.isnan(row.t_rel_percent) for row in scores.values()):
        console.print("-: no sub-sequence of 100 m or more to measure", soft_wrap=True)


def _table(scores: dict[str, Scores]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("estimate", overflow="fold")
    for title in (
        "t_rel\n(%)",
        "r_rel\n(deg/100m)",
        "ATE\n(m)",
        "RPE\n(m)",
        "RPE\n(deg)",
        "frames\n",
        "path\n(m)",
        "scale\n",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("align\n", no_wrap=True)
    for name, row in scores.items():
        table.add_row(
            name,
            _number(row.t_rel_percent, ".4f"),
            _number(row.r_rel_deg_per_100m, ".5f"),
            _number(row.ate_m, ".4f"),
            _number(row.rpe_trans_m, ".5f"),
            _number(row.rpe_rot_deg, ".6f"),
            str(row.frames),
            _number(row.path_length_m, ".1f"),
            _number(row.scale, ".6g"),
            row.alignment,
        )
    return table


def _number(value: float, spec: str) -> str:
    return "-" if math.isnan(value) else format(value, spec)


def _check_flags(out: Path | None, overwrite: bool, max_time_difference: float) -> None:
    """Refuse, before any work, a length of time that is none and a folder that is taken."""
    if not 0 <= max_time_difference < math.inf:
        raise InputError("--max-time-difference", "is no length of time", "give seconds, 0 or more")
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", "give --out the name of a folder")
    if (out / METRICS_FILE).exists() and not overwrite:
        problem = f"holds {METRICS_FILE} of an earlier evaluation"
        raise InputError(out, problem, "choose another folder or add --overwrite")


def _write(
    out: Path, gt: Path, files: dict[str, Path], truth: Trajectory, curves: dict[str, Curve]
) -> None:
    """Write pictures, then metrics.json: where this file is, the evaluation is complete."""
    import json

    from vo.atomic import write_atomically
    from vo.tools.plots import draw

    out.mkdir(parents=True, exist_ok=True)
    draw(truth, curves, out)
    estimates: dict[str, dict[str, Any]] = {}
    for name, curve in curves.items():
        # Strict JSON has no NaN: null stands for what could not be measured.
        numbers = {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(curve.evaluation.scores).items()
        }
        estimates[name] = {"file": str(files[name])} | numbers
    content = {"gt": str(gt), "estimates": estimates}
    write_atomically(out / METRICS_FILE, json.dumps(content, indent=2, allow_nan=False) + "\n")
    console.print(f"wrote {METRICS_FILE} and plots to {out}", soft_wrap=True, markup=False)
