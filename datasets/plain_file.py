"""Files from anybody: what they are and how large, before a byte of them is read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from vo.datasets.errors import InputError


def demand_file(path: Path, remedy: str = "") -> int:
    """Size in bytes of a file that has an end: a pipe keeps its reader waiting for ever, and a
    device such as ``/dev/zero`` fills its memory.

    Args:
        path: of the file, or a link to it.
        remedy: what to do where it is none.

    Raises:
        InputError: when it is missing, a folder, a pipe, a device, or a link that leads nowhere.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            raise
        problem = "no such file" + (", a link that leads nowhere" if os.path.islink(path) else "")
        raise InputError(path, problem, remedy) from error
    if stat.S_ISDIR(found.st_mode):
        raise InputError(path, "is a folder", remedy)
    if not stat.S_ISREG(found.st_mode):
        raise InputError(path, "is a pipe or a device, no file", remedy)
    return found.st_size


def read_file(path: Path, most_bytes: int, kind: str, remedy: str = "") -> bytes:
    """All bytes of a file, if they are not more than a file of its kind can have.

    Args:
        path: of the file.
        most_bytes: that it can have.
        kind: what it is, for the message: ``an image``.
        remedy: what to do where it cannot be read.

    Raises:
        InputError: see `demand_file`, and when it is larger.
    """
    size = demand_file(path, remedy)
    if size > most_bytes:
        raise InputError(path, f"is too large for {kind}: {size:,} bytes", remedy)
    with path.open("rb") as file:
        return file.read(size)
