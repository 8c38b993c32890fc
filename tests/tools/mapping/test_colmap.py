"""A COLMAP model, read as its format says, shows the points where our camera sees them."""

from __future__ import annotations

import cv2
import numpy as np

from vo.datasets.camera import Camera
from vo.tools.mapping.colmap import write_image, write_model
from vo.tools.mapping.mesh import Cloud

CAMERA = Camera(70.0, 71.0, 47.5, 31.0, 96, 64)


def poses() -> np.ndarray:
    T_w_c = np.tile(np.eye(4), (3, 1, 1))
    for k, T in enumerate(T_w_c):
        T[:3, :3] = cv2.Rodrigues(np.array([0.05 * k, -0.3 * k, 0.02 * k]))[0]
        T[:3, 3] = (0.4 * k, -0.1 * k, 1.3 * k)
    return T_w_c


def rotation(w: float, x: float, y: float, z: float) -> np.ndarray:
    """COLMAP's formula."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_points_are_seen_in_the_same_pixels(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "sparse/0").mkdir(parents=True)
    rng = np.random.default_rng(0)
    points = rng.uniform((-3, -2, 6), (3, 2, 12), (50, 3)).astype(np.float32)
    colours = rng.integers(0, 256, (50, 3)).astype(np.uint8)
    frames = [4, 5, 9]
    for frame in frames:
        image = np.full((64, 96, 3), (20 * frame, 100, 0), np.uint8)
        write_image(tmp_path, frame, image)
    write_model(tmp_path, CAMERA, frames, poses(), Cloud(points, colours))

    (line,) = (tmp_path / "sparse/0/cameras.txt").read_text().splitlines()
    number, model, width, height, *numbers = line.split()
    assert (number, model, width, height) == ("1", "PINHOLE", "96", "64")
    fx, fy, cx, cy = map(float, numbers)
    table = [line.split() for line in (tmp_path / "sparse/0/points3D.txt").read_text().splitlines()]
    found = np.array([row[1:4] for row in table], float)
    assert np.allclose(found, points, atol=1e-5)
    assert np.array_equal(np.array([row[4:7] for row in table], int), colours)
    lines = (tmp_path / "sparse/0/images.txt").read_text().split("\n")
    assert lines[1::2] == [""] * 3, "every image has its line of 2D points, which is empty"
    for frame, T_w_c, line in zip(frames, poses(), lines[::2], strict=False):
        _, *numbers, camera, name = line.split()
        values = list(map(float, numbers))
        assert camera == "1"
        seen = found @ rotation(*values[:4]).T + values[4:]
        u = fx * seen[:, 0] / seen[:, 2] + cx
        v = fy * seen[:, 1] / seen[:, 2] + cy
        T_c_w = np.linalg.inv(T_w_c)
        ours = CAMERA.project(points @ T_c_w[:3, :3].T + T_c_w[:3, 3])
        # COLMAP's corner of the image is 0, ours is -1/2.
        assert np.allclose(np.stack([u, v], 1), ours + 0.5, atol=1e-3)
        image = cv2.imread(str(tmp_path / "images" / name))
        assert image is not None
        assert image.shape == (64, 96, 3)
        assert abs(int(image[30, 40, 2]) - 20 * frame) <= 3
