"""The other camera of a stereo pair, as a second sequence with the same frames.

The left cameras of KITTI are 0 (grey) and 2 (colour), the right ones 1 and 3. Both images are
rectified, so that a point on the left is found on the right in the same row.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vo.datasets import kitti_odometry, kitti_raw, kitti_raw_calibration
from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.frame import Sequence
from vo.datasets.recording import Recording, image_size
from vo.datasets.sequence import View
from vo.datasets.text import few

_PARTNERS = kitti_odometry.PARTNERS | kitti_raw.PARTNERS


def other_camera(sequence: Sequence) -> Sequence:
    """The same frames as the other camera of the pair saw them: image_3 of image_2, 0 of 1.

    Frame i of the result belongs to frame i of ``sequence``: same number, same time (the cameras
    are triggered together), same selection and same size of images. ``T_w_c`` are the same
    matrices, since KITTI's poses are those of camera 0. There is no depth and no mask: those lie
    in the images of one camera.

    Args:
        sequence: KITTI Odometry or KITTI raw, as opened by `open_sequence`.

    Raises:
        InputError: when it is no camera of a stereo pair, when the folder of the other camera is
            missing, lacks frames or has images of another size, and when that camera is not
            calibrated.
    """
    if isinstance(sequence, View):
        other, size = other_camera(sequence.source), sequence.camera.size
        same = other.camera.size == size
        camera = other.camera if same else other.camera.resized(*size)
        return replace(sequence, source=other, camera=camera)
    recording, name = _camera_of_pair(sequence)
    folder = _folder(recording, name)
    if not folder.is_dir():
        remedy = f"add the images of the other camera of {recording.name}, or train without stereo"
        raise InputError(folder, "no such folder", remedy)
    images = _same_frames(folder, recording.numbers)
    calibration = _calibration(folder, name)
    camera = calibration.camera(name, *image_size(images[0]))
    if camera.size != recording.camera.size:
        ours, theirs = (f"{c.width}x{c.height}" for c in (recording.camera, camera))
        problem = f"has images of {theirs} pixels, the other camera of {ours}"
        raise InputError(folder, problem, "give both cameras images of one size")
    return replace(
        recording,
        camera=camera,
        images=images,
        depths=None,
        depth_format=None,
        moving=None,
        T_c0_c=calibration.T_c0_c(name),
    )


def T_other_this(sequence: Sequence) -> Array:
    """Pose of a camera in the frame of the other camera of its pair, (4, 4) float64, metres.

    Of a left camera this is T_right_left = translation(-baseline, 0, 0): what is seen straight
    ahead on the left lies left of the right camera. Of a right camera it is the inverse. KITTI's
    projections also hold a few millimetres along y and z, which are left out, since rows of
    rectified images agree.

    Args:
        sequence: KITTI Odometry or KITTI raw, as opened by `open_sequence`.

    Raises:
        InputError: when it is no camera of a stereo pair or the baseline is not calibrated.
    """
    if isinstance(sequence, View):
        return T_other_this(sequence.source)
    recording, other = _camera_of_pair(sequence)
    if recording.baseline_m is None:
        remedy = "its calibration must hold the projections of both cameras"
        raise InputError(recording.name, f"the baseline to {other} is not known", remedy)
    is_right = int(other[-1]) % 2 == 0  # the other camera is 0 or 2
    T = np.eye(4)
    T[0, 3] = recording.baseline_m if is_right else -recording.baseline_m
    return T


def _camera_of_pair(sequence: Sequence) -> tuple[Recording, str]:
    """The recording and the name of the other camera, which the folders of both layouts tell."""
    if isinstance(sequence, Recording):
        name = camera_folder(sequence).name
        if name in _PARTNERS:
            return sequence, _PARTNERS[name]
    remedy = "stereo pairs are read from KITTI Odometry and KITTI raw"
    raise InputError(sequence.name, "is no camera of a stereo pair", remedy)


def camera_folder(recording: Recording) -> Path:
    """Where the images of a recording's camera lie: ``image_2``, or ``image_02`` above ``data``."""
    folder = recording.images[0].parent
    return folder.parent if folder.name == "data" else folder


def _folder(recording: Recording, name: str) -> Path:
    """Where the images of another camera of the same drive lie."""
    folder = camera_folder(recording).parent / name
    return folder / "data" if name in kitti_raw.PARTNERS else folder


def _same_frames(folder: Path, numbers: Array) -> tuple[Path, ...]:
    """The images with these numbers (N,); InputError when some are not there."""
    images = kitti_odometry.list_frames(folder)
    path_of = dict(zip(images.numbers.tolist(), images.paths, strict=True))
    missing = [n for n in numbers.tolist() if n not in path_of]
    if missing:
        problem = f"frames are missing that the other camera has: {few(missing)}"
        raise InputError(folder, problem, "restore them, or remove them there")
    return tuple(path_of[n] for n in numbers.tolist())


def _calibration(
    folder: Path, name: str
) -> kitti_odometry.Calibration | kitti_raw_calibration.Calibration:
    if name in kitti_odometry.PARTNERS:
        return kitti_odometry.read_calibration(folder.parent / "calib.txt")
    drive = folder.parent.parent
    return kitti_raw_calibration.read_calibration(kitti_raw.calibration_file(drive))
