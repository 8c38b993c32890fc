"""Tables of measured numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def new_table(words: tuple[str, ...], numbers: tuple[str, ...] = ()) -> Table:
    """An empty table: columns of words, which may be folded, then of numbers, which are not."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in words:
        table.add_column(title, overflow="fold")
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def ratio_table(ratios: dict[str, float]) -> Table:
    """Ratios by name."""
    table = new_table(("ratio",), ("",))
    for name, ratio in ratios.items():
        table.add_row(name, number(ratio, 2))
    return table


def number(value: float | None, digits: int = 1) -> str:
    """A number in a table; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
