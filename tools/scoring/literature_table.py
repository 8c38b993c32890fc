"""A result beside published numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vo.datasets.errors import InputError
from vo.depth_scores import METRICS, DepthProtocol, summarise
from vo.protocol import DepthProtocolName
from vo.tools.scoring.literature import IMAGES, Published, published
from vo.tools.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from vo.tools.scoring.depth_result import DepthResult


def demand_published(name: DepthProtocolName, protocol: DepthProtocol) -> tuple[Published, ...]:
    """Published rows that a result can be printed beside.

    Raises:
        InputError: when there are none.
    """
    rows = published(name, protocol.scaling)
    if not rows:
        problem = f"no published numbers are known of {name} with scaling {protocol.scaling}"
        raise InputError("--compare", problem, "leave the flag out")
    return rows


def comparison(result: DepthResult, rows: tuple[Published, ...]) -> Table:
    """The result in the first row, then the published ones."""
    found = new_table(("method", "learned from", "size"), METRICS)
    for title in ("source", "status", "note"):
        found.add_column(title, no_wrap=True)
    mean = summarise(row.scores for row in result.scored).mean
    ours = (result.checkpoint, result.supervision, f"{result.size[0]}x{result.size[1]}")
    found.add_row(*ours, *(_number(mean[name]) for name in METRICS), "this run", "measured", "")
    for row in rows:
        numbers = (_number(row.numbers.get(name, math.nan)) for name in METRICS)
        size = row.size or "-"
        told = (row.source, row.status, row.note)
        found.add_row(row.method, row.supervision or "-", size, *numbers, *told)
    return found


def caution(name: DepthProtocolName, result: DepthResult) -> str:
    """Whether the result may be compared at all: a line that says why not, or an empty one."""
    from vo.depth_protocols import PROTOCOLS

    images, standard = len(result.scored), PROTOCOLS[name]
    reasons = []
    if images != IMAGES[name]:
        reasons.append(f"{images} images were scored, the published numbers are of {IMAGES[name]}")
    for part, what in (("truth", "truth"), ("resize", "resizing"), ("factor", "factor")):
        ours, theirs = getattr(result.protocol, part), getattr(standard, part)
        if ours != theirs:
            reasons.append(f"{what} is {ours}, that of the protocol {theirs}")
    return f"not comparable as it stands: {'; '.join(reasons)}" if reasons else ""


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
