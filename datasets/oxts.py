"""Poses from the GPS/IMU packets of KITTI raw (Geiger et al., IJRR 2013; "OXTS" is the unit).

Latitude and longitude become metres by the Mercator projection, which KITTI's own poses are made
with: with s = cos(lat_0), the scale at the first packet, and the radius r of the Earth,

    east  = s r lon                     north = s r log(tan(pi / 4 + lat / 2))

and the unit (x forward, y left, z up) turns by R = Rz(yaw) Ry(pitch) Rx(roll), where yaw 0 is
east and grows counter-clockwise.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.text import few, read_lines, read_number

EARTH_RADIUS_M = 6378137.0  # WGS84, at the equator

_FIELDS = ("latitude", "longitude", "altitude", "roll", "pitch", "yaw")
# At the poles the projection is infinite; angles are KITTI's ranges with room for rounding.
_LIMITS = (89.9, 180.0, 1e5, 3.2, 3.2, 3.2)
_REMEDY = (
    "a packet is one line: latitude, longitude (deg), altitude (m), roll, pitch, yaw (rad) ..."
)


def read_packets(folder: Path, numbers: Array) -> Array:
    """Read the packets of frames, ``folder/0000000000.txt`` and so on.

    Args:
        folder: ``oxts/data`` of a drive.
        numbers: (N,) int64 numbers of the frames.

    Returns:
        (N, 6) float64: latitude, longitude (deg), altitude (m), roll, pitch, yaw (rad).

    Raises:
        InputError: when a frame has no packet, and naming the file, when one is damaged.
    """
    paths = [folder / f"{number:010d}.txt" for number in numbers.tolist()]
    missing = [int(n) for n, path in zip(numbers, paths, strict=True) if not path.is_file()]
    if missing:
        problem = f"has no packets of frames {few(missing)}"
        raise InputError(folder, problem, "restore them, or remove the folder to go without")
    return np.array([_read_packet(path) for path in paths]).reshape(-1, 6)


def mercator(latitude_deg: Array, longitude_deg: Array, latitude_0_deg: float) -> Array:
    """Metres east and north on the projected Earth, (..., 2) float64, true to scale at latitude 0.

    Args:
        latitude_deg: (...) degrees, within 90.
        longitude_deg: (...) degrees.
        latitude_0_deg: where a metre on the map is a metre on the ground.
    """
    scaled_m = math.cos(math.radians(latitude_0_deg)) * EARTH_RADIUS_M
    north = np.log(np.tan(np.pi / 4 + np.radians(latitude_deg) / 2))
    return scaled_m * np.stack([np.radians(longitude_deg), north], axis=-1)


def imu_poses(packets: Array) -> Array:
    """Poses of the unit, T_w_imu (N, 4, 4) float64 metres.

    World is level, x east, y north, z up, with the first packet's place as its origin.

    Args:
        packets: (N, 6), as from `read_packets`.

    Raises:
        ValueError: when packets are not (N, 6) with N >= 1.
    """
    from scipy.spatial.transform import Rotation

    packets = np.asarray(packets, np.float64)
    if packets.ndim != 2 or packets.shape[1] != 6 or not len(packets):
        raise ValueError(f"packets must be (N, 6) with N >= 1, got {packets.shape}")
    places = np.empty((len(packets), 3))
    places[:, :2] = mercator(packets[:, 0], packets[:, 1], float(packets[0, 0]))
    places[:, 2] = packets[:, 2]
    T_w_imu = np.tile(np.eye(4), (len(packets), 1, 1))
    # Upper-case letters are turns about the axes as they have turned so far: Rz Ry Rx.
    T_w_imu[:, :3, :3] = Rotation.from_euler("ZYX", packets[:, [5, 4, 3]]).as_matrix()
    T_w_imu[:, :3, 3] = places - places[0]
    return T_w_imu


def _read_packet(path: Path) -> list[float]:
    lines = read_lines(path, _REMEDY)
    i, line = lines[0]
    words = line.split()
    if len(lines) != 1 or len(words) < len(_FIELDS):
        problem = f"has {len(lines)} lines, the first with {len(words)} numbers"
        raise InputError(path, problem, _REMEDY)
    values = [read_number(word, path, i) for word in words[: len(_FIELDS)]]
    for name, value, limit in zip(_FIELDS, values, _LIMITS, strict=True):
        if abs(value) > limit:
            problem = f"{name} is {value:g}, beyond {limit:g}"
            raise InputError(path, problem, _REMEDY)
    return values
