"""One moment of a drive, and the protocol of everything that holds many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vo.datasets.camera import Array, Camera


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What was seen at one moment, and what is known about it.

    Attributes:
        index: number of the frame in the sequence as it lies on disk, before any stride or start.
        time_s: time stamp in seconds.
        image: (H, W, 3) uint8, RGB; a grey camera's image stands three times.
        camera: the camera of exactly this image.
        T_w_c: (4, 4) float64 true pose, camera to world, or None.
        depth: (H, W) float32 true depth in metres along z, 0 where unknown, or None.
        moving: (H, W) bool, True on things that move by themselves, or None.
    """

    index: int
    time_s: float
    image: Array
    camera: Camera
    T_w_c: Array | None = None
    depth: Array | None = None
    moving: Array | None = None


class Sequence(Protocol):
    """A drive: frames in temporal order, read from disk one at a time when they are asked for.

    ``sequence[i]`` may be called from several threads at once. World is the frame in which the
    data set gives its poses; `Trajectory.rebased` makes it the first camera.
    """

    @property
    def name(self) -> str:
        """Short name for tables and file names, for example ``09``."""
        ...

    @property
    def camera(self) -> Camera:
        """The camera of every frame."""
        ...

    @property
    def timestamps(self) -> Array:
        """(N,) float64 seconds, strictly increasing."""
        ...

    @property
    def T_w_c(self) -> Array | None:
        """(N, 4, 4) float64 true poses, camera to world, or None where there are none."""
        ...

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def __getitem__(self, index: int) -> Frame:
        """Read frame ``index``; raises IndexError past the end, InputError when it is damaged."""
        ...
