"""Cityscapes (Cordts et al., CVPR 2016): single images with true depth.

```
leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png     2048x1024 pixels
disparity/test/berlin/berlin_000000_000019_disparity.png         16 bits: 0 unknown, else 256 d + 1
camera/test/berlin/berlin_000000_000019_camera.json
gt_depths/000_depth.npy                                          see below
```

Each of the first three may also lie one folder deeper, where its archive was unpacked
(``leftImg8bit_trainvaltest/leftImg8bit``, ``camera_trainvaltest/camera`` and so on). Depth is

    z = baseline fx / d

of a disparity d in pixels. The depths that manydepth (Watson et al., CVPR 2021) was scored with are
a folder of arrays (1024, 2048) in metres that are numbered from 0 by the lines of its list of test
images, ``leverkusen leverkusen_000039_000019`` a line.

An image is called by its city and the digits of sequence and frame: ``berlin`` 19 is
``berlin_000000_000019``, ``mainz`` 3010924 is ``mainz_000003_010924``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.cityscapes_camera import SIZE, read_camera
from vo.datasets.errors import InputError
from vo.datasets.images import DepthFormat, natural_key, read_depth, read_image
from vo.datasets.plain_file import demand_file
from vo.datasets.split_list import ListedFrame
from vo.datasets.stills import Still, Stills, check_pixels, known_depth
from vo.datasets.text import few, read_lines

SPLIT = "test"
FRAME = re.compile(r"([a-z-]+)_([0-9]{6})_([0-9]{6})")
IMAGE_END = "_leftImg8bit.png"
_COUNTS = DepthFormat(per_metre=1)  # disparity images as they are stored
_LIST = "write `city frame`, such as berlin berlin_000000_000019"


@dataclass(frozen=True, slots=True)
class _Named:
    """An image by its name.

    Attributes:
        stem: ``berlin_000000_000019``.
        line: number in the list, from 1; 0 where there is none.
    """

    stem: str
    line: int = 0

    @property
    def city(self) -> str:
        return self.stem.split("_")[0]

    @property
    def listed(self) -> ListedFrame:
        return listed_frame(self.stem, self.line)

    def file(self, folder: Path, end: str) -> Path:
        return folder / self.city / f"{self.stem}{end}"


def is_cityscapes(data: Path) -> bool:
    """Whether a folder holds test images of Cityscapes."""
    return (part_of(data, "leftImg8bit") / SPLIT).is_dir()


def open_cityscapes(
    data: Path, frames: Path | None = None, depths: Path | None = None
) -> list[Stills]:
    """Test images with their depth, by city in the order in which these first come up.

    Args:
        data: folder with ``leftImg8bit``, and with ``disparity`` and ``camera`` where these are the
            truth.
        frames: list of images; None takes every one that has a disparity.
        depths: folder with ``000_depth.npy`` and so on, one for each line of ``frames``; None takes
            the disparities.

    Raises:
        InputError: when an image, a depth or a camera is missing, when the list is damaged or not
            the one by which the depths are numbered; when an image is read, if a file is damaged
            or has another size.
    """
    images = part_of(data, "leftImg8bit") / SPLIT
    named = _all_named(data, images) if frames is None else _read_list(frames)
    for one in named:
        path = one.file(images, IMAGE_END)
        if not path.is_file():
            problem = f"is missing, the image of {frames} line {one.line}"
            raise InputError(path, problem, "add it, or remove the line")
    truths = _disparities(data, named) if depths is None else _arrays(depths, named, frames)
    groups: dict[str, list[int]] = {}
    for i, one in enumerate(named):
        groups.setdefault(one.city, []).append(i)
    return [
        _stills(city, images, [named[i] for i in some], [truths[i] for i in some])
        for city, some in groups.items()
    ]


def part_of(data: Path, name: str) -> Path:
    """Where a part of the data set lies: directly, or in the folder of its archive."""
    deeper = data / f"{name}_trainvaltest" / name
    return deeper if deeper.is_dir() and not (data / name).is_dir() else data / name


def listed_frame(stem: str, line: int = 0) -> ListedFrame:
    """What the image ``mainz_000003_010924`` is called in a list: ``mainz`` 3010924."""
    city, sequence, frame = stem.split("_")
    return ListedFrame(city, int(sequence + frame), line=line)


def read_disparity_depth(path: Path, camera: Path) -> Array:
    """Depth of a disparity image, (1024, 2048) float32 metres, 0 where unknown or infinite.

    Raises:
        InputError: when the image or the camera file is damaged.
    """
    counts = read_depth(path, _COUNTS)
    check_pixels(counts, SIZE, path)
    seen_by = read_camera(camera)
    disparity = (counts - 1) / 256
    with np.errstate(divide="ignore"):
        return known_depth(seen_by.baseline_m * seen_by.camera.fx / disparity)


def read_depth_array(path: Path) -> Array:
    """Depth of a NumPy file, (1024, 2048) float32 metres, 0 where unknown.

    Raises:
        InputError: when it is damaged, pickled, or no array of this size.
    """
    demand_file(path)
    try:
        # What is mapped takes no memory: the header may promise an array of any size.
        depth = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header comes as any error, those of its parser too
        problem = "cannot be read as an array of numbers"
        raise InputError(path, problem, "give an .npy file without pickled objects") from error
    if not isinstance(depth, np.ndarray) or depth.ndim != 2 or depth.dtype.kind not in "iuf":
        raise InputError(path, "is no (H, W) array of numbers", "give the depth of one image")
    check_pixels(depth, SIZE, path)
    return known_depth(depth)


def _stills(
    city: str, images: Path, named: list[_Named], truths: list[Callable[[], Array]]
) -> Stills:
    def read(i: int) -> Still:
        path = named[i].file(images, IMAGE_END)
        image = read_image(path)
        check_pixels(image, SIZE, path)
        return Still(image, truths[i]())

    return Stills(city, tuple(one.listed for one in named), read)


def _all_named(data: Path, images: Path) -> list[_Named]:
    """Every test image that has a disparity."""
    files = sorted(images.glob(f"*/*{IMAGE_END}"), key=lambda path: natural_key(path.name))
    stems = [path.name.removesuffix(IMAGE_END) for path in files]
    named = [_Named(stem) for stem in stems if FRAME.fullmatch(stem)]
    folder = part_of(data, "disparity") / SPLIT
    having = [
        one
        for one in named
        if one.file(images, IMAGE_END).is_file() and one.file(folder, "_disparity.png").is_file()
    ]
    if not having:
        problem = "holds no disparity of a test image"
        remedy = "unpack disparity_trainvaltest.zip, or give --annotations and --frames"
        raise InputError(folder, problem, remedy)
    return having


def _read_list(path: Path) -> list[_Named]:
    """Images of a list, each once; the city before the name may be left out."""
    named: dict[str, _Named] = {}
    for line, text in read_lines(path, _LIST):
        *city, stem = text.split()
        if not FRAME.fullmatch(stem) or city not in ([], [stem.split("_")[0]]):
            raise InputError(path, f"line {line}: {text[:60]!r} names no image", _LIST)
        if stem in named:
            raise InputError(path, f"line {line}: {stem} is listed twice", "remove one of them")
        named[stem] = _Named(stem, line)
    return list(named.values())


def _disparities(data: Path, named: list[_Named]) -> list[Callable[[], Array]]:
    disparities, cameras = part_of(data, "disparity") / SPLIT, part_of(data, "camera") / SPLIT
    readers: list[Callable[[], Array]] = []
    for one in named:
        disparity = one.file(disparities, "_disparity.png")
        camera = one.file(cameras, "_camera.json")
        for path in (disparity, camera):
            if not path.is_file():
                problem = f"is missing, which the depth of {one.stem} needs"
                raise InputError(path, problem, "add it, or leave the image out")
        readers.append(partial(read_disparity_depth, disparity, camera))
    return readers


def _arrays(depths: Path, named: list[_Named], frames: Path | None) -> list[Callable[[], Array]]:
    """The depth arrays of a list, which must be the whole list that they are numbered by."""
    if frames is None:
        problem = "is missing: depths of --annotations are numbered by the lines of a list"
        raise InputError("--frames", problem, "give the list that they were published with")
    if not depths.is_dir():
        raise InputError(depths, "no such folder", "give the folder with 000_depth.npy")
    wanted = [depths / f"{i:03d}_depth.npy" for i in range(len(named))]
    present = set(depths.glob("*_depth.npy"))
    missing = [path.name for path in wanted if path not in present]
    if missing or len(present) > len(wanted):
        problem = f"has {len(present)} depths, {frames} has {len(named)} lines"
        remedy = "give the whole list that they are numbered by"
        if missing:
            remedy += f"; missing {few(missing)}"
        raise InputError(depths, problem, remedy)
    return [partial(read_depth_array, path) for path in wanted]
