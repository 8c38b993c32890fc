"""Frames with sparse true depth, as networks are fine-tuned on: KITTI's annotated depth, and NYU.

KITTI (Uhrig et al., 3DV 2017), with the images of KITTI raw:

```
root/2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png      png or jpg
annotations/train/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png
```

where ``train`` may as well be ``val`` or missing, and ``proj_depth`` may lie in the drive's own
folder of the root. Depth is uint16, metres x 256, 0 = none; the first and last frames have none.

NYU Depth v2 (Silberman et al., ECCV 2012), with depth projected into the colour image:

```
root/kitchen_0028b/rgb_00045.jpg
root/kitchen_0028b/sync_depth_00045.png     uint16, millimetres, 0 = none
```
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vo.datasets import kitti_odometry, kitti_raw
from vo.datasets.camera import Camera
from vo.datasets.errors import InputError
from vo.datasets.images import DepthFormat, is_image
from vo.datasets.kitti_raw_calibration import read_calibration
from vo.datasets.layout import Found
from vo.datasets.nyu import NYU_CAMERA
from vo.datasets.recording import Recording, image_size
from vo.datasets.text import few, read_lines

NYU_DEPTH_FORMAT = DepthFormat(per_metre=1000)

_CAMERAS = ("image_02", "image_03")  # the colour cameras, which alone are annotated
_SPLITS = ("train", "val")
_NYU_IMAGE = re.compile(r"rgb_([0-9]{1,12})\.(?:png|jpe?g)")
_NYU_DEPTH = re.compile(r"sync_depth_([0-9]{1,12})\.png")
_IN_A_LIST = {  # image and depth: drive, camera (none in NYU) and number of the frame
    "kitti": (
        re.compile(r"(?:.*/)?([^/]+)/(image_0[23])/data/([0-9]{1,12})\.(?:png|jpe?g)"),
        re.compile(r"(?:.*/)?([^/]+)/proj_depth/groundtruth/(image_0[23])/([0-9]{1,12})\.png"),
    ),
    "nyu": (
        re.compile(rf"(?:.*/)?([^/]+)()/{_NYU_IMAGE.pattern}"),
        re.compile(rf"(?:.*/)?([^/]+)()/{_NYU_DEPTH.pattern}"),
    ),
}


@dataclass(frozen=True, slots=True)
class Annotated:
    """One camera of a drive, or a scene, with the folder of its true depth.

    Attributes:
        kind: the layout.
        drive: name of the drive or scene: what is trained on or validated on as a whole.
        camera: ``image_02`` or ``image_03``; empty for NYU.
        split: ``train``, ``val`` or empty, as the folder of annotations says.
        images: folder of the images.
        depths: folder of the depth images.
    """

    kind: Literal["kitti", "nyu"]
    drive: str
    camera: str
    split: str
    images: Path
    depths: Path

    @property
    def name(self) -> str:
        """Name for tables: ``2011_09_26_drive_0001_sync/image_02``, or that of the scene."""
        return f"{self.drive}/{self.camera}" if self.camera else self.drive


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedData:
    """What true depth there is in a folder.

    Attributes:
        data: the folder.
        places: all cameras and scenes, sorted by split, drive and camera.
        lacking: drives that have true depth, but no images.
    """

    data: Path
    places: tuple[Annotated, ...]
    lacking: tuple[str, ...]

    def of_drive(self, name: str) -> tuple[Annotated, ...]:
        """The cameras of one drive, by its name or, as ``0052`` or ``52``, by its number.

        Raises:
            InputError: when it is not there, or the number stands for several.
        """
        folders = {place.drive: place.images for place in self.places}
        drive, _ = Found(self.data, "images", folders).choose(name)
        return tuple(place for place in self.places if place.drive == drive)

    def to_train_on(self) -> tuple[Annotated, ...]:
        """All but KITTI's own ``val``, which is trained on only where it is named."""
        return tuple(place for place in self.places if place.split != "val")


@dataclass(frozen=True, slots=True, eq=False)
class FrameList:
    """Frames that a list names.

    Attributes:
        path: the file.
        frames: numbers of the frames by drive and camera, ``("2011_09_26_drive_0001_sync",
            "image_02")``; the camera is empty for NYU.
        without_depth: lines that name no depth, which are left out.
    """

    path: Path
    frames: Mapping[tuple[str, str], tuple[int, ...]]
    without_depth: int


def find_annotated(data: Path, annotations: Path | None = None) -> AnnotatedData:
    """Look for images with true depth.

    Args:
        data: root of KITTI raw, or of the scenes of NYU.
        annotations: KITTI's ``data_depth_annotated``; None looks into the folders of the drives.

    Raises:
        InputError: when a folder is missing, when no image with true depth is found, and when
            annotations are given for data that are not KITTI's.
    """
    for flag, folder in (("--data", data), ("--annotations", annotations)):
        if folder is not None and not folder.is_dir():
            raise InputError(folder, "no such folder", f"check the path given with {flag}")
    drives = kitti_raw.drive_folders(data)
    if drives:
        return _find_kitti(data, drives, annotations)
    if annotations is not None:
        problem = f"is for KITTI raw, but {data} holds none of its drives"
        raise InputError("--annotations", problem, "check --data, or leave the flag out")
    return _find_nyu(data)


def open_annotated(place: Annotated, numbers: Iterable[int] | None = None) -> Recording:
    """The frames that have true depth, as a recording without poses.

    Times are nominal: 10 Hz for KITTI, one second a number for NYU.

    Args:
        place: a camera or scene.
        numbers: of the frames to take; None takes every frame with depth.

    Raises:
        InputError: when a frame asked for has no depth, when a depth has no image, and when the
            calibration is missing or damaged.
    """
    images, depths = _files(place)
    chosen = sorted(depths if numbers is None else set(numbers))
    for folder, files in ((place.depths, depths), (place.images, images)):
        missing = [number for number in chosen if number not in files]
        if missing:
            what = "depth" if files is depths else "images"
            problem = f"{what} of frames {few(missing)} missing"
            raise InputError(folder, problem, "restore the files, or take the frames out")
    if not chosen:
        raise InputError(place.depths, "holds no depth image", "check the folder, or remove it")
    is_kitti = place.kind == "kitti"
    return Recording(
        name=place.name,
        camera=_camera(place, image_size(images[chosen[0]])),
        timestamps=np.array(chosen) / (kitti_raw.RATE_HZ if is_kitti else 1.0),
        T_w_c=None,
        numbers=np.array(chosen, np.int64),
        images=tuple(images[number] for number in chosen),
        depths=tuple(depths[number] for number in chosen),
        depth_format=kitti_odometry.DEPTH_FORMAT if is_kitti else NYU_DEPTH_FORMAT,
    )


def read_frame_list(path: Path) -> FrameList:
    """Read a list in the published format: image, depth, and a focal length that is not needed.

    Paths are relative to whatever folder; what counts is drive, camera and number of the frame.
    A depth of ``None`` leaves its line out.

    Raises:
        InputError: naming the line, when it is damaged or pairs an image with another's depth.
    """
    remedy = "write `image depth focal` a line, as in DATE/DRIVE/image_02/data/0000000005.png"
    frames: dict[tuple[str, str], set[int]] = {}
    without_depth = 0
    for i, line in read_lines(path, remedy):
        words = line.split()
        if not 2 <= len(words) <= 3:
            raise InputError(path, f"line {i} has {len(words)} words", remedy)
        image, depth = _listed(words[0], 0), _listed(words[1], 1)
        if image is None or (depth is None and words[1] != "None"):
            raise InputError(path, f"line {i} names no frame of KITTI or NYU", remedy)
        if depth is None:
            without_depth += 1
            continue
        if depth != image:
            problem = f"line {i} pairs an image with the depth of another"
            raise InputError(path, problem, "repair the line")
        frames.setdefault(image[:2], set()).add(image[2])
    ordered = {key: tuple(sorted(numbers)) for key, numbers in sorted(frames.items())}
    if not ordered:
        raise InputError(path, "names no frame with depth", remedy)
    return FrameList(path, ordered, without_depth)


def open_listed(found: AnnotatedData, frames: FrameList) -> list[Recording]:
    """The frames of a list, one recording for each camera of each drive.

    Raises:
        InputError: when a frame is not in the data.
    """
    places = {(place.drive, place.camera): place for place in found.places}
    missing = [drive for drive, camera in frames.frames if (drive, camera) not in places]
    if missing:
        problem = f"names drives without images or depth in {found.data}: {few(missing, 3)}"
        raise InputError(frames.path, problem, "add them, or take their lines out")
    return [open_annotated(places[key], numbers) for key, numbers in frames.frames.items()]


def _find_kitti(data: Path, drives: list[Path], annotations: Path | None) -> AnnotatedData:
    by_name = {drive.name: drive for drive in drives}
    with_depth = [("", drive) for drive in drives]
    if annotations is not None:
        splits = [split for split in _SPLITS if (annotations / split).is_dir()] or [""]
        with_depth = [
            (split, drive)
            for split in splits
            for drive in kitti_raw.drive_folders(annotations / split)
        ]
    places, lacking = [], []
    for split, folder in with_depth:
        for camera in _CAMERAS:
            depths = folder / "proj_depth" / "groundtruth" / camera
            images = by_name.get(folder.name, Path()) / camera / "data"
            if depths.is_dir() and folder.name in by_name and images.is_dir():
                places.append(Annotated("kitti", folder.name, camera, split, images, depths))
            elif depths.is_dir():
                lacking.append(folder.name)
    if not places:
        where = annotations or data
        problem = "holds no true depth of a drive with images"
        remedy = "give KITTI's data_depth_annotated with --annotations"
        if lacking:
            problem += f" ({few(dict.fromkeys(lacking), 3)} have none in {data})"
            remedy = "unpack these drives of KITTI raw there"
        raise InputError(where, problem, remedy)
    return AnnotatedData(data, tuple(places), tuple(dict.fromkeys(lacking)))


def _find_nyu(data: Path) -> AnnotatedData:
    scenes = [data, *sorted(folder for folder in data.iterdir() if folder.is_dir())]
    places = tuple(
        Annotated("nyu", scene.resolve().name, "", "", scene, scene)
        for scene in scenes
        if any(_NYU_DEPTH.fullmatch(file.name) for file in scene.iterdir())
    )
    if not places:
        remedy = (
            "looked for KITTI raw (2011_09_26/2011_09_26_drive_0001_sync) and for NYU "
            "(kitchen_0028b/rgb_00045.jpg with sync_depth_00045.png)"
        )
        raise InputError(data, "holds no images with true depth", remedy)
    return AnnotatedData(data, places, ())


def _files(place: Annotated) -> tuple[dict[int, Path], dict[int, Path]]:
    """Images and depth images by the numbers of the frames."""
    if place.kind == "kitti":
        images = kitti_odometry.list_frames(place.images)
        numbered = dict(zip(images.numbers.tolist(), images.paths, strict=True))
        return numbered, kitti_odometry.files_by_number(place.depths)
    files = [file for file in sorted(place.images.iterdir()) if is_image(file)]
    return _numbered(files, _NYU_IMAGE), _numbered(files, _NYU_DEPTH)


def _numbered(files: list[Path], pattern: re.Pattern[str]) -> dict[int, Path]:
    found = {}
    for file in files:
        if match := pattern.fullmatch(file.name):
            number = int(match[1])
            if number in found:
                problem = f"{found[number].name} and {file.name} are the same frame"
                raise InputError(file.parent, problem, "remove one of them")
            found[number] = file
    return found


def _camera(place: Annotated, size: tuple[int, int]) -> Camera:
    if place.kind == "nyu":
        return NYU_CAMERA.fitted(*size, where=place.images)
    drive = place.images.parent.parent
    return read_calibration(kitti_raw.calibration_file(drive)).camera(place.camera, *size)


def _listed(path: str, part: int) -> tuple[str, str, int] | None:
    """Drive, camera and number of a path in a list; part 0 is an image, 1 a depth."""
    for patterns in _IN_A_LIST.values():
        if match := patterns[part].fullmatch(path):
            return match[1], match[2], int(match[3])
    return None
