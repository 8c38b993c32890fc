from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kitti_raw_drive import write_packets

from vo.datasets.errors import InputError
from vo.datasets.oxts import EARTH_RADIUS_M, imu_poses, mercator, read_packets

KARLSRUHE = (49.0, 8.4, 115.0)


def test_a_small_step_on_the_map_is_as_long_as_on_the_ground() -> None:
    step_deg = 1e-4
    step_m = EARTH_RADIUS_M * np.radians(step_deg)  # 11.13 m along a meridian
    start, north, east = mercator(
        np.array([49.0, 49.0 + step_deg, 49.0]), np.array([8.4, 8.4, 8.4 + step_deg]), 49.0
    )
    np.testing.assert_allclose(north - start, [0, step_m], atol=2e-5)
    # Meridians are closer together by the cosine of the latitude.
    np.testing.assert_allclose(east - start, [step_m * np.cos(np.radians(49)), 0], atol=1e-8)


def test_first_packet_is_the_origin_and_altitude_is_up() -> None:
    packets = np.array([[*KARLSRUHE, 0, 0, 0], [49.0, 8.4, 118.5, 0, 0, 0]])
    T_w_imu = imu_poses(packets)
    np.testing.assert_array_equal(T_w_imu[0], np.eye(4))
    np.testing.assert_allclose(T_w_imu[1, :3, 3], [0, 0, 3.5])


@pytest.mark.parametrize(
    ("angles", "axis", "expected"),
    [
        # by KITTI's definition of the fields: yaw 0 is east and grows counter-clockwise,
        ((0, 0, np.pi / 2), 0, [0, 1, 0]),
        ((0, 0.1, 0), 0, [np.cos(0.1), 0, -np.sin(0.1)]),  # pitch: the front goes down,
        ((0.1, 0, 0), 1, [0, np.cos(0.1), np.sin(0.1)]),  # roll: the left side goes up,
        # and roll and pitch are those of the unit after it has turned to its heading:
        ((0, 0.1, np.pi / 2), 0, [0, np.cos(0.1), -np.sin(0.1)]),
        ((0.1, 0, np.pi / 2), 1, [-np.cos(0.1), 0, np.sin(0.1)]),
        ((np.pi / 2, 0.1, 0), 1, [np.sin(0.1), 0, np.cos(0.1)]),  # roll before pitch
    ],
)
def test_angles_turn_as_kitti_says(angles, axis: int, expected: list[float]) -> None:
    R = imu_poses(np.array([[*KARLSRUHE, *angles]]))[0, :3, :3]
    np.testing.assert_allclose(R[:, axis], expected, atol=1e-12)
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("shape", [(6,), (2, 5), (0, 6)])
def test_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"packets must be \(N, 6\) with N >= 1, got \("):
        imu_poses(np.zeros(shape))


def test_packets_of_the_frames_are_read(tmp_path: Path) -> None:
    packets = np.array([[49 + 0.001 * i, 8, 100 + i, 0.01, 0.02, 0.03 * i] for i in range(5)])
    write_packets(tmp_path, packets)
    read = read_packets(tmp_path / "oxts" / "data", np.array([0, 3, 4]))
    np.testing.assert_allclose(read, packets[[0, 3, 4]], atol=1e-13)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("49 8 100 0 0\n", "has 1 lines, the first with 5 numbers; a packet is one line"),
        ("49 8 100 0 0 0\n49 8 100 0 0 0\n", "has 2 lines"),
        ("49 8 100 0 0 x\n", "line 1: 'x' is no finite number"),
        ("nan 8 100 0 0 0\n", "line 1: 'nan' is no finite number"),
        ("91 8 100 0 0 0\n", "latitude is 91, beyond 89.9"),
        ("49 8 100 0 0 90\n", "yaw is 90, beyond 3.2"),  # degrees where radians belong
        ("", "is empty"),
    ],
)
def test_damaged_packet_is_named(tmp_path: Path, text: str, problem: str) -> None:
    write_packets(tmp_path, np.zeros((3, 6)))
    path = tmp_path / "oxts" / "data" / "0000000001.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        read_packets(path.parent, np.arange(3))
    assert str(caught.value).startswith(str(path))


def test_frames_without_packets_are_listed(tmp_path: Path) -> None:
    write_packets(tmp_path, np.zeros((3, 6)))
    with pytest.raises(InputError, match="has no packets of frames 3, 4; restore them"):
        read_packets(tmp_path / "oxts" / "data", np.arange(5))
