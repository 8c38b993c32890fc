"""What lies in a data folder: which layout, and which sequences."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vo.datasets import (
    cityscapes_video,
    folder,
    kitti_odometry,
    kitti_raw,
    nyu_video,
    seven_scenes,
    tum,
    video,
    wide_triplets,
)
from vo.datasets.errors import InputError
from vo.datasets.text import few

Kind = Literal[
    "kitti", "kitti_raw", "tum", "7scenes", "cityscapes", "triplets", "nyu", "video", "images"
]

SNIPPETS: tuple[Kind, ...] = ("cityscapes", "triplets", "nyu")
"""Layouts of thousands of short sequences, which nobody names one by one."""


@dataclass(frozen=True, slots=True)
class Found:
    """Sequences of one layout.

    Attributes:
        data: the folder or file that was looked at.
        kind: the layout.
        sequences: folder, video file, or first file of each sequence by its name.
    """

    data: Path
    kind: Kind
    sequences: dict[str, Path]

    def choose(self, seq: str | None) -> tuple[str, Path]:
        """Name and place of one sequence: the one asked for, or the only one.

        ``9`` finds ``09``, and ``0052`` or ``52`` the drive ``2011_09_26_drive_0052_sync``.

        Raises:
            InputError: when it is not there, when there are several and none is asked for, and
                when a number stands for several; all list the names.
        """
        names = list(self.sequences)
        if seq is None and len(names) > 1:
            remedy = f"choose one with --seq: {few(names, 30)}"
            raise InputError(self.data, f"holds {len(names)} sequences", remedy)
        meant = names if seq is None else self._named(seq)
        if not meant:
            remedy = f"it holds {few(names, 30)}"
            raise InputError("--seq", f"there is no sequence {seq!r} in {self.data}", remedy)
        if len(meant) > 1:
            problem = f"{seq!r} stands for {len(meant)} sequences in {self.data}"
            raise InputError("--seq", problem, f"give the whole name: {few(meant, 30)}")
        return meant[0], self.sequences[meant[0]]

    def choose_all(self, seq: str) -> dict[str, Path]:
        """All sequences that a name stands for: a city or a room stands for those in it.

        Raises:
            InputError: as `choose`.
        """
        if self.kind in SNIPPETS and seq not in self.sequences:
            of_group = {
                name: place
                for name, place in self.sequences.items()
                if name.startswith((f"{seq}_", f"{seq}/"))
            }
            if of_group:
                return of_group
        return dict([self.choose(seq)])

    def _named(self, seq: str) -> list[str]:
        if seq in self.sequences:
            return [seq]
        if not (seq.isascii() and seq.isdigit()):
            return []
        return [name for name in self.sequences if _number(name) == int(seq)]


def recognise(data: str | Path) -> Found:
    """Find out what lies in a folder, or that a file is a video.

    Raises:
        InputError: when it does not exist, or is nothing that can be read; the message says what
            was looked for.
    """
    path = Path(os.path.abspath(data))  # so that "." has a name; links stay as they are
    if path.is_file():
        return Found(path, "video", video.find_sequences(path))
    if not path.is_dir():
        raise InputError(path, "no such file or folder", "check the path given with --data")
    # The most particular layout first: a folder of images is part of every other one.
    kind: Kind
    if found := kitti_odometry.find_sequences(path):
        kind = "kitti"
    elif found := kitti_raw.find_sequences(path):
        kind = "kitti_raw"
    elif found := tum.find_sequences(path):
        kind = "tum"
    elif found := seven_scenes.find_sequences(path):
        kind = "7scenes"
    elif found := cityscapes_video.find_sequences(path):
        kind = "cityscapes"
    elif found := wide_triplets.find_sequences(path):
        kind = "triplets"
    elif found := nyu_video.find_sequences(path):
        kind = "nyu"
    elif folder.has_images(path):
        kind, found = "images", {path.name: path}
    elif found := video.find_sequences(path):
        kind = "video"
    elif found := folder.find_sequences(path):
        kind = "images"
    else:
        problem = "is empty" if not any(path.iterdir()) else "holds no drive that can be read"
        remedy = (
            "looked for KITTI Odometry (sequences/00/image_0), KITTI raw (2011_09_26/"
            "2011_09_26_drive_0052_sync/image_02/data), TUM RGB-D (rgb.txt), 7-Scenes "
            "(frame-000000.color.png), Cityscapes (leftImg8bit_sequence/train, or triplets with "
            "_cam.txt), NYU (r-*.ppm), a video, and PNG or JPEG images, here and one folder below"
        )
        raise InputError(path, problem, remedy)
    return Found(path, kind, found)


def _number(name: str) -> int | None:
    """The number that a sequence is called by, or None."""
    if name.isascii() and name.isdigit():
        return int(name)
    return kitti_raw.drive_number(name)
