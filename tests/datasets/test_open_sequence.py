from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vo.datasets import list_sequences, open_sequence
from vo.datasets.errors import InputError
from vo.datasets.recording import Recording
from vo.datasets.video import Video


def test_each_layout_is_recognised(kitti, images, movie) -> None:
    assert list_sequences(kitti("07")) == ["07"]
    assert list_sequences(images(name="own/walk")) == ["walk"]
    path = movie()
    assert list_sequences(path) == ["drive"]
    assert isinstance(open_sequence(path, intrinsics="60,60,31.5,23.5"), Video)


def test_folder_of_folders_and_of_videos(images, movie, tmp_path: Path) -> None:
    images(name="trips/a")
    images(name="trips/b")
    assert list_sequences(tmp_path / "trips") == ["a", "b"]
    assert open_sequence(tmp_path / "trips", "b").name == "b"
    (tmp_path / "videos").mkdir()
    movie("videos/x.mp4")
    movie("videos/y.mkv")
    assert list_sequences(tmp_path / "videos") == ["x", "y"]
    with pytest.raises(InputError, match="holds 2 sequences; choose one with --seq: x, y"):
        open_sequence(tmp_path / "videos", intrinsics="60,60,31.5,23.5")


def test_size_and_range_are_applied(kitti: Callable[..., Path]) -> None:
    view = open_sequence(kitti(frames=9), size=(20, 15), start=1, end=8, stride=3)
    assert [view[i].index for i in range(len(view))] == [1, 4, 7]
    assert view[0].image.shape == (15, 20, 3)
    assert view.camera == view[0].camera
    assert view.camera.fx == 25


def test_missing_empty_and_unknown_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file or folder"):
        open_sequence(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is empty; looked for KITTI Odometry"):
        open_sequence(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(
        InputError, match=r"no drive that can be read; looked for .*rgb\.txt.* video"
    ):
        open_sequence(tmp_path)


def test_image_file_is_no_drive(images: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"0\.png: is no video file by its name; give a folder"):
        open_sequence(images() / "0.png")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"intrinsics": "1,1,1,1"}, r"--intrinsics: .* own calibration; .*calib\.txt"),
        ({"fps": 30.0}, "--fps: .* has its own times"),
        ({"camera": "image_3"}, "--camera: is 'image_3'"),
        ({"stride": 0}, "--stride: is 0"),
        ({"size": (0, 4)}, "--size: is 0 x 4"),
    ],
)
def test_flags_that_do_not_suit(kitti, flags: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        open_sequence(kitti(), **flags)


def test_camera_of_a_folder_of_images(images: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"--camera: .* has a single camera"):
        open_sequence(images(), camera="image_0")


def test_relative_path_and_dot(kitti, monkeypatch: pytest.MonkeyPatch) -> None:
    root = kitti("04")
    monkeypatch.chdir(root / "sequences" / "04")
    drive = open_sequence(".")
    assert drive.name == "04"
    monkeypatch.chdir(root.parent)
    assert drive[1].index == 1  # paths do not depend on the working folder
    assert open_sequence("kitti").name == "04"


def test_street_is_rendered_at_the_size_asked_for(kitti, monkeypatch: pytest.MonkeyPatch) -> None:
    root, asked = kitti("09"), []

    def street_root(seq: str | None, width: int, height: int) -> Path:
        asked.append((seq, width, height))
        return root

    monkeypatch.setattr("vo.datasets.street.street_root", street_root, raising=False)
    names = ("08", "09")
    monkeypatch.setattr("vo.datasets.street.STREET_SEQUENCES", names, raising=False)
    assert list_sequences(None) == ["08", "09"]
    drive = open_sequence(None, "9", size=(40, 30))
    assert asked == [("09", 40, 30)]
    assert isinstance(drive, Recording)
    with pytest.raises(InputError, match="there is no sequence '11' in street; it holds 08, 09"):
        open_sequence(None, "11")
    with pytest.raises(InputError, match="--intrinsics: street has its own calibration"):
        open_sequence(None, "08", intrinsics="1,1,1,1")


def test_import_is_light() -> None:
    heavy = "{'numpy', 'cv2', 'av', 'yaml', 'open3d'} & set(sys.modules)"
    code = f"import sys, vo.datasets; print({heavy})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_the_constant_camera_of_published_trainings(kitti) -> None:
    kitti_root = kitti()
    own = open_sequence(kitti_root, "00").camera
    constant = open_sequence(kitti_root, "00", intrinsics="monodepth2").camera
    assert constant.size == own.size
    width, height = own.size
    assert (constant.fx, constant.fy) == (0.58 * width, 1.92 * height)
    assert (constant.cx, constant.cy) == ((width - 1) / 2, (height - 1) / 2)
    with pytest.raises(InputError, match=r"own calibration; .*or give monodepth2"):
        open_sequence(kitti_root, "00", intrinsics="700,700,300,100")
    with pytest.raises(InputError, match=r"own calibration; .*calib\.txt$"):
        open_sequence(None, "09", intrinsics="monodepth2")
