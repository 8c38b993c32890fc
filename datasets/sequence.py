"""Parts of a sequence, another size of it, and reading ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame, Sequence

if TYPE_CHECKING:
    from _typeshed import SupportsLenAndGetItem

Item = TypeVar("Item")

LARGEST_SIDE = 16384  # pixels; OpenCV itself stops at 32767


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Some frames of another sequence, at its size or at another one.

    Made by `select` and `resize`; this is the only place where images change their size.

    Attributes:
        source: the sequence that is looked at.
        indices: (N,) int64, increasing positions in ``source``.
        camera: the camera of the view's images; its size is the size that they get.
    """

    source: Sequence
    indices: Array
    camera: Camera

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def timestamps(self) -> Array:
        """(N,) float64 seconds."""
        return self.source.timestamps[self.indices]

    @property
    def T_w_c(self) -> Array | None:
        """(N, 4, 4) float64 true poses, or None."""
        poses = self.source.T_w_c
        return None if poses is None else poses[self.indices]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Frame:
        """Frame ``index`` of the view; `Frame.index` stays the number that it has on disk."""
        frame = self.source[int(self.indices[position(index, len(self))])]
        if frame.camera.size == self.camera.size:
            return frame
        return _resize_frame(frame, self.camera)


def select(sequence: Sequence, start: int = 0, end: int | None = None, stride: int = 1) -> Sequence:
    """Frames start, start + stride, ... below end of a sequence.

    Args:
        sequence: the drive.
        start: first position, from 0.
        end: position after the last one; None is the length.
        stride: step between positions.

    Raises:
        InputError: naming the flag, when no such frames are in the sequence.
    """
    length = len(sequence)
    end = length if end is None else end
    if stride < 1:
        raise InputError("--stride", f"is {stride}", "give 1 for every frame, 2 for every other")
    if not 0 <= start < length:
        problem = f"is {start}, but {sequence.name} has {length} frames"
        raise InputError("--start", problem, f"give a number from 0 to {length - 1}")
    if not start < end <= length:
        problem = f"is {end}, but {sequence.name} has {length} frames and --start is {start}"
        raise InputError("--end", problem, f"give a number from {start + 1} to {length}")
    if (start, end, stride) == (0, length, 1):
        return sequence
    return View(sequence, np.arange(start, end, stride), sequence.camera)


def resize(sequence: Sequence, width: int, height: int) -> Sequence:
    """The sequence with images of width x height pixels, and the camera that belongs to them.

    Images shrink by averaging over areas and grow linearly; depth and masks take the nearest
    pixel, because the mean of two depths on either side of an edge is a depth of nothing.

    Raises:
        InputError: naming the flag, when the size is not from 1 to 16384 pixels a side.
    """
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        remedy = f"give two numbers from 1 to {LARGEST_SIDE}, for example 640 192"
        raise InputError("--size", f"is {width} x {height} pixels", remedy)
    if sequence.camera.size == (width, height):
        return sequence
    camera = sequence.camera.resized(width, height)
    return View(sequence, np.arange(len(sequence)), camera)


def prefetch(
    sequence: SupportsLenAndGetItem[Item], workers: int = 2, ahead: int = 8
) -> Iterator[Item]:
    """All frames in order, read by threads while the caller works on earlier ones.

    At most ``ahead`` frames wait, so memory does not grow with the length of the sequence. What
    goes wrong with frame i is raised where frame i would have come. Closing the generator (or
    leaving it to be collected) stops the threads.

    Args:
        sequence: the drive, or anything else that is read by position.
        workers: number of threads.
        ahead: number of frames that are read or being read before the caller asks for them.

    Raises:
        ValueError: when workers or ahead is below 1.
    """
    if workers < 1 or ahead < 1:
        raise ValueError(f"workers and ahead must be at least 1, got {workers} and {ahead}")
    return _prefetch(sequence, workers, ahead)


def position(index: int, length: int) -> int:
    """Index from 0 of a Python index, which counts from the end when it is negative.

    Raises:
        IndexError: when there is no such frame; this is what ends a ``for`` loop.
    """
    if not -length <= index < length:
        raise IndexError(f"frame {index} of a sequence with {length} frames")
    return index % length


def _prefetch(sequence: SupportsLenAndGetItem[Item], workers: int, ahead: int) -> Iterator[Item]:
    pending: deque[Future[Item]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    try:
        for index in range(len(sequence)):
            pending.append(pool.submit(sequence.__getitem__, index))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def resize_image(image: Array, size: tuple[int, int]) -> Array:
    """An image (H, W, ...) at another size (width, height): averages of areas, or linear."""
    import cv2

    if image.shape[1::-1] == size:
        return image
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _resize_frame(frame: Frame, camera: Camera) -> Frame:
    import cv2

    image = resize_image(frame.image, camera.size)
    depth, moving = frame.depth, frame.moving
    # INTER_NEAREST rounds down to the left and upper pixel; the exact one keeps pixel centres.
    if depth is not None:
        depth = cv2.resize(depth, camera.size, interpolation=cv2.INTER_NEAREST_EXACT)
    if moving is not None:
        mask = cv2.resize(
            moving.astype(np.uint8), camera.size, interpolation=cv2.INTER_NEAREST_EXACT
        )
        moving = mask.astype(bool)
    return replace(frame, image=image, camera=camera, depth=depth, moving=moving)
