"""TUM RGB-D benchmark (Sturm et al., IROS 2012).

```
folder/rgb.txt           timestamp and file name, a line for each colour image
folder/depth.txt         optional: the same for depth images, uint16, metres x 5000, 0 = none
folder/groundtruth.txt   optional: timestamp tx ty tz qx qy qz qw
```
The three are recorded at their own times and are put together by the nearest time stamp, at most
20 ms away, as the benchmark's own tools do.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array, Camera, find_camera
from vo.datasets.errors import InputError
from vo.datasets.images import DepthFormat
from vo.datasets.optional import is_there
from vo.datasets.poses import read_tum_poses
from vo.datasets.recording import Files, Recording, image_size
from vo.datasets.text import check_increasing, few, read_lines, read_number

TOLERANCE_S = 0.02
DEPTH_FORMAT = DepthFormat(per_metre=5000)

_log = logging.getLogger(__name__)

# fx, fy, cx, cy of the colour cameras, from the benchmark's page "Intrinsic calibration of the
# Kinect". Those of freiburg1 and freiburg2 belong to a lens model with distortion, which stays in
# the images; freiburg3 is undistorted.
_PUBLISHED = {
    "1": (517.3, 516.5, 318.6, 255.3),
    "2": (520.9, 521.0, 325.1, 249.7),
    "3": (535.4, 539.2, 320.1, 247.6),
}


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """A list of images, ``rgb.txt`` or ``depth.txt``.

    Attributes:
        path: the list.
        timestamps: (N,) float64 seconds, as they stand in the file.
        files: N image files, which need not exist.
    """

    path: Path
    timestamps: Array
    files: tuple[Path, ...]


def open_tum(folder: Path, intrinsics: str | None = None) -> Recording:
    """Open one recording.

    Where there is a ground truth, colour images without a true pose within 20 ms are left out
    (before the motion capture has started, or where it lost the camera), and their number is
    logged: `Sequence.T_w_c` has a pose for every frame or for none, and leaving the truth out
    because of one frame would be worse. Images without depth stay, with `Frame.depth` None.

    Args:
        folder: holds ``rgb.txt``.
        intrinsics: ``fx,fy,cx,cy[,width,height]`` or a camera file; None takes ``camera.yaml``
            in the folder, else the published numbers for freiburg1 to 3 by the folder's name.

    Raises:
        InputError: when something is missing, damaged or does not fit together.
    """
    rgb = read_index(folder / "rgb.txt")
    check_increasing(rgb.timestamps, rgb.path)
    check_files(rgb)
    camera = find_tum_camera(folder, intrinsics, image_size(rgb.files[0]))
    keep, T_w_c = _truth(folder / "groundtruth.txt", rgb.timestamps)
    timestamps = rgb.timestamps[keep]
    depths = _depths(folder / "depth.txt", timestamps)
    return Recording(
        name=folder.name,
        camera=camera,
        timestamps=timestamps,
        T_w_c=T_w_c,
        numbers=keep,
        images=tuple(rgb.files[i] for i in keep),
        depths=depths,
        depth_format=None if depths is None else DEPTH_FORMAT,
    )


def find_sequences(data: Path) -> dict[str, Path]:
    """The folder itself, or those in it, that hold ``rgb.txt``, by name."""
    if is_there(data / "rgb.txt"):
        return {data.name: data}
    return {p.name: p for p in sorted(data.iterdir()) if is_there(p / "rgb.txt")}


def read_index(path: Path) -> Index:
    """Read ``rgb.txt`` or ``depth.txt``; neither order nor files are checked.

    Raises:
        InputError: naming the line that is not a time and a file name.
    """
    remedy = "write `timestamp filename` in each line"
    times, files = [], []
    for i, line in read_lines(path, remedy):
        words = line.split(maxsplit=1)
        if len(words) != 2:
            raise InputError(path, f"line {i} has no file name", remedy)
        times.append(read_number(words[0], path, i))
        files.append(path.parent / words[1])
    return Index(path, np.array(times, np.float64), tuple(files))


def missing_files(index: Index) -> list[Path]:
    """Files of a list that do not exist; looks once into each folder, not at each file."""
    folders = {path.parent for path in index.files}
    there = {p for folder in folders if folder.is_dir() for p in folder.iterdir()}
    return [path for path in index.files if path not in there]


def check_files(index: Index) -> None:
    """InputError when files of the list are missing."""
    missing = missing_files(index)
    if missing:
        problem = f"{len(missing)} of {len(index.files)} files are missing: "
        names = few([path.name for path in missing], 3)
        remedy = f"restore them, or see all problems with `vo-data check {index.path.parent}`"
        raise InputError(index.path, problem + names, remedy)


def find_tum_camera(folder: Path, intrinsics: str | None, size: tuple[int, int]) -> Camera:
    """Camera from the flag, ``camera.yaml``, or the published numbers; InputError otherwise."""
    file = folder / "camera.yaml"
    robot = re.search(r"(?:freiburg|fr)([123])(?![0-9])", folder.name.lower())
    if intrinsics is None and not is_there(file) and robot:
        camera = Camera(*_PUBLISHED[robot[1]], width=640, height=480)
        return camera.fitted(*size, where=folder)
    return find_camera(intrinsics, [file], size, folder)


def nearest(times: Array, wanted: Array) -> Array:
    """Position in increasing times (M,) of the nearest to each wanted (N,); -1 beyond 20 ms."""
    right = np.searchsorted(times, wanted).clip(1, max(len(times) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(times) - 1)
    index = np.where(wanted - times[left] <= times[right] - wanted, left, right)
    return np.where(np.abs(times[index] - wanted) <= TOLERANCE_S, index, -1)


def _truth(path: Path, timestamps: Array) -> tuple[Array, Array | None]:
    """Rows of rgb.txt to keep, (K,) int64, and their true poses, (K, 4, 4), or None."""
    everything = np.arange(len(timestamps))
    if not is_there(path):
        return everything, None
    poses = read_tum_poses(path)
    index = nearest(poses.timestamps, timestamps)
    keep = everything[index >= 0]
    if len(keep) == 0:
        problem = f"no pose is within {TOLERANCE_S} s of any image in rgb.txt"
        raise InputError(path, problem, "check that both use the same clock, or remove the file")
    if len(keep) < len(timestamps):
        dropped = len(timestamps) - len(keep)
        _log.warning("%s: %d images have no true pose and are left out", path.parent, dropped)
    return keep, poses.T_w_c[index[keep]]


def _depths(path: Path, timestamps: Array) -> Files | None:
    if not is_there(path):
        return None
    depth = read_index(path)
    check_increasing(depth.timestamps, path)
    check_files(depth)
    return tuple(depth.files[i] if i >= 0 else None for i in nearest(depth.timestamps, timestamps))
