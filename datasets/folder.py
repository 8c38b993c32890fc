"""A folder of images of one's own.

```
folder/anything.png   PNG or JPEG, in natural order of their names (2.png before 10.png)
folder/camera.yaml    fx, fy, cx, cy, width, height; may lie one folder up, or be a flag
folder/times.txt      optional: one time in seconds a line
folder/poses.txt      optional: true poses, KITTI's 12 numbers a line
```
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vo.datasets.camera import Array, find_camera
from vo.datasets.errors import InputError
from vo.datasets.images import is_image, list_images
from vo.datasets.optional import is_there
from vo.datasets.poses import read_kitti_poses
from vo.datasets.recording import Recording, image_size
from vo.datasets.text import check_increasing, read_times

RATE_HZ = 10.0  # where nothing says how fast the images were taken


def open_folder(folder: Path, intrinsics: str | None = None, fps: float | None = None) -> Recording:
    """Open a folder of images.

    Args:
        folder: holds the images.
        intrinsics: ``fx,fy,cx,cy[,width,height]`` or a camera file; None looks for
            ``camera.yaml`` in the folder and the one above.
        fps: images a second where there is no ``times.txt``; None is 10.

    Raises:
        InputError: when something is missing, damaged or does not fit together.
    """
    images = tuple(list_images(folder))
    if not images:
        raise InputError(folder, "holds no PNG or JPEG images", "give the folder that has them")
    camera = find_camera(intrinsics, camera_files(folder), image_size(images[0]), folder)
    return Recording(
        name=folder.name,
        camera=camera,
        timestamps=read_folder_times(folder, len(images), fps),
        T_w_c=read_folder_poses(folder, len(images)),
        numbers=np.arange(len(images)),
        images=images,
    )


def find_sequences(data: Path) -> dict[str, Path]:
    """The folder itself when it has images, else those in it that have, by name."""
    if has_images(data):
        return {data.name: data}
    return {p.name: p for p in sorted(data.iterdir()) if p.is_dir() and has_images(p)}


def has_images(folder: Path) -> bool:
    """Whether images lie in the folder itself."""
    return any(is_image(p) for p in folder.iterdir())


def camera_files(folder: Path) -> list[Path]:
    """Where the camera file of a folder may lie, best first."""
    return [folder / "camera.yaml", folder.parent / "camera.yaml"]


def read_folder_times(folder: Path, count: int, fps: float | None) -> Array:
    """Times of all images, (count,) float64 seconds.

    Raises:
        InputError: when ``times.txt`` is damaged, of another length, or contradicted by ``fps``.
    """
    path = folder / "times.txt"
    if not is_there(path):
        rate = RATE_HZ if fps is None else fps
        if not 0 < rate < 1e6:
            raise InputError("--fps", f"is {rate}", "give the images a second, for example 10")
        return np.arange(count) / rate
    if fps is not None:
        raise InputError("--fps", f"{path} has the times already", "leave the flag out")
    times = read_times(path)
    if len(times) != count:
        problem = f"has {len(times)} times for {count} images"
        raise InputError(path, problem, "write one line for each image, or remove the file")
    check_increasing(times, path)
    return times


def read_folder_poses(folder: Path, count: int) -> Array | None:
    """True poses of all images, (count, 4, 4), or None; InputError when they are damaged."""
    path = folder / "poses.txt"
    if not is_there(path):
        return None
    poses = read_kitti_poses(path)
    if poses.frames is not None or len(poses.T_w_c) != count:
        problem = f"has {len(poses.T_w_c)} poses for {count} images"
        if poses.frames is not None:
            problem = "has 13 numbers a line"
        raise InputError(path, problem, "write 12 numbers for each image, or remove the file")
    return poses.T_w_c
