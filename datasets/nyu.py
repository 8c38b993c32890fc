"""NYU Depth v2 (Silberman et al., ECCV 2012): the labelled images and their filled depth.

``nyu_depth_v2_labeled.mat`` is a MATLAB file of version 7.3, which is HDF5 with the dimensions in
reverse:

```
images   (1449, 3, 640, 480) uint8     image, channel, column, row
depths   (1449, 640, 480) float32      metres along the optical axis, holes filled
```

Images are called by their number from 1, as in ``splits.mat``, whose ``testNdxs`` are the 654 test
images.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vo.datasets.camera import Camera
from vo.datasets.errors import InputError
from vo.datasets.matlab import read_matlab
from vo.datasets.plain_file import demand_file
from vo.datasets.split_list import ListedFrame
from vo.datasets.stills import Still, Stills, known_depth
from vo.datasets.text import read_lines

NAME = "nyu_depth_v2_labeled"
NYU_CAMERA = Camera(518.8579, 519.4696, 325.5824, 253.7362, 640, 480)
"""The colour camera, as the data set's toolbox has it."""

_LAYOUT = {"images": (3, 640, 480), "depths": (640, 480)}  # of one image
MOST_IMAGES = 100_000  # 1449 were published
MOST_CHUNK_BYTES = 256 * 1024 * 1024  # HDF5 reads an image by the chunks that it lies in
_MOST_CHUNKS = 10_000  # of one image
_DEFLATE = 1
_FILTERS = {_DEFLATE, 2, 3}  # and shuffle, checksum: what MATLAB writes
_AGAIN = f"download {NAME}.mat again"
_LIST = "give splits.mat, or write the number of an image, from 1, a line"


def is_nyu(data: Path) -> bool:
    """Whether this is a MATLAB file, in which the labelled images come."""
    return data.is_file() and data.suffix.lower() == ".mat"


def open_nyu(path: Path, frames: Path | None = None) -> Stills:
    """The labelled images, or those of a list, in its order.

    Args:
        path: ``nyu_depth_v2_labeled.mat``.
        frames: ``splits.mat``, of which the test images are taken, or a text file with a number
            from 1 on each line; None takes every image.

    Raises:
        InputError: when a file is damaged or not in this layout, and when a number of the list is
            that of no image or comes twice.
    """
    with _opened(path) as file:
        counts = {name: len(_variable(file, path, name)) for name in _LAYOUT}
    count = counts["images"]
    if count != counts["depths"] or count == 0:
        problem = f"has {count} images and {counts['depths']} depths"
        raise InputError(path, problem, _AGAIN)
    numbers = list(range(1, count + 1)) if frames is None else _read_numbers(frames, count)
    listed = tuple(ListedFrame(NAME, number) for number in numbers)
    return Stills(NAME, listed, lambda i: _read_still(path, numbers[i]))


def _read_still(path: Path, number: int) -> Still:
    """Image ``number``, from 1. The file is opened anew, so that nothing of it stays in memory."""
    with _opened(path) as file:
        image = _read_one(_variable(file, path, "images"), path, number - 1)
        depth = _read_one(_variable(file, path, "depths"), path, number - 1)
    return Still(np.ascontiguousarray(image.transpose(2, 1, 0)), known_depth(depth.T))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The HDF5 file; what goes wrong while it is read becomes an InputError."""
    import h5py

    demand_file(path, _AGAIN)
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, ValueError, KeyError, zlib.error) as error:
        problem = "is no MATLAB file of version 7.3 (HDF5), or is damaged"
        raise InputError(path, problem, _AGAIN) from error


def _variable(file: Any, path: Path, name: str) -> Any:
    """A dataset of the file, still on disk; none that lies in another file."""
    import h5py

    published = f"give {NAME}.mat as it was published"
    link = file.get(name, getclass=True, getlink=True)
    found = file.get(name) if link is h5py.HardLink else None
    if not isinstance(found, h5py.Dataset):
        raise InputError(path, f"has no array {name}", f"give {NAME}.mat")
    if found.is_virtual or found.external:
        raise InputError(path, f"{name} lies in other files", published)
    kind = "u" if name == "images" else "f"
    if found.shape[1:] != _LAYOUT[name] or found.dtype.kind != kind or found.dtype.itemsize > 8:
        problem = f"{name} is {found.shape} {found.dtype}, not (N, {str(_LAYOUT[name])[1:]}"
        raise InputError(path, problem, published)
    if len(found) > MOST_IMAGES:
        raise InputError(path, f"{name} says that it has {len(found)} images", published)
    if math.prod(found.chunks or ()) * found.dtype.itemsize > MOST_CHUNK_BYTES:
        problem = f"{name} lies in chunks of {found.chunks}, over {MOST_CHUNK_BYTES:,} bytes each"
        raise InputError(path, problem, published)
    if not _filters(found) <= _FILTERS:
        raise InputError(path, f"{name} is compressed in an unknown way", published)
    return found


def _filters(found: Any) -> set[int]:
    properties = found.id.get_create_plist()
    return {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}


def _read_one(found: Any, path: Path, index: int) -> Any:
    """One image of a dataset. HDF5 would inflate a chunk to whatever comes out of it, so that it
    is seen first that no more comes out than belongs to it."""
    if _DEFLATE in _filters(found):
        chunk = found.chunks
        starts = [range(0, n, step) for n, step in zip(found.shape[1:], chunk[1:], strict=True)]
        if math.prod(map(len, starts)) > _MOST_CHUNKS:
            raise InputError(path, f"an image lies in over {_MOST_CHUNKS} chunks", _AGAIN)
        most = math.prod(chunk) * found.dtype.itemsize + 4  # and a checksum
        for start in itertools.product(
            range(index - index % chunk[0], index + 1, chunk[0]), *starts
        ):
            _check_chunk(found, path, start, most)
    return found[index]


def _check_chunk(found: Any, path: Path, start: tuple[int, ...], most: int) -> None:
    stored = found.id.get_chunk_info_by_coord(start)
    if stored.byte_offset is None:  # never written: zeros
        return
    if stored.size <= 2 * most + 1024:
        data = found.id.read_direct_chunk(start)[1]
        if stored.filter_mask or len(zlib.decompressobj().decompress(data, most + 1)) <= most:
            return
    raise InputError(path, f"a chunk at {start} holds more than belongs to it", _AGAIN)


def _read_numbers(path: Path, count: int) -> list[int]:
    """Numbers of a list, each from 1 to ``count`` and once."""
    if path.suffix.lower() == ".mat":
        values = read_matlab(path, "testNdxs").reshape(-1)
        numbers = [(float(value), "testNdxs") for value in values]
    else:
        numbers = [_numbered(path, line, text) for line, text in read_lines(path, _LIST)]
    seen: set[int] = set()
    for value, where in numbers:
        if not (1 <= value <= count and value == int(value)):
            problem = f"{where}: {value:g} is the number of no image, they are from 1 to {count}"
            raise InputError(path, problem, _LIST)
        if int(value) in seen:
            raise InputError(path, f"{where}: {value:g} is listed twice", "remove one of them")
        seen.add(int(value))
    if not numbers:
        raise InputError(path, "lists no image", _LIST)
    return [int(value) for value, _ in numbers]


def _numbered(path: Path, line: int, text: str) -> tuple[float, str]:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(path, f"line {line}: {text[:40]!r} is no number of an image", _LIST)
    return float(text), f"line {line}"
