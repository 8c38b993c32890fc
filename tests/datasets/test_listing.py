"""Frames of sequences are called as lists call them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from annotated_trees import write_kitti
from kitti_raw_drive import write_drive

from vo.datasets import open_sequence
from vo.datasets.annotated import find_annotated, open_annotated
from vo.datasets.crop import Cropped
from vo.datasets.frame import Sequence
from vo.datasets.listing import listed_frames
from vo.datasets.sequence import select

NAME = "2011_09_26_drive_0052_sync"
CALIB = "P0: 50 0 19.5 0 0 50 14.5 0 0 0 1 0\nP3: 50 0 19.5 -24 0 50 14.5 0 0 0 1 0\n"


def lines(sequence: Sequence) -> list[str]:
    return [f"{f.folder} {f.number} {f.side}".rstrip() for f in listed_frames(sequence)]


@pytest.mark.parametrize(
    ("camera", "side"), [("image_02", "l"), ("image_03", "r"), ("image_00", "image_00")]
)
def test_a_raw_drive_has_its_numbers_and_its_side(tmp_path: Path, camera: str, side: str) -> None:
    drive = write_drive(tmp_path, frames=(0, 1, 2, 5), cameras=(camera,))
    assert lines(open_sequence(drive)) == [f"{NAME} {n} {side}" for n in (0, 1, 2, 5)]


def test_a_part_of_a_sequence_keeps_the_numbers(kitti: Callable[..., Path]) -> None:
    sequence = open_sequence(kitti(cameras=("image_3",), calib=CALIB, frames=6), size=(20, 15))
    part = select(sequence, start=1, stride=2)
    assert lines(part) == ["00 1 r", "00 3 r", "00 5 r"]
    assert lines(Cropped(part, 0, 0, part.camera)) == lines(part)


def test_a_drive_with_true_depth_is_called_without_its_camera(tmp_path: Path) -> None:
    write_kitti(tmp_path / "raw", 52, tmp_path / "depths", camera="image_03")
    [place] = find_annotated(tmp_path / "raw", tmp_path / "depths").places
    recording = open_annotated(place)
    assert recording.name == f"{NAME}/image_03"
    assert lines(recording) == [f"{NAME} {n} r" for n in range(1, 5)]


def test_images_and_video_have_no_side(
    images: Callable[..., Path], movie: Callable[..., Path]
) -> None:
    assert lines(open_sequence(images(3))) == ["walk 0", "walk 1", "walk 2"]
    video = open_sequence(movie(frames=3), intrinsics="50,50,31,23")
    assert lines(video) == [f"{video.name} {i}" for i in range(3)]


def test_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must be a sequence of vo\.datasets, got int"):
        listed_frames(7)  # type: ignore[arg-type]
