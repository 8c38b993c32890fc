"""A run that several processes share: each runs stretches of the drives, one writes them down.

The frames of all drives, laid end to end, are cut into stretches, the same ones in every process,
and whoever is free takes the next. So neither the number of drives nor their lengths nor how fast a
process is need be known: what is left is dealt out in ever smaller pieces, and all end at about the
same time. Each frame's numbers are posted in the store through which torchrun's processes find each
other. The writer runs stretches itself; between two frames it writes down, in order, what is there.

What stretches find is what one process would have found (`vo.stretch`). What goes wrong with a
frame is posted in its place, and is raised where one process would have raised it.
"""

from __future__ import annotations

import dataclasses
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vo.datasets.errors import InputError
from vo.drive import Drive, Row, measured
from vo.odometry import Estimate
from vo.stretch import joined, run_stretch
from vo.tools.running.samples import DepthSamples, Sample

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from vo.datasets.frame import Frame, Sequence
    from vo.odometry import Odometry
    from vo.ranks import Ranks
    from vo.tools.running.record import Record

LEAST, MOST = 8, 64  # frames of a stretch: each costs a look at one frame more
_WAIT_S = 0.005  # from one look for the next frame to the next, where nothing is left to run
_NO_MORE = 1 << 40  # stretches taken: more than there are


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames ``first`` to ``end - 1`` of a drive.

    Attributes:
        drive: position among the drives.
        first: position of its first frame.
        end: position after its last one.
    """

    drive: int
    first: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """A frame that was run.

    Attributes:
        row: its numbers.
        estimate: its motions; its poses are not yet joined, and its maps stay where they were made.
        sample: where the frame is one of those that are kept as pictures.
        begun_s: when the stretch was begun, in seconds of the clock.
    """

    row: Row
    estimate: Estimate
    sample: Sample | None
    begun_s: float


class Board:
    """Where stretches are dealt out, and frames are posted for the writer.

    Args:
        store: of all processes; empty.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self) -> int:
        """Number of a stretch that nobody has taken, from 0; there may be no such stretch."""
        return self._store.add("taken", 1) - 1

    def close(self) -> None:
        """From now on nobody takes a stretch that there is; those before are taken already."""
        self._store.add("taken", _NO_MORE)

    def post(self, drive: int, position: int, found: Done | Exception) -> None:
        """Tell the writer what became of a frame."""
        data = pickle.dumps(found)
        self._store.set(f"{drive}/{position}", data)  # pyright: ignore[reportArgumentType]

    def fetch(self, drive: int, position: int) -> Done | Exception | None:
        """What became of a frame, once; None as long as nobody has told."""
        key = f"{drive}/{position}"
        if not self._store.check([key]):
            return None
        found = pickle.loads(self._store.get(key))
        self._store.delete_key(key)
        return found


class Share:
    """This process's share in a run.

    Args:
        ranks: this process among the others.
        board: of all of them.
        odometry: of this process.
        sequences: the drives, the same in all processes, of different names.
    """

    def __init__(
        self, ranks: Ranks, board: Board, odometry: Odometry, sequences: list[Sequence]
    ) -> None:
        self._board, self._odometry, self._sequences = board, odometry, sequences
        self._numbers = {sequence.name: i for i, sequence in enumerate(sequences)}
        lengths = [len(sequence) for sequence in sequences]
        self._stretches = stretches(lengths, ranks.size, whole=odometry.first_guess == "motion")
        self._working = self._work()

    def work(self) -> None:
        """Run stretches until none is left: all that is asked of a process that does not write."""
        for _ in self._working:
            pass

    def collect(
        self,
        sequence: Sequence,
        record: Record,
        samples: DepthSamples,
        advance: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> tuple[Drive, float]:
        """All frames of a drive, each written as soon as it and those before it are done; and how
        many seconds they took. The drives must be asked for in their order.

        Args:
            sequence: the drive.
            record: to write to.
            samples: receives those of the drive.
            advance: called for each frame.
            stopped: whether to stop.

        Raises:
            InputError: when a frame is damaged; those before it are written.
            KeyboardInterrupt: when it was to stop; what was to be written of a frame is.
        """
        drive, T_w_c, begun_s = Drive(), sequence.T_w_c, time.time()
        for done in self._results(self._numbers[sequence.name]):
            if done is not None:
                begun_s = min(begun_s, done.begun_s)
                estimate = joined(drive, done.estimate)
                drive.append(done.row, estimate)
                record.add(done.row, estimate, None if T_w_c is None else T_w_c[estimate.index])
                samples.samples += [] if done.sample is None else [done.sample]
                advance()
            if stopped():
                raise KeyboardInterrupt
        return drive, time.time() - begun_s

    def _results(self, drive: int) -> Iterator[Done | None]:
        """The frames of a drive in order, and None each time that the next is not there yet; this
        process then runs a frame of its own stretches."""
        for position in range(len(self._sequences[drive])):
            while (found := self._board.fetch(drive, position)) is None:
                yield None
                if not next(self._working, False):
                    time.sleep(_WAIT_S)
            if isinstance(found, Exception):
                raise found
            yield found

    def _work(self) -> Iterator[bool]:
        """Run stretches, a frame at a time, and post what is found."""
        while (number := self._board.take()) < len(self._stretches):
            stretch, begun_s = self._stretches[number], time.time()
            sequence = self._sequences[stretch.drive]
            position = stretch.first
            try:
                results = run_stretch(self._odometry, sequence, stretch.first, stretch.end)
                for frame, estimate in results:
                    done = _done(frame, estimate, len(sequence), begun_s)
                    self._board.post(stretch.drive, position, done)
                    position += 1
                    yield True
            except (InputError, OSError) as error:
                self._board.close()
                self._board.post(stretch.drive, position, error)


def stretches(lengths: list[int], processes: int, whole: bool = False) -> list[Stretch]:
    """Drives of these lengths, end to end, in the pieces that are dealt out.

    Each is the half of what every process would have of the frames that are left, but from `LEAST`
    to `MOST` frames, and ends with its drive.

    Args:
        lengths: frames of each drive.
        processes: that share them.
        whole: whether a drive is run by one process from end to end.
    """
    if whole:
        return [Stretch(drive, 0, length) for drive, length in enumerate(lengths)]
    found, left = [], sum(lengths)
    for drive, length in enumerate(lengths):
        first = 0
        while first < length:
            count = min(max(left // (2 * processes), LEAST), MOST)
            if length - first < count + LEAST:  # no rest that is not worth its cost
                count = length - first
            found.append(Stretch(drive, first, first + count))
            first += count
            left -= count
    return found


def share_of(ranks: Ranks, odometry: Odometry, sequences: list[Sequence]) -> Share | None:
    """This process's share, or None where it is the only one; see `Share`."""
    if ranks.size == 1:
        return None
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://"))
    board = Board(PrefixStore(f"vo-run/{ranks.restarts}", store))
    return Share(ranks, board, odometry, sequences)


def _done(frame: Frame, estimate: Estimate, frames: int, begun_s: float) -> Done:
    samples = DepthSamples(frames)
    samples.see(frame, estimate)
    row = measured(frame, estimate)
    light = dataclasses.replace(estimate, depth=np.zeros((0, 0), np.float32), confidence=None)
    return Done(row, light, samples.samples[0] if samples.samples else None, begun_s)
