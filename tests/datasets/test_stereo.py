from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from kitti_raw_drive import CAM_TO_CAM, write_drive

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.recording import Recording
from vo.datasets.stereo import T_other_this, other_camera

CALIB = """P0: 50 0 19.5 0 0 50 14.5 0 0 0 1 0
P1: 50 0 19.5 -27 0 50 14.5 0 0 0 1 0
P2: 50 0 19.5 3 0 50 14.5 0 0 0 1 0
P3: 51 0 19.5 -23.97 0 51 14.5 0.1 0 0 1 0
"""


@pytest.fixture
def odometry(kitti: Callable[..., Path]) -> Path:
    return kitti(frames=5, cameras=("image_0", "image_1", "image_2", "image_3"), calib=CALIB)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    cameras = ("image_00", "image_01", "image_02", "image_03")
    write_drive(tmp_path / "raw", frames=(0, 1, 2, 5), cameras=cameras)
    return tmp_path / "raw"


def recording(sequence: object) -> Recording:
    assert isinstance(sequence, Recording)
    return sequence


@pytest.mark.parametrize(
    ("name", "partner"), [("image_2", "image_3"), ("image_0", "image_1"), ("image_3", "image_2")]
)
def test_partner_in_kitti_odometry(odometry: Path, name: str, partner: str) -> None:
    this = open_sequence(odometry, camera=name)
    other = recording(other_camera(this))
    assert [path.parent.name for path in other.images] == [partner] * 5
    # it is what opening that camera gives
    expected = recording(open_sequence(odometry, camera=partner))
    assert other.images == expected.images
    assert other.camera == expected.camera
    np.testing.assert_array_equal(other.T_c0_c, expected.T_c0_c)
    np.testing.assert_array_equal(other.T_w_c, expected.T_w_c)
    assert (other[3].index, other[3].time_s) == (this[3].index, this[3].time_s)
    assert (other[3].image != this[3].image).any()
    assert recording(other_camera(other)).images == recording(this).images


@pytest.mark.parametrize(("name", "partner"), [("image_02", "image_03"), ("image_01", "image_00")])
def test_partner_in_kitti_raw_with_a_gap(raw: Path, name: str, partner: str) -> None:
    this = open_sequence(raw, camera=name)
    other = recording(other_camera(this))
    assert [path.parent.parent.name for path in other.images] == [partner] * 4
    assert other.numbers.tolist() == [0, 1, 2, 5]
    np.testing.assert_array_equal(other.timestamps, this.timestamps)
    expected = recording(open_sequence(raw, camera=partner))
    assert other.camera == expected.camera
    np.testing.assert_array_equal(other.T_c0_c, expected.T_c0_c)


def test_only_frames_of_this_camera_are_taken(odometry: Path) -> None:
    for i in (3, 4):
        (odometry / f"sequences/00/image_2/{i:06d}.png").unlink()
    other = recording(other_camera(open_sequence(odometry)))
    assert [path.name for path in other.images] == ["000000.png", "000001.png", "000002.png"]


def test_view_keeps_its_frames_and_size(odometry: Path) -> None:
    this = open_sequence(odometry, size=(20, 15), start=1, stride=2)
    other = other_camera(this)
    assert [other[i].index for i in range(len(other))] == [1, 3]
    assert other[0].image.shape == (15, 20, 3)
    assert other.camera == other[0].camera
    assert other.camera.fx == 25.5  # image_3's own 51 px, halved
    np.testing.assert_array_equal(T_other_this(this), T_other_this(open_sequence(odometry)))
    same_size = other_camera(open_sequence(odometry, start=1))
    assert same_size.camera == same_size[0].camera


def test_left_to_right_is_a_shift_by_the_baseline(odometry: Path, raw: Path) -> None:
    for data, left, right in ((odometry, "image_0", "image_1"), (raw, "image_00", "image_01")):
        T_right_left = T_other_this(open_sequence(data, camera=left))
        expected = np.eye(4)
        expected[0, 3] = -27 / 50
        np.testing.assert_allclose(T_right_left, expected)
        T_left_right = T_other_this(open_sequence(data, camera=right))
        np.testing.assert_allclose(T_left_right @ T_right_left, np.eye(4), atol=1e-15)
        other = other_camera(open_sequence(data, camera=left))
        np.testing.assert_array_equal(T_other_this(other), T_left_right)


def test_point_is_seen_further_left_on_the_right(odometry: Path) -> None:
    left = recording(open_sequence(odometry, camera="image_2"))
    right = recording(other_camera(left))
    p_left = np.array([1.0, -0.5, 10.0, 1.0])
    p_right = T_other_this(left) @ p_left
    # the shift agrees with the cameras' places along x; y and z differ by millimetres
    exact = np.linalg.inv(right.T_c0_c) @ left.T_c0_c @ p_left
    np.testing.assert_allclose(p_right, exact, atol=3e-3)
    assert p_right[0] == pytest.approx(exact[0])
    assert right.camera.project(p_right[:3])[0] < left.camera.project(p_left[:3])[0]


def test_depth_and_masks_stay_with_their_camera(odometry: Path) -> None:
    for name, dtype in (("depth", np.uint16), ("moving", np.uint8)):
        (odometry / "sequences/00" / name).mkdir()
        path = odometry / "sequences/00" / name / "000000.png"
        assert cv2.imwrite(str(path), np.full((30, 40), 200, dtype))
    this = open_sequence(odometry)
    assert this[0].depth is not None
    other = other_camera(this)
    assert (other[0].depth, other[0].moving) == (None, None)


def test_missing_folder_is_named(kitti: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"00/image_1: no such folder; add the images .* of 00"):
        other_camera(open_sequence(kitti(calib=CALIB)))
    write_drive(tmp_path / "raw")
    with pytest.raises(InputError, match=r"0052_sync/image_03/data: no such folder; add the image"):
        other_camera(open_sequence(tmp_path / "raw"))


def test_missing_frames_are_listed(odometry: Path, raw: Path) -> None:
    for i in (1, 3):
        (odometry / f"sequences/00/image_3/{i:06d}.png").unlink()
    with pytest.raises(
        InputError, match=r"image_3: frames are missing that the other .*: 1, 3; re"
    ):
        other_camera(open_sequence(odometry))
    next(raw.glob("*/*/image_03/data/0000000005.png")).unlink()
    with pytest.raises(InputError, match=r"image_03/data: frames are missing .*: 5; restore"):
        other_camera(open_sequence(raw))


def test_camera_that_is_not_calibrated(odometry: Path, raw: Path) -> None:
    (odometry / "sequences/00/calib.txt").write_text(CALIB.replace("P3", "X"))
    with pytest.raises(InputError, match=r"calib\.txt: has no line P3:, which image_3 needs"):
        other_camera(open_sequence(odometry))
    with pytest.raises(InputError, match="00: the baseline to image_3 is not known; its calibra"):
        T_other_this(open_sequence(odometry))
    (raw / "2011_09_26/calib_cam_to_cam.txt").write_text(CAM_TO_CAM.replace("P_rect_03", "X"))
    with pytest.raises(InputError, match="has no line P_rect_03:, which image_03 needs"):
        other_camera(open_sequence(raw))


def test_images_of_another_size(odometry: Path) -> None:
    for path in (odometry / "sequences/00/image_3").iterdir():
        assert cv2.imwrite(str(path), np.zeros((15, 20, 3), np.uint8))
    with pytest.raises(InputError, match=r"has images of 20x15 pixels, the other camera of 40x30"):
        other_camera(open_sequence(odometry))


def test_single_camera_has_no_partner(images: Callable[..., Path], movie) -> None:
    for sequence in (
        open_sequence(images()),
        open_sequence(images(name="data")),  # not a `data` folder of KITTI raw
        open_sequence(movie(), intrinsics="60,60,31.5,23.5"),
    ):
        for ask in (other_camera, T_other_this):
            with pytest.raises(InputError, match="is no camera of a stereo pair; stereo pairs are"):
                ask(sequence)


@pytest.mark.real_data
def test_real_recordings_lack_the_right_camera(real_data: Path) -> None:
    with pytest.raises(InputError, match=r"image_03/data: no such folder"):
        other_camera(open_sequence(real_data / "kitti_raw"))
    with pytest.raises(InputError, match=r"03/image_1: no such folder"):
        other_camera(open_sequence(real_data / "kitti_odometry", "03"))
