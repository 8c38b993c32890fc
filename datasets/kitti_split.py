"""Published splits of KITTI, made from the data on disk and the rules behind them.

- ``odom``: frames 2 to n - 3 of sequences 00 to 08 of KITTI Odometry, both colour cameras.
- ``eigen-zhou``: frames 1 to n - 2 of the 33 drives of City, Residential and Road that no Eigen
  test image is from, both colour cameras, without the frames in which the car stands. These were
  found by Zhou et al. (CVPR 2017), whose list ``static_frames.txt`` must be given.
- ``eigen-test``: 697 images of 28 drives (Eigen et al., NeurIPS 2014), in part drawn at random.
  They follow from no rule, so that the list must be given. It is compared with the data.
- ``eigen-benchmark``: the 652 of these that have annotated depth (Uhrig et al., 3DV 2017).
- ``eigen-clean175``: the 175 of these on the 7 drives that the list published with SPIdepth, which
  holds most Eigen test drives, does not hold either.

Published training lists are these frames in a random order, cut in two for training and validation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from vo.datasets import kitti_odometry, kitti_raw
from vo.datasets.errors import InputError
from vo.datasets.kitti_drives import ODOMETRY
from vo.datasets.kitti_groups import CLEAN, EIGEN_TEST, EIGEN_TRAINING
from vo.datasets.split_list import CAMERAS, SIDES, ListedFrame, read_split_list
from vo.datasets.text import few, read_lines

SplitName = Literal["eigen-test", "eigen-zhou", "eigen-benchmark", "odom", "eigen-clean175"]
NAMES: tuple[SplitName, ...] = get_args(SplitName)

PUBLISHED: dict[SplitName, int] = {
    "eigen-test": 697,
    "eigen-zhou": 44234,
    "eigen-benchmark": 652,
    "odom": 40746,
    "eigen-clean175": 175,
}
"""Frames of each split, training and validation together."""

TRAINING: tuple[SplitName, ...] = ("eigen-zhou", "odom")
"""Those that are learned from."""

_TRAINED_SEQUENCES = range(9)
_SFMLEARNER = re.compile(
    r"([0-9_]{10}/[0-9_]{10}_drive_[0-9]{4}_sync)/image_0([23])/data/([0-9]{1,12})\.(?:png|jpg)"
)
_EIGEN_LIST = (
    "give monodepth2's splits/eigen/test_files.txt or SfMLearner's data/kitti/test_files_eigen.txt "
    "with --list"
)
_STATIC_LIST = "give SfMLearner's data/kitti/static_frames.txt with --static"

Frames = tuple[ListedFrame, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """The frames of a split that are on disk.

    Attributes:
        name: of the split.
        frames: in the order of the published list where that was given, else by drive and camera.
        missing: number of frames that the published split has and the disk has not.
        lacking: what is missing, in words; empty where the split is complete.
    """

    name: SplitName
    frames: Frames
    missing: int
    lacking: tuple[str, ...]


def make_split(
    name: SplitName,
    data: Path,
    published: Path | None = None,
    static: Path | None = None,
    annotations: Path | None = None,
) -> Split:
    """Make a split of what is on disk.

    Args:
        name: of the split.
        data: root of KITTI raw; of KITTI Odometry for ``odom``.
        published: list of the Eigen test images, as monodepth2 or SfMLearner write it.
        static: list of frames in which the car stands, ``date drive frame`` a line.
        annotations: KITTI's annotated depth; None looks for ``data_depth_annotated`` in ``data``,
            then in the folders of the drives.

    Raises:
        InputError: when the data are of another kind or hold no frame of the split, and when a list
            that the split needs is missing or another one.
    """
    if not data.is_dir():
        raise InputError(data, "no such folder", "check the path given with --data")
    _refuse_unused(name, published, static, annotations)
    if name == "odom":
        split = _odom(data)
    elif name == "eigen-zhou":
        if static is None:
            problem = "is missing: which frames stand still does not follow from a rule"
            raise InputError("--static", problem, _STATIC_LIST)
        split = _eigen_zhou(data, read_static_frames(static))
    else:
        if published is None:
            problem = "is missing: which 697 images these are follows from no rule"
            raise InputError("--list", problem, _EIGEN_LIST)
        split = _eigen_test(name, data, read_eigen_test(published), annotations)
    if not split.frames:
        raise InputError(data, f"holds no frame of {name}", "; ".join(split.lacking))
    return split


def read_eigen_test(path: Path) -> Frames:
    """The 697 test images in the order of their list, of monodepth2's format or SfMLearner's.

    Raises:
        InputError: when the file is damaged or is another list.
    """
    first = read_lines(path, _EIGEN_LIST)[0][1]
    frames = _read_paths(path) if _SFMLEARNER.fullmatch(first) else read_split_list(path)
    drives = {frame.drive for frame in frames}
    others = len(drives - set(EIGEN_TEST))
    problem = None
    if len(frames) != PUBLISHED["eigen-test"] or len(set(_keys(frames))) != len(frames):
        problem = f"has {len(set(_keys(frames)))} different frames, the Eigen test list 697"
    elif others or len(drives) != len(EIGEN_TEST):
        problem = f"names {len(drives)} drives, {others} of which are none of the 28 of Eigen's"
    elif {frame.side for frame in frames} != {"l"}:
        problem = "has frames of other cameras than the left one"
    if problem:
        raise InputError(path, problem, _EIGEN_LIST)
    return frames


def read_static_frames(path: Path) -> set[tuple[str, int]]:
    """Drives and numbers of the frames of a list with lines ``date drive frame``.

    Raises:
        InputError: naming the line, when the file is damaged or another list.
    """
    static = set()
    for i, line in read_lines(path, _STATIC_LIST):
        words = line.split()
        known = len(words) == 3 and kitti_raw.drive_number(words[1]) is not None
        if not known or not re.fullmatch(r"[0-9]{1,12}", words[2]):
            raise InputError(path, f"line {i} is no `date drive frame`", _STATIC_LIST)
        static.add((words[1], int(words[2])))
    return static


def cut(frames: Frames, seed: int = 0) -> tuple[Frames, Frames]:
    """Nine tenths to train on and the rest to validate on, drawn at random as published lists are.

    Both keep the order. They share drives, so that the second tells nothing about other roads.

    Args:
        frames: of `TRAINING` splits: 44,234 become 39,810 and 4,424.
        seed: another one gives another cut; which one the published lists had is not known.
    """
    order = np.random.default_rng(seed).permutation(len(frames))
    training = set(order[: len(frames) * 9 // 10].tolist())
    first = tuple(frame for i, frame in enumerate(frames) if i in training)
    return first, tuple(frame for i, frame in enumerate(frames) if i not in training)


def split_lines(name: SplitName, frames: Frames) -> str:
    """The list as published: numbers have ten digits in test lists, as many as needed in others."""
    digits = 0 if name in TRAINING else 10
    return "".join(f"{f.folder} {f.number:0{digits}d} {f.side}\n" for f in frames)


def _odom(data: Path) -> Split:
    found = kitti_odometry.find_sequences(data)
    if not found:
        raise InputError(data, "holds no sequences", "give the root of KITTI Odometry for odom")
    frames: list[ListedFrame] = []
    lacking = []
    for number in _TRAINED_SEQUENCES:
        name, source = f"{number:02d}", ODOMETRY[number]
        count = source.last - source.first + 1
        if name not in found:
            lacking.append(f"sequence {name} is missing ({2 * (count - 4)} frames)")
            continue
        for side in SIDES:
            there = kitti_odometry.files_by_number(found[name] / CAMERAS["kitti"][side])
            chosen = [n for n in range(2, count - 2) if n in there]
            frames += [ListedFrame(str(number), n, side) for n in chosen]
            if len(chosen) < count - 4:
                what = f"{CAMERAS['kitti'][side]} of {name}"
                lacking.append(f"{what} lacks {count - 4 - len(chosen)} of {count - 4} frames")
    return _split("odom", frames, lacking)


def _eigen_zhou(data: Path, static: set[tuple[str, int]]) -> Split:
    drives = _raw_drives(data)
    frames: list[ListedFrame] = []
    lacking = _absent(drives, EIGEN_TRAINING)
    for name in EIGEN_TRAINING:
        if name not in drives:
            continue
        there = {side: _images(drives[name], side) for side in SIDES}
        last = max((max(numbers) for numbers in there.values() if numbers), default=0)
        wanted = [n for n in range(1, last) if (name, n) not in static]
        for side, numbers in there.items():
            chosen = [n for n in wanted if {n - 1, n, n + 1} <= numbers]
            frames += [ListedFrame(_folder(name), n, side) for n in chosen]
            if len(chosen) < len(wanted) or not wanted:
                lost = f"{len(wanted) - len(chosen)} of {len(wanted)} frames"
                lacking.append(f"{CAMERAS['kitti_raw'][side]} of {name} lacks {lost}")
    return _split("eigen-zhou", frames, lacking)


def _eigen_test(name: SplitName, data: Path, listed: Frames, annotations: Path | None) -> Split:
    if name == "eigen-clean175":
        listed = tuple(frame for frame in listed if frame.drive in CLEAN)
    drives = _raw_drives(data)
    wanted = list(dict.fromkeys(frame.drive for frame in listed))
    lacking = _absent(drives, wanted)
    there = {drive: _images(drives[drive], "l") for drive in wanted if drive in drives}
    chosen = [f for f in listed if f.number in there.get(f.drive, ())]
    lost = Counter(f.drive for f in listed if f.drive in there and f.number not in there[f.drive])
    lacking += [f"{drive} lacks {count} images of the list" for drive, count in lost.items()]
    if name == "eigen-benchmark":
        depths = {drive: _annotated(data, drives[drive], annotations) for drive in there}
        without = [drive for drive in there if not depths[drive]]
        if without:
            lacking.append(f"{len(without)} drives have no annotated depth: {few(without, 3)}")
        chosen = [f for f in chosen if f.number in depths[f.drive]]
    return _split(name, chosen, lacking)


def _split(name: SplitName, frames: list[ListedFrame], lacking: list[str]) -> Split:
    missing = PUBLISHED[name] - len(frames)
    if not missing and name == "eigen-benchmark":
        lacking = []  # a drive whose few test images are its first frames has no depth to lack
    if missing and not lacking:
        more = "fewer" if missing > 0 else "more"
        lacking = [f"{abs(missing)} frames {more} than published, though no drive is missing"]
    return Split(name, tuple(frames), max(missing, 0), tuple(lacking))


def _raw_drives(data: Path) -> dict[str, Path]:
    drives = {drive.name: drive for drive in kitti_raw.drive_folders(data)}
    if not drives:
        raise InputError(data, "holds no drive of KITTI raw", "check the path given with --data")
    return drives


def _absent(drives: dict[str, Path], wanted: Iterable[str]) -> list[str]:
    wanted = list(wanted)
    absent = [name for name in wanted if name not in drives]
    return [f"{len(absent)} of {len(wanted)} drives are missing: {few(absent, 3)}"] * bool(absent)


def _images(drive: Path, side: str) -> set[int]:
    return set(kitti_odometry.files_by_number(drive / CAMERAS["kitti_raw"][side] / "data"))


def _annotated(data: Path, drive: Path, annotations: Path | None) -> set[int]:
    """Frames of the left camera that have annotated depth, wherever that lies."""
    roots = [annotations or data / "data_depth_annotated"]
    places = [root / split / drive.name for root in roots for split in ("train", "val", "")]
    below = Path("proj_depth") / "groundtruth" / "image_02"
    numbers = (set(kitti_odometry.files_by_number(p / below)) for p in (*places, drive))
    return next((some for some in numbers if some), set())


def _read_paths(path: Path) -> Frames:
    frames = []
    for i, line in read_lines(path, _EIGEN_LIST):
        match = _SFMLEARNER.fullmatch(line)
        if match is None:
            raise InputError(path, f"line {i} names no image of KITTI raw", _EIGEN_LIST)
        frames.append(ListedFrame(match[1], int(match[3]), SIDES[int(match[2]) - 2], i))
    return tuple(frames)


def _keys(frames: Frames) -> list[tuple[str, int, str]]:
    return [(frame.drive, frame.number, frame.side) for frame in frames]


def _folder(drive: str) -> str:
    return f"{drive[:10]}/{drive}"


def _refuse_unused(
    name: SplitName, published: Path | None, static: Path | None, annotations: Path | None
) -> None:
    """A list that would have no effect is a misunderstanding."""
    of_test = name not in TRAINING
    for flag, given, used in (
        ("--list", published, of_test),
        ("--static", static, name == "eigen-zhou"),
        ("--annotations", annotations, name == "eigen-benchmark"),
    ):
        if given is not None and not used:
            raise InputError(flag, f"is not used by {name}", "leave the flag out")
