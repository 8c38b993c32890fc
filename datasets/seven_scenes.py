"""7-Scenes (Shotton et al., CVPR 2013).

```
scene/seq-01/frame-000000.color.png   png or jpg, 640x480
scene/seq-01/frame-000000.depth.png   optional: uint16, millimetres, 0 and 65535 = none
scene/seq-01/frame-000000.pose.txt    optional: 4x4 camera to world
```
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array, Camera, find_camera
from vo.datasets.errors import InputError
from vo.datasets.images import DepthFormat
from vo.datasets.optional import is_there
from vo.datasets.poses import check_pose_matrices
from vo.datasets.recording import Recording, image_size, missing_numbers
from vo.datasets.text import few, read_lines, read_number

DEPTH_FORMAT = DepthFormat(per_metre=1000, none=(0, 65535))
RATE_HZ = 30.0  # the Kinect's nominal rate; the recordings have no time stamps
PUBLISHED = Camera(585, 585, 320, 240, 640, 480)  # the data set's page; of the depth camera

_FRAME = re.compile(r"frame-([0-9]{6})\.(color\.png|color\.jpg|depth\.png|pose\.txt)")


@dataclass(frozen=True, slots=True, eq=False)
class Files:
    """Files of one sequence by frame number, as far as they are there."""

    folder: Path
    color: dict[int, Path]
    depth: dict[int, Path]
    pose: dict[int, Path]


def open_seven_scenes(folder: Path, name: str, intrinsics: str | None = None) -> Recording:
    """Open the sequence in a folder; times are nominal, 1/30 s apart.

    Args:
        folder: holds ``frame-000000.color.png`` and so on.
        name: name of the sequence.
        intrinsics: ``fx,fy,cx,cy[,width,height]`` or a camera file; None takes ``camera.yaml``
            in the folder, else the published fx = fy = 585, cx = 320, cy = 240.

    Raises:
        InputError: when something is missing, damaged or does not fit together.
    """
    files = list_files(folder)
    numbers = np.array(sorted(files.color), np.int64)
    missing = missing_numbers(numbers)
    if missing:
        remedy = f"restore them, or see all problems with `vo-data check {folder}`"
        raise InputError(folder, f"frames are missing: {few(missing)}", remedy)
    images = tuple(files.color[int(n)] for n in numbers)
    depths = tuple(files.depth.get(int(n)) for n in numbers) if files.depth else None
    return Recording(
        name=name,
        camera=find_scene_camera(folder, intrinsics, image_size(images[0])),
        timestamps=numbers / RATE_HZ,
        T_w_c=_truth(files, numbers),
        numbers=numbers,
        images=images,
        depths=depths,
        depth_format=None if depths is None else DEPTH_FORMAT,
    )


def find_sequences(data: Path) -> dict[str, Path]:
    """Folders with frames: this one, those in it, and those in these (scene/seq-01)."""
    if _has_frames(data):
        return {data.name: data}
    children = [p for p in sorted(data.iterdir()) if p.is_dir()]
    found = {p.name: p for p in children if _has_frames(p)}
    for child in children:
        if child.name not in found:
            below = (p for p in sorted(child.glob("seq-*")) if p.is_dir() and _has_frames(p))
            found |= {f"{child.name}/{p.name}": p for p in below}
    return found


def list_files(folder: Path) -> Files:
    """Frames of a folder; InputError when there is no colour image."""
    by_kind: dict[str, dict[int, Path]] = {"color": {}, "depth": {}, "pose": {}}
    for path in folder.iterdir():
        match = _FRAME.fullmatch(path.name)
        if match:
            by_kind[match[2].split(".")[0]][int(match[1])] = path
    if not by_kind["color"]:
        raise InputError(folder, "holds no frame-000000.color.png or .jpg", "add the images")
    return Files(folder, **by_kind)


def find_scene_camera(folder: Path, intrinsics: str | None, size: tuple[int, int]) -> Camera:
    """Camera from the flag, ``camera.yaml``, or the published numbers."""
    file = folder / "camera.yaml"
    if intrinsics is None and not is_there(file):
        return PUBLISHED.fitted(*size, where=folder)
    return find_camera(intrinsics, [file], size, folder)


def read_pose(path: Path) -> Array:
    """Pose of one frame, (4, 4) float64, camera to world, metres.

    Raises:
        InputError: when these are not 16 numbers that make a rigid motion.
    """
    remedy = "a pose is a 4x4 matrix, four numbers a line"
    words = [(i, word) for i, line in read_lines(path, remedy) for word in line.split()]
    if len(words) != 16:
        raise InputError(path, f"has {len(words)} numbers, not 16", remedy)
    T_w_c = np.array([read_number(word, path, i) for i, word in words]).reshape(4, 4)
    check_pose_matrices(T_w_c[None], path)
    return T_w_c


def _truth(files: Files, numbers: Array) -> Array | None:
    if not files.pose:
        return None
    missing = [int(n) for n in numbers if int(n) not in files.pose]
    if missing:
        remedy = "restore these files, or remove all of them to go without truth"
        raise InputError(files.folder, f"no pose.txt for frames {few(missing)}", remedy)
    return np.stack([read_pose(files.pose[int(n)]) for n in numbers])


def _has_frames(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(".color." in e.name and _FRAME.fullmatch(e.name) for e in entries)
