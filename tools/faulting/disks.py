"""Disks that are full or may not be written to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[int | None]:
    """Make an empty folder a disk of ``size`` bytes (tmpfs).

    Yields the most bytes that a file may have, where this user may mount no disk; else None.
    """
    with _mounted(folder, f"size={max(size, 4096)}") as mounted:
        yield None if mounted else size


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """A folder that cannot be written to, and of which the name is yielded: a disk mounted so;
    where this user may not mount, the folder without permission; for root, who needs none, a name
    below a file."""
    with _mounted(folder, "ro") as mounted:
        if mounted:
            yield folder
        elif os.geteuid() == 0:
            file = folder / "file"
            file.touch()
            yield file
        else:
            folder.chmod(0o555)
            yield folder
            folder.chmod(0o755)


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[bool]:
    """Mount an empty tmpfs where that is allowed, and tell whether it is."""
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)
