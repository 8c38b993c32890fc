"""What the frames of a sequence are called in a list."""

from __future__ import annotations

from vo.datasets import kitti_odometry, kitti_raw
from vo.datasets.cityscapes import FRAME, listed_frame
from vo.datasets.crop import Cropped
from vo.datasets.frame import Sequence
from vo.datasets.recording import Recording
from vo.datasets.sequence import View
from vo.datasets.split_list import ListedFrame
from vo.datasets.stereo import camera_folder
from vo.datasets.video import Video
from vo.datasets.wide_triplets import WideTriplet

_SIDES = {"image_2": "l", "image_3": "r", "image_02": "l", "image_03": "r"}
_CAMERAS = (*kitti_odometry.CAMERAS, *kitti_raw.CAMERAS)


def listed_frames(sequence: Sequence) -> list[ListedFrame]:
    """The frames of a sequence as lines of a list, in their order.

    The side is ``l`` or ``r`` for the colour cameras of KITTI, the name of a grey one, and empty
    elsewhere. Numbers are those on disk; those of a video count from 0. Frames of Cityscapes are
    called as its images are (`cityscapes.listed_frame`).

    Raises:
        TypeError: for a sequence of another kind than those of `vo.datasets`.
    """
    if isinstance(sequence, View):
        whole = listed_frames(sequence.source)
        return [whole[i] for i in sequence.indices.tolist()]
    if isinstance(sequence, Cropped):
        return listed_frames(sequence.source)
    if isinstance(sequence, WideTriplet):
        return _of_cityscapes(sequence)
    if isinstance(sequence, Video):
        return [ListedFrame(sequence.name, i) for i in range(len(sequence))]
    if not isinstance(sequence, Recording):
        raise TypeError(f"must be a sequence of vo.datasets, got {type(sequence).__name__}")
    if FRAME.fullmatch(sequence.name) and sequence.images[0].name.startswith(sequence.name):
        return _of_cityscapes(sequence)
    camera = camera_folder(sequence).name
    side = _SIDES.get(camera, camera) if camera in _CAMERAS else ""
    name = sequence.name.removesuffix(f"/{camera}")  # drives with true depth carry their camera
    return [ListedFrame(name, number, side) for number in sequence.numbers.tolist()]


def known_as(sequence: Sequence) -> str:
    """What a checkpoint's card calls a sequence: its name, or the city of one of Cityscapes."""
    if isinstance(sequence, Recording | WideTriplet | Cropped | View) and FRAME.fullmatch(
        sequence.name
    ):
        return listed_frames(sequence)[0].drive
    return sequence.name


def _of_cityscapes(sequence: Recording | WideTriplet) -> list[ListedFrame]:
    drive = sequence.name.rpartition("_")[0]
    return [listed_frame(f"{drive}_{number:06d}") for number in sequence.numbers.tolist()]
