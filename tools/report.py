"""``report.html``: what is to be seen of a run, or of several, in one file without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vo.tools.console import console
from vo.tools.console import run as run_command
from vo.tools.running.score_table import Scored

if TYPE_CHECKING:
    from vo.tools.running.finished import FinishedRun
    from vo.tools.running.result import Result
    from vo.tools.running.samples import Sample
    from vo.trajectory import Trajectory

REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True, eq=False)
class Reported:
    """A run as a report shows it.

    Attributes:
        result: the run; its folder has the settings.
        metrics: content of ``metrics.json``.
        truth: true poses of its frames, or None.
        samples: frames to show with their depth.
        label: what tells it from other runs; empty where it is alone.
    """

    result: Result
    metrics: dict[str, Any]
    truth: Trajectory | None
    samples: list[Sample] = field(default_factory=list)
    label: str = ""

    @property
    def name(self) -> str:
        """The folder's."""
        return self.result.folder.resolve().name

    def scored(self) -> Scored:
        """Its numbers, for tables."""
        from vo.tools.running.result import METRICS_FILE

        names = {"run": self.label, "sequence": self.result.name} if self.label else {}
        return Scored(self.metrics, names, str(self.result.folder / METRICS_FILE))


@dataclass(frozen=True, slots=True)
class ReportFlags:
    """Make the report of a run again, or that of a run that was ended before it had one.

    Example: python -m vo.tools.report runs/09-1

    Attributes:
        run: folder of the run.
        out: file to write, which must be new; report.html in the folder when not given.
        depth: sample depth maps, for which drive and checkpoint must still be there.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    depth: bool = True


def main() -> None:
    """Entry point of ``python -m vo.tools.report``."""
    run_command(lambda: make(tyro.cli(ReportFlags, prog="python -m vo.tools.report")))


def make(flags: ReportFlags) -> None:
    """Read the run, look at some of its frames again, and write the report.

    Raises:
        InputError: naming folder, file or flag.
    """
    from vo.atomic import write_atomically
    from vo.tools.new_file import demand_new
    from vo.tools.running.finished import read_run
    from vo.tools.running.samples import replayed_samples

    out = flags.out or flags.run / REPORT_FILE
    demand_new("--out", out)
    run = read_run(flags.run)
    run.facts()  # refused before any work
    samples = replayed_samples(run) if flags.depth else []
    write_atomically(out, run_page(reported(run, samples)))
    console.print(f"wrote {out}", soft_wrap=True, markup=False)


def reported(run: FinishedRun, samples: Sequence[Sample] = (), label: str = "") -> Reported:
    """A run of a folder; its scores are those of ``metrics.json``, or computed where there is none.

    Raises:
        InputError: see `FinishedRun.result`.
    """
    from vo.tools.running.result import metrics

    result = run.result()
    return Reported(result, run.metrics or metrics(result), run.truth, list(samples), label)


def run_page(run: Reported) -> str:
    """The report of one run, as HTML.

    Raises:
        InputError: when its settings cannot be read.
    """
    from vo.tools.reporting import sections
    from vo.tools.reporting.charts import Charts, Shown
    from vo.tools.reporting.page import page, text

    result, rows = run.result, run.result.drive.rows
    charts = Charts([Shown("", result)], run.truth).content()
    header = (
        f"<h1>{text(run.name)}: visual odometry of {text(result.name)}</h1>{sections.lead(run)}"
    )
    main = f"""{sections.notices([run])}
<div id="charts-0">
<div class="top">
<section class="card"><h2 class="first">Scores</h2>{sections.scores_of_one(run)}</section>
<div class="beside"><div data-chart="trajectory"></div><div data-chart="error"></div></div>
</div>
<div class="charts" data-rest></div>
</div>
{sections.depth_maps(run)}
<h2>Settings</h2>
{sections.settings(run)}"""
    title = f"{run.name}: {result.name}, {len(rows)} frames"
    return page(title, header, main, _HINTS, [charts])


def comparison_page(groups: list[list[Reported]]) -> str:
    """The report of several runs, as HTML; the runs of a group have the same frames and truth.

    Raises:
        InputError: when settings cannot be read.
    """
    from vo.tools.reporting import sections
    from vo.tools.reporting.charts import Charts, Shown
    from vo.tools.reporting.page import page, text

    runs = [run for group in groups for run in group]
    contents = [
        Charts([Shown(run.label, run.result) for run in group], group[0].truth).content()
        for group in groups
    ]
    title = f"{len(runs)} runs compared"
    header = f"<h1>{title}</h1><p>{text(', '.join(run.label for run in runs))}</p>"
    parts = [
        sections.notices(runs),
        f'<section class="card">{sections.scores_of_all(runs)}</section>',
    ]
    for number, group in enumerate(groups):
        parts.append(f"""<h2>{text(group_title(group))}</h2>
<div id="charts-{number}"><div class="charts" data-rest></div></div>""")
    parts.append("<h2>Settings</h2>")
    for run in runs:
        summary = f"<summary>{text(run.label)}</summary>"
        parts.append(f'<details class="card">{summary}{sections.settings(run, "")}</details>')
    return page(title, header, "\n".join(parts), _HINTS, contents)


def group_title(group: list[Reported]) -> str:
    """Sequence and frames that the runs of a group share."""
    result = group[0].result
    frames = [row.frame for row in result.drive.rows]
    return f"Sequence {result.name}, {len(frames)} frames from {frames[0]} to {frames[-1]}"


_HINTS = (
    "<p>Point at a chart, or focus it and press the arrow keys, to read a frame; all charts of the "
    "same frames follow. Drag to move, + and &minus;, Ctrl and wheel, or two fingers to zoom, "
    "double click to see all. Names in a legend show and hide their lines.</p>"
)


if __name__ == "__main__":
    main()
