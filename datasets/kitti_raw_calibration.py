"""Calibration of KITTI raw (Geiger et al., IJRR 2013): one set of files for all drives of a date.

```
calib_cam_to_cam.txt   P_rect_0n: 3x4 projections of points in rectified camera 0; S_rect_0n: width
                       and height; R_rect_00: 3x3, from camera 0 to rectified camera 0
calib_velo_to_cam.txt  R, T: from the laser scanner to camera 0
calib_imu_to_velo.txt  R, T: from the GPS/IMU unit to the laser scanner
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vo.datasets import kitti_odometry
from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.poses import pose_problem
from vo.datasets.text import read_lines, read_number

_REMEDY = "unpack KITTI's calibration of this date (DATE_calib.zip) beside its drives again"
_NUMBERS = "0123"
_LARGEST = 1e6  # pixels, and times a thousand for the fourth column

Entries = dict[str, tuple[int, list[str]]]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What is used of a ``calib_cam_to_cam.txt``.

    Attributes:
        path: the file.
        projections: those of the rectified cameras, named P0 to P3 as in KITTI Odometry.
        sizes: (width, height) of the rectified images by camera, ``image_00`` to ``image_03``.
        T_rect0_c0: (4, 4) float64 rotation from camera 0 to rectified camera 0, or None.
    """

    path: Path
    projections: kitti_odometry.Calibration
    sizes: dict[str, tuple[int, int]]
    T_rect0_c0: Array | None

    def camera(self, name: str, width: int, height: int) -> Camera:
        """The rectified camera ``image_0n`` with images of this size, in pixels.

        Raises:
            InputError: when it is not calibrated, and when images that were made smaller or
                larger have another shape than those that were calibrated (``S_rect``).
        """
        size = self.sizes.get(name, (width, height))
        camera = self.projections.camera(self._known(name), *size)
        return camera.fitted(width, height, self.path)

    def projection(self, name: str) -> Array:
        """(3, 4) float64 from points in rectified camera 0 to pixels of camera ``image_0n``."""
        return self.projections.projections[f"P{self._known(name)[-1]}"]

    def T_c0_c(self, name: str) -> Array:
        """(4, 4) float64 pose of rectified camera ``image_0n`` in that of camera 0, metres."""
        return self.projections.T_c0_c(self._known(name))

    def baseline_m(self, name: str) -> float | None:
        """Distance along x to the other camera of the pair; None when that is not calibrated."""
        return self.projections.baseline_m(self._known(name))

    def _known(self, name: str) -> str:
        """Name of the camera in KITTI Odometry; InputError when it has no projection."""
        number = name.removeprefix("image_0")
        if f"P{number}" not in self.projections.projections:
            there = ", ".join(f"P_rect_0{key[1]}" for key in self.projections.projections)
            problem = f"has no line P_rect_0{number}:, which {name} needs; it has {there}"
            raise InputError(self.path, problem, "add the line, or choose another camera")
        return f"image_{number}"


def read_calibration(path: Path) -> Calibration:
    """Read a ``calib_cam_to_cam.txt``; other lines than those above are ignored.

    Raises:
        InputError: naming the line, when the file is missing or no text, when it has no
            projection, and when a line that is used is damaged or given twice.
    """
    entries = _read_entries(path)
    projections, sizes, T_rect0_c0 = {}, {}, None
    for n in _NUMBERS:
        if f"P_rect_0{n}" in entries:
            projections[f"P{n}"] = _projection(path, entries, f"P_rect_0{n}")
        if f"S_rect_0{n}" in entries:
            sizes[f"image_0{n}"] = _size(path, entries, f"S_rect_0{n}")
    if not projections:
        raise InputError(path, "has no line P_rect_00: to P_rect_03:", _REMEDY)
    if "R_rect_00" in entries:
        T_rect0_c0 = np.eye(4)
        T_rect0_c0[:3, :3] = _numbers(path, entries, "R_rect_00", 9).reshape(3, 3)
        _check_rigid(path, T_rect0_c0, "R_rect_00")
    rig = kitti_odometry.Calibration(path, projections)
    return Calibration(path, rig, sizes, T_rect0_c0)


def read_rigid(path: Path) -> Array:
    """Read R and T of ``calib_velo_to_cam.txt`` or ``calib_imu_to_velo.txt``, (4, 4) float64.

    The first gives T_c0_velo, the second T_velo_imu, in metres.

    Raises:
        InputError: when the file is missing or no text, when R or T are missing or damaged, and
            when R is no rotation.
    """
    entries = _read_entries(path)
    T = np.eye(4)
    T[:3, :3] = _numbers(path, entries, "R", 9).reshape(3, 3)
    T[:3, 3] = _numbers(path, entries, "T", 3)
    _check_rigid(path, T, "R and T")
    return T


def _read_entries(path: Path) -> Entries:
    """Words of the lines ``key: words`` by key, with the number of the line."""
    entries: Entries = {}
    for i, line in read_lines(path, _REMEDY):
        key, _, rest = line.partition(":")
        if key in entries:
            raise InputError(path, f"line {i}: {key[:24]} is given twice", "remove one of them")
        entries[key] = i, rest.split()
    return entries


def _numbers(path: Path, entries: Entries, key: str, count: int) -> Array:
    if key not in entries:
        raise InputError(path, f"has no line {key}:", _REMEDY)
    i, words = entries[key]
    if len(words) != count:
        raise InputError(path, f"line {i}: {key} has {len(words)} numbers, not {count}", _REMEDY)
    return np.array([read_number(word, path, i) for word in words])


def _projection(path: Path, entries: Entries, key: str) -> Array:
    P = _numbers(path, entries, key, 12).reshape(3, 4)
    pinhole = P[0, 1] == P[1, 0] == P[2, 0] == P[2, 1] == 0 and P[2, 2] == 1
    in_range = 0 < P[0, 0] <= _LARGEST and 0 < P[1, 1] <= _LARGEST
    if not (pinhole and in_range and np.abs(P).max() <= 1e3 * _LARGEST):
        problem = f"line {entries[key][0]}: {key} is no projection fx 0 cx a 0 fy cy b 0 0 1 c"
        raise InputError(path, problem, _REMEDY)
    return P


def _size(path: Path, entries: Entries, key: str) -> tuple[int, int]:
    width, height = _numbers(path, entries, key, 2).tolist()
    if not all(1 <= side <= _LARGEST and side == int(side) for side in (width, height)):
        problem = f"line {entries[key][0]}: {key} is {width:g} {height:g}, no size in pixels"
        raise InputError(path, problem, _REMEDY)
    return int(width), int(height)


def _check_rigid(path: Path, T: Array, what: str) -> None:
    found = pose_problem(T[None])
    if found is not None:
        raise InputError(path, f"{what}: {found[1]}", _REMEDY)
