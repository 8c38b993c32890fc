from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.kitti_odometry import find_sequences, open_kitti_odometry, read_calibration
from vo.datasets.recording import Recording, missing_numbers

# calib.txt of KITTI's sequences 00 to 02.
CALIB_00 = """P0: 718.856 0 607.1928 0 0 718.856 185.2157 0 0 0 1 0
P1: 718.856 0 607.1928 -386.1448 0 718.856 185.2157 0 0 0 1 0
P2: 718.856 0 607.1928 45.38225 0 718.856 185.2157 -0.1130887 0 0 1 0.003779761
P3: 718.856 0 607.1928 -337.2877 0 718.856 185.2157 2.369057 0 0 1 0.004915215
Tr: 1 0 0 0 0 1 0 0 0 0 1 0
"""


def test_open_reads_everything_but_pixels(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=4, poses=9)
    drive = open_kitti_odometry(root / "sequences" / "00")
    assert (drive.name, len(drive), drive.camera.size) == ("00", 4, (40, 30))
    assert (drive.camera.fx, drive.camera.cx, drive.camera.cy) == (50, 19.5, 14.5)
    np.testing.assert_allclose(drive.timestamps, [0, 0.1, 0.2, 0.3])
    assert drive.T_w_c is not None
    assert drive.T_w_c[:, 2, 3].tolist() == [0, 1, 2, 3]  # the file has nine
    frame = drive[2]
    assert (frame.index, frame.time_s, frame.depth, frame.moving) == (2, 0.2, None, None)
    assert frame.image.shape == (30, 40, 3)
    assert frame.T_w_c is not None
    assert frame.T_w_c[2, 3] == 2
    with pytest.raises(IndexError):
        drive[4]
    with pytest.raises(ValueError, match="read-only"):
        drive.timestamps[0] = 1


def test_without_poses_there_is_no_truth(kitti: Callable[..., Path]) -> None:
    root = kitti()
    (root / "poses" / "00.txt").unlink()
    drive = open_kitti_odometry(root / "sequences" / "00")
    assert drive.T_w_c is None
    assert drive[0].T_w_c is None


def test_poses_that_are_no_file_are_not_taken_for_absent(kitti: Callable[..., Path]) -> None:
    root = kitti()
    path = root / "poses" / "00.txt"
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(InputError, match=r"00\.txt: no such file"):
        open_kitti_odometry(root / "sequences" / "00")


def test_baseline_and_camera_positions_of_the_published_calibration(kitti) -> None:
    cameras = ("image_0", "image_1", "image_2", "image_3")
    folder = kitti(frames=1, cameras=cameras, calib=CALIB_00) / "sequences" / "00"
    drives = {name: open_kitti_odometry(folder, name) for name in cameras}
    # KITTI's paper gives 0.54 m for both pairs; 386.1448 / 718.856 = 0.5372.
    assert drives["image_0"].baseline_m == pytest.approx(0.53717, abs=1e-5)
    assert drives["image_1"].baseline_m == drives["image_0"].baseline_m
    assert drives["image_2"].baseline_m == pytest.approx(0.5323, abs=1e-3)
    x = {name: drive.T_c0_c[0, 3] for name, drive in drives.items()}
    assert x["image_0"] == 0
    assert x["image_1"] == pytest.approx(0.53717, abs=1e-5)  # on the right, along +x
    assert x["image_2"] == pytest.approx(-0.06, abs=1e-3)  # 6 cm left of the left grey camera
    assert x["image_3"] > x["image_2"]
    for drive in drives.values():
        np.testing.assert_array_equal(drive.T_w_c, drives["image_0"].T_w_c)


def test_point_seen_through_T_c0_c_is_where_the_projection_puts_it(kitti) -> None:
    folder = kitti(frames=1, cameras=("image_0", "image_3"), calib=CALIB_00) / "sequences" / "00"
    drive = open_kitti_odometry(folder, "image_3")
    P = read_calibration(folder / "calib.txt").projections["P3"]
    p_c0 = np.array([1.0, -0.5, 12.0, 1.0])
    p_c = np.linalg.inv(drive.T_c0_c) @ p_c0
    u, v, w = P @ p_c0
    np.testing.assert_allclose(drive.camera.project(p_c[:3]), [u / w, v / w], atol=1e-9)


def test_default_camera_is_the_left_colour_one(kitti: Callable[..., Path]) -> None:
    folder = kitti(cameras=("image_0", "image_2"), calib=CALIB_00) / "sequences" / "00"
    colour = open_kitti_odometry(folder)
    assert colour.images[0].parent.name == "image_2"
    assert colour.baseline_m is not None  # P3 is there, though image_3 is not
    with pytest.raises(InputError, match=r"--camera: is 'image_1'.*choose from image_2, image_0"):
        open_kitti_odometry(folder, "image_1")


def test_pair_without_calibration_has_no_baseline(kitti: Callable[..., Path]) -> None:
    assert open_kitti_odometry(kitti() / "sequences" / "00").baseline_m is None


def test_projection_with_the_wrong_sign_is_refused(kitti: Callable[..., Path]) -> None:
    root = kitti(calib=CALIB_00.replace("-386.1448", "386.1448"))
    with pytest.raises(
        InputError, match=r"calib\.txt: P1 stands 0\.537 m left of P0; check the sign"
    ):
        open_kitti_odometry(root / "sequences" / "00")


def test_depth_and_moving_are_read_where_they_exist(kitti: Callable[..., Path]) -> None:
    folder = kitti(frames=3) / "sequences" / "00"
    for name in ("depth", "moving"):
        (folder / name).mkdir()
    counts = np.full((30, 40), 2560, np.uint16)
    counts[0] = 0
    cv2.imwrite(str(folder / "depth" / "000001.png"), counts)
    mask = np.zeros((30, 40), np.uint8)
    mask[5] = 255
    cv2.imwrite(str(folder / "moving" / "000001.png"), mask)
    drive = open_kitti_odometry(folder)
    assert drive[0].depth is None
    assert drive[0].moving is None
    frame = drive[1]
    assert frame.depth is not None
    assert frame.moving is not None
    assert frame.depth[1, 0] == 10.0
    assert (frame.depth[0] == 0).all()
    assert frame.moving.sum() == 40


def test_frames_that_start_later_keep_their_times_and_poses(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=6)
    for i in range(2):
        (root / "sequences" / "00" / "image_0" / f"{i:06d}.png").unlink()
    drive = open_kitti_odometry(root / "sequences" / "00")
    assert drive[0].index == 2
    assert drive[0].time_s == pytest.approx(0.2)
    assert drive[0].T_w_c is not None
    assert drive[0].T_w_c[2, 3] == 2


def test_sequence_is_found_by_number_and_from_its_own_folder(kitti: Callable[..., Path]) -> None:
    root = kitti("03")
    kitti("09")
    assert list(find_sequences(root)) == ["03", "09"]
    assert open_sequence(root, "9").name == open_sequence(root, "09").name == "09"
    assert open_sequence(root / "sequences", "3").name == "03"
    alone = open_sequence(root / "sequences" / "03")
    assert (alone.name, alone.T_w_c is not None) == ("03", True)
    with pytest.raises(
        InputError, match=r"--seq: there is no sequence '11' in .*; it holds 03, 09"
    ):
        open_sequence(root, "11")
    with pytest.raises(InputError, match="holds 2 sequences; choose one with --seq: 03, 09"):
        open_sequence(root)


# --- damage


def _open(root: Path) -> Recording:
    return open_kitti_odometry(root / "sequences" / "00")


def test_missing_frames_are_listed(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=9)
    for i in (2, 3, 6):
        (root / "sequences" / "00" / "image_0" / f"{i:06d}.png").unlink()
    with pytest.raises(InputError, match=r"image_0: frames are missing: 2, 3, 6; .*vo-data check"):
        _open(root)


def test_missing_numbers_are_those_between() -> None:
    assert missing_numbers(np.array([4, 5, 8, 9, 11])) == [6, 7, 10]
    assert missing_numbers(np.array([3])) == []


def test_truncated_image_in_the_middle_is_named_when_it_is_reached(kitti) -> None:
    root = kitti(frames=5, suffix=".jpg")
    path = root / "sequences" / "00" / "image_0" / "000002.jpg"
    path.write_bytes(path.read_bytes()[:-30])
    drive = _open(root)
    assert drive[1].index == 1
    with pytest.raises(InputError, match=r"000002\.jpg: is truncated"):
        drive[2]
    assert drive[3].index == 3


def test_image_of_another_size_is_named(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=3)
    cv2.imwrite(str(root / "sequences/00/image_0/000001.png"), np.zeros((31, 40, 3), np.uint8))
    with pytest.raises(
        InputError, match=r"000001\.png: has 40x31 pixels, the first image has 40x30"
    ):
        _open(root)[1]


def test_empty_sequence(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=0)
    (root / "sequences" / "00" / "calib.txt").write_text(CALIB_00)
    with pytest.raises(InputError, match="holds no image_0, image_1, image_2 or image_3"):
        _open(root)
    (root / "sequences" / "00" / "image_0").mkdir()
    with pytest.raises(InputError, match=r"image_0: holds no images of frames; .*000000\.png"):
        _open(root)


def test_one_frame_as_png_and_jpg(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=2)
    folder = root / "sequences" / "00" / "image_0"
    (folder / "000001.jpg").write_bytes((folder / "000001.png").read_bytes())
    with pytest.raises(InputError, match=r"000001\.jpg and 000001\.png are the same frame"):
        _open(root)


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("sequences/00/calib.txt", CALIB_00.split("\n", 1)[1], r"calib\.txt: has no line P0:"),
        ("sequences/00/calib.txt", "P0: 1 2 3\n", "line 1: P0 has 3 numbers, not 12"),
        ("sequences/00/calib.txt", CALIB_00.replace("718.856", "x", 1), "line 1: 'x' is no finite"),
        ("sequences/00/calib.txt", CALIB_00.replace("718.856", "nan", 1), "'nan' is no finite"),
        ("sequences/00/calib.txt", CALIB_00.replace("718.856", "-7", 1), "line 1: P0 is no proj"),
        ("sequences/00/calib.txt", CALIB_00 * 2, "line 6: P0 is given twice"),
        ("sequences/00/calib.txt", "", "is empty"),
        ("sequences/00/times.txt", "0\n0.1\n0.2\n", r"times\.txt: has 3 times, but .* frame 4"),
        ("sequences/00/times.txt", "0\n0.1\n0.1\n0.2\n0.3\n", "do not increase: 0.100000 s is"),
        ("sequences/00/times.txt", "0\n0.1\nx\n0.2\n0.3\n", "line 3: 'x' is no finite number"),
        ("poses/00.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n" * 4, r"00\.txt: has 4 poses, but .* frame 4"),
        ("poses/00.txt", "1 0 0 nan 0 1 0 0 0 0 1 0\n" * 5, "'nan' is no finite number"),
        ("poses/00.txt", "2 0 0 0 0 1 0 0 0 0 1 0\n" * 5, "is no rotation"),
        ("poses/00.txt", "1 0 0 0 0 1 0 0 0 0 1\n" * 5, "line 1 has 11 numbers"),
    ],
)
def test_damaged_text_file_is_named(kitti, file: str, text: str, problem: str) -> None:
    root = kitti(frames=5)
    (root / file).write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        _open(root)
    assert "\n" not in str(caught.value)
    assert str(root / file) in str(caught.value)


@pytest.mark.parametrize("file", ["calib.txt", "times.txt"])
def test_missing_text_file_is_named(kitti: Callable[..., Path], file: str) -> None:
    root = kitti()
    (root / "sequences" / "00" / file).unlink()
    with pytest.raises(InputError, match=f"{file}: no such file; .+"):
        _open(root)


def test_camera_without_its_projection(kitti: Callable[..., Path]) -> None:
    root = kitti(cameras=("image_2",))
    with pytest.raises(InputError, match="has no line P2:, which image_2 needs; it has P0"):
        _open(root)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_calibrations_end_as_input_error_or_projections(tmp_path: Path, data) -> None:
    at = data.draw(st.integers(0, len(CALIB_00)))
    cut = data.draw(st.integers(0, 40))
    piece = data.draw(st.one_of(st.binary(max_size=12), st.text(max_size=12).map(str.encode)))
    path = tmp_path / "calib.txt"
    path.write_bytes(CALIB_00[:at].encode() + piece + CALIB_00[at + cut :].encode())
    try:
        calibration = read_calibration(path)
        calibration.baseline_m("image_0")
    except InputError as error:
        _check_line(str(error), path)
    else:
        camera = calibration.camera("image_0", 40, 30)
        assert np.isfinite(camera.K).all()
        assert camera.fx > 0


def _check_line(message: str, path: Path) -> None:
    assert str(path) in message
    assert "\n" not in message


# --- real recordings


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("seq", "frames", "size", "fx", "path_m"),
    # lengths of the paths of the frames that are there, summed from the published poses
    [("03", 601, (1242, 375), 721.5377, 449.2), ("06", 51, (1226, 370), 707.0912, 59.9)],
)
def test_real_sequences(real_data: Path, seq, frames, size, fx, path_m) -> None:
    drive = open_sequence(real_data / "kitti_odometry", seq)
    assert (len(drive), drive.camera.size, drive.camera.fx) == (frames, size, fx)
    np.testing.assert_allclose(np.diff(drive.timestamps), 0.1, atol=1e-9)
    assert drive.T_w_c is not None
    assert np.linalg.norm(np.diff(drive.T_w_c[:, :3, 3], axis=0), axis=1).sum() == pytest.approx(
        path_m, abs=0.05
    )
    frame = drive[frames - 1]
    assert frame.image.shape == (size[1], size[0], 3)
    assert (frame.image[..., 0] == frame.image[..., 2]).all()  # grey
    assert 40 < frame.image.mean() < 200
