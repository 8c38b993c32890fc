"""What ``vo-train`` learns from where lists say which frames: published splits of KITTI.

Frames beside a listed one are its sources, whether they are listed or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vo.datasets.errors import InputError

if TYPE_CHECKING:
    from vo.datasets.frame import Sequence
    from vo.datasets.layout import Found
    from vo.datasets.split_list import ListedFrame
    from vo.tools.training.flags import Flags
    from vo.training.config import TrainConfig

LIST_SUFFIX = ".txt"


def without_lists(names: Iterable[str]) -> tuple[tuple[str, ...], list[Path]]:
    """Names of sequences, and the lists among them."""
    names = tuple(names)
    lists = [Path(name) for name in names if name.endswith(LIST_SUFFIX)]
    return tuple(name for name in names if not name.endswith(LIST_SUFFIX)), lists


def listed_drives(flags: Flags, config: TrainConfig, lists: list[Path]) -> list[Sequence]:
    """The drives of some lists, one for each camera, at the size of the networks.

    Raises:
        InputError: when the data are not KITTI's, or a drive or camera is missing.
    """
    from vo.datasets import open_found
    from vo.datasets.layout import recognise
    from vo.datasets.sequence import resize
    from vo.datasets.split_list import CAMERAS

    if not lists:
        return []
    if flags.data is None:
        raise InputError("--data", "is missing", "name the folder that the list belongs to")
    if flags.camera is not None:
        raise InputError("--camera", "does not go with a list, which names cameras", "leave it out")
    found = recognise(flags.data)
    if found.kind not in CAMERAS:
        raise InputError(flags.data, "is not KITTI, of which lists name frames", "name sequences")
    size = config.model.width, config.model.height
    drives = []
    for (drive, side), group in _groups(found, lists).items():
        camera, (path, frame) = CAMERAS[found.kind][side], group[0]
        if not (found.sequences[drive] / camera).is_dir():
            problem = f"there is no {camera} of {drive}"
            raise InputError(f"{path} line {frame.line}", problem, "add it, or remove its lines")
        drives.append(resize(open_found(found, drive, camera=camera), *size))
    return drives


def listed_targets(
    flags: Flags, config: TrainConfig, drives: list[Sequence]
) -> list[frozenset[int] | None] | None:
    """Positions of the listed frames in each drive; None for drives that were named as a whole.

    Raises:
        InputError: naming the line, when a listed frame, or a source that it needs, is missing.
    """
    from vo.datasets.layout import recognise
    from vo.datasets.listing import listed_frames

    lists = [] if config.metric.enabled else without_lists(flags.seq)[1]
    if not lists or flags.data is None:
        return None
    gap = max(config.data.gaps, default=1)
    targets: list[frozenset[int] | None] = [None] * len(drives)
    for d, group in enumerate(_groups(recognise(flags.data), lists).values()):
        position = {frame.number: i for i, frame in enumerate(listed_frames(drives[d]))}
        for path, frame in group:
            place = position.get(frame.number)
            if place is None or not gap <= place < len(drives[d]) - gap:
                what = "no image" if place is None else f"no image {gap} frames beside it"
                where = f"{path} line {frame.line}"
                problem = f"frame {frame.number} of {frame.drive} has {what}"
                raise InputError(where, problem, "add the images, or make the list of these data")
        targets[d] = frozenset(position[frame.number] for _, frame in group)
    return targets


def _groups(
    found: Found, lists: list[Path]
) -> dict[tuple[str, str], list[tuple[Path, ListedFrame]]]:
    """Listed frames by drive and side, in the order in which these first come up."""
    from vo.datasets.split_list import read_split_list

    groups: dict[tuple[str, str], list[tuple[Path, ListedFrame]]] = {}
    names: dict[str, str] = {}
    for path in lists:
        for frame in read_split_list(path):
            if not frame.side:
                problem = "names no side"
                raise InputError(f"{path} line {frame.line}", problem, "write l or r behind it")
            if frame.drive not in names:
                names[frame.drive] = found.choose(frame.drive)[0]
            groups.setdefault((names[frame.drive], frame.side), []).append((path, frame))
    return groups
