"""The rendered street, drawn where it is missing."""

from __future__ import annotations

from pathlib import Path

from vo.tools.progress import progress_bars


def drawn_street(name: str | None, width: int, height: int) -> Path:
    """Folder of a street at that size, in the cache; a bar shows how it is drawn.

    Raises:
        InputError: when there is no such street.
    """
    from vo.datasets.street import street_root

    with progress_bars("street {}") as progress:
        return street_root(name or "", width, height, progress=progress)
