"""What a depth evaluation came to: the table, the lines below it, and its files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from vo.checkpoint import Checkpoint
from vo.datasets.split_list import ListedFrame, split_hash
from vo.depth_scores import (
    METRICS,
    DepthProtocol,
    DepthScores,
    depth_scale_spread,
    summarise,
)
from vo.tools.strict_json import strict

_SPREAD = (
    "standard deviation of median(truth) / median(prediction) over its median, of the images of a "
    "sequence (within: mean over sequences), and of the sequences' medians (across)"
)


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """One image's errors.

    Attributes:
        frame: which image.
        scores: its errors.
    """

    frame: ListedFrame
    scores: DepthScores

    @property
    def sequence(self) -> str:
        """Drive and side."""
        return f"{self.frame.drive} {self.frame.side}".rstrip()


@dataclass(frozen=True, slots=True)
class DepthResult:
    """An evaluation that came to its end.

    Attributes:
        scored: every image, in the order in which they were read.
        protocol: how they were compared.
        size: width and height that the network saw, in pixels.
        checkpoint: file name of it.
        sha256: first digits of the file's hash.
        supervision: what the network learned from.
        trained_on: sequences that it has seen.
        chosen: which frames these are, in words.
        without: drives that are left out for want of any true depth.
    """

    scored: tuple[ScoredFrame, ...]
    protocol: DepthProtocol
    size: tuple[int, int]
    checkpoint: str
    sha256: str
    supervision: str
    trained_on: tuple[str, ...]
    chosen: str
    without: tuple[str, ...] = ()

    def by_sequence(self) -> dict[str, list[ScoredFrame]]:
        """The images of each sequence, sequences in the order in which they first come up."""
        groups: dict[str, list[ScoredFrame]] = {}
        for row in self.scored:
            groups.setdefault(row.sequence, []).append(row)
        return groups

    def conditions(self, rows: Sequence[ScoredFrame]) -> dict[str, str]:
        """What the numbers of some images depend on, by the title of its column."""
        protocol = self.protocol
        scaling = protocol.scaling + (f" x{protocol.factor:g}" if protocol.factor != 1 else "")
        return {
            "protocol": protocol.name,
            "truth": protocol.truth,
            "scaling": scaling,
            "resized": protocol.resize + (" + flip" if protocol.flip_tta else ""),
            "size": f"{self.size[0]}x{self.size[1]}",
            "supervision": self.supervision,
            "checkpoint": f"{self.checkpoint} {self.sha256}",
            "frames": split_hash(row.frame for row in rows),
        }


def depth_result(
    scored: Sequence[ScoredFrame],
    protocol: DepthProtocol,
    checkpoint: Checkpoint,
    chosen: str,
    without: Sequence[str],
) -> DepthResult:
    """Put together what there is to say."""
    config, card = checkpoint.model.config, checkpoint.card
    return DepthResult(
        scored=tuple(scored),
        protocol=protocol,
        size=(config.width, config.height),
        checkpoint=checkpoint.path.name,
        sha256=checkpoint.sha256,
        supervision=card.supervision,
        trained_on=card.trained_on,
        chosen=chosen,
        without=tuple(without),
    )


def table(result: DepthResult) -> Table:
    """A row for each sequence and, with several, one for all images."""
    found = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    groups = result.by_sequence()
    if len(groups) > 1:
        groups |= {"all": list(result.scored)}
    found.add_column("sequence", no_wrap=True)
    for title in ("images", *METRICS, "ratio", "spread"):
        found.add_column(title, justify="right", no_wrap=True)
    for title in result.conditions(()):
        found.add_column(title, no_wrap=True)
    for name, rows in groups.items():
        summary = summarise(row.scores for row in rows)
        numbers = [*summary.mean.values(), summary.ratio_median, summary.ratio_spread]
        cells = ["-" if math.isnan(number) else f"{number:.4f}" for number in numbers]
        found.add_row(name, str(summary.images), *cells, *result.conditions(rows).values())
    return found


def lines(result: DepthResult) -> list[str]:
    """What is said below the table, each with the conditions of all images."""
    summary = summarise(row.scores for row in result.scored)
    spread = depth_scale_spread(_ratios(result))
    scale = f"scale of depth (our definition): std of ratio / median {spread.within:.4f} within"
    if math.isfinite(spread.across):
        scale += f", {spread.across:.4f} across {len(spread.sequences)} sequences"
    said = [f"{result.chosen}: {summary.images} images"]
    if result.without:
        said.append(f"left out for want of true depth: {', '.join(result.without)}")
    if summary.unscored:
        said.append(f"{summary.unscored} images have no true depth that counts")
    if summary.images:
        said.append(scale)
    tail = ", ".join(f"{k} {v}" for k, v in result.conditions(result.scored).items())
    return [f"{line} | {tail}" for line in said]


def metrics_json(result: DepthResult) -> str:
    """Content of ``metrics.json``; null is what could not be measured."""
    summary = summarise(row.scores for row in result.scored)
    sequences = {
        name: asdict(summarise(row.scores for row in rows))
        | {"frames_hash": split_hash(row.frame for row in rows)}
        for name, rows in result.by_sequence().items()
    }
    content: dict[str, Any] = {
        **asdict(summary),
        "scale_consistency": {
            "definition": _SPREAD,
            **asdict(depth_scale_spread(_ratios(result))),
        },
        "sequences": sequences,
        "protocol": asdict(result.protocol),
        "frames": result.chosen,
        "frames_hash": split_hash(row.frame for row in result.scored),
        "without_truth": list(result.without),
        "size": list(result.size),
        "checkpoint": result.checkpoint,
        "sha256": result.sha256,
        "supervision": result.supervision,
        "trained_on": list(result.trained_on),
    }
    return json.dumps(strict(content), indent=2, allow_nan=False) + "\n"


def frames_csv(result: DepthResult) -> str:
    """A line for each image; what could not be measured is empty."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["sequence", "frame", "side", *METRICS, "ratio", "pixels"])
    for row in result.scored:
        scores = asdict(row.scores)
        numbers = [scores[name] for name in (*METRICS, "ratio", "pixels")]
        cells = ["" if math.isnan(number) else number for number in numbers]
        rows.writerow([row.frame.drive, row.frame.number, row.frame.side, *cells])
    return text.getvalue()


def _ratios(result: DepthResult) -> dict[str, list[float]]:
    return {name: [row.scores.ratio for row in rows] for name, rows in result.by_sequence().items()}
