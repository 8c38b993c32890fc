"""Files and folders that are whole or not there: no reader ever sees half of one."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vo.datasets.errors import InputError


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file in one step: under another name beside it, which then takes its place.

    A full disk, an interrupt or a second writer leaves the old file or the new one, never a mix,
    and no leftover. A symbolic link is replaced: what it leads to may be nobody's to write to.

    Raises:
        InputError: when the folder does not exist, and when ``path`` is, or leads to, a folder, a
            pipe or a device.
        OSError: when the disk is full or the folder cannot be written to.
    """
    target = Path(os.path.abspath(path))
    if target.is_dir():
        raise InputError(path, "is a folder", "give the name of a file in it")
    if target.exists() and not target.is_file():
        raise InputError(path, "is a pipe or a device", "give the name of a file")
    if not target.parent.is_dir():
        raise InputError(path, f"there is no folder {target.parent}", "create it first")
    data = content.encode() if isinstance(content, str) else content
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        # Mode x: the file is new and has the permissions that the user's umask gives.
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # some file systems tell of a full disk only now
        os.replace(part, target)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a failed write does not say to which file
        raise


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, under another name beside: it takes its place at the end.

    With an error or an interrupt there is nothing of it.

    Args:
        folder: new, or empty.

    Raises:
        OSError: when it cannot be written to, or holds something by then.
    """
    folder = Path(os.path.realpath(folder))
    part = folder.with_name(f".{folder.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir()
        yield part
        part.replace(folder)  # takes the place of an empty folder, of no other
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
