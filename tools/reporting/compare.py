"""``vo-eval compare``: several runs in one table, and in one report."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import console, print_table

if TYPE_CHECKING:
    from vo.tools.report import Reported
    from vo.tools.running.finished import FinishedRun

SAME_M = 1e-6  # true positions that differ by less are the same


def compare(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")],
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Put runs of vo-run into one table, and into one report with all trajectories and errors.

    Scores are those that each run has written; for a run that was ended before, they are computed
    from its files with its own --align. Runs of the same frames share charts.

    Example: vo-eval compare runs/09-1 runs/09-2 --out comparison.html

    Args:
        runs: folders as vo-run writes them.
        out: report to write, an HTML file that needs no network; never overwritten.
    """
    from vo.atomic import write_atomically
    from vo.tools.new_file import demand_new
    from vo.tools.report import comparison_page
    from vo.tools.running.finished import read_run
    from vo.tools.running.result import remarks
    from vo.tools.running.score_table import FRAMES, score_table

    demand_new("--out", out)
    groups = grouped([read_run(folder) for folder in demand_different(runs)])
    shown = [run for group in groups for run in group]
    print_table(score_table([run.scored() for run in shown], [FRAMES]))
    for run in shown:
        for remark in remarks(run.result):
            console.print(f"{run.label}: {remark}", soft_wrap=True, markup=False)
    if out is not None:
        write_atomically(out, comparison_page(groups))
        console.print(f"report: {out}", soft_wrap=True, markup=False)


def demand_different(folders: tuple[Path, ...]) -> list[Path]:
    """The folders, of which there is at least one, and none twice.

    Raises:
        InputError: otherwise.
    """
    if not folders:
        raise InputError("RUN", "is missing", "name one folder of vo-run or more")
    twice = [path for path, count in Counter(map(os.path.realpath, folders)).items() if count > 1]
    if twice:
        raise InputError(twice[0], "is given twice", "name each run once")
    return list(folders)


def grouped(runs: list[FinishedRun]) -> list[list[Reported]]:
    """Runs of the same frames together, in the order in which they were named.

    Raises:
        InputError: see `FinishedRun.result`.
    """
    from vo.tools.report import reported

    labels, groups = _labels(runs), list[list[int]]()
    for number, run in enumerate(runs):
        group = next((each for each in groups if _same_drive(runs[each[0]], run)), None)
        if group is None:
            groups.append([number])
        else:
            group.append(number)
    return [[reported(runs[i], label=labels[i]) for i in group] for group in groups]


def _labels(runs: list[FinishedRun]) -> list[str]:
    """The folder's name, or as much of its path as makes it unique."""
    parts = [run.folder.resolve().parts for run in runs]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def _same_drive(a: FinishedRun, b: FinishedRun) -> bool:
    """Whether two runs can be drawn over each other: the same frames, and the same true poses."""
    import numpy as np

    if a.config.sequence != b.config.sequence:
        return False
    if [row.frame for row in a.rows] != [row.frame for row in b.rows]:
        return False
    if a.truth is None or b.truth is None:
        return a.truth is b.truth and a.config.flags.data == b.config.flags.data
    return bool(np.allclose(a.truth.positions, b.truth.positions, rtol=0, atol=SAME_M))
