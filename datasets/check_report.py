"""What a check of data has found so far, and how it reads images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from vo.datasets.camera import Array
from vo.datasets.errors import InputError

Progress = Callable[[str, int, int], None]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: file or folder.
        what: what is wrong with it.
        severity: an ``error`` keeps the sequence from being read; a ``warning`` does not.
    """

    where: str
    what: str
    severity: Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Picture:
    """What was seen of one image: its size and digest, or why it cannot be read."""

    path: Path
    size: Size | None
    digest: bytes
    error: InputError | None


class Report:
    """The problems found so far, and how images are read."""

    def __init__(self, workers: int, progress: Progress) -> None:
        self.problems: list[Problem] = []
        self.workers = workers
        self.progress = progress

    def error(self, where: Path, what: str) -> None:
        """Note what keeps the sequence from being read."""
        self.problems.append(Problem(str(where), what, "error"))

    def warn(self, where: Path, what: str) -> None:
        """Note what does not."""
        self.problems.append(Problem(str(where), what, "warning"))

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Note what would have stopped a reader here, and go on after the block."""
        try:
            yield
        except InputError as error:
            self.problems.append(Problem(error.where, error.problem, "error"))

    def scan(self, paths: list[Path], read: Callable[[Path], Array]) -> list[Picture]:
        """Read images with several threads, in order, and note those that cannot be read."""
        pool = ThreadPoolExecutor(self.workers)
        pictures: list[Picture] = []
        try:
            for picture in pool.map(lambda path: _look(path, read), paths):
                pictures.append(picture)
                if picture.error is not None:
                    self.error(picture.path, picture.error.problem)
                self.progress(str(picture.path.parent), len(pictures), len(paths))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return pictures

    def compare(self, pictures: list[Picture], size: Size | None = None) -> Size | None:
        """Note sizes that differ from ``size``, or from that of most; returns the size."""
        sizes = Counter(p.size for p in pictures if p.size is not None)
        if not sizes:
            return size
        usual = size or sizes.most_common(1)[0][0]
        for picture in pictures:
            if picture.size not in (None, usual):
                problem = f"has {_pixels(picture.size)} pixels, the others have {_pixels(usual)}"
                self.error(picture.path, problem)
        return usual

    def repeats(self, pictures: list[Picture]) -> None:
        """Note frames with exactly the pixels of the frame before."""
        for before, picture in pairwise(pictures):
            if picture.error is None and picture.digest == before.digest:
                self.warn(picture.path, f"repeats {before.path.name} exactly")

    def gaps(self, where: Path, numbers: Array, *, allowed: bool = False) -> None:
        """Note runs of numbers that are missing between the first and the last."""
        note = self.warn if allowed else self.error
        for a, b in pairwise(numbers.tolist()):
            if b == a + 2:
                note(where, f"frame {a + 1} is missing")
            elif b > a + 2:
                note(where, f"frames {a + 1} to {b - 1} are missing ({b - a - 1})")


def digest_of(image: Array) -> bytes:
    """A short name of exactly these pixels."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _look(path: Path, read: Callable[[Path], Array]) -> Picture:
    try:
        image = read(path)
    except InputError as error:
        return Picture(path, None, b"", error)
    except OSError as error:
        return Picture(path, None, b"", InputError(path, error.strerror or str(error)))
    return Picture(path, (image.shape[1], image.shape[0]), digest_of(image), None)


def _pixels(size: Size | None) -> str:
    return "no" if size is None else f"{size[0]}x{size[1]}"
