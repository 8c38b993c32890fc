"""What a measurement of scales came to: the table, the lines below it, and its files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from vo.checkpoint import Checkpoint
from vo.datasets.camera import Array
from vo.datasets.kitti_groups import DEPTH_VAL, DEPTH_VAL_UNSEEN
from vo.datasets.split_list import ListedFrame, split_hash
from vo.depth_scores import DepthProtocol, DepthScaleSpread, depth_scale_spread
from vo.scale_report import DriveScales
from vo.tools.strict_json import strict

KINDS = ("depth", "raw", "refined")
GROUPS = {"all13": DEPTH_VAL, "unseen8": DEPTH_VAL_UNSEEN}
DEFINITION = (
    "our definition: of each sequence the standard deviation of truth / estimate over its median; "
    "within is the mean of these over sequences, across the same of the sequences' medians"
)


@dataclass(frozen=True, slots=True)
class ScaleResult:
    """A measurement that came to its end.

    Attributes:
        drives: what was measured.
        protocol: which true depths count.
        checkpoint: that was measured.
        absent: drives of `DEPTH_VAL` that are not in the data.
    """

    drives: tuple[DriveScales, ...]
    protocol: DepthProtocol
    checkpoint: Checkpoint
    absent: tuple[str, ...] = ()

    def groups(self) -> dict[str, tuple[DriveScales, ...]]:
        """Drives whose numbers are summed up: the two published sets, or all."""
        names = {drive.name for drive in self.drives}
        if not names <= set(DEPTH_VAL):
            return {"all": self.drives}
        chosen = {
            title: tuple(drive for drive in self.drives if drive.name in group)
            for title, group in GROUPS.items()
        }
        return {title: some for title, some in chosen.items() if some}

    def conditions(self) -> dict[str, str]:
        """What the numbers depend on."""
        config = self.checkpoint.model.config
        frames = [
            ListedFrame(drive.name, int(number), drive.side)
            for drive in self.drives
            for number in drive.frames
        ]
        return {
            "protocol": self.protocol.name,
            "truth": self.protocol.truth,
            "size": f"{config.width}x{config.height}",
            "supervision": self.checkpoint.card.supervision,
            "checkpoint": f"{self.checkpoint.path.name} {self.checkpoint.sha256}",
            "frames": split_hash(frames),
        }


def spread_of(drives: Sequence[DriveScales], kind: str) -> DepthScaleSpread:
    """Spread of one kind of scale within sequences and across them."""
    return depth_scale_spread({drive.name: _series(drive, kind).tolist() for drive in drives})


def table(result: ScaleResult) -> Table:
    """A row for each sequence, then one for each group of them."""
    found = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    found.add_column("sequence\n", no_wrap=True)
    found.add_column("frames\n", justify="right")
    for title in ("depth", "raw poses", "refined poses"):
        found.add_column(f"{title}\nscale", justify="right", no_wrap=True)
        found.add_column("\nspread", justify="right", no_wrap=True)
    for kind in KINDS[1:]:
        found.add_column(f"{kind} poses over\ndepth, off by", justify="right", no_wrap=True)
    for drive in result.drives:
        cells = [text for kind in KINDS for text in _cells(_series(drive, kind))]
        off = [_text(_off(drive, kind)) for kind in KINDS[1:]]
        found.add_row(f"{drive.name} {drive.side}".rstrip(), str(len(drive.frames)), *cells, *off)
    for title, drives in result.groups().items():
        if len(drives) > 1:
            found.add_row(title, str(sum(len(d.frames) for d in drives)), *_sums(drives))
    return found


def lines(result: ScaleResult) -> list[str]:
    """What is said below the table."""
    said = []
    for title, drives in result.groups().items():
        parts = []
        for kind in KINDS:
            spread = spread_of(drives, kind)
            if math.isfinite(spread.within):
                across = f", across {spread.across:.4f}" if math.isfinite(spread.across) else ""
                parts.append(f"{kind} within {spread.within:.4f}{across}")
        count = f"{len(drives)} sequences" if len(drives) > 1 else "1 sequence"
        wanted = GROUPS.get(title)
        if wanted is not None:
            count = f"{len(drives)} of {len(wanted)} drives"
        said.append(f"{title}, {count}: spread of {'; '.join(parts) or 'nothing: no truth counts'}")
    if result.absent:
        said.append(f"missing of the 13 drives: {', '.join(result.absent)}")
    tail = ", ".join(f"{key} {value}" for key, value in result.conditions().items())
    return [*said, DEFINITION, tail]


def metrics_json(result: ScaleResult) -> str:
    """Content of ``metrics.json``; null is what could not be measured."""
    content: dict[str, Any] = {
        "definition": DEFINITION,
        "groups": {
            title: {
                "drives": len(drives),
                "of": len(GROUPS.get(title, drives)),
                **_kinds(lambda kind, some=drives: asdict(spread_of(some, kind))),
            }
            for title, drives in result.groups().items()
        },
        "sequences": {drive.name: _sequence(drive) for drive in result.drives},
        "absent": list(result.absent),
        **result.conditions(),
        "trained_on": list(result.checkpoint.card.trained_on),
    }
    return json.dumps(strict(content), indent=2, allow_nan=False) + "\n"


def frames_csv(result: ScaleResult) -> str:
    """A line for each frame; scales of poses are those of the motion to the next frame."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["sequence", "frame", "side", *KINDS])
    for drive in result.drives:
        for i, number in enumerate(drive.frames.tolist()):
            series = (_series(drive, kind) for kind in KINDS)
            values = [float(some[i]) if i < len(some) else math.nan for some in series]
            cells = ["" if math.isnan(value) else value for value in values]
            rows.writerow([drive.name, number, drive.side, *cells])
    return text.getvalue()


def _series(drive: DriveScales, kind: str) -> Array:
    return drive.depth if kind == "depth" else drive.poses.get(kind, np.zeros(0))


def _cells(series: Array) -> tuple[str, str]:
    known = series[np.isfinite(series)]
    if not len(known):
        return "-", "-"
    middle = float(np.median(known))
    return f"{middle:.4f}", f"{np.std(known / middle):.4f}"


def _off(drive: DriveScales, kind: str) -> float:
    found = drive.alignments.get(kind)
    return math.nan if found is None else found.mean_error


def _sums(drives: Sequence[DriveScales]) -> list[str]:
    """Medians of the scales, means of spreads and errors over sequences."""
    cells = []
    for kind in KINDS:
        medians = [np.nanmedian(s) for d in drives if np.isfinite(s := _series(d, kind)).any()]
        cells.append(_text(float(np.median(medians)) if medians else math.nan))
        cells.append(_text(spread_of(drives, kind).within))
    for kind in KINDS[1:]:
        off = [found for d in drives if math.isfinite(found := _off(d, kind))]
        cells.append(_text(float(np.mean(off)) if off else math.nan))
    return cells


def _sequence(drive: DriveScales) -> dict[str, Any]:
    scales = _kinds(lambda kind: dict(zip(("scale", "spread"), _numbers(drive, kind), strict=True)))
    return {
        "frames": len(drive.frames),
        **scales,
        "pose_over_depth_off_by": {kind: _off(drive, kind) for kind in drive.alignments},
    }


def _numbers(drive: DriveScales, kind: str) -> tuple[float, float]:
    known = _series(drive, kind)
    known = known[np.isfinite(known)]
    if not len(known):
        return math.nan, math.nan
    middle = float(np.median(known))
    return middle, float(np.std(known / middle))


def _kinds(of: Callable[[str], Any]) -> dict[str, Any]:
    return {kind: of(kind) for kind in KINDS}


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
