"""What lies in a data folder: which layout, and which sequences."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vo.datasets import folder, kitti_odometry, seven_scenes, tum, video
from vo.datasets.errors import InputError
from vo.datasets.text import few

Kind = Literal["kitti", "tum", "7scenes", "video", "images"]


@dataclass(frozen=True, slots=True)
class Found:
    """Sequences of one layout.

    Attributes:
        data: the folder or file that was looked at.
        kind: the layout.
        sequences: folder, or video file, of each sequence by its name.
    """

    data: Path
    kind: Kind
    sequences: dict[str, Path]

    def choose(self, seq: str | None) -> tuple[str, Path]:
        """Name and place of one sequence: the one asked for, or the only one.

        ``9`` finds ``09``.

        Raises:
            InputError: when it is not there, or when there are several and none is asked for;
                both list the names.
        """
        names = list(self.sequences)
        if seq is None and len(names) > 1:
            remedy = f"choose one with --seq: {few(names, 30)}"
            raise InputError(self.data, f"holds {len(names)} sequences", remedy)
        name = names[0] if seq is None else self._named(seq)
        if name is None:
            remedy = f"it holds {few(names, 30)}"
            raise InputError("--seq", f"there is no sequence {seq!r} in {self.data}", remedy)
        return name, self.sequences[name]

    def _named(self, seq: str) -> str | None:
        if seq in self.sequences:
            return seq
        if seq.isascii() and seq.isdigit():
            same = (n for n in self.sequences if n.isascii() and n.isdigit() and int(n) == int(seq))
            return next(same, None)
        return None


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
    elif found := tum.find_sequences(path):
        kind = "tum"
    elif found := seven_scenes.find_sequences(path):
        kind = "7scenes"
    elif folder.has_images(path):
        kind, found = "images", {path.name: path}
    elif found := video.find_sequences(path):
        kind = "video"
    elif found := folder.find_sequences(path):
        kind = "images"
    else:
        problem = "is empty" if not any(path.iterdir()) else "holds no drive that can be read"
        remedy = (
            "looked for KITTI Odometry (sequences/00/image_0), TUM RGB-D (rgb.txt), 7-Scenes "
            "(frame-000000.color.png), a video, and PNG or JPEG images, here and one folder below"
        )
        raise InputError(path, problem, remedy)
    return Found(path, kind, found)
