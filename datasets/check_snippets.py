"""Look for what is wrong with video in short pieces: Cityscapes, its triplets, NYU's raw scenes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vo.datasets import cityscapes_video, nyu_video, wide_triplets
from vo.datasets.check_report import Report
from vo.datasets.cityscapes_camera import read_camera
from vo.datasets.images import is_image, read_image
from vo.datasets.layout import Kind

SNIPPET_FRAMES = 30  # of Cityscapes, around each labelled image
LONGEST_PAUSE_S = 1.0


def check_snippets(report: Report, kind: Kind, places: Mapping[str, Path]) -> None:
    """Note every problem of some sequences, as `layout.Found` has them."""
    if kind == "cityscapes":
        for first in places.values():
            with report.collect():
                _check_run(report, first)
    elif kind == "triplets":
        _check_triplets(report, places)
    else:
        for folder in places.values():
            with report.collect():
                _check_scene(report, folder)


def _check_run(report: Report, first: Path) -> None:
    paths, numbers = cityscapes_video.run_of(first)
    if len(paths) % SNIPPET_FRAMES:
        report.warn(first, f"begins a run of {len(paths)} frames, the data set has runs of 30")
    pictures = report.scan(list(paths), read_image)
    size = report.compare(pictures)
    report.repeats(pictures)
    with report.collect():
        path = cityscapes_video.camera_file(first, int(numbers[len(numbers) // 2]))
        camera = read_camera(path).camera
        if size is not None:
            camera.fitted(*size, where=path)


def _check_triplets(report: Report, places: Mapping[str, Path]) -> None:
    images: list[Path] = []
    for path in places.values():
        with report.collect():
            images.append(wide_triplets.image_file(path))
            wide_triplets.open_wide_triplet(path)
    report.compare(report.scan(images, read_image))
    known = set(images)
    for folder in sorted({path.parent for path in places.values()}):
        strays = [p for p in sorted(folder.iterdir()) if is_image(p) and p not in known]
        if strays:
            report.warn(strays[0], f"has no _cam.txt beside it, as {len(strays)} images have not")


def _check_scene(report: Report, folder: Path) -> None:
    images = nyu_video.list_frames(folder)
    pictures = report.scan(list(images), read_image)
    size = report.compare(pictures)
    report.repeats(pictures)
    with report.collect():
        nyu_video.check_times(images)
    if size is not None:
        with report.collect():
            nyu_video.find_scene_camera(folder, None, size)
    pauses = np.diff(nyu_video.frame_times(images))
    if (count := int((pauses > LONGEST_PAUSE_S).sum())) > 0:
        what = f"{count} times more than {LONGEST_PAUSE_S:g} s pass from one image to the next"
        report.warn(folder, f"{what}, {pauses.max():.1f} s at most")
