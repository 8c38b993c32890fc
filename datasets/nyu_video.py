"""NYU Depth v2 (Silberman et al., ECCV 2012) as video: the folders of its raw data.

```
basement_0001a/r-1316653580.471513-1316138413.ppm     640x480 colour image, at its time in seconds
basement_0001a/d-1316653580.465000-1315917230.pgm     raw depth of the Kinect, not used
```

Scenes may lie one folder deeper, where the archive of a room was unpacked (``basements``). What the
Kinect stores as depth is neither metres nor in the frame of the colour camera, and is not read:
this is video to learn from. A border of 16 pixels is cut off, as P2Net (Yu et al., ECCV 2020) does.
The lens distorts; images are used as they are.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array, Camera, find_camera
from vo.datasets.crop import Cropped
from vo.datasets.errors import InputError
from vo.datasets.images import read_image_size
from vo.datasets.nyu import NYU_CAMERA
from vo.datasets.recording import Recording

BORDER = 16
"""Pixels of a 640x480 image that are cut off on every side."""

_IMAGE = re.compile(r"r-([0-9]{1,12}\.[0-9]{1,9})-([0-9]{1,12})\.(?:ppm|png|jpg)")


def open_nyu_video(folder: Path, name: str, intrinsics: str | None = None) -> Cropped:
    """Open one scene, its images in the order of their times, which count from the first.

    Args:
        folder: of the scene.
        name: of the scene.
        intrinsics: ``fx,fy,cx,cy[,width,height]`` or a camera file; None takes the data set's own.

    Raises:
        InputError: when there is no image, the first is damaged, or two have one time.
    """
    images = list_frames(folder)
    if not images:
        raise InputError(folder, "holds no r-*.ppm", "give the folder of a scene")
    check_times(images)
    times = frame_times(images)
    size = read_image_size(images[0])
    camera = find_scene_camera(folder, intrinsics, size)
    recording = Recording(
        name=name,
        camera=camera,
        timestamps=times - times[0],
        T_w_c=None,
        numbers=np.arange(len(images)),
        images=images,
    )
    return Cropped(recording, *_corner(camera), _inside(camera))


def find_sequences(data: Path) -> dict[str, Path]:
    """Folders of scenes by name: this one, those in it, and those in these."""
    if _has_frames(data):
        return {data.name: data}
    children = sorted(child for child in data.iterdir() if child.is_dir())
    found = {child.name: child for child in children if _has_frames(child)}
    for child in children:
        if child.name not in found:
            below = (p for p in sorted(child.iterdir()) if p.is_dir() and _has_frames(p))
            found |= {f"{child.name}/{p.name}": p for p in below}
    return found


def list_frames(folder: Path) -> tuple[Path, ...]:
    """Colour images of a scene in the order of their times, then of the Kinect's own clock."""
    found = [(match, name) for name in os.listdir(folder) if (match := _IMAGE.fullmatch(name))]
    found.sort(key=lambda item: (float(item[0][1]), int(item[0][2]), item[1]))
    return tuple(folder / name for _, name in found)


def frame_times(images: tuple[Path, ...]) -> Array:
    """(N,) float64 seconds since 1970, as the names of the images say."""
    return np.array([float(path.name.split("-")[1]) for path in images])


def check_times(images: tuple[Path, ...]) -> None:
    """InputError when two images, in the order of `list_frames`, have one time."""
    twice = np.flatnonzero(np.diff(frame_times(images)) <= 0)
    if len(twice):
        first, second = (images[int(twice[0]) + k].name for k in (0, 1))
        problem = f"{first} and {second} have one time"
        raise InputError(images[0].parent, problem, "remove one of them")


def find_scene_camera(folder: Path, intrinsics: str | None, size: tuple[int, int]) -> Camera:
    """Camera of whole images, from the flag or the data set."""
    if intrinsics is None:
        return NYU_CAMERA.fitted(*size, where=folder)
    return find_camera(intrinsics, [], size, folder)


def _corner(camera: Camera) -> tuple[int, int]:
    """Left and top border, in proportion where the images were made smaller."""
    return round(BORDER * camera.width / 640), round(BORDER * camera.height / 480)


def _inside(camera: Camera) -> Camera:
    left, top = _corner(camera)
    return camera.cropped(left, top, camera.width - 2 * left, camera.height - 2 * top)


def _has_frames(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(e.name.startswith("r-") and _IMAGE.fullmatch(e.name) for e in entries)
