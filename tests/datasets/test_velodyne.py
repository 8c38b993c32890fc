"""Laser scans as depth maps, on points whose pixels are known.

With the calibration of `kitti_raw_drive` a point (x, y, z) of the scanner stands at (-y, -z - 0.08,
x - 0.27) before the cameras, and camera image_02 sees it at u = 50 X / Z + 19.5 + 3 / Z,
v = 50 Y / Z + 14.5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kitti_raw_drive import CAM_TO_CAM, write_drive

from vo.datasets.errors import InputError
from vo.datasets.kitti_raw import calibration_file
from vo.datasets.kitti_raw_calibration import read_calibration
from vo.datasets.velodyne import ScanCamera, project_scan, read_scan, scan_camera, scan_files


def point(u: float, v: float, Z: float) -> list[float]:
    """The point of the scanner that image_02 sees at (u, v) in depth Z."""
    X, Y = ((u - 19.5) * Z - 3) / 50, (v - 14.5) * Z / 50
    return [Z + 0.27, -X, -(Y + 0.08)]


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return write_drive(tmp_path, cameras=("image_02", "image_03"))


@pytest.fixture
def camera(drive: Path) -> ScanCamera:
    return scan_camera(read_calibration(calibration_file(drive)), "image_02")


def project(points: list[list[float]], camera: ScanCamera, kind="velodyne-z") -> dict:
    """Depth by (row, column) of the pixels that have one."""
    depth = project_scan(np.array(points), camera, kind)
    assert depth.shape == (30, 40)
    assert depth.dtype == np.float32
    return {(int(r), int(c)): float(depth[r, c]) for r, c in zip(*np.nonzero(depth), strict=True)}


def test_a_point_is_seen_one_pixel_before_its_place(camera: ScanCamera) -> None:
    """The published rounding, made for pixels that count from 1."""
    assert project([point(12.3, 20.6, 10)], camera) == {(20, 11): pytest.approx(10)}


def test_both_conventions_of_depth(camera: ScanCamera) -> None:
    points = [point(12.3, 20.6, 10)]
    assert project(points, camera, "velodyne-x") == {(20, 11): pytest.approx(10.27)}
    assert project(points, camera, "velodyne-z") == {(20, 11): pytest.approx(10.0)}


def test_the_right_camera_sees_it_elsewhere(drive: Path) -> None:
    right = scan_camera(read_calibration(calibration_file(drive)), "image_03")
    # u = 12.3 + (-23.5 - 3) / 10, v = 20.6 + 0.1 / 10, both over 1 + 0.002 / 10
    assert project([point(12.3, 20.6, 10)], right) == {(20, 9): pytest.approx(10.002)}


def test_the_nearest_of_several_points_is_the_depth(camera: ScanCamera) -> None:
    points = [point(12, 20, 10), point(12.1, 19.9, 7), point(11.9, 20.1, 30), point(13, 20, 5)]
    for kind, added in (("velodyne-x", 0.27), ("velodyne-z", 0.0)):
        found = project(points, camera, kind)
        assert found == {(19, 11): pytest.approx(7 + added), (19, 12): pytest.approx(5 + added)}


def test_points_that_the_camera_cannot_see_are_left_out(camera: ScanCamera) -> None:
    """Behind the scanner, behind only the camera, and beside each border of the image."""
    # Behind the camera, yet mirrored to u = 19.5 - 3 / 0.17, v = 14.5.
    behind = [[-10.0, 0.0, -0.08], [0.1, 0.0, -0.08]]
    beside = [point(u, v, 10) for u, v in ((0.4, 15), (40.6, 15), (20, 0.4), (20, 30.6))]
    assert project([*behind, *beside], camera) == {}
    corners = [point(u, v, 10) for u, v in ((0.6, 0.6), (40.4, 30.4))]
    assert set(project(corners, camera)) == {(0, 0), (29, 39)}


def test_points_behind_the_scanner_are_left_out_where_a_camera_stands_farther_back() -> None:
    P = np.array([[0, -50, 0, 19.5], [0, 0, -50, 14.5], [1, 0, 0, 1.0]])
    P[0, 0], P[1, 0] = 19.5, 14.5  # a metre behind the scanner, both looking along x
    camera = ScanCamera(P, 40, 30)
    assert set(project([[0.5, 0, 0]], camera)) == {(13, 19)}
    assert project([[-0.5, 0, 0]], camera) == {}


def test_no_points_are_an_empty_map(camera: ScanCamera) -> None:
    assert not project_scan(np.zeros((0, 3), np.float32), camera, "velodyne-x").any()


def test_scans_are_found_and_read(drive: Path) -> None:
    folder = drive / "velodyne_points" / "data"
    assert scan_files(drive) == {}
    folder.mkdir(parents=True)
    points = np.arange(12, dtype=np.float32).reshape(3, 4)
    points.tofile(folder / "0000000007.bin")
    (folder / "._7.bin").write_bytes(b"side file")
    assert scan_files(drive) == {7: folder / "0000000007.bin"}
    np.testing.assert_array_equal(read_scan(folder / "0000000007.bin"), points[:, :3])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such laser scan"),
        (b"", "has 0 bytes"),
        (b"x" * 33, "has 33 bytes, no whole number of points"),
        (np.full(8, np.nan, np.float32).tobytes(), "holds points that are not finite"),
    ],
)
def test_a_damaged_scan_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "0000000003.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"0000000003.bin: {problem}"):
        read_scan(path)


@pytest.mark.parametrize("line", ["S_rect_02", "R_rect_00", "P_rect_02"])
def test_calibration_that_is_missing_is_named(drive: Path, line: str) -> None:
    file = calibration_file(drive)
    lines = [other for other in CAM_TO_CAM.splitlines(True) if not other.startswith(line)]
    file.write_text("".join(lines))
    with pytest.raises(InputError, match=f"calib_cam_to_cam.txt: has no line {line}:"):
        scan_camera(read_calibration(file), "image_02")


def test_the_place_of_the_scanner_is_needed(drive: Path) -> None:
    (drive.parent / "calib_velo_to_cam.txt").unlink()
    with pytest.raises(InputError, match=r"calib_velo_to_cam.txt: no such file"):
        scan_camera(read_calibration(calibration_file(drive)), "image_02")
