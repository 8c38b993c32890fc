"""Look for what is wrong with a drive of KITTI raw."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from vo.datasets import kitti_odometry, kitti_raw
from vo.datasets.annotated import find_annotated
from vo.datasets.camera import Array
from vo.datasets.check_report import Report, Size
from vo.datasets.errors import InputError
from vo.datasets.images import read_depth, read_image
from vo.datasets.kitti_odometry import Images
from vo.datasets.kitti_raw_calibration import Calibration, read_calibration
from vo.datasets.text import few
from vo.datasets.velodyne import read_scan, scan_files

_NEARLY = 0.03  # sizes of KITTI's days differ by less than this, sizes on purpose by more
_PAIRS = (("image_00", "image_01"), ("image_02", "image_03"))
_LOOKED_AT = 5  # pairs of images in which the order of the cameras is looked for
_WIDTH, _BLOCK, _REACH = 414, 20, 48  # pixels: of the images, of what is searched, and how far
_MATCH = 0.95  # least correlation of what counts as found
_LEAST_VOTES = 20


def check_date(report: Report, drive: Path, lists: list[Images]) -> None:
    """Note a drive that lies, or whose images lie, where they do not belong."""
    date = drive.name[:10]
    folder = drive.resolve().parent.name
    if re.fullmatch(r"[0-9]{4}_[0-9]{2}_[0-9]{2}", folder) and folder != date:
        report.error(drive, f"lies in the folder of {folder}, whose calibration is another")
    for images in lists:
        times = images.folder / "timestamps.txt"
        if times.is_file():
            with times.open("rb") as file:
                day = file.read(10).decode("ascii", "replace").replace("-", "_")
            if re.fullmatch(r"[0-9]{4}_[0-9]{2}_[0-9]{2}", day) and day != date:
                report.error(times, f"has times of {day}: these are the images of another drive")


def check_size(report: Report, calibration: Calibration, images: Images, size: Size) -> None:
    """Note images that are nearly, but not quite, of the calibrated size: those of another day."""
    known = calibration.sizes.get(images.folder.name)
    if known is None or known == size:
        return
    if all(abs(a / b - 1) < _NEARLY for a, b in zip(size, known, strict=True)):
        sizes = f"{size[0]}x{size[1]} pixels, {calibration.path.name} says {known[0]}x{known[1]}"
        report.error(images.folder, f"has {sizes}: images or calibration are of another day")


def check_scans(report: Report, drive: Path, numbers: Array) -> None:
    """Note laser scans that are missing where others are there, and those that are damaged."""
    scans = scan_files(drive)
    if not scans:
        return
    missing = [n for n in numbers.tolist() if n not in scans]
    if missing:
        what = f"{len(missing)} of {len(numbers)} frames have no laser scan: {few(missing)}"
        report.warn(drive / "velodyne_points", what)
    report.scan([scans[n] for n in sorted(scans)], read_scan)


def check_order(report: Report, lists: list[Images]) -> None:
    """Note cameras that stand the wrong way round: a point on the left is further right there."""
    by_name = {images.folder.name: images for images in lists}
    for left, right in _PAIRS:
        if left in by_name and right in by_name:
            try:
                ahead, behind = _votes(by_name[left], by_name[right])
            except InputError:
                continue  # a damaged image, which was noted where all are read
            if behind >= _LEAST_VOTES and behind > 4 * ahead:
                what = f"sees things further right than {left}: the two cameras are exchanged"
                report.error(by_name[right].folder, what)


def check_annotated(report: Report, data: Path, names: set[str], annotations: Path | None) -> None:
    """Note damaged maps of annotated depth, and those that do not belong to their images.

    Args:
        report: that is added to.
        data: root of KITTI raw.
        names: of the drives that are checked.
        annotations: KITTI's annotated depth; None looks for it in ``data`` and in its drives.
    """
    if annotations is None and (data / "data_depth_annotated").is_dir():
        annotations = data / "data_depth_annotated"
    inside = (drive / "proj_depth" / "groundtruth" for drive in kitti_raw.drive_folders(data))
    if annotations is None and not any(folder.is_dir() for folder in inside):
        return
    found = find_annotated(data, annotations)
    if found.lacking:
        what = f"{len(found.lacking)} drives with depth have no images: {few(found.lacking, 3)}"
        report.warn(annotations or data, what)
    read = partial(read_depth, depth_format=kitti_odometry.DEPTH_FORMAT)
    for place in found.places:
        if place.drive in names:
            with report.collect():
                depths = kitti_odometry.files_by_number(place.depths)
                pictures = report.scan([depths[n] for n in sorted(depths)], read)
                report.compare(pictures, _size_of(place.images, place.camera))
                images = kitti_odometry.files_by_number(place.images)
                if without := [n for n in sorted(depths) if n not in images]:
                    report.warn(place.depths, f"depth of frames {few(without)} has no image")


def _size_of(images: Path, camera: str) -> Size | None:
    """Calibrated size of a camera; None where the calibration does not tell."""
    try:
        calibration = read_calibration(kitti_raw.calibration_file(images.parent.parent))
    except InputError:
        return None  # was noted where the drive was checked
    return calibration.sizes.get(camera)


def _votes(left: Images, right: Images) -> tuple[int, int]:
    """How often something is seen further left on the right, and how often further right."""
    path_of = dict(zip(right.numbers.tolist(), right.paths, strict=True))
    pairs = [
        (path, path_of[n])
        for n, path in zip(left.numbers.tolist(), left.paths, strict=True)
        if n in path_of
    ]
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(_LOOKED_AT, len(pairs))).astype(int))
    shifts = [shift for i in chosen for shift in disparities(*map(read_image, pairs[i]))]
    return sum(shift > 1 for shift in shifts), sum(shift < -1 for shift in shifts)


def disparities(left: Array, right: Array) -> list[int]:
    """By how much textured blocks of the left image are further left in the right one, in pixels.

    Args:
        left: (H, W, 3) uint8 RGB.
        right: (H, W, 3) uint8 RGB, of the same size.

    Returns:
        a number for each block that was found beyond doubt, at a width of 414 pixels.
    """
    import cv2

    size = (_WIDTH, round(left.shape[0] * _WIDTH / left.shape[1]))
    a, b = (
        cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for image in (left, right)
    )
    found = []
    for top in range(0, a.shape[0] - _BLOCK, _BLOCK):
        for at in range(_REACH, a.shape[1] - _BLOCK - _REACH, _BLOCK):
            block = a[top : top + _BLOCK, at : at + _BLOCK]
            if block.std() < 12:
                continue
            row = b[top : top + _BLOCK, at - _REACH : at + _BLOCK + _REACH]
            score = cv2.matchTemplate(row, block, cv2.TM_CCOEFF_NORMED)[0]
            best = int(score.argmax())
            others = np.delete(score, range(max(best - 3, 0), min(best + 4, len(score))))
            if score[best] >= _MATCH and others.max() < score[best] - 0.1:
                found.append(_REACH - best)
    return found
