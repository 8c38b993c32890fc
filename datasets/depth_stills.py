"""Collections of single images with true depth: which one a path is, and its images.

```
nyu_depth_v2_labeled.mat     NYU Depth v2
Test134, Gridlaserdata       Make3D
leftImg8bit/test             Cityscapes
```
"""

from __future__ import annotations

from pathlib import Path

from vo.datasets import cityscapes, make3d, nyu
from vo.datasets.errors import InputError
from vo.datasets.stills import Stills


def open_stills(
    data: Path, frames: Path | None = None, annotations: Path | None = None
) -> list[Stills] | None:
    """Images of a collection, in one or several parts.

    Args:
        data: file or folder.
        frames: list of images, as the collection has it; None takes every one with true depth.
        annotations: folder of depths beside it, of Cityscapes only.

    Returns:
        the parts; None where ``data`` is no such collection.

    Raises:
        InputError: when something is missing or damaged, and when the collection has no list or
            no depths besides its own.
    """
    if cityscapes.is_cityscapes(data):
        return cityscapes.open_cityscapes(data, frames, annotations)
    if nyu.is_nyu(data):
        _refuse("--annotations", annotations, "NYU Depth v2 has its depth beside its images")
        return [nyu.open_nyu(data, frames)]
    if make3d.is_make3d(data):
        _refuse("--annotations", annotations, "Make3D has its depth in Gridlaserdata")
        _refuse("--frames", frames, "all images of Make3D's Test134 are taken")
        return [make3d.open_make3d(data)]
    return None


def _refuse(flag: str, given: Path | None, problem: str) -> None:
    if given is not None:
        raise InputError(flag, f"is {given}, but {problem}", "leave the flag out")
