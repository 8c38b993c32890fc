"""What a map came to: the table of ``vo-map``, from the numbers of ``map.json``."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from vo.tools.mapping.accuracy import FAR_M, NEAR_M

SIZE = ("poses\n", "blocks\n", "triangles\n", "points\n", "fusion\n(frames/s)", "all\n(frames/s)")
JUDGED = (f"complete\nat {NEAR_M:g} m (%)", "accurate\n(%)", "off, median\n(m)")


def table(numbers: dict[str, Any]) -> Table:
    """A row for each kind of poses; accuracy where some map was judged."""
    judged = [part for part in ("chunks", "whole") if _known(numbers, part)]
    found = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    titles = [*SIZE, *(f"{part}: {title}" for part in judged for title in JUDGED)]
    for title in titles:
        found.add_column(title, justify="left" if title == SIZE[0] else "right", no_wrap=True)
    for kind, one in numbers["maps"].items():
        cells = [str(one[name]) for name in ("blocks", "triangles", "points")]
        cells += [f"{one['fusion_frames_per_s']:.1f}", f"{numbers['frames_per_s']:.1f}"]
        found.add_row(kind, *cells, *(c for part in judged for c in _scores(one[part])))
    return found


def lines(numbers: dict[str, Any]) -> list[str]:
    """What is said below the table."""
    said = []
    if _known(numbers, "chunks"):
        length = numbers["frames"] / numbers["chunks"]
        said.append(
            f"chunks: every {length:.0f} frames fused alone and aligned to the truth by their poses"
        )
    if _known(numbers, "whole"):
        said.append("whole: aligned to the truth by sim3 of the trajectory")
    return said + numbers["remarks"]


def _known(numbers: dict[str, Any], part: str) -> bool:
    return any(one[part] is not None for one in numbers["maps"].values())


def _scores(part: dict[str, float] | None) -> list[str]:
    if part is None:
        return ["-"] * len(JUDGED)
    shares = (part["completeness"], part["accuracy"])
    far = part["median_m"] > FAR_M
    median = f"> {FAR_M:g}" if far else f"{part['median_m']:.3f}"
    return [*(f"{100 * share:.1f}" for share in shares), median]
