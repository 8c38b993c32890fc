"""Lines and numbers of the small text files that lie beside images."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.plain_file import read_file

MOST_BYTES = 256 * 1024 * 1024  # a pose file of a day's drive is smaller
MOST_LINES = 4_000_000  # frames of 37 hours
LONGEST_LINE = 10_000  # characters: twelve numbers of 25, or a path of 4096
LATEST_S = 1e12  # thirty thousand years


def read_lines(path: Path, remedy: str, gaps: bool = True) -> list[tuple[int, str]]:
    """Lines of a text file with their numbers, from 1, without comments (``#``) and empty lines.

    Args:
        path: of the file.
        remedy: what to do about a file that cannot be read.
        gaps: whether lines may be empty; where line i is frame i, leaving one out would shift the
            rest.

    Raises:
        InputError: when the file is missing, is no text, is huge, holds no line, or has a gap that
            it may not have.
    """
    data = read_file(path, MOST_BYTES, "a text file of its kind", remedy).rstrip()
    if b"\0" in data:
        raise InputError(path, "is no text file", remedy)
    if data.count(b"\n") >= MOST_LINES:
        raise InputError(path, f"has over {MOST_LINES:,} lines", remedy)
    raw = data.removeprefix(codecs.BOM_UTF8).split(b"\n")  # some editors put a mark first
    if max(map(len, raw)) > LONGEST_LINE:
        raise InputError(path, f"has a line of over {LONGEST_LINE:,} characters", remedy)
    try:
        text = [line.decode() for line in raw]
    except UnicodeDecodeError as error:
        raise InputError(path, "is no text file", remedy) from error
    lines: list[tuple[int, str]] = []
    for i, line in enumerate(text, 1):
        words = line.split("#", 1)[0].strip()
        if words:
            lines.append((i, words))
        elif not gaps and lines and not line.strip():
            raise InputError(path, f"line {i} is empty", f"remove it; {remedy}")
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


def check_increasing(
    values: Array, path: Path, lines: Sequence[int] | None = None, noun: str = "time"
) -> None:
    """Refuse values (N,) that do not increase, and times that no clock shows.

    Args:
        values: times in seconds, or what ``noun`` says.
        path: of the file that they came from.
        lines: the line that each stands on, for the message.
        noun: what they are: ``time`` or ``frame``.

    Raises:
        InputError: naming the first that is wrong.
    """

    def refuse(i: int, problem: str, remedy: str) -> NoReturn:
        place = "" if lines is None else f"line {lines[i]}: "
        raise InputError(path, place + problem, remedy)

    far = np.flatnonzero(~(np.abs(values) <= LATEST_S))
    if len(far) and noun == "time":
        i = int(far[0])
        refuse(i, f"time {values[i]:.10g} s is too large", "repair it; times are in seconds")
    bad = np.flatnonzero(~(np.diff(values) > 0))
    if len(bad):
        i = int(bad[0]) + 1
        others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        last, this = (f"{v:.6f} s" if noun == "time" else f"{v:.0f}" for v in values[i - 1 : i + 1])
        problem = f"{noun}s do not increase: {last} is followed by {this}{others}"
        refuse(i, problem, f"sort the lines by {noun} and keep one line for each")


def few(items: Iterable[object], most: int = 5) -> str:
    """``1, 2, 3, 4, 5 and 20 more``: a list that fits into a message."""
    words = [str(item) for item in items]
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
