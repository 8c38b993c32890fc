"""Cityscapes (Cordts et al., CVPR 2016) as video: the 30 frames around each labelled image.

```
leftImg8bit_sequence/train/aachen/aachen_000000_000000_leftImg8bit.png     2048x1024 pixels, 17 Hz
camera/train/aachen/aachen_000000_000019_camera.json                       of the labelled image
```

Both may lie one folder deeper, where their archive was unpacked. A sequence is a run of frames that
follow each other, called by its first one: ``aachen_000000_000000``. The bottom quarter, where the
car is seen, is cut off, as in all published trainings. These compare frames that lie two apart.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from vo.datasets.camera import Camera
from vo.datasets.cityscapes import FRAME, IMAGE_END, part_of
from vo.datasets.cityscapes_camera import read_camera
from vo.datasets.crop import Cropped
from vo.datasets.errors import InputError
from vo.datasets.images import read_image_size
from vo.datasets.recording import Recording

RATE_HZ = 17.0
VIDEO = "leftImg8bit_sequence"
SPLITS = ("train", "val", "test")

_FILE = re.compile(rf"({FRAME.pattern}){re.escape(IMAGE_END)}")


def open_cityscapes_video(first: Path) -> Cropped:
    """Open one run of frames, without the bottom quarter of its images.

    The camera is that of the labelled image of the run; where it has none, of the nearest one of
    the same drive.

    Args:
        first: image of the first frame, as `find_sequences` gives it.

    Raises:
        InputError: when the image or every camera of the drive is missing or damaged.
    """
    paths, numbers = run_of(first)
    width, height = read_image_size(first)
    camera_path = camera_file(first, int(numbers[len(numbers) // 2]))
    camera = read_camera(camera_path).camera.fitted(width, height, camera_path)
    recording = Recording(
        name=first.name.removesuffix(IMAGE_END),
        camera=camera,
        timestamps=numbers / RATE_HZ,
        T_w_c=None,
        numbers=numbers,
        images=paths,
    )
    return Cropped(recording, 0, 0, without_car(camera))


def find_sequences(data: Path) -> dict[str, Path]:
    """First image of each run of frames by its name.

    Args:
        data: root of the data set, of which ``train`` is taken where it is there; its
            ``leftImg8bit_sequence``; or ``train``, ``val`` or ``test`` in that.
    """
    split = split_folder(data)
    if split is None:
        return {}
    found: dict[str, Path] = {}
    for city in sorted(folder for folder in split.iterdir() if folder.is_dir()):
        before = ("", -2)
        for name in sorted(os.listdir(city)):
            if match := _FILE.fullmatch(name):
                sequence, number = match[3], int(match[4])
                if (sequence, number - 1) != before:
                    found[match[1]] = city / name
                before = sequence, number
    return found


def split_folder(data: Path) -> Path | None:
    """The folder with cities that `find_sequences` looks into; None where there is none."""
    if data.parent.name == VIDEO and data.name in SPLITS and data.is_dir():
        return data
    videos = data if data.name == VIDEO else part_of(data, VIDEO)
    return next((videos / split for split in SPLITS if (videos / split).is_dir()), None)


def camera_file(image: Path, number: int) -> Path:
    """Camera of the labelled image that is nearest to a frame of the same drive.

    Args:
        image: any image of the drive.
        number: of the frame.

    Raises:
        InputError: when the drive has no camera.
    """
    city, sequence, _ = image.name.removesuffix(IMAGE_END).split("_")
    split = image.parent.parent
    root = split.parent.parent
    if root.name == f"{VIDEO}_trainvaltest":
        root = root.parent
    folder = part_of(root, "camera") / split.name / city
    files = folder.glob(f"{city}_{sequence}_*_camera.json")
    at = {int(file.name.split("_")[2]): file for file in files if FRAME.match(file.name)}
    if not at:
        problem = f"holds no camera of {city}_{sequence}"
        raise InputError(folder, problem, "unpack camera_trainvaltest.zip beside the images")
    return at[min(at, key=lambda labelled: (abs(labelled - number), labelled))]


def run_of(first: Path) -> tuple[tuple[Path, ...], np.ndarray]:
    """Images of a run and the numbers of their frames, (N,) int64, by the first image."""
    city, sequence, frame = first.name.removesuffix(IMAGE_END).split("_")
    paths, number = [first], int(frame) + 1
    while (path := first.with_name(f"{city}_{sequence}_{number:06d}{IMAGE_END}")).is_file():
        paths.append(path)
        number += 1
    return tuple(paths), np.arange(int(frame), number, dtype=np.int64)


def without_car(camera: Camera) -> Camera:
    """Camera of the upper three quarters of the image."""
    return camera.cropped(0, 0, camera.width, camera.height * 3 // 4)
