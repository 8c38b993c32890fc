"""A pinhole camera: intrinsics and image size, which always travel together."""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vo.datasets.errors import InputError
from vo.datasets.optional import is_there

Array = npt.NDArray[Any]

_KEYS = ("fx", "fy", "cx", "cy", "width", "height")
_EXAMPLE = "write fx, fy, cx, cy, width and height in pixels, one `name: number` a line"
# Keys of ROS's camera_info that do not change where an undistorted point is seen.
_ROS_KEYS = {"image_width", "image_height", "camera_matrix", "distortion_coefficients"}
_ROS_OTHER = {"camera_name", "distortion_model", "rectification_matrix", "projection_matrix"}
_LARGEST = 1e6  # pixels: a thousand times the focal length of a telephoto camera


@dataclass(frozen=True, slots=True)
class Camera:
    """Intrinsics in pixels, with pixel centres at integer coordinates, and the image size.

    A point p = (x, y, z) in the camera frame (x right, y down, z forward) is seen at
    u = fx x / z + cx, v = fy y / z + cy. Every change of the image returns a new camera.

    Raises:
        ValueError: when a focal length or a size is not positive, or a number is not finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuse what cannot be a camera."""
        numbers = (self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(n) for n in numbers):
            raise ValueError(f"intrinsics must be finite, got fx, fy, cx, cy = {numbers}")
        if self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"focal lengths must be positive, got fx={self.fx}, fy={self.fy}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"the image size must be positive, got {self.width}x{self.height}")

    @classmethod
    def constant_kitti(cls, width: int, height: int) -> Camera:
        """What monodepth2 and its successors take for every drive of KITTI, whatever its own.

        Focal lengths of 0.58 widths and 1.92 heights, the centre of the image.
        """
        return cls(0.58 * width, 1.92 * height, (width - 1) / 2, (height - 1) / 2, width, height)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Camera:
        """Read a camera file: ``fx fy cx cy width height``, or ROS's ``camera_info``.

        Raises:
            InputError: naming file and key, when the file is missing or no YAML, when a key is
                missing, unknown or no sensible number, and when a ROS file has distortion: images
                are not undistorted here.
        """
        path = Path(path)
        values = _read_yaml(path)
        if "camera_matrix" in values:
            return _from_ros(path, values)
        _check_keys(path, values, set(_KEYS), set(_KEYS))
        fx, fy, cx, cy = (_number(path, key, values[key]) for key in _KEYS[:4])
        width, height = (_whole_number(path, key, values[key]) for key in _KEYS[4:])
        return _checked(path, (fx, fy, cx, cy), width, height)

    @classmethod
    def from_text(cls, text: str, size: tuple[int, int]) -> Camera:
        """Read the flag ``--intrinsics fx,fy,cx,cy[,width,height]``.

        Args:
            text: four numbers, or six with the size that the images had in the calibration.
            size: (width, height) that four numbers are taken to belong to.

        Raises:
            InputError: when these are not four or six sensible numbers.
        """
        where = "--intrinsics"
        words = text.split(",")
        if len(words) not in (4, 6):
            problem = f"{text[:80]!r} has {len(words)} parts"
            raise InputError(where, problem, "give fx,fy,cx,cy or fx,fy,cx,cy,width,height")
        numbers = [
            _number(where, key, _parse(word)) for key, word in zip(_KEYS, words, strict=False)
        ]
        if len(numbers) == 6:
            size = (
                _whole_number(where, "width", numbers[4]),
                _whole_number(where, "height", numbers[5]),
            )
        fx, fy, cx, cy = numbers[:4]
        return _checked(where, (fx, fy, cx, cy), *size)

    @property
    def K(self) -> Array:
        """Calibration matrix, (3, 3) float64."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, the order of OpenCV."""
        return self.width, self.height

    def resized(self, width: int, height: int) -> Camera:
        """Camera of the same view at another size: c' = (c + 1/2) s - 1/2, because pixel centres
        are at integers and the image reaches from -1/2 to width - 1/2."""
        sx, sy = width / self.width, height / self.height
        return Camera(
            self.fx * sx,
            self.fy * sy,
            (self.cx + 0.5) * sx - 0.5,
            (self.cy + 0.5) * sy - 0.5,
            width,
            height,
        )

    def fitted(self, width: int, height: int, where: str | Path) -> Camera:
        """Camera of images that were made smaller or larger after the calibration.

        Args:
            width: width of the images.
            height: height of the images.
            where: the file or flag that the calibration came from, for the message.

        Raises:
            InputError: when the shape of the images is another one: more than 1 % off.
        """
        if self.size == (width, height):
            return self
        stretch = (width / self.width) / (height / self.height)
        if not 1 / 1.01 <= stretch <= 1.01:
            problem = (
                f"was calibrated at {self.width}x{self.height} pixels, the images have "
                f"{width}x{height}, which is another shape ({100 * abs(stretch - 1):.1f} % off)"
            )
            raise InputError(where, problem, "calibrate again, or crop the images as before")
        return self.resized(width, height)

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """Camera of the window whose first pixel is (left, top)."""
        if left < 0 or top < 0 or left + width > self.width or top + height > self.height:
            raise ValueError(
                f"crop {width}x{height} at ({left}, {top}) leaves the image "
                f"{self.width}x{self.height}"
            )
        return Camera(self.fx, self.fy, self.cx - left, self.cy - top, width, height)

    def flipped(self) -> Camera:
        """Camera of the image mirrored left to right: cx' = W - 1 - cx."""
        return Camera(self.fx, self.fy, self.width - 1 - self.cx, self.cy, self.width, self.height)

    def rays(self) -> Array:
        """Viewing direction of every pixel with z = 1, (H, W, 3) float64."""
        u, v = np.meshgrid(np.arange(self.width), np.arange(self.height))
        x, y = (u - self.cx) / self.fx, (v - self.cy) / self.fy
        return np.stack([x, y, np.ones_like(x)], axis=-1)

    def project(self, points: Array) -> Array:
        """Pixels (..., 2) of points (..., 3) in the camera frame; NaN where z <= 0."""
        points = np.asarray(points, np.float64)
        if points.shape[-1] != 3:
            raise ValueError(f"points must be (..., 3), got {points.shape}")
        z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
        u = self.fx * points[..., 0] / z + self.cx
        v = self.fy * points[..., 1] / z + self.cy
        return np.stack([u, v], axis=-1)


def find_camera(
    intrinsics: str | None, files: list[Path], size: tuple[int, int], where: str | Path
) -> Camera:
    """The camera of images of ``size``, from a flag or from the first of some files that exists.

    Args:
        intrinsics: ``fx,fy,cx,cy[,width,height]``, or the path of a camera file; None looks for
            ``files``.
        files: places where a camera file may lie, best first.
        size: (width, height) of the images.
        where: folder or video, for the message.

    Raises:
        InputError: when there is none, when it is damaged, and when its images had another shape.
    """
    if intrinsics is not None:
        if intrinsics.lower().endswith((".yaml", ".yml")):
            return Camera.from_yaml(intrinsics).fitted(*size, where=intrinsics)
        return Camera.from_text(intrinsics, size).fitted(*size, where="--intrinsics")
    for path in files:
        if is_there(path):
            return Camera.from_yaml(path).fitted(*size, where=path)
    names = " or ".join(str(path) for path in files)
    remedy = (
        f"write {names} with the lines fx, fy, cx, cy, width, height (`fx: 721.5`), "
        "or pass --intrinsics fx,fy,cx,cy[,width,height]"
    )
    raise InputError(where, "the camera's calibration is not known", remedy)


def _read_yaml(path: Path) -> dict[str, Any]:
    from vo.datasets.plain_yaml import read_plain_yaml

    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise InputError(path, problem, "give the path of a camera file")
    values = read_plain_yaml(path, "a camera file", _EXAMPLE)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(path, "holds no names with values", _EXAMPLE)
    return values


def _from_ros(path: Path, values: dict[str, Any]) -> Camera:
    _check_keys(path, values, _ROS_KEYS, _ROS_KEYS | _ROS_OTHER)
    distortion = _numbers(path, "distortion_coefficients", values)
    if any(distortion):
        problem = f"the lens distorts (distortion_coefficients {_shown(distortion)})"
        remedy = "undistort the images first (ROS image_proc, cv2.undistort), then set them to 0"
        raise InputError(path, problem, remedy)
    matrix = _numbers(path, "camera_matrix", values)
    if len(matrix) != 9:
        raise InputError(path, f"camera_matrix has {len(matrix)} numbers", "it must have 9")
    fx, skew, cx, a, fy, cy, b, c, one = matrix
    if any((skew, a, b, c)) or one != 1:
        problem = f"camera_matrix is {_shown(matrix)}"
        raise InputError(path, problem, "it must be fx 0 cx 0 fy cy 0 0 1")
    width = _whole_number(path, "image_width", values["image_width"])
    height = _whole_number(path, "image_height", values["image_height"])
    return _checked(path, (fx, fy, cx, cy), width, height)


def _check_keys(path: Path, values: dict[str, Any], needed: set[str], known: set[str]) -> None:
    missing = sorted(needed - values.keys())
    if missing:
        raise InputError(path, f"{', '.join(missing)} missing", _EXAMPLE)
    unknown = sorted(values.keys() - known)
    if unknown:
        remedy = f"remove it; known names are {', '.join(sorted(known))}"
        raise InputError(path, f"unknown name {_shown(unknown[0])}", remedy)


def _numbers(path: Path, key: str, values: dict[str, Any]) -> list[float]:
    data = values[key].get("data") if isinstance(values[key], dict) else None
    if not isinstance(data, list) or len(data) > 64:
        raise InputError(path, f"{key} has no list of numbers `data`", "write it as ROS does")
    return [_number(path, key, value) for value in data]


def _number(where: str | Path, key: str, value: object) -> float:
    # True is an int in Python, and 10**400 one that no float can hold: compared before converted.
    if isinstance(value, bool) or not isinstance(value, int | float):
        remedy = "write a plain number such as 721.5"
        raise InputError(where, f"{key} is {_shown(value)}, not a number", remedy)
    if not -_LARGEST <= value <= _LARGEST:
        raise InputError(where, f"{key} is {_shown(value)}", "write it in pixels")
    return float(value)


def _whole_number(where: str | Path, key: str, value: object) -> int:
    number = _number(where, key, value)
    if number != int(number) or number < 1:
        raise InputError(where, f"{key} is {_shown(value)}", "write a whole number of pixels")
    return int(number)


def _parse(word: str) -> object:
    try:
        return float(word) if word.isascii() and "_" not in word else word
    except ValueError:
        return word


def _checked(
    where: str | Path, numbers: tuple[float, float, float, float], width: int, height: int
) -> Camera:
    """A camera of numbers that are in range each for itself."""
    fx, fy, cx, cy = numbers
    if fx <= 0 or fy <= 0:
        raise InputError(where, f"fx is {fx:g} and fy is {fy:g}", "focal lengths are positive")
    return Camera(fx, fy, cx, cy, width, height)


def _shown(value: object) -> str:
    """A value of any kind in a few characters; a number of thousands of digits has no repr, and
    nested YAML anchors have one that fills the memory."""
    try:
        text = reprlib.repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 60 else text[:57] + "..."
