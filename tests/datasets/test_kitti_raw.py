from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from kitti_raw_drive import CAM_TO_CAM, write_drive, write_packets

from vo.datasets import list_sequences, open_sequence
from vo.datasets.check import check_data
from vo.datasets.errors import InputError
from vo.datasets.kitti_raw import open_kitti_raw
from vo.datasets.oxts import EARTH_RADIUS_M
from vo.datasets.recording import Recording

NAME = "2011_09_26_drive_0052_sync"


def problems(data: Path) -> set[tuple[str, str, str]]:
    return {(Path(p.where).name, p.what, p.severity) for p in check_data(data)}


def packets(east: np.ndarray, north: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """(N, 6) packets of places in metres around 49 N 8.4 E, on a sphere: no projection here."""
    latitude = 49 + np.degrees(north / EARTH_RADIUS_M)
    longitude = 8.4 + np.degrees(east / (EARTH_RADIUS_M * np.cos(np.radians(49))))
    level = np.zeros_like(yaw)
    return np.stack([latitude, longitude, level + 115, level, level, yaw], axis=-1)


def test_open_reads_everything_but_pixels(tmp_path: Path) -> None:
    drive = open_kitti_raw(write_drive(tmp_path))
    assert (drive.name, len(drive), drive.camera.size) == (NAME, 4, (40, 30))
    assert (drive.camera.fx, drive.camera.cx, drive.camera.cy) == (50, 19.5, 14.5)
    assert drive.baseline_m == pytest.approx(0.53, abs=1e-3)  # (3 + 23.5) / 50
    assert drive.T_w_c is None
    frame = drive[2]
    assert (frame.index, frame.T_w_c, frame.depth) == (2, None, None)
    assert frame.time_s == pytest.approx(0.2)
    assert frame.image.shape == (30, 40, 3)


@pytest.mark.parametrize("place", [".", "2011_09_26", f"2011_09_26/{NAME}"])
@pytest.mark.parametrize("seq", [None, "0052", "52", NAME])
def test_drive_is_found_from_everywhere_by_every_name(tmp_path, place: str, seq) -> None:
    write_drive(tmp_path, suffix=".jpg")
    assert list_sequences(tmp_path / place) == [NAME]
    drive = open_sequence(tmp_path / place, seq)
    assert isinstance(drive, Recording)
    assert drive.name == NAME
    assert drive.images[3].name == "0000000003.jpg"


def test_number_that_two_dates_share(tmp_path: Path) -> None:
    for date, number in (("2011_09_26", 1), ("2011_09_26", 2), ("2011_09_28", 1)):
        write_drive(tmp_path, number, date=date)
    names = [f"2011_09_{n}_sync" for n in ("26_drive_0001", "26_drive_0002", "28_drive_0001")]
    assert list_sequences(tmp_path) == names
    assert open_sequence(tmp_path, "0002").name == names[1]
    assert open_sequence(tmp_path / "2011_09_28", "0001").name == names[2]
    with pytest.raises(
        InputError,
        match=rf"--seq: '0001' stands for 2 sequences in .*whole name: {names[0]}, {names[2]}$",
    ):
        open_sequence(tmp_path, "0001")
    with pytest.raises(InputError, match="--seq: there is no sequence '0003'"):
        open_sequence(tmp_path, "0003")


def test_camera_is_chosen(tmp_path: Path) -> None:
    cameras = ("image_00", "image_01", "image_02", "image_03")
    drive = write_drive(tmp_path, cameras=cameras)
    opened = {name: open_sequence(tmp_path, camera=name) for name in cameras}
    for name, sequence in opened.items():
        assert isinstance(sequence, Recording)
        assert sequence.images[0].parent == drive / name / "data"
    default = open_kitti_raw(drive)
    assert default.images[0].parent.parent.name == "image_02"
    # P_rect_03 moves points 23.5 / 50 m to the left: the camera stands that far to the right.
    right = open_kitti_raw(drive, "image_03")
    assert right.T_c0_c[0, 3] == pytest.approx(0.47, abs=1e-2)
    grey = open_kitti_raw(write_drive(tmp_path, 53, cameras=("image_01", "image_00")))
    assert grey.images[0].parent.parent.name == "image_00"
    with pytest.raises(InputError, match=r"--camera: is 'image_2'.*choose from image_02, image_00"):
        open_sequence(tmp_path, "52", camera="image_2")


def test_flags_that_do_not_suit(tmp_path: Path) -> None:
    write_drive(tmp_path)
    with pytest.raises(InputError, match=r"--intrinsics: .*or edit its calib_cam_to_cam\.txt"):
        open_sequence(tmp_path, intrinsics="1,1,1,1")
    with pytest.raises(InputError, match=r"--fps: .* has its own times"):
        open_sequence(tmp_path, fps=10.0)


# --- times


def test_missing_frames_are_left_out_and_times_jump(tmp_path: Path) -> None:
    drive = open_kitti_raw(write_drive(tmp_path, frames=(1, 2, 5)))
    assert drive.numbers.tolist() == [1, 2, 5]
    np.testing.assert_allclose(drive.timestamps, [0.1, 0.2, 0.5], atol=1e-9)
    assert drive[2].index == 5


def test_times_keep_their_nanoseconds_and_empty_lines_their_place(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, frames=(0, 2, 3))
    times = ["2011-09-26 23:59:59.951199337", "", "2011-09-27 00:00:00.054911937"]
    (folder / "image_02" / "timestamps.txt").write_text("\n".join([*times, times[2][:-1] + "8"]))
    drive = open_kitti_raw(folder)
    assert drive.timestamps.tolist() == [0, 0.1037126, 0.103712601]  # exact, over midnight


def test_without_times_it_is_10_hz(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, frames=(0, 1, 4))
    (folder / "image_02" / "timestamps.txt").unlink()
    np.testing.assert_allclose(open_kitti_raw(folder).timestamps, [0, 0.1, 0.4])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2011-09-26 13:02:25\n" * 4, "times do not increase: 0.000000 s is followed by 0.000000"),
        ("2011-09-26 13:02:25\n", "has no time of frames 1, 2, 3; restore it, or remove the file"),
        ("2011-09-26 25:02:25\n" * 4, "line 1: '2011-09-26 25:02:25' is no time; write it as 2011"),
        ("today\n" * 4, "line 1: 'today' is no time"),
        ("", "is empty"),
    ],
)
def test_damaged_times_are_named(tmp_path: Path, text: str, problem: str) -> None:
    path = write_drive(tmp_path) / "image_02" / "timestamps.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        open_sequence(tmp_path)
    assert str(caught.value).startswith(str(path))


# --- true poses


def test_circle_of_the_camera(tmp_path: Path) -> None:
    angle, radius = np.linspace(0, np.pi, 7), 20.0
    folder = write_drive(tmp_path, frames=tuple(range(7)))
    # The unit sits in the camera, and drives counter-clockwise from the south of the circle,
    # where it looks east.
    (folder.parent / "calib_velo_to_cam.txt").write_text("R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 0\n")
    (folder.parent / "calib_imu_to_velo.txt").write_text("R: 1 0 0 0 1 0 0 0 1\nT: 0 0 0\n")
    write_packets(folder, packets(radius * np.sin(angle), radius * (1 - np.cos(angle)), angle))
    T_w_c = open_kitti_raw(folder).T_w_c
    assert T_w_c is not None
    np.testing.assert_allclose(T_w_c[0], np.eye(4), atol=1e-12)
    # Seen from the first camera (x right, z forward) this is a circle to the left. Degrees and
    # the projection differ by north^2 tan(49 deg) / 2 r: 0.15 mm at 40 m.
    expected = np.stack([-radius * (1 - np.cos(angle)), 0 * angle, radius * np.sin(angle)], -1)
    np.testing.assert_allclose(T_w_c[:, :3, 3], expected, atol=5e-4)
    ahead = np.stack([-np.sin(angle), 0 * angle, np.cos(angle)], axis=-1)
    np.testing.assert_allclose(T_w_c[:, :3, 2], ahead, atol=1e-9)
    np.testing.assert_allclose(T_w_c[:, :3, 1], np.tile([0, 1, 0], (7, 1)), atol=1e-9)


def test_camera_swings_around_a_unit_that_turns_on_the_spot(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, frames=(0, 1))
    write_packets(folder, packets(np.zeros(2), np.zeros(2), np.array([-0.2, 0.3])))
    T_w_c = open_kitti_raw(folder).T_w_c
    assert T_w_c is not None
    # The camera stands (0.27 + 0.8, -0.3) m from the unit's axis, seen from above.
    arm = np.hypot(1.07, 0.3)
    assert np.linalg.norm(T_w_c[1, :3, 3]) == pytest.approx(2 * arm * np.sin(0.25), abs=1e-9)
    assert T_w_c[1, 0, 3] < 0  # a turn to the left swings it to the left


def test_poses_are_those_of_camera_0_from_the_first_frame_on(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, frames=(2, 3, 5), cameras=("image_02", "image_03"))
    write_packets(folder, packets(np.arange(6.0) ** 2, np.zeros(6), np.zeros(6)))
    left, right = (open_kitti_raw(folder, name) for name in ("image_02", "image_03"))
    assert left.T_w_c is not None
    np.testing.assert_array_equal(left.T_w_c, right.T_w_c)
    np.testing.assert_allclose(left.T_w_c[:, 2, 3], [0, 9 - 4, 25 - 4], atol=1e-6)
    assert not left.T_w_c.flags.writeable


@pytest.mark.parametrize("lacking", ["calib_velo_to_cam.txt", "calib_imu_to_velo.txt", "R_rect_00"])
def test_without_the_whole_calibration_there_are_no_poses(tmp_path: Path, lacking: str) -> None:
    folder = write_drive(tmp_path)
    write_packets(folder, packets(np.arange(4.0), np.zeros(4), np.zeros(4)))
    assert open_kitti_raw(folder).T_w_c is not None
    if lacking == "R_rect_00":
        text = CAM_TO_CAM.replace("R_rect_00", "R_rect")
        (folder.parent / "calib_cam_to_cam.txt").write_text(text)
        lacking = "R_rect_00 in calib_cam_to_cam.txt"
    else:
        (folder.parent / lacking).unlink()
    assert open_kitti_raw(folder).T_w_c is None
    assert problems(tmp_path) == {("data", f"gives no true poses without {lacking}", "warning")}


def test_frame_without_packet_is_an_error(tmp_path: Path) -> None:
    folder = write_drive(tmp_path)
    write_packets(folder, packets(np.arange(3.0), np.zeros(3), np.zeros(3)))
    with pytest.raises(InputError, match=r"oxts/data: has no packets of frames 3; restore them"):
        open_kitti_raw(folder)


# --- damage


@pytest.mark.parametrize("what", ["image_02/timestamps.txt", "oxts/data"])
def test_what_is_there_but_no_file_is_refused_rather_than_left_out(
    tmp_path: Path, what: str
) -> None:
    """A link that leads nowhere is a disk that is not mounted, not a drive without truth."""
    folder = write_drive(tmp_path)
    path = folder / what
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=re.escape(what.split("/")[-1])):
        open_kitti_raw(folder)


def test_missing_calibration_is_named(tmp_path: Path) -> None:
    folder = write_drive(tmp_path)
    (folder.parent / "calib_cam_to_cam.txt").unlink()
    with pytest.raises(InputError, match=r"2011_09_26/calib_cam_to_cam\.txt: no such file; unpack"):
        open_kitti_raw(folder)


def test_unrectified_drive_is_not_taken_for_a_rectified_one(tmp_path: Path) -> None:
    folder = write_drive(tmp_path)
    folder.rename(folder.with_name(NAME.replace("sync", "extract")))
    with pytest.raises(
        InputError, match=r"looked for .*KITTI raw .*_drive_0052_sync/image_02/data"
    ):
        open_sequence(tmp_path)


def test_sound_drive_has_no_problems(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, cameras=("image_00", "image_01", "image_02", "image_03"))
    write_packets(folder, packets(np.arange(4.0), np.zeros(4), np.zeros(4)))
    assert check_data(tmp_path) == []


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, frames=(0, 1, 4, 5), cameras=("image_02", "image_03"))
    data = folder / "image_02" / "data"
    (data / "0000000001.png").write_bytes(b"")
    (folder / "image_03/data/0000000005.png").unlink()
    (folder / "image_03/timestamps.txt").unlink()
    (folder / "image_02/timestamps.txt").write_text("2011-09-26 13:02:25\n")
    text = CAM_TO_CAM.replace("P_rect_03", "Q").replace("S_rect_02: 40", "S_rect_02: 400")
    (folder.parent / "calib_cam_to_cam.txt").write_text(text)
    (folder.parent / "2011_09_26_drive_0060_sync" / "velodyne_points").mkdir(parents=True)
    found = problems(tmp_path)
    shape = next(what for where, what, _ in found if "was calibrated at" in what)
    assert shape.startswith("was calibrated at 400x30 pixels, the images have 40x30")
    assert found == {
        ("2011_09_26_drive_0060_sync", "holds no image_00 to image_03, and is no sequence",
         "warning"),
        ("0000000001.png", "is empty (0 bytes)", "error"),
        ("image_02", "frames 2 to 3 are missing (2)", "warning"),
        ("image_03", "frames 2 to 3 are missing (2)", "warning"),
        ("image_03", "has frames 0 to 4, but image_02 has frames 0 to 5", "warning"),
        ("timestamps.txt", "has no time of frames 1, 4, 5", "error"),
        ("timestamps.txt", "no such file; times are taken from 10 Hz", "warning"),
        ("calib_cam_to_cam.txt", shape, "error"),
        ("calib_cam_to_cam.txt", "has no line P_rect_03:, which image_03 needs; it has P_rect_00, "
         "P_rect_01, P_rect_02", "error"),
    }  # fmt: skip


@pytest.mark.real_data
def test_real_drive(real_data: Path) -> None:
    drive = open_sequence(real_data / "kitti_raw", "0052")
    assert isinstance(drive, Recording)
    assert (drive.name, len(drive), drive.camera.size) == (NAME, 8, (1242, 375))
    assert (drive.camera.fx, drive.camera.cx, drive.camera.cy) == (721.5377, 609.5593, 172.854)
    assert (drive.T_w_c, drive.baseline_m) == (None, None)
    assert drive.T_c0_c[0, 3] == pytest.approx(-0.06, abs=1e-3)
    np.testing.assert_allclose(np.diff(drive.timestamps), 0.1)
    image = drive[7].image
    assert image.shape == (375, 1242, 3)
    assert (image[..., 0] != image[..., 2]).any()  # colour
    # neighbouring frames are alike and not the same
    assert 1 < np.abs(image.astype(float) - drive[6].image).mean() < 40


@pytest.mark.real_data
def test_real_drive_is_sound_but_for_its_times(real_data: Path) -> None:
    times = "no such file; times are taken from 10 Hz"
    assert problems(real_data / "kitti_raw") == {("timestamps.txt", times, "warning")}
