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

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vo.datasets.camera import Camera
from vo.datasets.errors import InputError
from vo.datasets.matlab import read_matlab
from vo.datasets.split_list import ListedFrame
from vo.datasets.stills import Still, Stills, known_depth
from vo.datasets.text import read_lines

NAME = "nyu_depth_v2_labeled"
NYU_CAMERA = Camera(518.8579, 519.4696, 325.5824, 253.7362, 640, 480)
"""The colour camera, as the data set's toolbox has it."""

_LAYOUT = {"images": (3, 640, 480), "depths": (640, 480)}  # of one image
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
        image = _variable(file, path, "images")[number - 1]
        depth = _variable(file, path, "depths")[number - 1]
    return Still(np.ascontiguousarray(image.transpose(2, 1, 0)), known_depth(depth.T))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The HDF5 file; what goes wrong while it is read becomes an InputError."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        problem = "is no MATLAB file of version 7.3 (HDF5), or is damaged"
        raise InputError(path, problem, _AGAIN) from error


def _variable(file: Any, path: Path, name: str) -> Any:
    """A dataset of the file, still on disk."""
    import h5py

    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise InputError(path, f"has no array {name}", f"give {NAME}.mat")
    kind = "u" if name == "images" else "f"
    if found.shape[1:] != _LAYOUT[name] or found.dtype.kind != kind or found.dtype.itemsize > 8:
        problem = f"{name} is {found.shape} {found.dtype}, not (N, {str(_LAYOUT[name])[1:]}"
        raise InputError(path, problem, f"give {NAME}.mat as it was published")
    return found


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
