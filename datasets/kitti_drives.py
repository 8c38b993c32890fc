"""Which raw drives the sequences of KITTI Odometry were cut from (its development kit says so).

Frame n of sequence 08 is frame 1100 + n of its drive; all others begin with the drive. Cameras 2
and 3 of a sequence are those of the drive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from vo.datasets.split_list import SIDES, ListedFrame


@dataclass(frozen=True, slots=True)
class Source:
    """The part of a raw drive that is a sequence of KITTI Odometry.

    Attributes:
        drive: name of the raw drive.
        first: number of its first frame that belongs to the sequence.
        last: number of the last one.
    """

    drive: str
    first: int
    last: int


ODOMETRY = {
    0: Source("2011_10_03_drive_0027_sync", 0, 4540),
    1: Source("2011_10_03_drive_0042_sync", 0, 1100),
    2: Source("2011_10_03_drive_0034_sync", 0, 4660),
    3: Source("2011_09_26_drive_0067_sync", 0, 800),
    4: Source("2011_09_30_drive_0016_sync", 0, 270),
    5: Source("2011_09_30_drive_0018_sync", 0, 2760),
    6: Source("2011_09_30_drive_0020_sync", 0, 1100),
    7: Source("2011_09_30_drive_0027_sync", 0, 1100),
    8: Source("2011_09_30_drive_0028_sync", 1100, 5170),
    9: Source("2011_09_30_drive_0033_sync", 0, 1590),
    10: Source("2011_09_30_drive_0034_sync", 0, 1200),
}


@cache
def odometry_source(name: str) -> Source | None:
    """What ``9`` or ``09`` was cut from; None of any other name and of 11 and above."""
    return ODOMETRY.get(int(name)) if re.fullmatch(r"[0-9]{1,2}", name) else None


def raw_drive(name: str) -> str:
    """Name of the raw drive behind a sequence; any other name stays as it is."""
    source = odometry_source(name)
    return name if source is None else source.drive


def raw_frame(frame: ListedFrame) -> ListedFrame:
    """A frame as a frame of its raw drive, without the date above the drive.

    Frames past the end of a sequence are counted on, so that frames next to each other stay so:
    the street has longer sequences of the same names.
    """
    drive, first = frame.drive, 0
    source = odometry_source(drive)
    if source is not None:
        drive, first = source.drive, source.first
    return ListedFrame(drive, first + frame.number, frame.side, frame.line)


def odometry_frames(name: str) -> tuple[ListedFrame, ...]:
    """All frames of a sequence of KITTI Odometry, those of the left camera first.

    Raises:
        ValueError: when it is none of 00 to 10.
    """
    source = odometry_source(name)
    if source is None:
        raise ValueError(f"must be one of 00 to 10, got {name!r}")
    count = source.last - source.first + 1
    return tuple(ListedFrame(name, i, side) for side in SIDES for i in range(count))
