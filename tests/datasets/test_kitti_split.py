from __future__ import annotations

from pathlib import Path

import pytest

from vo.datasets import kitti_split
from vo.datasets.errors import InputError
from vo.datasets.kitti_groups import (
    CLEAN,
    DEPTH_VAL,
    DEPTH_VAL_UNSEEN,
    EIGEN_TEST,
    EIGEN_TRAINING,
    ROADS,
)
from vo.datasets.kitti_split import make_split, read_eigen_test, read_static_frames, split_lines
from vo.datasets.split_list import read_split_list

FIRST, SECOND = EIGEN_TRAINING[:2]


def write_raw(root: Path, drive: str, numbers: range, sides: str = "lr") -> None:
    """Names are all that counts: the files are empty."""
    for side in sides:
        folder = root / drive[:10] / drive / {"l": "image_02", "r": "image_03"}[side] / "data"
        folder.mkdir(parents=True)
        for number in numbers:
            (folder / f"{number:010d}.jpg").touch()


def eigen_lines(layout: str) -> list[str]:
    """697 lines on the 28 drives: 22 of one, 25 of the others; no published list."""
    lines = []
    for drive in EIGEN_TEST:
        for number in range(22 if drive.endswith("0048_sync") else 25):
            lines.append(layout.format(date=drive[:10], drive=drive, number=2 * number))
    return lines


@pytest.fixture
def eigen(tmp_path: Path) -> Path:
    path = tmp_path / "test_files.txt"
    path.write_text("\n".join(eigen_lines("{date}/{drive} {number:010d} l")))
    return path


def test_groups_have_the_published_sizes() -> None:
    groups = (ROADS, EIGEN_TEST, EIGEN_TRAINING, DEPTH_VAL, DEPTH_VAL_UNSEEN, CLEAN)
    assert [len(set(group)) for group in groups] == [61, 28, 33, 13, 8, 7]
    assert not set(DEPTH_VAL_UNSEEN) & set(EIGEN_TRAINING)
    assert set(EIGEN_TEST) <= set(ROADS)


def test_zhou_takes_the_frames_between_others_of_both_cameras(tmp_path: Path) -> None:
    write_raw(tmp_path, FIRST, range(6))
    write_raw(tmp_path, EIGEN_TEST[0], range(6))  # is tested on
    write_raw(tmp_path, "2011_09_28_drive_0037_sync", range(6))  # of another category
    static = tmp_path / "static.txt"
    static.write_text(f"{FIRST[:10]} {FIRST} 0000000003\n\n")
    split = make_split("eigen-zhou", tmp_path, static=static)
    assert split_lines(split.name, split.frames).splitlines() == [
        f"{FIRST[:10]}/{FIRST} {number} {side}" for side in "lr" for number in (1, 2, 4)
    ]
    assert split.missing == 44234 - 6
    assert split.lacking == (
        f"32 of 33 drives are missing: {', '.join(EIGEN_TRAINING[1:4])} and 29 more",
    )


def test_zhou_tells_frames_and_cameras_that_are_missing(tmp_path: Path) -> None:
    write_raw(tmp_path, FIRST, range(8), "l")
    write_raw(tmp_path, SECOND, range(8))
    (tmp_path / SECOND[:10] / SECOND / "image_03/data/0000000004.jpg").unlink()
    static = tmp_path / "static.txt"
    static.write_text(f"{FIRST[:10]} {FIRST} 0000000003\n")
    split = make_split("eigen-zhou", tmp_path, static=static)
    assert [f.number for f in split.frames if (f.drive, f.side) == (SECOND, "r")] == [1, 2, 6]
    assert split.lacking[1:] == (
        f"image_03 of {FIRST} lacks 5 of 5 frames",
        f"image_03 of {SECOND} lacks 3 of 6 frames",
    )


def test_odom_takes_frames_with_two_neighbours_on_either_side(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(kitti_split, "_TRAINED_SEQUENCES", (4,))
    monkeypatch.setitem(kitti_split.PUBLISHED, "odom", 2 * 267)
    for camera in ("image_2", "image_3"):
        folder = tmp_path / "sequences" / "04" / camera
        folder.mkdir(parents=True)
        for number in range(271):
            (folder / f"{number:06d}.png").touch()
    split = make_split("odom", tmp_path)
    lines = split_lines(split.name, split.frames).splitlines()
    assert (lines[0], lines[266], lines[267]) == ("4 2 l", "4 268 l", "4 2 r")
    assert split.missing == 0
    assert split.lacking == ()
    folder = tmp_path / "sequences/04/image_3"
    (folder / "000009.png").unlink()
    (folder / "000001.png").unlink()  # is the target of nothing
    split = make_split("odom", tmp_path)
    assert split.lacking == ("image_3 of 04 lacks 1 of 267 frames",)
    assert split.missing == 1


def test_counts_of_odom_are_those_of_the_published_list(tmp_path: Path) -> None:
    (tmp_path / "sequences/09/image_2").mkdir(parents=True)
    with pytest.raises(
        InputError, match=r"holds no frame of odom; sequence 00 is missing"
    ) as error:
        make_split("odom", tmp_path)
    words = [line.split("(")[1] for line in error.value.remedy.split("; ")]
    assert sum(int(word.split()[0]) for word in words) == 40746


def test_eigen_test_in_the_order_of_the_list(tmp_path: Path, eigen: Path) -> None:
    write_raw(tmp_path, EIGEN_TEST[0], range(60), "l")
    write_raw(tmp_path, EIGEN_TEST[1], range(41), "l")
    split = make_split("eigen-test", tmp_path, eigen)
    assert split.frames == tuple(
        f
        for f in read_split_list(eigen)
        if f.drive in EIGEN_TEST[:2] and (f.drive == EIGEN_TEST[0] or f.number <= 40)
    )
    assert (
        split_lines(split.name, split.frames).splitlines()[0]
        == f"2011_09_26/{EIGEN_TEST[0]} 0000000000 l"
    )
    assert split.missing == 697 - 46
    assert split.lacking[1] == f"{EIGEN_TEST[1]} lacks 4 images of the list"


def test_complete_test_splits(tmp_path: Path, eigen: Path) -> None:
    for drive in EIGEN_TEST:
        write_raw(tmp_path, drive, range(0, 50, 2), "l")
    assert make_split("eigen-test", tmp_path, eigen).lacking == ()
    clean = make_split("eigen-clean175", tmp_path, eigen)
    assert (len(clean.frames), clean.missing, clean.lacking) == (175, 0, ())


def test_benchmark_takes_what_has_annotated_depth(tmp_path: Path, eigen: Path) -> None:
    write_raw(tmp_path, CLEAN[0], range(60), "l")
    write_raw(tmp_path, CLEAN[1], range(60), "l")
    below = "proj_depth/groundtruth/image_02"
    depths = tmp_path / "depths" / "val" / CLEAN[0] / below
    depths.mkdir(parents=True)
    for number in range(5, 45):
        (depths / f"{number:010d}.png").touch()
    split = make_split("eigen-benchmark", tmp_path, eigen, annotations=tmp_path / "depths")
    assert [f.number for f in split.frames] == list(range(6, 45, 2))
    assert split.lacking[1] == f"1 drives have no annotated depth: {CLEAN[1]}"
    (tmp_path / "depths").rename(tmp_path / "data_depth_annotated")
    assert make_split("eigen-benchmark", tmp_path, eigen).frames == split.frames


def test_list_of_sfmlearner_is_the_same(tmp_path: Path, eigen: Path) -> None:
    other = tmp_path / "test_files_eigen.txt"
    other.write_text("\n".join(eigen_lines("{date}/{drive}/image_02/data/{number:010d}.png")))
    assert read_eigen_test(other) == read_eigen_test(eigen)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("0000000000 l", "0000000002 l", "has 669 different frames, the Eigen test list 697"),
        ("0000000000 l", "0000000000 r", "has frames of other cameras"),
        (EIGEN_TEST[3], FIRST, "names 28 drives, 1 of which are none of the 28"),
    ],
)
def test_other_lists_are_refused(eigen: Path, old: str, new: str, problem: str) -> None:
    eigen.write_text(eigen.read_text().replace(old, new))
    with pytest.raises(InputError, match=problem):
        read_eigen_test(eigen)


@pytest.mark.parametrize("line", ["2011_09_26_drive_0001_sync 3", f"2011_09_26 {FIRST} x", "a b 3"])
def test_damaged_static_frames(tmp_path: Path, line: str) -> None:
    (tmp_path / "static.txt").write_text(f"{FIRST[:10]} {FIRST} 1\n{line}\n")
    with pytest.raises(InputError, match="line 2 is no `date drive frame`"):
        read_static_frames(tmp_path / "static.txt")


@pytest.mark.parametrize(
    ("name", "flags", "problem"),
    [
        ("eigen-test", {}, "--list: is missing: which 697 images these are follows"),
        ("eigen-zhou", {}, "--static: is missing"),
        ("odom", {"published": Path("x")}, "--list: is not used by odom"),
        ("eigen-test", {"static": Path("x")}, "--static: is not used by eigen-test"),
        ("odom", {}, "holds no sequences; give the root of KITTI Odometry"),
    ],
)
def test_what_a_split_needs(tmp_path: Path, name, flags: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        make_split(name, tmp_path, **flags)
