"""Frames with their true depth, whatever that is: laser scans, annotated maps, or dense depth.

```
DRIVE/velodyne_points/data/0000000000.bin           velodyne-x, velodyne-z
annotated depth, see `vo.datasets.annotated`        improved
depth images of the street, TUM RGB-D and 7-Scenes  own
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from vo.datasets import kitti_odometry, kitti_raw, open_sequence
from vo.datasets.annotated import find_annotated
from vo.datasets.camera import Array, Camera
from vo.datasets.depth_kind import DepthKind
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.images import DepthFormat, read_depth
from vo.datasets.kitti_raw_calibration import read_calibration
from vo.datasets.layout import Found, Kind, recognise
from vo.datasets.recording import Recording
from vo.datasets.sequence import position
from vo.datasets.split_list import CAMERAS, ListedFrame, read_split_list
from vo.datasets.velodyne import (
    ScanDepth,
    project_scan,
    read_scan,
    scan_camera,
    scan_file,
    scan_files,
)

_OTHER_TRUTH = "add the ground truth, or choose another with --truth"


@dataclass(frozen=True, slots=True, eq=False)
class TruthFrames:
    """Frames of one camera of a drive whose true depth is known; satisfies `Sequence`.

    Unlike elsewhere `Frame.depth` keeps the size that the truth has, also where the images were
    made smaller, and for ``velodyne-x`` it is not along the optical axis.

    Attributes:
        recording: the drive, with all its frames.
        side: ``l`` or ``r``, the name of a grey camera, or empty for a single one.
        indices: (N,) int64 increasing positions in ``recording``.
        files: N files with the truth.
        read: reads one of them, (H, W) float32 metres, 0 where unknown.
    """

    recording: Recording
    side: str
    indices: Array
    files: tuple[Path, ...]
    read: Callable[[Path], Array]

    @property
    def name(self) -> str:
        """Name of the drive."""
        return self.recording.name

    @property
    def camera(self) -> Camera:
        """Camera of the images."""
        return self.recording.camera

    @property
    def timestamps(self) -> Array:
        """(N,) float64 seconds."""
        return self.recording.timestamps[self.indices]

    @property
    def T_w_c(self) -> Array | None:
        """(N, 4, 4) float64 true poses, or None."""
        poses = self.recording.T_w_c
        return None if poses is None else poses[self.indices]

    @property
    def frames(self) -> tuple[ListedFrame, ...]:
        """What the frames are called in a list."""
        numbers = self.recording.numbers[self.indices]
        return tuple(ListedFrame(self.name, int(n), self.side) for n in numbers)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Frame:
        """Frame ``index``; InputError names the file that is damaged."""
        i = position(index, len(self))
        frame = self.recording[int(self.indices[i])]
        return replace(frame, depth=self.read(self.files[i]))


class _NoTruth(InputError):
    """A drive is sound, but has no true depth of the kind that is asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class _Truth:
    """Where the truth of a drive lies.

    Attributes:
        files: by frame number.
        place: what a frame's truth is called where it is missing: the file, if one is meant.
        read: reads one.
    """

    files: dict[int, Path]
    place: Callable[[int], Path | str]
    read: Callable[[Path], Array]


def open_truth(
    data: Path,
    seq: str | None,
    kind: DepthKind,
    camera: str | None = None,
    annotations: Path | None = None,
    poses: bool = False,
) -> TruthFrames:
    """All frames of a drive that have a true depth.

    Args:
        data: as in `open_sequence`.
        seq: name of the drive; None where there is only one.
        kind: which true depth.
        camera: ``image_03`` and so on; None is the default one.
        annotations: KITTI's annotated depth; None looks for ``data_depth_annotated`` in ``data``,
            then in the folders of the drives.
        poses: whether the true poses of KITTI raw are read as well.

    Raises:
        InputError: when the drive cannot be opened, has not this kind of truth, or has it for no
            frame.
    """
    return _all(*_open(recognise(data), seq, kind, camera, annotations, poses), kind)


def open_every(
    data: Path, kind: DepthKind, camera: str | None = None, annotations: Path | None = None
) -> tuple[list[TruthFrames], list[str]]:
    """All frames that have a true depth, of every drive.

    Args:
        data: as in `open_sequence`.
        kind: which true depth.
        camera: as in `open_truth`.
        annotations: as in `open_truth`.

    Returns:
        the drives, and the names of those that are left out for want of any true depth.

    Raises:
        InputError: when a drive cannot be opened, and when none has this kind of truth.
    """
    found = recognise(data)
    opened: list[TruthFrames] = []
    without: dict[str, _NoTruth] = {}
    for name in found.sequences:
        try:
            opened.append(_all(*_open(found, name, kind, camera, annotations), kind))
        except _NoTruth as error:
            without[name] = error
    if not opened:
        raise next(iter(without.values()))
    return opened, list(without)


def open_listed(
    data: Path, split_list: Path, kind: DepthKind, annotations: Path | None = None
) -> list[TruthFrames]:
    """The frames of a list, by drive and side in the order in which these first come up.

    Args:
        data: as in `open_sequence`; folders of the list are drives in it.
        split_list: see `vo.datasets.split_list`.
        kind: which true depth.
        annotations: as in `open_truth`.

    Raises:
        InputError: when a drive is missing, or a frame is listed twice, has no image, or no truth.
    """
    found = recognise(data)
    groups: dict[tuple[str, str], list[ListedFrame]] = {}
    for frame in read_split_list(split_list):
        groups.setdefault((frame.drive, frame.side), []).append(frame)
    opened = []
    for (drive, side), group in groups.items():
        first, where = group[0], f"{split_list} line {group[0].line}"
        if drive not in found.sequences:
            raise InputError(where, f"there is no {first.folder} in {found.data}", "check --data")
        cameras = CAMERAS.get(found.kind, {})
        camera = cameras.get(side)
        if bool(side) != bool(cameras):
            problem = f"names side {side!r}, but {found.data} has {len(cameras)} sides"
            raise InputError(where, problem, f"write one of {', '.join(cameras) or 'none'}")
        if camera is not None and not (found.sequences[drive] / camera).is_dir():
            raise InputError(where, f"there is no {camera} of {drive}", "add it, or leave it out")
        truth = _open(found, drive, kind, camera, annotations)
        opened.append(_chosen(*truth, split_list, group, kind))
    return opened


def _chosen(
    recording: Recording,
    side: str,
    truth: _Truth,
    split_list: Path,
    group: list[ListedFrame],
    kind: DepthKind,
) -> TruthFrames:
    """The frames of one camera that are listed."""
    index_of = {n: i for i, n in enumerate(recording.numbers.tolist())}
    chosen: dict[int, int] = {}
    for frame in group:
        where = f"{split_list} line {frame.line}"
        if frame.number not in index_of:
            problem = f"frame {frame.number} of {frame.drive} has no image"
            raise InputError(where, problem, "add the image, or remove the line")
        if frame.number in chosen:
            problem = f"frame {frame.number} of {frame.drive} is listed twice"
            raise InputError(where, problem, "remove one of the lines")
        if frame.number not in truth.files:
            problem = f"is missing, the {kind} depth of {where}"
            raise InputError(truth.place(frame.number), problem, "add it, or remove the line")
        chosen[frame.number] = index_of[frame.number]
    return _frames(recording, side, truth, sorted(chosen.values()))


def _all(recording: Recording, side: str, truth: _Truth, kind: DepthKind) -> TruthFrames:
    """All frames of one camera that have a truth."""
    has = [i for i, n in enumerate(recording.numbers.tolist()) if n in truth.files]
    if not has:
        problem = f"is missing, and no other frame of {recording.name} has {kind} depth either"
        raise _NoTruth(truth.place(int(recording.numbers[0])), problem, _OTHER_TRUTH)
    return _frames(recording, side, truth, has)


def _frames(recording: Recording, side: str, truth: _Truth, indices: list[int]) -> TruthFrames:
    numbers = recording.numbers[indices].tolist()
    files = tuple(truth.files[n] for n in numbers)
    # The images come without the depth that lies beside them: it is read as the truth alone.
    bare = replace(recording, depths=None, depth_format=None)
    return TruthFrames(bare, side, np.array(indices, np.int64), files, truth.read)


def _open(
    found: Found,
    seq: str | None,
    kind: DepthKind,
    camera: str | None,
    annotations: Path | None,
    poses: bool = False,
) -> tuple[Recording, str, _Truth]:
    """A drive, the side of its camera, and its truth."""
    name, place = found.choose(seq)
    if kind == "own":
        recording = None
        if found.kind != "video":
            recording = open_sequence(found.data, name, camera=camera)
        if not isinstance(recording, Recording):
            raise InputError(found.data, "is a video, which has no true depth", "give other data")
        return recording, *_own(found.kind, recording, camera)
    if found.kind != "kitti_raw":
        problem = f"is no KITTI raw, which alone has {kind} depth"
        raise InputError(found.data, problem, "take the depth of the data itself with --truth own")
    camera = kitti_raw.choose_camera(place, camera)
    recording = kitti_raw.open_kitti_raw(place, camera, poses=poses)
    side = _side(found.kind, camera)
    if kind == "improved":
        return recording, side, _improved(found.data, place, camera, annotations)
    return recording, side, _scans(place, camera, kind)


def _own(kind: Kind, recording: Recording, camera: str | None) -> tuple[str, _Truth]:
    """Side and depth images of the data itself, which belong to the default camera."""
    if recording.depths is None or recording.depth_format is None:
        raise _NoTruth(recording.name, "has no true depth of its own", _OTHER_TRUTH)
    side = ""
    if kind == "kitti":
        default = kitti_odometry.choose_camera(recording.images[0].parent.parent, None)
        if camera not in (None, default):
            problem = f"is asked for, but the depth of {recording.name} is that of {default}"
            raise InputError(camera or "", problem, "choose that camera")
        side = _side(kind, default)
    pairs = zip(recording.numbers.tolist(), recording.depths, strict=True)
    files = {number: path for number, path in pairs if path is not None}
    read = partial(_read_map, depth_format=recording.depth_format, size=recording.camera.size)
    return side, _Truth(files, lambda number: f"depth of frame {number} of {recording.name}", read)


def _scans(drive: Path, camera: str, kind: ScanDepth) -> _Truth:
    """Laser scans, projected into a camera of KITTI raw."""
    seen_by = scan_camera(read_calibration(kitti_raw.calibration_file(drive)), camera)

    def read(path: Path) -> Array:
        return project_scan(read_scan(path), seen_by, kind)

    return _Truth(scan_files(drive), partial(scan_file, drive), read)


def _improved(data: Path, drive: Path, camera: str, annotations: Path | None) -> _Truth:
    """Annotated depth maps of KITTI, which stop five frames short of either end of a drive."""
    if annotations is None and (data / "data_depth_annotated").is_dir():
        annotations = data / "data_depth_annotated"
    folder = drive / "proj_depth" / "groundtruth" / camera
    for place in find_annotated(data, annotations).places:
        if (place.drive, place.camera) == (drive.name, camera):
            folder = place.depths
    size = read_calibration(kitti_raw.calibration_file(drive)).sizes.get(camera)
    read = partial(_read_map, depth_format=kitti_odometry.DEPTH_FORMAT, size=size)
    files = kitti_odometry.files_by_number(folder)
    return _Truth(files, lambda number: folder / f"{number:010d}.png", read)


def _read_map(path: Path, depth_format: DepthFormat, size: tuple[int, int] | None) -> Array:
    """A depth image, which must have the size (width, height) of the camera where that is known."""
    depth = read_depth(path, depth_format)
    if size is not None and depth.shape != size[::-1]:
        problem = f"has {depth.shape[1]}x{depth.shape[0]} pixels, its camera {size[0]}x{size[1]}"
        raise InputError(path, problem, "give the depth of this camera and this drive")
    return depth


def _side(kind: str, camera: str) -> str:
    """What a camera is called in a list: its side, or its name where it is a grey one."""
    sides = {name: side for side, name in CAMERAS[kind].items()}
    return sides.get(camera, camera)
