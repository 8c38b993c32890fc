from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.tum import find_sequences, nearest, open_tum

RATE = 30.0


@pytest.fixture
def tum(tmp_path: Path) -> Callable[..., Path]:
    """Make a recording of 64x48 pixels: colour at 30 Hz, depth 5 ms later, truth at 100 Hz."""

    def make(name: str = "rgbd_freiburg2_desk", frames: int = 4, truth_from: float = 0.0) -> Path:
        folder = tmp_path / name
        (folder / "rgb").mkdir(parents=True)
        (folder / "depth").mkdir()
        rgb, depth = ["# color images"], ["# depth maps"]
        for i in range(frames):
            t = 1000 + i / RATE
            cv2.imwrite(str(folder / f"rgb/{t:.6f}.png"), np.full((48, 64, 3), i, np.uint8))
            cv2.imwrite(
                str(folder / f"depth/{t + 0.005:.6f}.png"),
                np.full((48, 64), 5000 * (i + 1), np.uint16),
            )
            rgb.append(f"{t:.6f} rgb/{t:.6f}.png")
            depth.append(f"{t + 0.005:.6f} depth/{t + 0.005:.6f}.png")
        (folder / "rgb.txt").write_text("\n".join(rgb) + "\n")
        (folder / "depth.txt").write_text("\n".join(depth) + "\n")
        times = np.arange(1000 + truth_from, 1000 + frames / RATE, 0.01)
        rows = [f"{t:.4f} {t - 1000:.4f} 0 0 0 0 0 1\n" for t in times]
        (folder / "groundtruth.txt").write_text(
            "# timestamp tx ty tz qx qy qz qw\n" + "".join(rows)
        )
        return folder

    return make


def test_open_puts_images_depth_and_truth_together(tum: Callable[..., Path]) -> None:
    drive = open_tum(tum())
    assert len(drive) == 4
    np.testing.assert_allclose(drive.timestamps, 1000 + np.arange(4) / RATE, atol=1e-6)
    frame = drive[2]
    assert (frame.image == 2).all()
    assert frame.depth is not None
    assert (frame.depth == 3.0).all()  # 15000 counts of 1/5000 m
    assert frame.T_w_c is not None
    # 2/30 s = 0.0667 s: the nearest pose of the 100 Hz truth was taken at 0.07 s.
    assert frame.T_w_c[0, 3] == pytest.approx(0.07, abs=1e-9)


def test_images_before_the_truth_are_left_out_and_counted(tum, caplog) -> None:
    folder = tum(frames=5, truth_from=0.06)
    with caplog.at_level(logging.WARNING):
        drive = open_tum(folder)
    # frame 1 at 0.033 s is 27 ms from the first pose, frame 2 at 0.067 s is near one
    assert [drive[i].index for i in range(len(drive))] == [2, 3, 4]
    assert drive.T_w_c is not None
    assert len(drive.T_w_c) == 3
    assert (drive[0].image == 2).all()
    assert "2 images have no true pose and are left out" in caplog.text


def test_without_truth_and_depth_every_image_stays(tum: Callable[..., Path]) -> None:
    folder = tum()
    (folder / "groundtruth.txt").unlink()
    (folder / "depth.txt").unlink()
    drive = open_tum(folder)
    assert (len(drive), drive.T_w_c, drive[0].depth) == (4, None, None)


@pytest.mark.parametrize("name", ["rgb.txt", "depth.txt", "groundtruth.txt", "camera.yaml"])
@pytest.mark.parametrize("kind", ["folder", "loop"])
def test_what_is_no_file_is_not_taken_for_absent(tum, name: str, kind: str) -> None:
    path = tum() / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    problem = "is a folder" if kind == "folder" else "no such file"
    with pytest.raises(InputError, match=f"{name}: {problem}"):
        open_sequence(path.parent)


def test_image_without_depth_stays(tum: Callable[..., Path]) -> None:
    folder = tum()
    lines = (folder / "depth.txt").read_text().splitlines()
    (folder / "depth.txt").write_text("\n".join(lines[:1] + lines[2:]))
    drive = open_tum(folder)
    assert drive[0].depth is None
    assert drive[1].depth is not None


@pytest.mark.parametrize(
    ("name", "fx", "cy"),
    [
        ("rgbd_dataset_freiburg1_xyz", 517.3, 255.3),
        ("fr2_desk", 520.9, 249.7),
        ("FR3", 535.4, 247.6),
    ],
)
def test_published_intrinsics_by_the_name_of_the_folder(tum, name, fx, cy) -> None:
    camera = open_tum(tum(name)).camera  # the images are a tenth of 640x480
    assert camera.fx == pytest.approx(fx / 10)
    assert camera.cy == pytest.approx((cy + 0.5) / 10 - 0.5)


def test_unknown_camera_says_how_to_give_it(tum: Callable[..., Path]) -> None:
    folder = tum("my_kinect")
    with pytest.raises(
        InputError, match=r"calibration is not known; write .*camera\.yaml .*--intrin"
    ):
        open_tum(folder)
    assert open_tum(folder, "525,525,319.5,239.5,640,480").camera.fx == 52.5
    lines = "fx: 60\nfy: 60\ncx: 32\ncy: 24\nwidth: 64\nheight: 48\n"
    (folder / "camera.yaml").write_text(lines)
    assert open_tum(folder).camera.fx == 60


def test_nearest_within_the_tolerance() -> None:
    times = np.array([1.0, 1.1, 1.2])
    wanted = np.array([0.97, 0.99, 1.049, 1.105, 1.215, 1.3])
    assert nearest(times, wanted).tolist() == [-1, 0, -1, 1, 2, -1]
    assert nearest(np.array([5.0]), np.array([4.99, 5.03])).tolist() == [0, -1]


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("rgb.txt", "1000.0\n", "line 1 has no file name"),
        ("rgb.txt", "x rgb/1000.000000.png\n", "line 1: 'x' is no finite number"),
        ("rgb.txt", "# nothing\n", "is empty; write `timestamp filename`"),
        ("rgb.txt", "1000 rgb/a.png\n", "1 of 1 files are missing: a.png; .*vo-data check"),
        (
            "rgb.txt",
            "1000.1 rgb/1000.000000.png\n1000.0 rgb/1000.000000.png\n",
            "times do not increase: 1000.100000 s",
        ),
        ("depth.txt", "1000 depth/a.png\n", "1 of 1 files are missing"),
        ("groundtruth.txt", "2000 0 0 0 0 0 0 1\n", "no pose is within 0.02 s of any image"),
        ("groundtruth.txt", "1000 0 0 0 0 0 0 2\n", "groundtruth.txt: line 1"),
    ],
)
def test_damaged_text_file_is_named(tum, file: str, text: str, problem: str) -> None:
    folder = tum()
    (folder / file).write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        open_tum(folder)
    assert str(folder / file) in str(caught.value)


def test_find_sequences(tum: Callable[..., Path]) -> None:
    folder = tum()
    tum("rgbd_freiburg1_room")
    assert find_sequences(folder) == {folder.name: folder}
    assert list(find_sequences(folder.parent)) == ["rgbd_freiburg1_room", "rgbd_freiburg2_desk"]


@pytest.mark.real_data
def test_real_clip(real_data: Path) -> None:
    drive = open_sequence(real_data / "tum_rgbd", "fr2_desk_clip")
    assert (len(drive), drive.camera.fx, drive.camera.size) == (20, 520.9, (640, 480))
    assert drive.timestamps[0] == pytest.approx(1311868169.163498, abs=1e-6)
    assert drive.T_w_c is not None
    # A hand-held camera: slower than 2 m/s, and it does move.
    speed = np.linalg.norm(np.diff(drive.T_w_c[:, :3, 3], axis=0), axis=1) / np.diff(
        drive.timestamps
    )
    assert 0.01 < np.median(speed) < 2
    assert drive[19].image.shape == (480, 640, 3)
