"""The file that a benchmark writes at its end."""

from __future__ import annotations

from pathlib import Path

from vo.datasets.errors import InputError


def demand_place(flag: str, path: Path | None) -> None:
    """Say at once what would be found out after minutes.

    Raises:
        InputError: when ``path`` is a folder, or in one that does not exist.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        problem = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise InputError(f"{flag} {path}", problem, "give a file in an existing folder")
