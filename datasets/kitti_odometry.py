"""KITTI Odometry (Geiger et al., CVPR 2012), and everything that is written in its layout.

```
root/sequences/03/image_2/000000.png   png or jpg; image_0, image_1 grey, image_2, image_3 colour
root/sequences/03/calib.txt            P0 to P3: 3x4 projections of points in camera 0
root/sequences/03/times.txt            one time in seconds a line
root/sequences/03/depth/000000.png     optional: uint16, metres x 256, 0 = none
root/sequences/03/moving/000000.png    optional: uint8, 255 on things that move by themselves
root/poses/03.txt                      optional: 12 numbers a line
```
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.images import DepthFormat, is_image
from vo.datasets.optional import is_there
from vo.datasets.poses import read_kitti_poses
from vo.datasets.recording import Files, Recording, image_size, missing_numbers
from vo.datasets.text import check_increasing, few, read_lines, read_number, read_times

CAMERAS = ("image_2", "image_0", "image_3", "image_1")  # colour first, left first
PARTNERS = {"image_0": "image_1", "image_1": "image_0", "image_2": "image_3", "image_3": "image_2"}
DEPTH_FORMAT = DepthFormat(per_metre=256)

_MATRICES = ("P0", "P1", "P2", "P3", "Tr")
_CALIBRATION_REMEDY = "KITTI writes `P0:` and 12 numbers, and a line like it for each camera"
_LARGEST = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Projections of a ``calib.txt``.

    Attributes:
        path: the file.
        projections: (3, 4) float64 by name, P0 to P3: P_n = K [I | t], where t moves points from
            camera 0 to camera n.
    """

    path: Path
    projections: dict[str, Array]

    def camera(self, name: str, width: int, height: int) -> Camera:
        """The camera ``image_n`` with images of this size, in pixels."""
        P = self._projection(name)
        fx, cx, fy, cy = P[[0, 0, 1, 1], [0, 2, 1, 2]].tolist()
        return Camera(fx, fy, cx, cy, width, height)

    def T_c0_c(self, name: str) -> Array:
        """(4, 4) float64 pose of the camera ``image_n`` in the frame of camera 0, metres.

        All images are rectified, so that the cameras differ by a shift alone. Along x it is
        -P[0, 3] / fx, about 0.54 m for camera 1, which stands on the right.
        """
        P = self._projection(name)
        T_c0_c = np.eye(4)
        T_c0_c[:3, 3] = -np.linalg.solve(P[:, :3], P[:, 3])
        return T_c0_c

    def baseline_m(self, name: str) -> float | None:
        """Distance along x to the other camera of the pair; None when that is not calibrated."""
        left, right = sorted((name, PARTNERS[name]))
        if not {_key(left), _key(right)} <= self.projections.keys():
            return None
        baseline_m = float((self.T_c0_c(right) - self.T_c0_c(left))[0, 3])
        if baseline_m <= 0:
            problem = f"{_key(right)} stands {-baseline_m:.3f} m left of {_key(left)}"
            raise InputError(self.path, problem, "check the sign of the fourth column")
        return baseline_m

    def _projection(self, name: str) -> Array:
        if _key(name) not in self.projections:
            there = ", ".join(self.projections)
            problem = f"has no line {_key(name)}:, which {name} needs; it has {there}"
            raise InputError(self.path, problem, "add the line, or choose another camera")
        return self.projections[_key(name)]


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The images of one camera.

    Attributes:
        folder: for example ``sequences/03/image_2``.
        numbers: (N,) int64 from the file names, increasing.
        paths: N files.
    """

    folder: Path
    numbers: Array
    paths: tuple[Path, ...]


def open_kitti_odometry(folder: Path, camera: str | None = None) -> Recording:
    """Open one sequence folder, ``root/sequences/NN``.

    ``T_w_c`` are the poses of the file, which are those of camera 0, whatever the camera: results
    on KITTI are published so. ``Recording.T_c0_c`` leads from the chosen camera to camera 0.
    Poses and times may be longer than the images: those of the frames' numbers are taken.

    Args:
        folder: the sequence.
        camera: ``image_0`` to ``image_3``; None is the first of image_2, image_0, image_3,
            image_1 that is there.

    Raises:
        InputError: when something is missing, damaged or does not fit together.
    """
    name = choose_camera(folder, camera)
    images = list_frames(folder / name)
    check_gaps(images, folder)
    calibration = read_calibration(folder / "calib.txt")
    size = image_size(images.paths[0])
    poses = poses_file(folder)
    depths = _beside(folder / "depth", images.numbers)
    return Recording(
        name=folder.name,
        camera=calibration.camera(name, *size),
        timestamps=read_frame_times(folder / "times.txt", images.numbers),
        T_w_c=read_frame_poses(poses, images.numbers) if is_there(poses) else None,
        numbers=images.numbers,
        images=images.paths,
        depths=depths,
        depth_format=None if depths is None else DEPTH_FORMAT,
        moving=_beside(folder / "moving", images.numbers),
        baseline_m=calibration.baseline_m(name),
        T_c0_c=calibration.T_c0_c(name),
    )


def find_sequences(data: Path) -> dict[str, Path]:
    """Sequence folders by name in a root, a ``sequences`` folder, or the folder that is one."""
    if _is_sequence(data):
        return {data.name: data}
    for parent in (data / "sequences", data):
        if parent.is_dir():
            found = {p.name: p for p in sorted(parent.iterdir()) if _is_sequence(p)}
            if found:
                return found
    return {}


def cameras_in(folder: Path) -> list[str]:
    """Names of the image folders of a sequence, the default first."""
    return [name for name in CAMERAS if (folder / name).is_dir()]


def choose_camera(folder: Path, camera: str | None) -> str:
    """The camera to read; InputError when it is not there."""
    there = cameras_in(folder)
    if not there:
        raise InputError(folder, "holds no image_0, image_1, image_2 or image_3", "add the images")
    if camera is None:
        return there[0]
    if camera not in there:
        problem = f"is {camera!r}, which is not in {folder}"
        raise InputError("--camera", problem, f"choose from {', '.join(there)}")
    return camera


def list_frames(folder: Path) -> Images:
    """Images of one camera folder by their numbers; gaps are not looked for.

    Raises:
        InputError: when there are none, and when two files have one number.
    """
    named = [(int(p.stem), p) for p in folder.iterdir() if is_image(p) and _is_number(p.stem)]
    if not named:
        remedy = "images are named 000000.png (or .jpg) and so on"
        raise InputError(folder, "holds no images of frames", remedy)
    named.sort()
    numbers = np.array([number for number, _ in named], np.int64)
    twice = np.flatnonzero(np.diff(numbers) == 0)
    if len(twice):
        files = f"{named[twice[0]][1].name} and {named[twice[0] + 1][1].name}"
        raise InputError(folder, f"{files} are the same frame", "remove one of them")
    return Images(folder, numbers, tuple(path for _, path in named))


def check_gaps(images: Images, data: Path) -> None:
    """InputError that lists the missing frames: a jump in time would look like a jump in space."""
    missing = missing_numbers(images.numbers)
    if missing:
        remedy = f"restore them, or see all problems with `vo-data check {data}`"
        raise InputError(images.folder, f"frames are missing: {few(missing)}", remedy)


def read_calibration(path: Path) -> Calibration:
    """Read P0 to P3 of a ``calib.txt``; files with P0 alone are fine, other lines are ignored.

    Raises:
        InputError: naming the line, when the file is missing or no text, when P0 is missing, and
            when a projection has not 12 sensible numbers or is given twice.
    """
    projections: dict[str, Array] = {}
    for i, line in read_lines(path, _CALIBRATION_REMEDY):
        key, _, rest = line.partition(":")
        if key.strip() not in _MATRICES:
            continue
        key, words = key.strip(), rest.split()
        if key in projections:
            raise InputError(path, f"line {i}: {key} is given twice", "remove one of the lines")
        if len(words) != 12:
            problem = f"line {i}: {key} has {len(words)} numbers, not 12"
            raise InputError(path, problem, _CALIBRATION_REMEDY)
        matrix = np.array([read_number(word, path, i) for word in words]).reshape(3, 4)
        if key != "Tr":  # the pose of the laser scanner, which nobody here needs
            _check_projection(matrix, f"line {i}: {key}", path)
        projections[key] = matrix
    projections.pop("Tr", None)
    if "P0" not in projections:
        raise InputError(path, "has no line P0:", _CALIBRATION_REMEDY)
    return Calibration(path, projections)


def read_frame_times(path: Path, numbers: Array) -> Array:
    """Times of frames by their numbers, (N,) float64 seconds, from a ``times.txt``.

    Raises:
        InputError: when the file cannot be read, has too few lines, or does not increase.
    """
    times = read_times(path)
    _check_count(path, "times", len(times), numbers)
    check_increasing(times[numbers], path)
    return times[numbers]


def read_frame_poses(path: Path, numbers: Array) -> Array:
    """True poses of frames by their numbers, (N, 4, 4) float64.

    Raises:
        InputError: when the file cannot be read or a frame has no pose in it.
    """
    poses = read_kitti_poses(path)
    if poses.frames is None:
        _check_count(path, "poses", len(poses.T_w_c), numbers)
        return poses.T_w_c[numbers]
    row_of = {int(frame): row for row, frame in enumerate(poses.frames)}
    missing = [n for n in numbers.tolist() if n not in row_of]
    if missing:
        problem = f"has no poses for frames {few(missing)}"
        raise InputError(path, problem, "remove these frames, or use the complete file")
    return poses.T_w_c[[row_of[n] for n in numbers.tolist()]]


def poses_file(folder: Path) -> Path:
    """Where the true poses of a sequence folder lie if there are any: ``root/poses/NN.txt``."""
    return folder.parent.parent / "poses" / f"{folder.name}.txt"


def files_by_number(folder: Path) -> dict[int, Path]:
    """Images of ``depth`` or ``moving`` by frame number; empty when there is no such folder."""
    if not folder.is_dir():
        return {}
    return {int(p.stem): p for p in folder.iterdir() if is_image(p) and _is_number(p.stem)}


def _beside(folder: Path, numbers: Iterable[int]) -> Files | None:
    files = files_by_number(folder)
    return tuple(files.get(int(n)) for n in numbers) if files else None


def _check_count(path: Path, what: str, count: int, numbers: Array) -> None:
    if count <= numbers[-1]:
        problem = f"has {count} {what}, but the images go up to frame {numbers[-1]}"
        raise InputError(path, problem, "use the complete file, or remove the images after it")


def _check_projection(P: Array, what: str, path: Path) -> None:
    fx, fy = P[0, 0], P[1, 1]
    pinhole = P[0, 1] == P[1, 0] == P[2, 0] == P[2, 1] == 0 and P[2, 2] == 1
    if not pinhole or not (0 < fx <= _LARGEST and 0 < fy <= _LARGEST):
        problem = f"{what} is no projection fx 0 cx a 0 fy cy b 0 0 1 c with positive fx and fy"
        raise InputError(path, problem, _CALIBRATION_REMEDY)
    if np.abs(P).max() > 1e3 * _LARGEST:
        raise InputError(path, f"{what} has numbers over 1e9", _CALIBRATION_REMEDY)


def _is_sequence(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    in_sequences = folder.parent.name == "sequences" and (folder / "calib.txt").is_file()
    return in_sequences or bool(cameras_in(folder))


def _is_number(stem: str) -> bool:
    return re.fullmatch(r"[0-9]{1,12}", stem) is not None


def _key(name: str) -> str:
    return "P" + name.removeprefix("image_")
