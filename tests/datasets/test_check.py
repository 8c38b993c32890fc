from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vo.datasets.check import Problem, check_data
from vo.datasets.errors import InputError


def problems(data: Path, seq: str | None = None) -> set[tuple[str, str, str]]:
    found = check_data(data, seq)
    return {(Path(p.where).name, p.what, p.severity) for p in found}


def test_sound_data_have_no_problems(kitti, images) -> None:
    assert check_data(kitti()) == []
    assert check_data(images()) == []


def test_every_problem_of_a_kitti_sequence_is_found_at_once(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=12, suffix=".jpg")
    folder = root / "sequences" / "00"
    frame = [folder / "image_0" / f"{i:06d}.jpg" for i in range(12)]
    frame[2].write_bytes(frame[2].read_bytes()[:-20])
    frame[3].write_bytes(b"")
    frame[5].write_bytes(frame[4].read_bytes())
    cv2.imwrite(str(frame[6]), np.zeros((31, 40, 3), np.uint8))
    for i in (8, 9):
        frame[i].unlink()
    (folder / "calib.txt").write_text("P1: 1 2 3\n")
    (folder / "times.txt").write_text("".join(f"{t}\n" for t in [*range(10), 9]))
    (root / "poses" / "00.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 nan\n" * 12)
    found = problems(root)
    cut = next(what for where, what, _ in found if where == "000002.jpg")
    assert cut.startswith("is truncated (JPEG ends after")
    assert found - {("000002.jpg", cut, "error")} == {
        ("000003.jpg", "is empty (0 bytes)", "error"),
        ("000005.jpg", "repeats 000004.jpg exactly", "warning"),
        ("000006.jpg", "has 40x31 pixels, the others have 40x30", "error"),
        ("image_0", "frames 8 to 9 are missing (2)", "error"),
        ("calib.txt", "line 1: P1 has 3 numbers, not 12", "error"),
        ("times.txt", "has 11 times, but the images go up to frame 11", "error"),
        ("00.txt", "line 1: 'nan' is no finite number", "error"),
    }


def test_counts_that_are_too_large_are_warnings(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=4, poses=9)
    (root / "sequences/00/times.txt").write_text("0\n1\n2\n3\n4\n")
    assert problems(root) == {
        ("00.txt", "has 9 poses, the images end at frame 3", "warning"),
        ("times.txt", "has 5 times, the images end at frame 3", "warning"),
    }


def test_times_that_do_not_increase_and_poses_that_do_not_turn(kitti) -> None:
    root = kitti(frames=3)
    (root / "sequences/00/times.txt").write_text("0\n0.2\n0.1\n")
    (root / "poses/00.txt").write_text("1 0 0 0 0 1 0 0 0 0 1.1 0\n" * 3)
    assert {where for where, _, severity in problems(root) if severity == "error"} == {
        "times.txt",
        "00.txt",
    }


def test_cameras_of_different_length_and_without_projection(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=4, cameras=("image_0", "image_1"))
    (root / "sequences/00/image_1/000003.png").unlink()
    assert problems(root) == {
        ("image_1", "has frames 0 to 2, but image_0 has frames 0 to 3", "error"),
        ("calib.txt", "has no line P1:, which image_1 needs; it has P0", "error"),
    }


def test_depth_and_masks(kitti: Callable[..., Path]) -> None:
    folder = kitti(frames=3) / "sequences" / "00"
    (folder / "depth").mkdir()
    cv2.imwrite(str(folder / "depth/000000.png"), np.zeros((30, 41), np.uint16))
    cv2.imwrite(str(folder / "depth/000001.png"), np.zeros((30, 40), np.uint8))
    assert problems(folder) == {
        ("000000.png", "has 41x30 pixels, the others have 40x30", "error"),
        ("000001.png", "depth has 1 channel(s) of 8 bits", "error"),
        ("depth", "1 of 3 frames have no image", "warning"),
    }


def test_all_sequences_or_one(kitti: Callable[..., Path]) -> None:
    root = kitti("03")
    kitti("04")
    (root / "sequences" / "05").mkdir()
    (root / "sequences" / "04" / "calib.txt").unlink()
    assert problems(root, "3") == set()
    assert problems(root) == {
        ("calib.txt", "no such file", "error"),
        ("05", "holds neither calib.txt nor images, and is no sequence", "warning"),
    }
    with pytest.raises(InputError, match="no sequence '06'"):
        check_data(root, "06")


def test_sequence_without_images(kitti: Callable[..., Path]) -> None:
    root = kitti(frames=0)
    found = problems(root)
    assert ("00", "holds no image_0, image_1, image_2 or image_3", "error") in found


def test_folder_of_images(images: Callable[..., Path]) -> None:
    folder = images(5, camera=False)
    (folder / "3.png").unlink()
    (folder / "times.txt").write_text("0\n1\n")
    assert problems(folder) == {
        ("walk", "1 numbers are left out, the first is 3", "warning"),
        ("walk", "has no camera file beside it; reading it needs --intrinsics", "warning"),
        ("times.txt", "has 2 times for 4 images", "error"),
    }
    (folder / "camera.yaml").write_text("fx: 1\n")
    assert ("camera.yaml", "cx, cy, fy, height, width missing", "error") in problems(folder)


def test_tum(tmp_path: Path) -> None:
    folder = tmp_path / "fr1_xyz"
    (folder / "rgb").mkdir(parents=True)
    for i in range(3):
        cv2.imwrite(str(folder / f"rgb/{i}.png"), np.full((48, 64, 3), i // 2, np.uint8))
    (folder / "rgb.txt").write_text("0 rgb/0.png\n1 rgb/1.png\n3 rgb/2.png\n2 rgb/3.png\n")
    (folder / "groundtruth.txt").write_text("0 0 0 0 0 0 0 1\n1 0 0 0 0 0 0 1\n")
    assert problems(folder) == {
        ("rgb.txt", "times do not increase: 3.000000 s is followed by 2.000000 s", "error"),
        ("3.png", "no such file, but rgb.txt names it", "error"),
        ("1.png", "repeats 0.png exactly", "warning"),
        ("groundtruth.txt", "2 of 4 images have no true pose", "warning"),
    }


def test_seven_scenes(tmp_path: Path) -> None:
    for i in (0, 1, 3):
        stem = f"{tmp_path}/frame-{i:06d}"
        cv2.imwrite(f"{stem}.color.png", np.full((48, 64, 3), i, np.uint8))
        cv2.imwrite(f"{stem}.depth.png", np.zeros((48, 60 + 4 * (i < 3)), np.uint16))
        Path(f"{stem}.pose.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")
    (tmp_path / "frame-000000.pose.txt").write_text("2 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")
    (tmp_path / "frame-000001.pose.txt").unlink()
    (tmp_path / "frame-000001.depth.png").unlink()
    found = problems(tmp_path)
    assert {
        (tmp_path.name, "frame 2 is missing", "error"),
        ("frame-000003.depth.png", "has 60x48 pixels, the others have 64x48", "error"),
        ("frame-000001.color.png", "has no pose.txt beside it, as others have", "error"),
        (tmp_path.name, "1 of 3 frames have no depth.png", "warning"),
    } <= found
    assert {where for where, _, _ in found} >= {"frame-000000.pose.txt"}
    assert len(found) == 5


def test_video(movie: Callable[..., Path]) -> None:
    path = movie(frames=20)
    no_camera = (
        "drive.mp4",
        "has no camera file beside it; reading it needs --intrinsics",
        "warning",
    )
    assert problems(path) == {no_camera}
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    ((where, what, severity),) = problems(path)
    assert (where, severity) == ("drive.mp4", "error")
    assert what.startswith("ends early: it promises 20 frames and has")
    path.write_bytes(b"nothing" * 100)
    ((_, what, _),) = problems(path)
    assert what.startswith("cannot be opened as a video")


def test_progress_counts_to_the_end(kitti: Callable[..., Path]) -> None:
    seen: list[tuple[str, int, int]] = []
    check_data(
        kitti(frames=6), progress=lambda where, done, total: seen.append((where, done, total))
    )
    assert [done for _, done, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert {total for _, _, total in seen} == {6}
    assert seen[0][0].endswith("image_0")


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty; looked for"):
        check_data(tmp_path)


@pytest.mark.real_data
def test_real_kitti_has_only_surplus_poses(real_data: Path) -> None:
    found = check_data(real_data / "kitti_odometry")
    assert [(Path(p.where).name, p.what, p.severity) for p in found] == [
        ("03.txt", "has 801 poses, the images end at frame 600", "warning"),
        ("06.txt", "has 1101 poses, the images end at frame 50", "warning"),
    ]


@pytest.mark.real_data
def test_real_scene_repeats_two_frames(real_data: Path) -> None:
    folder = real_data / "7scenes" / "redkitchen"
    assert check_data(real_data / "7scenes") == [
        Problem(str(folder / f"frame-000{i + 1}.color.jpg"), text, "warning")
        for i, text in (
            (227, "repeats frame-000227.color.jpg exactly"),
            (233, "repeats frame-000233.color.jpg exactly"),
        )
    ]


@pytest.mark.real_data
def test_real_clip_and_video_are_sound(real_data: Path) -> None:
    assert check_data(real_data / "tum_rgbd") == []
    (only,) = check_data(real_data / "video")
    assert (only.severity, "no camera file" in only.what) == ("warning", True)
