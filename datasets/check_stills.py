"""Look for what is wrong with collections of single images: NYU Depth v2, Make3D, Cityscapes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vo.datasets import cityscapes, make3d, nyu
from vo.datasets.check_report import Report
from vo.datasets.cityscapes_camera import SIZE, read_camera
from vo.datasets.errors import InputError
from vo.datasets.images import DepthFormat, list_images, read_depth, read_image

_SPLITS = ("train", "val", "test")


def check_stills(report: Report, data: Path) -> bool:
    """Note every problem of a collection; False where ``data`` is none."""
    if nyu.is_nyu(data):
        check = _check_nyu
    elif make3d.is_make3d(data):
        check = _check_make3d
    elif any(folder.is_dir() for folder in _cityscapes_folders(data)):
        check = _check_cityscapes
    else:
        return False
    with report.collect():
        check(report, data)
    return True


def _check_nyu(report: Report, path: Path) -> None:
    images = nyu.open_nyu(path)
    for i, frame in enumerate(images.frames, 1):
        try:
            still = images[i - 1]
        except InputError as error:
            report.error(path, f"image {frame.number} cannot be read: {error.problem}")
            continue
        finally:
            report.progress(str(path), i, len(images))
        if not still.depth.any():
            report.warn(path, f"image {frame.number} has no depth at all")


def _check_make3d(report: Report, data: Path) -> None:
    for name in (make3d.IMAGES, make3d.DEPTHS):
        if not (data / name).is_dir():
            raise InputError(data / name, "no such folder")
    images = [p for p in list_images(data / make3d.IMAGES) if p.name.startswith("img-")]
    if not images:
        raise InputError(data / make3d.IMAGES, "holds no img-*.jpg")
    if len(images) != make3d.COUNT:
        report.warn(data / make3d.IMAGES, f"has {len(images)} images, published are {make3d.COUNT}")
    report.compare(report.scan(images, read_image), make3d.IMAGE_SIZE)
    depths = [make3d.depth_file(data, image) for image in images]
    for image, depth in zip(images, depths, strict=True):
        if not depth.is_file():
            report.error(depth, f"is missing, the depth of {image.name}")
    report.scan([depth for depth in depths if depth.is_file()], make3d.read_grid)


def _check_cityscapes(report: Report, data: Path) -> None:
    for folder in _cityscapes_folders(data):
        if not folder.is_dir():
            continue
        found = sorted(folder.glob(f"*/*{cityscapes.IMAGE_END}"))
        images = [p for p in found if cityscapes.FRAME.match(p.name)]
        if not images:
            report.error(folder, f"holds no CITY/*{cityscapes.IMAGE_END}")
        report.compare(report.scan(images, read_image), SIZE)
        split = folder.name
        _check_disparities(report, cityscapes.part_of(data, "disparity") / split, images)
        _check_cameras(report, cityscapes.part_of(data, "camera") / split, images)


def _check_disparities(report: Report, folder: Path, images: list[Path]) -> None:
    if not folder.is_dir():
        report.warn(folder, "no such folder: depth of these images must come from --annotations")
        return
    read = partial(read_depth, depth_format=DepthFormat(per_metre=1))
    report.compare(report.scan(_beside(report, folder, images, "_disparity.png"), read), SIZE)


def _check_cameras(report: Report, folder: Path, images: list[Path]) -> None:
    if not folder.is_dir():
        report.warn(folder, "no such folder: neither depth nor video can be read without cameras")
        return
    for path in _beside(report, folder, images, "_camera.json"):
        with report.collect():
            read_camera(path)


def _beside(report: Report, folder: Path, images: list[Path], end: str) -> list[Path]:
    """The files of these images that are there; notes those that are not."""
    there = []
    for image in images:
        stem = image.name.removesuffix(cityscapes.IMAGE_END)
        path = folder / image.parent.name / f"{stem}{end}"
        if path.is_file():
            there.append(path)
        else:
            report.error(path, f"is missing, which {image.name} needs")
    return there


def _cityscapes_folders(data: Path) -> list[Path]:
    return [cityscapes.part_of(data, "leftImg8bit") / split for split in _SPLITS]
