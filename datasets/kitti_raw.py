"""KITTI raw, synchronised and rectified (Geiger et al., IJRR 2013).

```
root/2011_09_26/calib_cam_to_cam.txt                calibration of all drives of the date
root/2011_09_26/2011_09_26_drive_0052_sync/         a drive; DRIVE below
DRIVE/image_02/data/0000000000.png                  png or jpg; image_00, image_01 grey, image_02,
                                                    image_03 colour
DRIVE/image_02/timestamps.txt                       optional: line k is the time of frame k
DRIVE/oxts/data/0000000000.txt                      optional: GPS/IMU packets, the true poses
```

The laser scans in ``velodyne_points`` are not read here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.kitti_odometry import Images, list_frames
from vo.datasets.kitti_raw_calibration import Calibration, read_calibration, read_rigid
from vo.datasets.optional import is_there
from vo.datasets.oxts import imu_poses, read_packets
from vo.datasets.recording import Recording, image_size
from vo.datasets.text import check_increasing, few, read_lines

CAMERAS = ("image_02", "image_00", "image_03", "image_01")  # colour first, left first
PARTNERS = {  # the other camera of the stereo pair
    "image_00": "image_01",
    "image_01": "image_00",
    "image_02": "image_03",
    "image_03": "image_02",
}
RATE_HZ = 10.0  # at which the laser scanner turns and triggers all cameras

_DATE = r"[0-9]{4}_[0-9]{2}_[0-9]{2}"
_DRIVE = rf"{_DATE}_drive_([0-9]{{4}})_sync"
_TIME = r"(20[0-9]{2}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)"


def open_kitti_raw(drive: Path, camera: str | None = None, poses: bool = True) -> Recording:
    """Open one drive, ``root/DATE/DATE_drive_NNNN_sync``.

    Frames are the images that exist: some drives lack a few, and `Recording.numbers` and the
    times jump there. As in KITTI Odometry ``T_w_c`` are poses of (rectified) camera 0, whatever
    the camera; world is camera 0 at the first frame, and ``Recording.T_c0_c`` leads from the
    chosen camera to camera 0. ``T_w_c`` is None without ``oxts`` or its calibration: see
    `read_frame_poses`. Times are seconds since frame 0; without a
    ``timestamps.txt`` they are taken to be those of exactly 10 Hz.

    Args:
        drive: the folder.
        camera: ``image_00`` to ``image_03``; None is the first of image_02, image_00, image_03,
            image_01 that is there.
        poses: whether to read the GPS/IMU packets; without, ``T_w_c`` is None.

    Raises:
        InputError: when something is missing, damaged or does not fit together.
    """
    name = choose_camera(drive, camera)
    images = read_images(drive, name)
    calibration = read_calibration(calibration_file(drive))
    return Recording(
        name=drive.name,
        camera=calibration.camera(name, *image_size(images.paths[0])),
        timestamps=read_frame_times(drive / name / "timestamps.txt", images.numbers),
        T_w_c=read_frame_poses(drive, images.numbers, calibration) if poses else None,
        numbers=images.numbers,
        images=images.paths,
        baseline_m=calibration.baseline_m(name),
        T_c0_c=calibration.T_c0_c(name),
    )


def find_sequences(data: Path) -> dict[str, Path]:
    """Drives by name in a root with dates, in the folder of a date, or the drive itself."""
    return {drive.name: drive for drive in drive_folders(data) if cameras_in(drive)}


def drive_folders(data: Path) -> list[Path]:
    """Folders that are named as drives are, with images in them or not, sorted."""
    if drive_number(data.name) is not None:
        return [data]
    dates = _folders(data, _DATE)
    return _folders(data, _DRIVE) or [drive for date in dates for drive in _folders(date, _DRIVE)]


def drive_number(name: str) -> int | None:
    """52 of ``2011_09_26_drive_0052_sync``; None of any other name."""
    match = re.fullmatch(_DRIVE, name)
    return int(match[1]) if match else None


def cameras_in(drive: Path) -> list[str]:
    """Names of the cameras of a drive, the default first."""
    return [name for name in CAMERAS if (drive / name / "data").is_dir()]


def choose_camera(drive: Path, camera: str | None) -> str:
    """The camera to read; InputError when it is not there."""
    there = cameras_in(drive)
    if not there:
        remedy = "images lie in image_02/data and so on"
        raise InputError(drive, "holds no image_00, image_01, image_02 or image_03", remedy)
    if camera is None:
        return there[0]
    if camera not in there:
        problem = f"is {camera!r}, which is not in {drive}"
        raise InputError("--camera", problem, f"choose from {', '.join(there)}")
    return camera


def read_images(drive: Path, camera: str) -> Images:
    """Images of one camera by their numbers; some may be left out.

    `Images.folder` is ``DRIVE/image_02``.

    Raises:
        InputError: when there are none, and when two files have one number.
    """
    return replace(list_frames(drive / camera / "data"), folder=drive / camera)


def calibration_file(drive: Path) -> Path:
    """Where the calibration of a drive's cameras lies: beside the drive."""
    return drive.parent / "calib_cam_to_cam.txt"


def packets_folder(drive: Path) -> Path:
    """Where the GPS/IMU packets of a drive lie if there are any."""
    return drive / "oxts" / "data"


def read_frame_times(path: Path, numbers: Array) -> Array:
    """Times of frames by their numbers, (N,) float64 seconds since frame 0.

    Line k of a ``timestamps.txt`` is the time of frame k, ``2011-09-26 14:14:11.134893``, with
    up to nine decimals; it may be empty for a frame that is not there. Without the file frame k
    has the time k / 10 s, since the cameras are triggered at 10 Hz.

    Raises:
        InputError: when the file is damaged, a frame has no time, or times do not increase.
    """
    if not is_there(path):
        return numbers / RATE_HZ
    remedy = "a time is written 2011-09-26 14:14:11.134893440, one line for each frame"
    at = {i - 1: _moment(line, path, i) for i, line in read_lines(path, remedy)}
    missing = [n for n in numbers.tolist() if n not in at]
    if missing:
        problem = f"has no time of frames {few(missing)}"
        raise InputError(path, problem, "restore it, or remove the file for 10 Hz")
    # Differences are taken in whole nanoseconds: float64 seconds since 1970 keep only 240 of them.
    since = np.array([at[n] for n in numbers.tolist()]) - at[min(at)]
    times = since / np.timedelta64(1, "s")
    check_increasing(times, path)
    return times


def read_frame_poses(drive: Path, numbers: Array, calibration: Calibration) -> Array | None:
    """True poses of camera 0, T_w_c0 (N, 4, 4) float64 metres, from the GPS/IMU packets.

    With X = T_rect0_imu = T_rect0_c0 T_c0_velo T_velo_imu and the poses T_k of the unit
    (`imu_poses`), the pose of frame k is X T_0^-1 T_k X^-1: world is the camera at the first
    frame. None without ``oxts/data`` and where the calibration leaves X unknown.

    Args:
        drive: the folder.
        numbers: (N,) int64 numbers of the frames.
        calibration: of the cameras.

    Raises:
        InputError: when a packet or a calibration file is damaged, or a frame has no packet.
    """
    packets, T_rect0_c0 = packets_folder(drive), calibration.T_rect0_c0
    if not is_there(packets) or T_rect0_c0 is None or missing_for_poses(drive, calibration):
        return None
    T_c0_velo, T_velo_imu = (read_rigid(path) for path in _rigid_files(drive))
    T_rect0_imu = T_rect0_c0 @ T_c0_velo @ T_velo_imu
    T_w_imu = imu_poses(read_packets(packets, numbers))
    T_imu0_imu = np.linalg.inv(T_w_imu[0]) @ T_w_imu
    return T_rect0_imu @ T_imu0_imu @ np.linalg.inv(T_rect0_imu)


def missing_for_poses(drive: Path, calibration: Calibration) -> list[str]:
    """What a drive's calibration lacks for true poses: names of files, or of a line."""
    lacking = [path.name for path in _rigid_files(drive) if not is_there(path)]
    if calibration.T_rect0_c0 is None:
        lacking.append(f"R_rect_00 in {calibration.path.name}")
    return lacking


def _rigid_files(drive: Path) -> tuple[Path, Path]:
    return drive.parent / "calib_velo_to_cam.txt", drive.parent / "calib_imu_to_velo.txt"


def _moment(line: str, path: Path, number: int) -> np.datetime64:
    match = re.fullmatch(_TIME, line)
    if match:
        try:
            return np.datetime64(f"{match[1]}T{match[2]}", "ns")
        except ValueError:  # the 31st of February, 25 o'clock
            pass
    problem = f"line {number}: {line[:40]!r} is no time"
    raise InputError(path, problem, "write it as 2011-09-26 14:14:11.134893440")


def _folders(parent: Path, name: str) -> list[Path]:
    folders = (p for p in parent.iterdir() if re.fullmatch(name, p.name) and p.is_dir())
    return sorted(folders)
