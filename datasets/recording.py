"""A drive that lies on disk as one image file a frame: what most data sets are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array, Camera
from vo.datasets.frame import Frame
from vo.datasets.images import DepthFormat, demand_size, read_depth, read_image, read_mask
from vo.datasets.sequence import position

Files = tuple[Path | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Everything about a drive but its pixels, which are read when a frame is asked for.

    It satisfies the `Sequence` protocol and holds no open file, so that threads and processes
    may share it.

    Attributes:
        name: short name, for example ``09``.
        camera: the camera of every frame.
        timestamps: (N,) float64 seconds, strictly increasing.
        T_w_c: (N, 4, 4) float64 true poses, camera to world, or None.
        numbers: (N,) int64, the number of each frame on disk.
        images: N image files.
        depths: N depth images, None for frames without one; None when there are no depths.
        depth_format: how the depth images count; None when there are none.
        moving: N masks of moving things, as ``depths``.
        baseline_m: distance to the other camera of a stereo pair; None when there is no pair.
        T_c0_c: (4, 4) float64, this camera in the frame of the camera that ``T_w_c`` moves: not
            the identity only for the cameras 1 to 3 of KITTI, whose poses are those of camera 0.
    """

    name: str
    camera: Camera
    timestamps: Array
    T_w_c: Array | None
    numbers: Array
    images: tuple[Path, ...]
    depths: Files | None = None
    depth_format: DepthFormat | None = None
    moving: Files | None = None
    baseline_m: float | None = None
    T_c0_c: Array = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        """Refuse parts of different length, and make the arrays read-only."""
        n = len(self.images)
        for part in (self.timestamps, self.T_w_c, self.numbers, self.depths, self.moving):
            if part is not None and len(part) != n:
                raise ValueError(f"{self.name}: {n} images, but a part has length {len(part)}")
        if (self.depths is None) != (self.depth_format is None):
            raise ValueError(f"{self.name}: depths and depth_format come together")
        for array in (self.timestamps, self.T_w_c, self.numbers, self.T_c0_c):
            if array is not None:
                array.setflags(write=False)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.images)

    def __getitem__(self, index: int) -> Frame:
        """Read frame ``index``; InputError names the file that is damaged or of another size."""
        i = position(index, len(self))
        size = self.camera.size
        image = read_image(self.images[i], size)
        check_size(image, size, self.images[i])
        depth = moving = None
        depth_path = self.depths[i] if self.depths is not None else None
        if depth_path is not None and self.depth_format is not None:
            depth = read_depth(depth_path, self.depth_format, size)
            check_size(depth, size, depth_path)
        mask_path = self.moving[i] if self.moving is not None else None
        if mask_path is not None:
            moving = read_mask(mask_path, size)
            check_size(moving, size, mask_path)
        T_w_c = None if self.T_w_c is None else self.T_w_c[i]
        time_s, number = float(self.timestamps[i]), int(self.numbers[i])
        return Frame(number, time_s, image, self.camera, T_w_c, depth, moving)


def check_size(image: Array, size: tuple[int, int], path: Path) -> None:
    """InputError when an image (H, W, ...) has not size (width, height)."""
    demand_size((image.shape[1], image.shape[0]), size, path)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image file; InputError when it is damaged."""
    height, width = read_image(path).shape[:2]
    return width, height


def missing_numbers(numbers: Array) -> list[int]:
    """Numbers between the first and the last of an increasing (N,) that are not there."""
    pairs = zip(numbers[:-1].tolist(), numbers[1:].tolist(), strict=True)
    return [missing for a, b in pairs for missing in range(a + 1, b)]
