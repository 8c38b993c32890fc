from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vo.datasets import list_sequences, open_sequence
from vo.datasets.errors import InputError
from vo.datasets.seven_scenes import find_sequences, open_seven_scenes, read_pose


@pytest.fixture
def scene(tmp_path: Path) -> Callable[..., Path]:
    """Make frames of 64x48 pixels in a folder below ``7scenes``; returns the folder."""

    def make(name: str = "chess/seq-01", frames: int = 4) -> Path:
        folder = tmp_path / "7scenes" / name
        folder.mkdir(parents=True)
        for i in range(frames):
            stem = folder / f"frame-{i:06d}"
            cv2.imwrite(f"{stem}.color.png", np.full((48, 64, 3), i, np.uint8))
            depth = np.full((48, 64), 1500 + i, np.uint16)
            depth[0], depth[1] = 0, 65535
            cv2.imwrite(f"{stem}.depth.png", depth)
            Path(f"{stem}.pose.txt").write_text(f"1 0 0 {i}\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
        return folder

    return make


def test_open(scene: Callable[..., Path]) -> None:
    drive = open_seven_scenes(scene(), "chess/seq-01")
    assert (drive.name, len(drive)) == ("chess/seq-01", 4)
    assert drive.camera.fx == pytest.approx(58.5)  # a tenth of 640x480
    np.testing.assert_allclose(drive.timestamps, np.arange(4) / 30)
    frame = drive[3]
    assert (frame.image == 3).all()
    assert frame.T_w_c is not None
    assert frame.T_w_c[0, 3] == 3
    assert frame.depth is not None
    assert (frame.depth[:2] == 0).all()  # 0 and 65535 both mean none
    np.testing.assert_allclose(frame.depth[2:], 1.503)


def test_intrinsics_can_be_given(scene: Callable[..., Path]) -> None:
    assert open_seven_scenes(scene(), "x", "525,525,320,240,640,480").camera.fx == 52.5


def test_sequences_are_found_from_every_level(scene: Callable[..., Path]) -> None:
    first = scene("chess/seq-01")
    scene("chess/seq-02")
    scene("redkitchen")
    root = first.parent.parent
    assert list_sequences(root) == ["redkitchen", "chess/seq-01", "chess/seq-02"]
    assert list_sequences(root / "chess") == ["seq-01", "seq-02"]
    assert find_sequences(first) == {"seq-01": first}
    assert open_sequence(root, "chess/seq-02").name == "chess/seq-02"
    assert open_sequence(root / "redkitchen").name == "redkitchen"


def test_missing_frame_and_missing_pose(scene: Callable[..., Path]) -> None:
    folder = scene()
    (folder / "frame-000002.pose.txt").unlink()
    with pytest.raises(InputError, match=r"no pose\.txt for frames 2; restore"):
        open_seven_scenes(folder, "x")
    (folder / "frame-000002.color.png").unlink()
    with pytest.raises(InputError, match=r"frames are missing: 2; .*vo-data check"):
        open_seven_scenes(folder, "x")


def test_without_poses_and_depth(scene: Callable[..., Path]) -> None:
    folder = scene()
    for path in [*folder.glob("*.pose.txt"), *folder.glob("*.depth.png")]:
        path.unlink()
    drive = open_seven_scenes(folder, "x")
    assert (drive.T_w_c, drive[0].depth) == (None, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 0 0 0\n0 1 0 0\n", "has 8 numbers, not 16"),
        ("2 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", "is no rotation"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 nan\n0 0 0 1", "line 3: 'nan' is no finite number"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0 0 0 0 1", "reflection"),
        ("", "is empty"),
    ],
)
def test_bad_pose(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "frame-000000.pose.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        read_pose(path)


@pytest.mark.real_data
def test_real_scene(real_data: Path) -> None:
    drive = open_sequence(real_data / "7scenes", "redkitchen")
    assert (len(drive), drive.camera.fx, drive.camera.size) == (240, 585, (640, 480))
    frame = drive[120]
    assert frame.depth is not None
    known = frame.depth[frame.depth > 0]
    assert known.min() > 0.3
    assert known.max() < 10  # a kitchen, seen by a Kinect
    assert len(known) > frame.depth.size / 2
