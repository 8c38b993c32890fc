"""Cameras of Cityscapes (Cordts et al., CVPR 2016): a JSON file for each labelled image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vo.datasets.camera import Camera
from vo.datasets.errors import InputError
from vo.datasets.plain_json import read_object

SIZE = (2048, 1024)
"""Width and height of every image, in pixels."""

_MOST_BYTES = 1_000_000
_REMEDY = "copy it again from camera_trainvaltest.zip"


@dataclass(frozen=True, slots=True)
class StereoCamera:
    """The left camera of the stereo pair.

    Attributes:
        camera: of the whole image.
        baseline_m: distance to the right camera.
    """

    camera: Camera
    baseline_m: float


def read_camera(path: Path) -> StereoCamera:
    """Read ``{frame}_camera.json``: ``intrinsic`` fx, fy, u0, v0 and ``extrinsic`` baseline.

    Raises:
        InputError: when the file is missing, no JSON, or lacks one of these numbers.
    """
    content = read_object(path, _MOST_BYTES, "a camera file", _REMEDY)
    fx, fy, u0, v0 = (_number(path, content, "intrinsic", key) for key in ("fx", "fy", "u0", "v0"))
    baseline = _number(path, content, "extrinsic", "baseline")
    if not (fx > 0 and fy > 0 and baseline > 0):
        problem = f"fx is {fx:g}, fy {fy:g} and baseline {baseline:g}"
        raise InputError(path, problem, "they are positive")
    return StereoCamera(Camera(fx, fy, u0, v0, *SIZE), baseline)


def _number(path: Path, content: dict[str, Any], part: str, key: str) -> float:
    values = content.get(part)
    value = values.get(key) if isinstance(values, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
        raise InputError(path, f"has no number {part}.{key}", _REMEDY)
    if not math.isfinite(value):
        raise InputError(path, f"{part}.{key} is {value}", _REMEDY)
    return float(value)
