"""A file that a command is to write, and that must not be there yet."""

from __future__ import annotations

import os
from pathlib import Path

from vo.datasets.errors import InputError


def demand_new(flag: str, path: Path | None) -> None:
    """Refuse a file that exists, or that cannot be made; None is no file.

    Raises:
        InputError: naming the flag.
    """
    if path is None:
        return
    if path.exists() or path.is_symlink():
        problem = f"{path} exists already, and is never overwritten"
        raise InputError(flag, problem, "choose another name, or remove it")
    if not path.parent.is_dir():
        raise InputError(flag, f"there is no folder {path.parent}", "create it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(flag, f"{path.parent} cannot be written to", "choose another folder")
