"""Bars that show how far long work has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bars(title: str = "{}") -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each drive or folder on standard error; nothing where that is no terminal.

    Yields what shows that so many of it are done, of how many.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    errors = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    bars = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)
    tasks = {}

    def show(where: str, done: int, total: int) -> None:
        if where not in tasks:
            tasks[where] = bars.add_task(title.format(where), total=total)
        bars.update(tasks[where], completed=done)

    with bars:
        yield show
