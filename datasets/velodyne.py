"""Laser scans of KITTI raw as depth maps: the ground truth of the Eigen split.

``DRIVE/velodyne_points/data/0000000000.bin`` holds a turn of the scanner as float32 x, y, z and
reflectance of each point, x ahead, y to the left, z up, in metres. A point X in front of both the
scanner (x >= 0) and the camera is seen at

    (u, v, 1) ~ P_rect_0n R_rect_00 T_c0_velo X                                              (1)

in pixel (round u - 1, round v - 1). The 1 is of the Matlab code that the split was made with, whose
pixels count from 1; it is kept, since all published numbers have it. Where several points fall on
one pixel, the nearest is its depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.kitti_raw_calibration import Calibration, read_rigid
from vo.datasets.plain_file import read_file

ScanDepth = Literal["velodyne-x", "velodyne-z"]
"""What the depth of a point is, see `vo.datasets.depth_kind.DepthKind`."""

_POINT_BYTES = 16
_MOST_BYTES = 100_000_000  # a real scan has two million
_REMEDY = "copy the scan again from KITTI's synchronised and rectified data"


@dataclass(frozen=True, slots=True, eq=False)
class ScanCamera:
    """A rectified camera as the laser scanner sees it.

    Attributes:
        P: (3, 4) float64, from points of the scanner (metres) to homogeneous pixels; its third row
            is the depth along the optical axis.
        width: of the image in pixels.
        height: of the image in pixels.
    """

    P: Array
    width: int
    height: int


def scan_camera(calibration: Calibration, camera: str) -> ScanCamera:
    """The camera ``image_0n`` of a drive, from the calibrations of its date.

    Raises:
        InputError: when the projection, the size (``S_rect_0n``), ``R_rect_00`` or
            ``calib_velo_to_cam.txt`` is missing or damaged.
    """
    path, remedy = calibration.path, "unpack KITTI's calibration of this date again"
    if camera not in calibration.sizes:
        raise InputError(path, f"has no line S_rect_{camera[-2:]}:, the size of {camera}", remedy)
    if calibration.T_rect0_c0 is None:
        raise InputError(path, "has no line R_rect_00:, which laser points need", remedy)
    T_c0_velo = read_rigid(path.with_name("calib_velo_to_cam.txt"))
    P = calibration.projection(camera) @ calibration.T_rect0_c0 @ T_c0_velo
    return ScanCamera(P, *calibration.sizes[camera])


def scan_file(drive: Path, number: int) -> Path:
    """Where the scan of a frame lies."""
    return drive / "velodyne_points" / "data" / f"{number:010d}.bin"


def scan_files(drive: Path) -> dict[int, Path]:
    """Scans of a drive by frame number; empty where there are none."""
    folder = scan_file(drive, 0).parent
    if not folder.is_dir():
        return {}
    return {int(p.stem): p for p in folder.glob("*.bin") if p.stem.isascii() and p.stem.isdigit()}


def read_scan(path: Path) -> Array:
    """Points of a scan, (N, 3) float32 metres: x ahead, y to the left, z up.

    Raises:
        InputError: when the file is missing, empty, no whole number of points, or holds numbers
            that are not finite.
    """
    if not path.is_file():
        raise InputError(path, "no such laser scan", _REMEDY)
    data = read_file(path, _MOST_BYTES, "a laser scan", _REMEDY)
    if not data or len(data) % _POINT_BYTES:
        problem = f"has {len(data)} bytes, no whole number of points of {_POINT_BYTES} bytes"
        raise InputError(path, problem, _REMEDY)
    points = np.frombuffer(data, "<f4").reshape(-1, 4)[:, :3]
    if not np.isfinite(points).all():
        raise InputError(path, "holds points that are not finite", _REMEDY)
    return points


def project_scan(points: Array, camera: ScanCamera, depth: ScanDepth) -> Array:
    """Depth map of a scan, eq. 1.

    Args:
        points: (N, 3) in the frame of the scanner, metres.
        camera: that sees them.
        depth: of a point: its distance ahead of the scanner, or along the camera's axis.

    Returns:
        (H, W) float32 metres, 0 where no point falls.
    """
    points = points[points[:, 0] >= 0].astype(np.float64)
    u, v, z = camera.P[:, :3] @ points.T + camera.P[:, 3:]
    ahead = z > 0
    u, v, z, x = u[ahead] / z[ahead], v[ahead] / z[ahead], z[ahead], points[ahead, 0]
    column, row = np.round(u) - 1, np.round(v) - 1
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    d = (x if depth == "velodyne-x" else z)[inside].astype(np.float32)
    pixel = (row[inside] * camera.width + column[inside]).astype(np.int64)
    nearest = np.full(camera.height * camera.width, np.inf, np.float32)
    np.minimum.at(nearest, pixel, d)
    nearest[np.isinf(nearest)] = 0
    return nearest.reshape(camera.height, camera.width)
