"""What a training has seen of the frames that it is tested on.

Frames of KITTI Odometry and of the raw drives that they were cut from are the same frames, and
lists may write the date above a drive or leave it out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from vo.datasets.kitti_drives import raw_drive, raw_frame
from vo.datasets.split_list import ListedFrame

Kind = Literal[
    "same frame",
    "same frame, other camera",
    "source",
    "adjacent frame",
    "adjacent frame, other camera",
    "same drive",
]
"""What a test frame is to the training: a target; the same moment as a target, in the other camera;
loaded beside a target to learn from; the frame before or after a target, in the same camera or in
the other; of a drive that has targets."""

KINDS: tuple[Kind, ...] = get_args(Kind)
STREET = "street"  # data whose sequences have KITTI's names, but are none of KITTI's
_OTHER_SIDE = {"l": "r", "r": "l"}
_NONE: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """What one training sample loads.

    Attributes:
        target: the frame that is learned from.
        sources: other frames of the same drive that it is compared with.
    """

    target: ListedFrame
    sources: tuple[ListedFrame, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """The test frames that one kind of leakage concerns.

    Attributes:
        kind: of leakage.
        pairs: each such test frame, in the order of the list, with the first training target that
            it has to do with.
        targets: number of training targets that have to do with any of them.
    """

    kind: Kind
    pairs: tuple[tuple[ListedFrame, ListedFrame], ...]
    targets: int


@dataclass(frozen=True, slots=True)
class Leakage:
    """What was found.

    Attributes:
        findings: one for each of `KINDS`, in this order.
        targets: number of training targets.
        test_frames: number of test frames.
        drives: the drives of the test frames, sorted; raw ones behind sequences of KITTI Odometry.
        shared_drives: those of them that are trained on.
    """

    findings: tuple[Finding, ...]
    targets: int
    test_frames: int
    drives: tuple[str, ...]
    shared_drives: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether training and test have nothing in common, or drives alone."""
        return not any(finding.pairs for finding in self.findings if finding.kind != "same drive")


def samples_of(
    frames: Iterable[ListedFrame], gaps: Sequence[int] = (1,), stereo: bool = False
) -> list[Sample]:
    """The samples that are made of a training list.

    Args:
        frames: the targets.
        gaps: distances in frames from a target to its sources, which lie on either side of it.
        stereo: whether the same moment in the other camera is a source as well.
    """
    steps = [step for gap in gaps for step in (-gap, gap)]
    return [Sample(frame, tuple(_sources(frame, steps, stereo))) for frame in frames]


def find_leakage(
    samples: Sequence[Sample], test: Sequence[ListedFrame], street: bool = False
) -> Leakage:
    """Compare what is trained on with what is tested on.

    A side that a list does not tell may be either: it counts as the same camera.

    Args:
        samples: of the training.
        test: frames of the test; a frame that is listed twice counts twice.
        street: whether the training is on the street, whose 00 to 10 are not those of KITTI.
    """
    placed = _street_frame if street else raw_frame
    places = [placed(frame) for frame in test]
    seen = _Seen(samples, {place.folder for place in places}, placed)
    pairs: dict[Kind, list[tuple[ListedFrame, ListedFrame]]] = {kind: [] for kind in KINDS}
    concerned: dict[Kind, set[int]] = {kind: set() for kind in KINDS}
    for frame, place in zip(test, places, strict=True):
        for kind, numbers in seen.of(place).items():
            if numbers:
                pairs[kind].append((frame, samples[numbers[0]].target))
                concerned[kind].update(numbers)
    targets = {kind: len(numbers) for kind, numbers in concerned.items()}
    targets["same drive"] = sum(len(numbers) for numbers in seen.on_drive.values())
    return Leakage(
        findings=tuple(Finding(kind, tuple(pairs[kind]), targets[kind]) for kind in KINDS),
        targets=len(samples),
        test_frames=len(test),
        drives=tuple(sorted({place.folder for place in places})),
        shared_drives=tuple(sorted(seen.on_drive)),
    )


def sequences_seen(trained_on: Iterable[str], data: str, names: Iterable[str]) -> list[str]:
    """Those of some sequences that a model was trained on, whole or in part, by their names.

    Args:
        trained_on: as cards of checkpoints have it: ``kitti/09``, the name of the data first, or
            ``raw/2011_09_30_drive_0033_sync/image_02`` with a camera.
        data: name of the data that the sequences belong to; those of the street are compared with
            the street alone.
        names: the sequences.
    """
    seen = {_place(entry) for entry in trained_on}
    return [name for name in names if _place(f"{data}/{name}") in seen]


class _Seen:
    """Training targets and sources by place and time.

    Args:
        samples: of the training.
        drives: that matter.
        placed: gives frames the names that are compared.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        drives: set[str],
        placed: Callable[[ListedFrame], ListedFrame],
    ) -> None:
        # (side, number of the sample) by drive and number of the frame
        self.targets: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
        self.sources: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
        self.on_drive: dict[str, list[int]] = defaultdict(list)
        for n, sample in enumerate(samples):
            target = placed(sample.target)
            if target.folder not in drives:
                continue
            self.on_drive[target.folder].append(n)
            self.targets[target.folder, target.number].append((target.side, n))
            for source in map(placed, sample.sources):
                self.sources[source.folder, source.number].append((source.side, n))

    def of(self, place: ListedFrame) -> dict[Kind, list[int]]:
        """Numbers of the samples that a frame has to do with; one will do for its drive."""
        drive, number = place.folder, place.number
        now = self.targets.get((drive, number), _NONE)
        near = [
            *self.targets.get((drive, number - 1), _NONE),
            *self.targets.get((drive, number + 1), _NONE),
        ]
        loaded = self.sources.get((drive, number), _NONE)
        return {
            "same frame": [n for side, n in now if _is_same(side, place.side)],
            "same frame, other camera": [n for side, n in now if not _is_same(side, place.side)],
            "source": [n for side, n in loaded if _is_same(side, place.side)],
            "adjacent frame": [n for side, n in near if _is_same(side, place.side)],
            "adjacent frame, other camera": [
                n for side, n in near if not _is_same(side, place.side)
            ],
            "same drive": self.on_drive[drive][:1] if drive in self.on_drive else [],
        }


def _street_frame(frame: ListedFrame) -> ListedFrame:
    return ListedFrame(frame.drive.zfill(2), frame.number, frame.side, frame.line)


def _is_same(side: str, other: str) -> bool:
    return side == other or not side or not other


def _sources(frame: ListedFrame, steps: list[int], stereo: bool) -> list[ListedFrame]:
    numbers = [frame.number + step for step in steps if frame.number + step >= 0]
    sources = [ListedFrame(frame.folder, number, frame.side) for number in numbers]
    if stereo and frame.side in _OTHER_SIDE:
        sources.append(ListedFrame(frame.folder, frame.number, _OTHER_SIDE[frame.side]))
    return sources


def _place(entry: str) -> tuple[str, str]:
    """A sequence with its data in front, so that equal ones are equal: those of KITTI are raw."""
    data, _, name = entry.partition("/")
    if data == STREET:
        return data, name
    return "", raw_drive(re.sub(r"/image_0[0-3]$", "", name))
