"""A window of every frame of a sequence, with the camera and the depth that belong to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame, Sequence

KITTI_WINDOW = (1216, 352)
"""Width and height that every KITTI image has; the rows above it are without laser returns."""


@dataclass(frozen=True, slots=True, eq=False)
class Cropped:
    """A sequence of which only a window is seen.

    Attributes:
        source: the sequence that is looked at.
        left: first column of the window.
        top: first row of the window.
        camera: the camera of the window; its size is the size of the window.
    """

    source: Sequence
    left: int
    top: int
    camera: Camera

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def timestamps(self) -> Array:
        """(N,) float64 seconds."""
        return self.source.timestamps

    @property
    def T_w_c(self) -> Array | None:
        """(N, 4, 4) float64 true poses, or None."""
        return self.source.T_w_c

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.source)

    def __getitem__(self, index: int) -> Frame:
        """The window of frame ``index``."""
        frame = self.source[index]
        return replace(
            frame,
            image=self._cut(frame.image),
            camera=self.camera,
            depth=None if frame.depth is None else self._cut(frame.depth),
            moving=None if frame.moving is None else self._cut(frame.moving),
        )

    def _cut(self, image: Array) -> Array:
        width, height = self.camera.size
        return image[self.top : self.top + height, self.left : self.left + width]


def crop_to_bottom(
    sequence: Sequence, width: int = KITTI_WINDOW[0], height: int = KITTI_WINDOW[1]
) -> Cropped:
    """The window at the bottom of the images, in the middle of their width.

    With the default size this is the crop of KITTI's depth benchmark (Uhrig et al., 3DV 2017),
    which trainings with its true depth take as well: images of all its days get one size.

    Raises:
        InputError: when the images are smaller than the window.
    """
    W, H = sequence.camera.size
    if width > W or height > H:
        problem = f"{sequence.name} has {W}x{H} pixels, a crop of {width}x{height} does not fit"
        raise InputError("--metric.crop", problem, "give images of full size, or choose none")
    left, top = (W - width) // 2, H - height
    return Cropped(sequence, left, top, sequence.camera.cropped(left, top, width, height))
