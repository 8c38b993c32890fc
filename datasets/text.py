"""Lines and numbers of the small text files that lie beside images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError

MOST_BYTES = 256 * 1024 * 1024  # a pose or time file of a week's drive is smaller
LATEST_S = 1e12  # thirty thousand years


def read_lines(path: Path, remedy: str) -> list[tuple[int, str]]:
    """Lines of a text file with their numbers, from 1, without comments (``#``) and empty lines.

    Raises:
        InputError: when the file is missing, is no text, is huge, or holds no line.
    """
    if not path.is_file():
        raise InputError(path, "is a folder" if path.is_dir() else "no such file", remedy)
    if path.stat().st_size > MOST_BYTES:
        raise InputError(path, "is too large for a text file of its kind", remedy)
    try:
        # utf-8-sig drops the byte order mark that some editors put first.
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, "is no text file", remedy) from error
    stripped = ((i, line.split("#", 1)[0].strip()) for i, line in enumerate(text.split("\n"), 1))
    lines = [(i, line) for i, line in stripped if line]
    if not lines:
        raise InputError(path, "is empty", remedy)
    return lines


def read_number(word: str, path: Path, line: int) -> float:
    """A finite number; InputError with file and line otherwise."""
    # Python reads 1_0 as 10 and digits of any script; in a data file both are damage.
    if word.isascii() and "_" not in word:
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    shown = word if len(word) <= 24 else word[:21] + "..."
    raise InputError(path, f"line {line}: {shown!r} is no finite number", "repair the line")


def read_times(path: Path) -> Array:
    """Time stamps of a file with one number a line, (N,) float64 seconds, not yet checked.

    Raises:
        InputError: when the file cannot be read or a line is not one finite number.
    """
    remedy = "write one time in seconds a line, one line for each image"
    times = []
    for i, line in read_lines(path, remedy):
        words = line.split()
        if len(words) != 1:
            raise InputError(path, f"line {i} has {len(words)} numbers", remedy)
        times.append(read_number(words[0], path, i))
    return np.array(times, np.float64)


def check_increasing(times: Array, path: Path) -> None:
    """InputError with the first time of (N,) that no clock shows, or that does not increase."""
    far = np.flatnonzero(~(np.abs(times) <= LATEST_S))
    if len(far):
        problem = f"time {times[far[0]]:.10g} is too large"
        raise InputError(path, problem, "repair it; times are in seconds")
    bad = np.flatnonzero(~(np.diff(times) > 0))
    if len(bad):
        i = int(bad[0])
        others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        problem = f"times do not increase: {times[i]:.6f} s is followed by {times[i + 1]:.6f} s"
        raise InputError(path, problem + others, "sort the lines and remove repeated ones")


def few(items: Iterable[object], most: int = 5) -> str:
    """``1, 2, 3, 4, 5 and 20 more``: a list that fits into a message."""
    words = [str(item) for item in items]
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
