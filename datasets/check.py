"""Look for everything that is wrong with a data folder, without stopping at the first problem."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vo.datasets import cityscapes_video, kitti_odometry, kitti_raw, seven_scenes, tum, video
from vo.datasets import folder as image_folder
from vo.datasets.camera import Array, find_camera
from vo.datasets.check_kitti_raw import (
    check_annotated,
    check_date,
    check_order,
    check_scans,
    check_size,
)
from vo.datasets.check_report import Problem, Progress, Report, Size, digest_of
from vo.datasets.check_snippets import check_snippets
from vo.datasets.check_stills import check_stills
from vo.datasets.errors import InputError
from vo.datasets.images import DepthFormat, list_images, read_depth, read_image, read_mask
from vo.datasets.layout import SNIPPETS, Found, Kind, recognise
from vo.datasets.optional import is_there
from vo.datasets.poses import read_kitti_poses, read_tum_poses
from vo.datasets.recording import missing_numbers
from vo.datasets.text import check_increasing, read_times


def check_data(
    data: str | Path,
    seq: str | None = None,
    *,
    annotations: Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Problem]:
    """Read everything in a data folder, or one sequence of it, and list what is wrong.

    It looks for missing frames, images that cannot be read or are truncated, sizes that differ,
    calibrations, times and poses that are damaged or do not match the images in number, times
    that do not increase, poses that are no rigid motion, frames that repeat the one before, and in
    KITTI raw drives and images of another day, cameras that were exchanged, missing laser scans and
    annotated depth of another size.

    Args:
        data: as for `open_sequence`; or a collection of single images, `depth_stills`.
        seq: name of one sequence, city or room; None checks all.
        annotations: KITTI's annotated depth, where it lies elsewhere than in KITTI raw.
        workers: threads that read images.
        progress: called with the folder, the images read and all images of the folder.

    Returns:
        the problems, sequence by sequence.

    Raises:
        InputError: when there is no such folder or sequence, or nothing that can be recognised.
    """
    report = Report(workers, progress or (lambda where, done, total: None))
    is_collection = check_stills(report, Path(data)) if seq is None else False
    if is_collection and cityscapes_video.split_folder(Path(data)) is None:
        _demand_kitti_raw(annotations, is_raw=False, data=data)
        return report.problems
    found = recognise(data)
    _demand_kitti_raw(annotations, is_raw=found.kind == "kitti_raw", data=data)
    places = found.sequences if seq is None else found.choose_all(seq)
    if seq is None:
        _check_strays(report, found)
    if found.kind in SNIPPETS:
        check_snippets(report, found.kind, places)
        return report.problems
    for place in places.values():
        with report.collect():
            _check_sequence(report, found.kind, place)
    if found.kind == "kitti_raw":
        with report.collect():
            check_annotated(report, found.data, set(places), annotations)
    return report.problems


def _demand_kitti_raw(annotations: Path | None, is_raw: bool, data: str | Path) -> None:
    if annotations is not None and not is_raw:
        problem = f"is for KITTI raw, which {data} is not"
        raise InputError("--annotations", problem, "leave the flag out")


def _check_sequence(report: Report, kind: Kind, place: Path) -> None:
    if kind == "kitti":
        _check_kitti(report, place)
    elif kind == "kitti_raw":
        _check_kitti_raw(report, place)
    elif kind == "tum":
        _check_tum(report, place)
    elif kind == "7scenes":
        _check_seven_scenes(report, place)
    elif kind == "video":
        _check_video(report, place)
    else:
        _check_folder(report, place)


def _check_strays(report: Report, found: Found) -> None:
    """Note folders that stand where sequences do and are none."""
    known, parent = found.sequences, found.data / "sequences"
    if found.kind == "kitti" and parent.is_dir():
        for child in sorted(parent.iterdir()):
            if child.is_dir() and child.name not in known:
                report.warn(child, "holds neither calib.txt nor images, and is no sequence")
    if found.kind == "kitti_raw":
        for drive in kitti_raw.drive_folders(found.data):
            if drive.name not in known:
                report.warn(drive, "holds no image_00 to image_03, and is no sequence")


def _check_kitti(report: Report, place: Path) -> None:
    cameras = sorted(kitti_odometry.cameras_in(place))
    if not cameras:
        report.error(place, "holds no image_0, image_1, image_2 or image_3")
    lists, size = _check_cameras(
        report, cameras, lambda name: kitti_odometry.list_frames(place / name)
    )
    with report.collect():
        calibration = kitti_odometry.read_calibration(place / "calib.txt")
        for name in cameras:
            with report.collect():
                calibration.T_c0_c(name)
                calibration.baseline_m(name)
    if lists:
        numbers = max((images.numbers for images in lists), key=len)
        _check_kitti_counts(report, place, numbers)
        _check_kitti_extras(report, place, numbers, size)


def _check_cameras(
    report: Report,
    cameras: list[str],
    read: Callable[[str], kitti_odometry.Images],
    *,
    gaps_allowed: bool = False,
) -> tuple[list[kitti_odometry.Images], Size | None]:
    """Read all images of all cameras of one drive; the lists that there are, and the last size."""
    lists: list[kitti_odometry.Images] = []
    size = None
    for name in cameras:
        with report.collect():
            images = read(name)
            lists.append(images)
            report.gaps(images.folder, images.numbers, allowed=gaps_allowed)
            pictures = report.scan(list(images.paths), read_image)
            size = report.compare(pictures)
            report.repeats(pictures)
    note = report.warn if gaps_allowed else report.error
    for images in lists[1:]:
        first = lists[0]
        if images.numbers[[0, -1]].tolist() != first.numbers[[0, -1]].tolist():
            note(images.folder, f"{_span(images)}, but {first.folder.name} {_span(first)}")
    return lists, size


def _check_kitti_counts(report: Report, place: Path, numbers: Array) -> None:
    last, times = int(numbers[-1]), place / "times.txt"
    with report.collect():
        kitti_odometry.read_frame_times(times, numbers)
        count = len(read_times(times))
        if count > last + 1:
            report.warn(times, f"has {count} times, the images end at frame {last}")
    poses = kitti_odometry.poses_file(place)
    if is_there(poses):
        with report.collect():
            kitti_odometry.read_frame_poses(poses, numbers)
            count = len(read_kitti_poses(poses).T_w_c)
            if count > last + 1:
                report.warn(poses, f"has {count} poses, the images end at frame {last}")


def _check_kitti_extras(report: Report, place: Path, numbers: Array, size: Size | None) -> None:
    def depth(path: Path) -> Array:
        return read_depth(path, kitti_odometry.DEPTH_FORMAT)

    for name, read in (("depth", depth), ("moving", read_mask)):
        files = kitti_odometry.files_by_number(place / name)
        if files:
            report.compare(report.scan([files[n] for n in sorted(files)], read), size)
            missing = [n for n in numbers.tolist() if n not in files]
            if missing:
                report.warn(place / name, f"{len(missing)} of {len(numbers)} frames have no image")


def _check_kitti_raw(report: Report, place: Path) -> None:
    cameras = sorted(kitti_raw.cameras_in(place))
    lists, size = _check_cameras(
        report, cameras, lambda name: kitti_raw.read_images(place, name), gaps_allowed=True
    )
    for images in lists:
        times = images.folder / "timestamps.txt"
        if not times.is_file():
            report.warn(times, f"no such file; times are taken from {kitti_raw.RATE_HZ:g} Hz")
        with report.collect():
            kitti_raw.read_frame_times(times, images.numbers)
    check_date(report, place, lists)
    check_order(report, lists)
    if lists:
        check_scans(report, place, max((images.numbers for images in lists), key=len))
    with report.collect():
        calibration = kitti_raw.read_calibration(kitti_raw.calibration_file(place))
        if size is not None:
            for images in lists:
                check_size(report, calibration, images, size)
        for name in cameras:
            with report.collect():
                calibration.baseline_m(name)
                calibration.T_c0_c(name)
                if size is not None:
                    calibration.camera(name, *size)
        if lists and kitti_raw.packets_folder(place).is_dir():
            numbers = max((images.numbers for images in lists), key=len)
            kitti_raw.read_frame_poses(place, numbers, calibration)
            if lacking := kitti_raw.missing_for_poses(place, calibration):
                packets = kitti_raw.packets_folder(place)
                report.warn(packets, f"gives no true poses without {', '.join(lacking)}")


def _check_tum(report: Report, place: Path) -> None:
    rgb = tum.read_index(place / "rgb.txt")
    size = _check_index(report, rgb, read_image)
    with report.collect():
        if size is not None:
            tum.find_tum_camera(place, None, size)
    if is_there(place / "depth.txt"):
        with report.collect():
            depth = tum.read_index(place / "depth.txt")
            _check_index(report, depth, _depth_reader(tum.DEPTH_FORMAT), size)
    truth = place / "groundtruth.txt"
    if is_there(truth):
        with report.collect():
            poses = read_tum_poses(truth)
            without = int((tum.nearest(poses.timestamps, rgb.timestamps) < 0).sum())
            if without == len(rgb.files):
                report.error(truth, f"has no pose within {tum.TOLERANCE_S} s of any image")
            elif without:
                report.warn(truth, f"{without} of {len(rgb.files)} images have no true pose")


def _check_index(
    report: Report, index: tum.Index, read: Callable[[Path], Array], size: Size | None = None
) -> Size | None:
    with report.collect():
        check_increasing(index.timestamps, index.path)
    missing = set(tum.missing_files(index))
    for path in index.files:
        if path in missing:
            report.error(path, f"no such file, but {index.path.name} names it")
    pictures = report.scan([path for path in index.files if path not in missing], read)
    report.repeats(pictures)
    return report.compare(pictures, size)


def _check_seven_scenes(report: Report, place: Path) -> None:
    files = seven_scenes.list_files(place)
    numbers = sorted(files.color)
    report.gaps(place, np.array(numbers))
    pictures = report.scan([files.color[n] for n in numbers], read_image)
    size = report.compare(pictures)
    report.repeats(pictures)
    if files.depth:
        depths = [files.depth[n] for n in sorted(files.depth)]
        report.compare(report.scan(depths, _depth_reader(seven_scenes.DEPTH_FORMAT)), size)
    for path in (files.pose[n] for n in sorted(files.pose)):
        with report.collect():
            seven_scenes.read_pose(path)
    for n in numbers if files.pose else []:
        if n not in files.pose:
            report.error(files.color[n], "has no pose.txt beside it, as others have")
    without = sum(n not in files.depth for n in numbers) if files.depth else 0
    if without:
        report.warn(place, f"{without} of {len(numbers)} frames have no depth.png")
    with report.collect():
        if size is not None:
            seven_scenes.find_scene_camera(place, None, size)


def _check_folder(report: Report, place: Path) -> None:
    paths = list_images(place)
    pictures = report.scan(paths, read_image)
    size = report.compare(pictures)
    report.repeats(pictures)
    if all(path.stem.isascii() and path.stem.isdigit() for path in paths):
        numbers = np.array([int(path.stem) for path in paths])
        if missing := missing_numbers(numbers):
            report.warn(place, f"{len(missing)} numbers are left out, the first is {missing[0]}")
    _check_camera(report, image_folder.camera_files(place), size, place)
    with report.collect():
        image_folder.read_folder_times(place, len(paths), None)
    with report.collect():
        image_folder.read_folder_poses(place, len(paths))


def _check_video(report: Report, place: Path) -> None:
    decoder = video.Decoder(place, video.read_index(place))
    decoder.check_order()
    count, size, before = len(decoder.index.pts), None, b""
    bad: list[int] = []
    for i in range(count):
        try:
            image = decoder.read(i)
        except InputError as error:
            if not bad or bad[-1] != i - 1:  # one line for each run of frames
                report.error(place, error.problem)
            bad.append(i)
            before = b""
            continue
        digest = digest_of(image)
        if digest == before:
            report.warn(place, f"frame {i} repeats frame {i - 1} exactly")
        before, size = digest, (image.shape[1], image.shape[0])
        report.progress(str(place), i + 1, count)
    if bad:
        report.error(place, f"{len(bad)} of {count} frames cannot be decoded")
    _check_camera(report, video.camera_files(place), size, place)


def _check_camera(report: Report, files: list[Path], size: Size | None, place: Path) -> None:
    if not any(path.is_file() for path in files):
        report.warn(place, "has no camera file beside it; reading it needs --intrinsics")
    elif size is not None:
        with report.collect():
            find_camera(None, files, size, place)


def _depth_reader(depth_format: DepthFormat) -> Callable[[Path], Array]:
    return lambda path: read_depth(path, depth_format)


def _span(images: kitti_odometry.Images) -> str:
    first, last = images.numbers[[0, -1]].tolist()
    return f"has frames {first} to {last}"
