"""``report.html``: what is to be seen of a run, or of several, in one file without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import console
from vo.tools.console import run as run_command
from vo.tools.running.flags import KINDS
from vo.tools.running.score_table import Column, Scored, report_columns

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
    from vo.tools.running.finished import read_run
    from vo.tools.running.samples import replayed_samples

    out = flags.out or flags.run / REPORT_FILE
    demand_new(out)
    run = read_run(flags.run)
    run.facts()  # refused before any work
    samples = replayed_samples(run) if flags.depth else []
    write_atomically(out, run_page(reported(run, samples)))
    console.print(f"wrote {out}", soft_wrap=True, markup=False)


def demand_new(out: Path) -> None:
    """Refuse a file that is there already, and one in a folder that is not.

    Raises:
        InputError: naming it.
    """
    if out.exists() or out.is_symlink():
        problem = "is there already, and is never overwritten"
        raise InputError(out, problem, "give --out the name of a new file")
    if not out.parent.is_dir():
        raise InputError(out, f"there is no folder {out.parent}", "create it first")


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
    from vo.tools.reporting.charts import Charts, Shown
    from vo.tools.reporting.page import page, text

    result, rows = run.result, run.result.drive.rows
    charts = Charts([Shown("", result)], run.truth).content()
    header = f"<h1>{text(run.name)}: visual odometry of {text(result.name)}</h1>{_lead(run)}"
    main = f"""{_notices([run])}
<div id="charts-0">
<div class="top">
<section class="card"><h2 class="first">Scores</h2>{_scores_of_one(run)}</section>
<div class="beside"><div data-chart="trajectory"></div><div data-chart="error"></div></div>
</div>
<div class="charts" data-rest></div>
</div>
{_depth(run)}
<h2>Settings</h2>
{_settings(run)}"""
    title = f"{run.name}: {result.name}, {len(rows)} frames"
    return page(title, header, main, _HINTS, [charts])


def comparison_page(groups: list[list[Reported]]) -> str:
    """The report of several runs, as HTML; the runs of a group have the same frames and truth.

    Raises:
        InputError: when settings cannot be read.
    """
    from vo.tools.reporting.charts import Charts, Shown
    from vo.tools.reporting.page import page, text

    runs = [run for group in groups for run in group]
    contents = [
        Charts([Shown(run.label, run.result) for run in group], group[0].truth).content()
        for group in groups
    ]
    title = f"{len(runs)} runs compared"
    header = f"<h1>{title}</h1><p>{text(', '.join(run.label for run in runs))}</p>"
    parts = [_notices(runs), f'<section class="card">{_scores_of_all(runs)}</section>']
    for number, group in enumerate(groups):
        parts.append(f"""<h2>{text(group_title(group))}</h2>
<div id="charts-{number}"><div class="charts" data-rest></div></div>""")
    parts.append("<h2>Settings</h2>")
    for run in runs:
        summary = f"<summary>{text(run.label)}</summary>"
        parts.append(f'<details class="card">{summary}{_settings(run, "")}</details>')
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


def _lead(run: Reported) -> str:
    """One line that says what was run on what."""
    from vo.tools.reporting.page import text
    from vo.tools.running.finished import read_facts

    result, facts = run.result, read_facts(run.result.folder)
    rows = result.drive.rows
    seconds = rows[-1].time_s - rows[0].time_s
    said = [
        f"{len(rows)} frames over {seconds:.1f} s",
        f"{Path(facts.get('checkpoint', '?')).name} {facts.get('sha256', '')}",
        f"lengths in {'metres' if result.metric else 'scene units of the checkpoint'}",
        facts.get("started", ""),
    ]
    return f"<p>{text('; '.join(part for part in said if part))}</p>"


def _notices(runs: list[Reported]) -> str:
    """What went wrong, where it cannot be missed."""
    from vo.tools.reporting.page import text
    from vo.tools.running.result import remarks

    said = [
        f"{run.label}: {remark}" if run.label else remark
        for run in runs
        for remark in remarks(run.result)
    ]
    if not said:
        return ""
    return '<div class="card notice">' + "".join(f"<p>{text(line)}</p>" for line in said) + "</div>"


def _scores_of_one(run: Reported) -> str:
    """Numbers in rows, raw and refined beside each other: it fits a phone."""
    from vo.tools.reporting.page import text

    scored = run.scored()
    kinds = scored.kinds
    heads = "".join(
        '<th scope="col" class="number">'
        f'<span class="swatch line-{KINDS.index(kind)}"></span>{kind}</th>'
        for kind in kinds
    )
    body = []
    for column in report_columns([scored]):
        head = f"{text(column.label)}<small>{text(column.meaning)}</small>"
        best = _best(column, [(scored, kind) for kind in kinds])
        if column.of_run:
            cells = _cell(column, scored, kinds[0], f'class="number shared" colspan="{len(kinds)}"')
        else:
            cells = "".join(_cell(column, scored, kind, _class(kind in best)) for kind in kinds)
        body.append(f'<tr><th scope="row">{head}</th>{cells}</tr>')
    return f"""<div class="scroll"><table id="scores">
<thead><tr><th scope="col">trajectory</th>{heads}</tr></thead>
<tbody>{"".join(body)}</tbody></table></div>"""


def _scores_of_all(runs: list[Reported]) -> str:
    """Trajectories in rows, numbers in columns."""
    from vo.tools.reporting.page import text

    scored = [run.scored() for run in runs]
    columns = report_columns(scored)
    titles = [*scored[0].names, "trajectory"]
    heads = "".join(f'<th scope="col">{text(title)}</th>' for title in titles) + "".join(
        f'<th scope="col" class="number" title="{text(c.meaning)}">{text(c.label)}</th>'
        for c in columns
    )
    body = []
    for run in scored:
        for kind in run.kinds:
            names = "".join(f"<td>{text(name)}</td>" for name in run.names.values())
            cells = "".join(_cell(column, run, kind, _class(False)) for column in columns)
            body.append(f'<tr>{names}<th scope="row">{kind}</th>{cells}</tr>')
    return f"""<div class="scroll" tabindex="0" role="region" aria-label="Scores">
<table id="scores" class="many"><thead><tr>{heads}</tr></thead>
<tbody>{"".join(body)}</tbody></table></div>"""


def _cell(column: Column, scored: Scored, kind: str, attributes: str) -> str:
    from vo.tools.reporting.page import text

    if column.only in ("", kind):
        attributes += f' data-key="{text(column.key.format(kind=kind))}"'
    return f"<td {attributes}>{text(column.cell(scored, kind))}</td>"


def _class(best: bool) -> str:
    return f'class="number{" best" if best else ""}"'


def _best(column: Column, cells: list[tuple[Scored, str]]) -> set[str]:
    """Kinds with the least error, where it is an error and they differ."""
    values = {kind: scored.value(column.key, kind) for scored, kind in cells if column.error}
    known = {kind: value for kind, value in values.items() if isinstance(value, int | float)}
    if len(set(known.values())) < 2:
        return set()
    return {kind for kind, value in known.items() if value == min(known.values())}


def _depth(run: Reported) -> str:
    """Frames all along the drive: image, depth, and true depth where it is known."""
    from vo.tools.reporting.page import text
    from vo.tools.running.samples import legend, nearest, pictures

    if not run.samples:
        return ""
    near, unit = nearest(run.samples), run.result.unit
    figures = []
    for sample in run.samples:
        row = run.result.drive.rows[sample.position]
        made = pictures(sample, near)
        kinds = {"image": made.image, "estimated depth": made.depth, "true depth": made.truth}
        images = "".join(
            f'<img src="{uri}" width="{made.width}" height="{made.height}" '
            f'alt="{kind} of frame {row.frame}">'
            for kind, uri in kinds.items()
            if uri
        )
        words = [f"frame {row.frame}", f"{row.time_s - run.result.drive.rows[0].time_s:.2f} s"]
        words += [] if row.tracked else [f"not tracked: {row.reason}"]
        words += [] if row.abs_rel != row.abs_rel else [f"abs_rel {row.abs_rel:.3f}"]
        figures.append(
            f"<figure>{images}<figcaption>{text(', '.join(words))}</figcaption></figure>"
        )
    truth = (
        ", true depth scaled to it"
        if any(sample.truth is not None for sample in run.samples)
        else ""
    )
    bar, marks = legend(near)
    ticks = "".join(f"<span>{mark:.3g} {text(unit)}</span>" for mark in marks)
    return f"""<h2>Depth along the drive</h2>
<p class="note">From above: image, estimated depth{truth}; all in one range of colours.</p>
<div class="scale"><img src="{bar}" alt="colours of the depths below"><div>{ticks}</div></div>
<div class="frames">{"".join(figures)}</div>"""


def _settings(run: Reported, css: str = "card") -> str:
    """Command, checkpoint, size and versions, and the whole file of settings."""
    from vo.settings import read_yaml
    from vo.tools.reporting.page import text
    from vo.tools.running.finished import read_facts
    from vo.tools.running.record import CONFIG_FILE, RunConfig

    folder = run.result.folder
    used = read_yaml(RunConfig, folder / CONFIG_FILE)
    facts = read_facts(folder) | {
        "images": f"{used.width} x {used.height} pixels",
        "precision": used.flags.precision,
        "refinement": "off" if used.refine is None else "on",
        "first guess": used.flags.first_guess,
        "alignment": used.flags.align,
        "folder": str(folder.resolve()),
    }
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>'
        for name, value in facts.items()
    )
    config = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    return f"""<section class="{css}"><div class="scroll"><table class="facts"><tbody>{rows}</tbody>
</table></div><details><summary>{CONFIG_FILE}: every setting</summary>
<pre>{text(config)}</pre></details></section>"""


if __name__ == "__main__":
    main()
