"""Sequences of KITTI Odometry are parts of raw drives."""

from __future__ import annotations

from pathlib import Path

import pytest

from vo.datasets.kitti_drives import ODOMETRY, odometry_frames, raw_drive, raw_frame
from vo.datasets.poses import read_kitti_poses
from vo.datasets.split_list import ListedFrame


@pytest.mark.parametrize("name", ["08", "8"])
def test_a_frame_is_that_of_its_raw_drive(name: str) -> None:
    frame = raw_frame(ListedFrame(name, 12, "r", line=3))
    assert frame == ListedFrame("2011_09_30_drive_0028_sync", 1112, "r", 3)


@pytest.mark.parametrize(
    "folder", ["11", "21", "008", "chess/seq-01", "2011_09_26_drive_0001_sync"]
)
def test_other_frames_stay_as_they_are(folder: str) -> None:
    assert raw_frame(ListedFrame(folder, 5, "l")) == ListedFrame(folder, 5, "l")
    assert raw_drive(folder) == folder


def test_the_date_above_a_drive_does_not_count() -> None:
    name = "2011_09_30_drive_0033_sync"
    assert raw_frame(ListedFrame(f"2011_09_30/{name}", 4, "l")).folder == name == raw_drive("09")


def test_frames_past_the_end_stay_neighbours() -> None:
    frames = [raw_frame(ListedFrame("04", number, "l")) for number in (270, 271)]
    assert [frame.folder for frame in frames] == ["2011_09_30_drive_0016_sync"] * 2
    assert [frame.number for frame in frames] == [270, 271]


def test_drives_are_all_different() -> None:
    assert sorted(ODOMETRY) == list(range(11))
    assert len({source.drive for source in ODOMETRY.values()}) == 11


def test_all_frames_of_a_sequence_are_known() -> None:
    frames = odometry_frames("4")
    assert len(frames) == 2 * 271
    assert frames[0] == ListedFrame("4", 0, "l")
    assert frames[-1] == ListedFrame("4", 270, "r")
    assert len(odometry_frames("08")) == 2 * 4071
    with pytest.raises(ValueError, match="must be one of 00 to 10, got '11'"):
        odometry_frames("11")


def test_parts_are_as_long_as_the_published_poses(real_data: Path) -> None:
    for number, source in ODOMETRY.items():
        poses = read_kitti_poses(real_data / "kitti_odometry" / "poses" / f"{number:02d}.txt")
        assert source.last - source.first + 1 == len(poses.T_w_c), number
