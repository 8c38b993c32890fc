"""``vo-data split``."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from vo.datasets.kitti_groups import EIGEN_TRAINING
from vo.datasets.kitti_split import NAMES, cut
from vo.datasets.split_list import ListedFrame, read_split_list, split_hash
from vo.tools import data, split

DRIVE = EIGEN_TRAINING[0]


@pytest.fixture
def vo_split(call):
    return lambda *words: call(data.main, "vo-data", "split", *words)


def test_names_are_those_of_the_library() -> None:
    assert get_args(split.Name) == NAMES


def test_what_is_missing_is_said_and_fails(vo_split, tmp_path: Path) -> None:
    for camera in ("image_02", "image_03"):
        folder = tmp_path / "raw" / DRIVE[:10] / DRIVE / camera / "data"
        folder.mkdir(parents=True)
        for number in range(5):
            (folder / f"{number:010d}.png").touch()
    static, out = tmp_path / "static.txt", tmp_path / "zhou.txt"
    static.write_text(f"{DRIVE[:10]} {DRIVE} 0000000002\n")
    flags = ("--data", tmp_path / "raw", "--name", "eigen-zhou", "--out", out)
    status, said, _ = vo_split(*flags, "--static", static)
    assert status == 1
    frames = read_split_list(out)
    assert [(f.number, f.side) for f in frames] == [(1, "l"), (3, "l"), (1, "r"), (3, "r")]
    first, second = said.splitlines()
    assert first.startswith("incomplete: 32 of 33 drives are missing: 2011_09_26_drive_0005_sync,")
    assert f"4 of 44234 frames, hash {split_hash(frames)}, 44230 missing" in second


def test_without_the_list_that_it_needs_nothing_is_written(vo_split, tmp_path: Path) -> None:
    out = tmp_path / "test.txt"
    status, _, errors = vo_split("--data", tmp_path, "--name", "eigen-test", "--out", out)
    assert status == 2
    assert errors.startswith("error: --list: is missing: which 697 images these are follows")
    assert not out.exists()


def test_a_tenth_is_left_for_validation_as_published(vo_split, tmp_path: Path) -> None:
    for camera in ("image_02", "image_03"):
        folder = tmp_path / "raw" / DRIVE[:10] / DRIVE / camera / "data"
        folder.mkdir(parents=True)
        for number in range(14):
            (folder / f"{number:010d}.png").touch()
    static, out, val = tmp_path / "static.txt", tmp_path / "zhou.txt", tmp_path / "val.txt"
    static.write_text(f"{DRIVE[:10]} {DRIVE} 0000000002\n")
    flags = ("--data", tmp_path / "raw", "--static", static, "--name", "eigen-zhou")
    status, said, _ = vo_split(*flags, "--out", out, "--val", val)
    assert status == 1
    first, second = read_split_list(out), read_split_list(val)
    assert (len(first), len(second)) == (19, 3)  # of 22: nine tenths, rounded down
    assert not {(f.number, f.side) for f in first} & {(f.number, f.side) for f in second}
    assert f"{val}: 3 frames, hash {split_hash(second)}" in said
    before = val.read_text()
    assert vo_split(*flags, "--out", out, "--val", val).status == 1
    assert val.read_text() == before
    vo_split(*flags, "--out", out, "--val", val, "--seed", 1)
    assert val.read_text() != before


def test_published_counts_of_the_cut() -> None:
    frames = tuple(ListedFrame("a", number, "l") for number in range(44234))
    first, second = cut(frames)
    assert (len(first), len(second)) == (39810, 4424)
    assert sorted([*first, *second], key=lambda f: f.number) == list(frames)


def test_only_training_splits_are_cut(vo_split, tmp_path: Path) -> None:
    out = tmp_path / "test.txt"
    flags = ("--data", tmp_path, "--name", "eigen-test", "--out", out)
    assert vo_split(*flags, "--val", tmp_path / "val.txt").err.startswith(
        "error: --val: is not for"
    )
    assert not out.exists()
