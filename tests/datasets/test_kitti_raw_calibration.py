from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kitti_raw_drive import CAM_TO_CAM, IMU_TO_VELO, VELO_TO_CAM

from vo.datasets.errors import InputError
from vo.datasets.kitti_raw_calibration import read_calibration, read_rigid

# calib_cam_to_cam.txt of KITTI's 2011_09_26, without the lines of the unrectified images.
CALIB_0926 = """calib_time: 09-Jan-2012 13:57:47
S_rect_00: 1.242000e+03 3.750000e+02
R_rect_00: 9.999239e-01 9.837760e-03 -7.445048e-03 -9.869795e-03 9.999421e-01 -4.278459e-03 \
7.402527e-03 4.351614e-03 9.999631e-01
P_rect_00: 721.5377 0 609.5593 0 0 721.5377 172.854 0 0 0 1 0
P_rect_01: 721.5377 0 609.5593 -387.5744 0 721.5377 172.854 0 0 0 1 0
P_rect_02: 721.5377 0 609.5593 44.85728 0 721.5377 172.854 0.2163791 0 0 1 0.002745884
P_rect_03: 721.5377 0 609.5593 -339.5242 0 721.5377 172.854 2.199936 0 0 1 0.002729905
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "calib_cam_to_cam.txt"
    path.write_text(CALIB_0926)
    return path


def test_published_calibration(path: Path) -> None:
    calibration = read_calibration(path)
    camera = calibration.camera("image_02", 1242, 375)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (721.5377, 721.5377, 609.5593, 172.854)
    # 387.5744 / 721.5377; KITTI's paper gives 0.54 m for both pairs
    assert calibration.baseline_m("image_00") == pytest.approx(0.53715, abs=1e-5)
    assert calibration.baseline_m("image_02") == calibration.baseline_m("image_03")
    assert calibration.baseline_m("image_02") == pytest.approx(0.5327, abs=1e-4)
    # the left colour camera stands 6 cm left of the left grey one
    assert calibration.T_c0_c("image_02")[0, 3] == pytest.approx(-0.06, abs=1e-3)
    assert calibration.T_rect0_c0 is not None
    assert calibration.T_rect0_c0[0, 1] == 9.837760e-03


def test_images_made_smaller_get_a_smaller_camera(path: Path) -> None:
    camera = read_calibration(path).camera("image_00", 621, 188)
    # pixel centres are at integers: cx' = (cx + 1/2) / 2 - 1/2
    assert camera.fx == pytest.approx(721.5377 / 2)
    assert camera.cx == pytest.approx((609.5593 + 0.5) / 2 - 0.5)
    assert camera.size == (621, 188)
    with pytest.raises(InputError, match="was calibrated at 1242x375 pixels, the images have 640x"):
        read_calibration(path).camera("image_00", 640, 480)
    # S_rect_03 is not in the file: the images are taken as they are
    assert read_calibration(path).camera("image_03", 640, 480).size == (640, 480)


def test_camera_without_projection(path: Path) -> None:
    lines = [line for line in CALIB_0926.splitlines() if not line.startswith(("P_rect_03", "R"))]
    path.write_text("\n".join(lines))
    calibration = read_calibration(path)
    assert calibration.baseline_m("image_02") is None
    assert calibration.T_rect0_c0 is None
    for ask in (calibration.T_c0_c, calibration.baseline_m):
        with pytest.raises(
            InputError,
            match="no line P_rect_03:, which image_03 needs; it has P_rect_00, P_rect_01, P_rect_0",
        ):
            ask("image_03")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("calib_time: 09-Jan-2012 13:57:47\n", "has no line P_rect_00: to P_rect_03:; unpack"),
        (CALIB_0926 * 2, "line 8: calib_time is given twice"),
        (CALIB_0926.replace("721.5377", "x", 1), "line 4: 'x' is no finite number"),
        (CALIB_0926.replace("721.5377", "-1", 1), "line 4: P_rect_00 is no projection"),
        (CALIB_0926.replace("0 0 1 0\n", "0 0 1\n", 1), "line 4: P_rect_00 has 11 numbers, not 12"),
        (CALIB_0926.replace("1.242000e+03", "0.5"), "line 2: S_rect_00 is 0.5 375, no size in"),
        (
            CALIB_0926.replace("9.999239e-01", "9.9e-01"),
            "R_rect_00: the upper left 3x3 block is no",
        ),
    ],
)
def test_damaged_file_is_named(path: Path, text: str, problem: str) -> None:
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        read_calibration(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_right_camera_on_the_left_is_refused(path: Path) -> None:
    path.write_text(CALIB_0926.replace("-387.5744", "387.5744"))
    with pytest.raises(InputError, match=r"P1 stands 0\.537 m left of P0; check the sign"):
        read_calibration(path).baseline_m("image_01")


def test_rigid_files(tmp_path: Path) -> None:
    path = tmp_path / "calib_velo_to_cam.txt"
    path.write_text(VELO_TO_CAM)
    # 10 m ahead of the scanner is 9.73 m ahead of the camera, which stands 0.27 m further forward
    np.testing.assert_allclose(read_rigid(path) @ [10, 0, 0, 1], [0, -0.08, 9.73, 1])
    path.write_text(IMU_TO_VELO.replace("R: 1", "R: -1"))
    with pytest.raises(InputError, match=r"velo_to_cam\.txt: R and T: .* is a reflection; unpack"):
        read_rigid(path)
    path.write_text("R: 1 0 0 0 1 0 0 0 1\n")
    with pytest.raises(InputError, match=r"velo_to_cam\.txt: has no line T:; unpack"):
        read_rigid(path)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_calibrations_end_as_input_error_or_cameras(tmp_path: Path, data) -> None:
    at = data.draw(st.integers(0, len(CAM_TO_CAM)))
    cut = data.draw(st.integers(0, 40))
    piece = data.draw(st.one_of(st.binary(max_size=12), st.text(max_size=12).map(str.encode)))
    path = tmp_path / "calib_cam_to_cam.txt"
    path.write_bytes(CAM_TO_CAM[:at].encode() + piece + CAM_TO_CAM[at + cut :].encode())
    try:
        calibration = read_calibration(path)
        camera = calibration.camera("image_00", 40, 30)
        calibration.baseline_m("image_00")
    except InputError as error:
        _check_line(str(error), path)
    else:
        assert np.isfinite(camera.K).all()


def _check_line(message: str, path: Path) -> None:
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.real_data
def test_real_calibration(real_data: Path) -> None:
    date = real_data / "kitti_raw" / "2011_09_26"
    calibration = read_calibration(date / "calib_cam_to_cam.txt")
    assert calibration.camera("image_02", 1242, 375).fx == 721.5377
    assert calibration.baseline_m("image_02") is None  # the file has no P_rect_03
    T_c0_velo = read_rigid(date / "calib_velo_to_cam.txt")
    # the scanner's forward axis is the camera's, to a degree
    assert T_c0_velo[2, 0] > np.cos(np.radians(1))
    assert T_c0_velo[2, 3] == -2.717806e-01
