"""Cityscapes as triplets: three frames side by side in one image, as SfMLearner prepares them.

```
root/ulm/ulm_000002_000025.jpg          frames 23, 25 and 27 of the video: 3072x384 pixels
root/ulm/ulm_000002_000025_cam.txt      fx,0,cx,0,fy,cy,0,0,1 of one of them, in pixels
```

(Zhou et al., CVPR 2017: `prepare_train_data.py` with an image height of 512 and a width of 1024, of
which the bottom quarter was cut off.) Each triplet is a sequence of three frames, called by its
middle one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array, Camera
from vo.datasets.cityscapes import FRAME
from vo.datasets.cityscapes_camera import SIZE
from vo.datasets.cityscapes_video import RATE_HZ
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.images import read_image, read_image_size
from vo.datasets.recording import check_size
from vo.datasets.sequence import position
from vo.datasets.text import read_lines, read_number

GAP = 2  # frames of the video between those of a triplet
CAMERA_END = "_cam.txt"
_SUFFIXES = (".jpg", ".png", ".jpeg")
_REMEDY = "prepare the triplet again"


@dataclass(frozen=True, slots=True, eq=False)
class WideTriplet:
    """Three frames of a video that are stored as one image; satisfies `Sequence`.

    Attributes:
        name: of the middle frame, ``ulm_000002_000025``.
        path: the image.
        camera: of each of the frames.
        numbers: (3,) int64, the frames' numbers in the video.
    """

    name: str
    path: Path
    camera: Camera
    numbers: Array

    @property
    def timestamps(self) -> Array:
        """(3,) float64 seconds."""
        return self.numbers / RATE_HZ

    @property
    def T_w_c(self) -> Array | None:
        """None: there are no true poses."""
        return None

    def __len__(self) -> int:
        """Three."""
        return len(self.numbers)

    def __getitem__(self, index: int) -> Frame:
        """Frame ``index``; InputError when the image is damaged or of another size."""
        i, (width, height) = position(index, len(self)), self.camera.size
        wide = _read_wide(self.path)
        check_size(wide, (3 * width, height), self.path)
        image = np.ascontiguousarray(wide[:, i * width : (i + 1) * width])
        return Frame(int(self.numbers[i]), float(self.timestamps[i]), image, self.camera)


def open_wide_triplet(camera_path: Path) -> WideTriplet:
    """Open one triplet.

    Args:
        camera_path: its ``_cam.txt``, as `find_sequences` gives it.

    Raises:
        InputError: when the image is missing or its width no multiple of three, and when the
            camera is damaged.
    """
    name = camera_path.name.removesuffix(CAMERA_END)
    path = image_file(camera_path)
    width, height = read_image_size(path)
    if width % 3:
        problem = f"is {width} pixels wide, which is no three images"
        raise InputError(path, problem, _REMEDY)
    middle = int(name.split("_")[2])
    numbers = np.array([middle - GAP, middle, middle + GAP], np.int64)
    return WideTriplet(name, path, read_triplet_camera(camera_path, width // 3, height), numbers)


def find_sequences(data: Path) -> dict[str, Path]:
    """Cameras of the triplets in a folder of cities, or in that of one city, by name."""
    found: dict[str, Path] = {}
    for folder in [data, *sorted(child for child in data.iterdir() if child.is_dir())]:
        for file in sorted(os.listdir(folder)):
            if file.endswith(CAMERA_END) and FRAME.fullmatch(file.removesuffix(CAMERA_END)):
                found[file.removesuffix(CAMERA_END)] = folder / file
    return found


def image_file(camera_path: Path) -> Path:
    """The image that belongs to a ``_cam.txt``; InputError when it is missing."""
    name = camera_path.name.removesuffix(CAMERA_END)
    candidates = [camera_path.with_name(name + suffix) for suffix in _SUFFIXES]
    for path in candidates:
        if path.is_file():
            return path
    problem = f"is missing, the image of {camera_path.name}"
    raise InputError(candidates[0], problem, "add it, or remove the camera")


def read_triplet_camera(path: Path, width: int, height: int) -> Camera:
    """Camera of one of the three images.

    The preparation multiplied the principal point by the scale s of the image, as if pixel centres
    were not at integers; here it becomes c s + s / 2 - 1 / 2 (see `Camera.resized`).

    Args:
        path: the ``_cam.txt``.
        width: of one image, in pixels.
        height: of one image, in pixels.

    Raises:
        InputError: when these are not nine numbers fx,0,cx,0,fy,cy,0,0,1 with fx, fy positive.
    """
    remedy = "write fx,0,cx,0,fy,cy,0,0,1"
    lines = read_lines(path, remedy)
    words = ",".join(text for _, text in lines).split(",")
    if len(words) != 9:
        raise InputError(path, f"has {len(words)} numbers, not 9", remedy)
    K = [read_number(word.strip(), path, lines[0][0]) for word in words]
    fx, fy = K[0], K[4]
    if [K[i] for i in (1, 3, 6, 7, 8)] != [0, 0, 0, 0, 1] or not (fx > 0 and fy > 0):
        raise InputError(path, "is no camera", remedy)
    scale = width / SIZE[0]
    shift = scale / 2 - 0.5
    return Camera(fx, fy, K[2] + shift, K[5] + shift, width, height)


@lru_cache(maxsize=8)
def _read_wide(path: Path) -> Array:
    """The three frames of a sample are read one after the other, from one image."""
    image = read_image(path)
    image.setflags(write=False)
    return image
