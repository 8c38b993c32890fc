"""Parts of a report, as HTML: what was run, what went wrong, scores, depth maps, settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vo.settings import read_yaml
from vo.tools.reporting.page import text
from vo.tools.running.finished import read_facts
from vo.tools.running.flags import KINDS
from vo.tools.running.record import CONFIG_FILE, RunConfig
from vo.tools.running.result import remarks
from vo.tools.running.samples import legend, nearest, pictures
from vo.tools.running.score_table import Column, Scored, report_columns

if TYPE_CHECKING:
    from vo.tools.report import Reported


def lead(run: Reported) -> str:
    """One line that says what was run on what."""
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


def notices(runs: list[Reported]) -> str:
    """What went wrong, where it cannot be missed."""
    said = [
        f"{run.label}: {remark}" if run.label else remark
        for run in runs
        for remark in remarks(run.result)
    ]
    if not said:
        return ""
    return '<div class="card notice">' + "".join(f"<p>{text(line)}</p>" for line in said) + "</div>"


def scores_of_one(run: Reported) -> str:
    """Numbers in rows, raw and refined beside each other: it fits a phone."""
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


def scores_of_all(runs: list[Reported]) -> str:
    """Trajectories in rows, numbers in columns."""
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


def depth_maps(run: Reported) -> str:
    """Frames all along the drive: image, depth, and true depth where it is known."""
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


def settings(run: Reported, css: str = "card") -> str:
    """Command, checkpoint, size and versions, and the whole file of settings."""
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
