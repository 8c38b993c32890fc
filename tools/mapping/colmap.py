"""A run as a COLMAP model in text form, with its images, for programs that splat or refine.

The layout is that of COLMAP's own results: ``images/`` and ``sparse/0/`` with ``cameras.txt``,
``images.txt`` and ``points3D.txt``. Poses are T_c_w, quaternions start with w, and COLMAP's pixel
centres are at + 1/2. Points are those of the fused surface and have no tracks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vo.atomic import write_atomically
from vo.datasets.camera import Array, Camera
from vo.tools.mapping.mesh import Cloud

JPEG_QUALITY = 95


def image_name(index: int) -> str:
    """Name of the image of frame ``index``, as the model calls it."""
    return f"{index:06d}.jpg"


def write_image(folder: Path, index: int, image: Array) -> None:
    """Write a frame's image (H, W, 3) uint8 RGB into ``images/``, which exists."""
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    fine, data = cv2.imencode(".jpg", image[..., ::-1], quality)
    if not fine:
        raise RuntimeError(f"OpenCV could not encode image {index}")
    write_atomically(folder / "images" / image_name(index), data.tobytes())


def write_model(
    folder: Path, camera: Camera, indices: list[int], T_w_c: Array, cloud: Cloud
) -> None:
    """Write ``sparse/0/``, which must exist.

    Args:
        folder: of the whole, with ``images/``.
        camera: of every image.
        indices: numbers of the N frames.
        T_w_c: (N, 4, 4) their poses.
        cloud: the points, in the same world.
    """
    model = folder / "sparse/0"
    write_atomically(model / "cameras.txt", _camera_line(camera))
    poses = zip(indices, np.linalg.inv(T_w_c), strict=True)
    lines = [_image_lines(number, k, T) for number, (k, T) in enumerate(poses, start=1)]
    write_atomically(model / "images.txt", "".join(lines))
    write_atomically(model / "points3D.txt", _point_lines(cloud))


def _camera_line(camera: Camera) -> str:
    numbers = (camera.fx, camera.fy, camera.cx + 0.5, camera.cy + 0.5)
    return f"1 PINHOLE {camera.width} {camera.height} {' '.join(map(repr, numbers))}\n"


def _image_lines(number: int, index: int, T_c_w: Array) -> str:
    """An image and, on a line of their own, its points: none."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(T_c_w[:3, :3]).as_quat(canonical=True).tolist()
    numbers = [w, x, y, z, *T_c_w[:3, 3].tolist()]
    return f"{number} {' '.join(map(repr, numbers))} 1 {image_name(index)}\n\n"


def _point_lines(cloud: Cloud) -> str:
    pairs = zip(cloud.points.tolist(), cloud.colours.tolist(), strict=True)
    lines = [
        f"{number} {x:.7g} {y:.7g} {z:.7g} {r} {g} {b} 0"
        for number, ((x, y, z), (r, g, b)) in enumerate(pairs, start=1)
    ]
    return "".join(f"{line}\n" for line in lines)
