"""Images with their true depth as an evaluation reads them: those of drives, and single ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.sequence import position
from vo.datasets.split_list import ListedFrame


class ImageWithDepth(Protocol):
    """One image and its true depth; `Frame` and `Still` are."""

    @property
    def image(self) -> Array:
        """(H, W, 3) uint8 RGB."""
        ...

    @property
    def depth(self) -> Array | None:
        """(H', W') float32 true depth in metres, 0 where unknown, or None."""
        ...


class DepthFrames(Protocol):
    """Images with their true depth, read one at a time; `TruthFrames` and `Stills` are.

    ``frames[i]`` may be called from several threads at once.
    """

    @property
    def name(self) -> str:
        """Name of the drive or collection."""
        ...

    @property
    def side(self) -> str:
        """Which camera of the drive; empty for a single one."""
        ...

    @property
    def frames(self) -> tuple[ListedFrame, ...]:
        """What the images are called in a list."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def __getitem__(self, index: int) -> ImageWithDepth:
        """Read image ``index``; InputError names the file that is damaged."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A single image of a collection.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth: (H', W') float32 true depth in metres, 0 where unknown.
    """

    image: Array
    depth: Array


@dataclass(frozen=True, slots=True, eq=False)
class Stills:
    """Single images with their true depth, which follow no path; satisfies `DepthFrames`.

    Attributes:
        name: of the collection.
        frames: what the N images are called.
        read: reads image 0 to N - 1.
        side: empty, since there is one camera.
    """

    name: str
    frames: tuple[ListedFrame, ...]
    read: Callable[[int], Still]
    side: str = ""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.frames)

    def __getitem__(self, index: int) -> Still:
        """Image ``index``; InputError names the file that is damaged."""
        return self.read(position(index, len(self)))


def known_depth(depth: Array) -> Array:
    """Depth (H, W) as float32, 0 where it is not positive and finite."""
    depth = depth.astype(np.float32)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def check_pixels(array: Array, size: tuple[int, int], path: Path) -> None:
    """InputError when an image or depth (H, W, ...) has not the published size (width, height)."""
    height, width = array.shape[:2]
    if (width, height) != size:
        problem = f"has {width}x{height} pixels, the published data {size[0]}x{size[1]}"
        raise InputError(path, problem, "give the file as it was published")
