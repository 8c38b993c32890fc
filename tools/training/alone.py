"""A training has its folder for itself, for as long as it lives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vo.datasets.errors import InputError

LOCK_FILE = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder of a training, which is made where it is missing; the end of the process, by
    whatever cause, lets go of it. What a killed one left half-written is removed.

    Raises:
        InputError: when another training holds it.
        OSError: when it cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        problem = "another training is at work in it"
        raise InputError(folder, problem, "wait for its end, or choose another --out") from None
    try:
        for left_behind in folder.glob(".*.part"):
            left_behind.unlink()  # its process was killed: nobody else holds the lock
        yield
    finally:
        lock.release()
