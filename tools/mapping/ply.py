"""Points and triangles as PLY files, binary, as every viewer reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vo.atomic import write_atomically
from vo.datasets.camera import Array

_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
_FACE = np.dtype([("corners", "u1"), ("indices", "<i4", 3)])


def write_ply(path: Path, points: Array, colours: Array, triangles: Array | None = None) -> None:
    """Write a coloured cloud or mesh; the file is whole or not there.

    Args:
        path: in an existing folder.
        points: (N, 3).
        colours: (N, 3) uint8, RGB.
        triangles: (M, 3) indices of points; None for a cloud.

    Raises:
        OSError: when the disk is full.
    """
    vertices = np.zeros(len(points), _VERTEX)
    vertices["xyz"], vertices["rgb"] = points, colours
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    data = vertices.tobytes()
    if triangles is not None:
        faces = np.zeros(len(triangles), _FACE)
        faces["corners"], faces["indices"] = 3, triangles
        header += [f"element face {len(triangles)}"]
        header += ["property list uchar int vertex_indices"]
        data += faces.tobytes()
    write_atomically(path, "\n".join([*header, "end_header", ""]).encode() + data)
