"""``vo-train --seq LIST``: lists say which frames are learned from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from kitti_raw_drive import write_drive

from vo.datasets.errors import InputError
from vo.datasets.split_list import read_split_list, split_hash
from vo.presets import preset
from vo.tools.training.drives import drives_of
from vo.tools.training.flags import Flags
from vo.tools.training.leakage import frames_hash
from vo.tools.training.lists import listed_targets
from vo.tools.training.samples import samples_of
from vo.training.config import TrainConfig

A, B = "2011_09_26_drive_0052_sync", "2011_09_26_drive_0001_sync"


@pytest.fixture
def config() -> TrainConfig:
    config = preset("finetune")
    model = replace(config.model, width=64, height=32)
    return replace(config, model=model, data=replace(config.data, gaps=(1,), batch=1))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in (52, 1):
        write_drive(tmp_path / "raw", number, range(6), ("image_02", "image_03"))
    return tmp_path / "raw"


def listed(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "list.txt"
    path.write_text("\n".join(f"2011_09_26/{line}" for line in lines))
    return str(path)


def test_listed_frames_alone_are_learned_from(data, config, tmp_path: Path) -> None:
    path = listed(tmp_path, f"{A} 1 l", f"{A} 3 l", f"{A} 2 r", f"{B} 0000000004 r")
    flags = Flags(data=data, seq=(path,))
    drives, _ = drives_of(flags, config, print)
    assert [drive.name for drive in drives] == [A, A, B]
    samples = samples_of(config, drives, listed_targets(flags, config, drives))
    assert samples.samples == [(0, 1), (0, 3), (1, 2), (2, 4)]
    assert frames_hash(samples) == split_hash(read_split_list(Path(path)))


def test_list_and_whole_drive(data, config, tmp_path: Path) -> None:
    flags = Flags(data=data, seq=("0001", listed(tmp_path, f"{A} 1 l")))
    drives, _ = drives_of(flags, config, print)
    samples = samples_of(config, drives, listed_targets(flags, config, drives))
    assert samples.samples == [(0, 1), *((1, i) for i in range(1, 5))]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"{A} 9 l", r"list\.txt line 1: frame 9 of .* has no image; add"),
        (f"{A} 5 l", "frame 5 of .* has no image 1 frames beside it"),
        (f"{A} 3", "line 1: names no side"),
        ("2011_09_26_drive_0099_sync 3 l", "there is no sequence '2011_09_26_drive_0099_sync'"),
    ],
)
def test_lists_that_do_not_fit_the_data(data, config, tmp_path, line: str, problem: str) -> None:
    flags = Flags(data=data, seq=(listed(tmp_path, line),))
    with pytest.raises(InputError, match=problem):
        listed_targets(flags, config, drives_of(flags, config, print)[0])


def test_camera_that_is_not_there(data, config, tmp_path: Path) -> None:
    shutil.rmtree(data / "2011_09_26" / A / "image_03")
    flags = Flags(data=data, seq=(listed(tmp_path, f"{A} 1 l", f"{A} 1 r"),))
    with pytest.raises(InputError, match=f"line 2: there is no image_03 of {A}; add it"):
        drives_of(flags, config, print)


def test_drive_of_a_list_is_not_validated_on(data, config, tmp_path: Path) -> None:
    flags = Flags(data=data, seq=(listed(tmp_path, f"{A} 1 l"),), val=("0052",))
    with pytest.raises(InputError, match=f"--val: {A} is trained on as well"):
        drives_of(flags, config, print)


def test_lists_are_of_kitti(config, tmp_path: Path) -> None:
    path = listed(tmp_path, f"{A} 1 l")
    with pytest.raises(InputError, match="--data: is missing"):
        drives_of(Flags(seq=(path,)), config, print)
