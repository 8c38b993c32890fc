"""Split lists in the format of published ones: ``folder frame side``, a line for each frame.

```
2011_09_26/2011_09_26_drive_0002_sync 0000000069 l     KITTI raw; side l is image_02, r image_03
09 12 l                                                KITTI Odometry and the street
rgbd_dataset_freiburg2_desk 3                          a single camera: no side
```
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vo.datasets.errors import InputError
from vo.datasets.text import read_lines

SIDES = ("l", "r")
CAMERAS = {  # of a side in the layouts that have two
    "kitti_raw": {"l": "image_02", "r": "image_03"},
    "kitti": {"l": "image_2", "r": "image_3"},
}
_REMEDY = "write `folder frame side`, such as 2011_09_26/2011_09_26_drive_0002_sync 69 l"


@dataclass(frozen=True, slots=True)
class ListedFrame:
    """One line of a list.

    Attributes:
        folder: of the drive, with the date above it or without.
        number: of the frame on disk.
        side: ``l`` or ``r``; empty where a drive has a single camera.
        line: number in the file, from 1; 0 where the frame comes from no file.
    """

    folder: str
    number: int
    side: str = ""
    line: int = 0

    @property
    def drive(self) -> str:
        """Name of the drive: ``folder`` without the date that KITTI raw has above it."""
        return re.sub(r"^[0-9]{4}_[0-9]{2}_[0-9]{2}/", "", self.folder)


def read_split_list(path: Path) -> tuple[ListedFrame, ...]:
    """Read a list, in its order; the same frame may stand in it several times.

    Raises:
        InputError: naming the line, when the file is missing, empty, no text, or not in the format.
    """
    return tuple(_listed(path, number, line) for number, line in read_lines(path, _REMEDY))


def split_hash(frames: Iterable[ListedFrame]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a set of frames.

    Each frame is a line ``drive frame side`` without leading zeros or the date above the drive,
    and the lines are sorted: the order of a list and the way it is written do not matter.
    """
    lines = sorted({f"{f.drive} {f.number} {f.side}".rstrip() for f in frames})
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()[:12]


def _listed(path: Path, number: int, line: str) -> ListedFrame:
    words = line.split()
    if len(words) not in (2, 3):
        raise InputError(path, f"line {number} has {len(words)} words", _REMEDY)
    folder, frame, side = words if len(words) == 3 else (*words, "")
    if not re.fullmatch(r"[0-9]{1,12}", frame):
        raise InputError(path, f"line {number}: {frame[:40]!r} is no number of a frame", _REMEDY)
    if side not in (*SIDES, ""):
        raise InputError(path, f"line {number}: side is {side[:40]!r}, not l or r", _REMEDY)
    return ListedFrame(folder, int(frame), side, number)
