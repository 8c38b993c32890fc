"""Showing a run while it goes on: a thread draws, and whoever hands it frames never waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vo.datasets.camera import Array
from vo.datasets.frame import Frame
from vo.drive import Row
from vo.odometry import Estimate
from vo.tools.viewing.places import Places
from vo.tools.viewing.viewer import Pictures, Poses, Recording

MOST_WAITING = 8  # frames whose pictures wait to be drawn
RECENT = 20  # frames that the shown speed is the mean of
CLOSE_S = 30.0  # for what still waits at the end

Task = Callable[[Recording], None]


class Viewer:
    """A recording, filled by a thread of its own.

    Poses and numbers are always taken; pictures only while few wait. Whatever breaks the view (a
    window that is closed, a disk that is full) ends the view alone, and is told by `close`.

    Args:
        record: makes the recording, in the thread.
        kinds: of poses: raw, refined, or both.
        live: whether a run is being watched: its speed is shown, and it is never made to wait.
            Otherwise `show` waits until there is room for the pictures.
    """

    def __init__(
        self, record: Callable[[], Recording], kinds: tuple[str, ...], live: bool = True
    ) -> None:
        self.frames = self.dropped = 0
        self._kinds, self._live = kinds, live
        self._tasks: deque[Task | None] = deque()
        self._waiting = 0  # pictures among them
        self._changed = threading.Condition()
        self._broken = ""
        self._seen = deque([time.perf_counter()], maxlen=RECENT + 1)
        # A daemon, so that a viewer that hangs cannot keep the program from ending.
        self._thread = threading.Thread(target=self._work, args=(record,), daemon=True, name="view")
        self._thread.start()

    def show(self, frame: Frame, estimate: Estimate, row: Row) -> None:
        """Show a frame, soon."""
        self.frames += 1
        self._seen.append(time.perf_counter())
        poses = Poses(row, self._by_kind(estimate.T_w_c_raw, estimate.T_w_c), self._speed())
        with self._changed:
            if not self._live:
                self._changed.wait_for(lambda: self._waiting < MOST_WAITING or self._broken)
            if self._broken:
                return
            if self._waiting < MOST_WAITING:
                pictures = self._pictures(frame, estimate)
                self._waiting += 1
            else:
                pictures = None
                self.dropped += 1
            self._tasks.append(lambda recording: self._draw(recording, poses, pictures))
            self._changed.notify_all()

    def say(self, text: str) -> None:
        """Add a line to the text log."""
        self._put(lambda recording: recording.say(text))

    def close(self) -> list[str]:
        """Show what still waits, and end.

        Returns:
            what is to be told of it: pictures that were left out, and what broke the view.
        """
        self._put(None)
        self._thread.join(CLOSE_S)
        told = []
        if self._thread.is_alive():
            told.append(f"view: not everything was taken within {CLOSE_S:.0f} s")
        elif self._broken:
            told.append(f"view: it ended before the run did: {self._broken}")
        if self.dropped:
            told.append(f"view: {self.dropped} of {self.frames} frames without their pictures")
        return told

    def _put(self, task: Task | None) -> None:
        with self._changed:
            self._tasks.append(task)
            self._changed.notify_all()

    def _work(self, record: Callable[[], Recording]) -> None:
        try:
            recording = record()
            try:
                while (task := self._next()) is not None:
                    task(recording)
            finally:
                recording.close()
        # Of any kind: nothing that befalls a view may reach the run. It is told at the end.
        except Exception as error:
            with self._changed:
                self._broken = " ".join(f"{error}".split()) or type(error).__name__
                self._changed.notify_all()

    def _next(self) -> Task | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._tasks))
            return self._tasks.popleft()

    def _draw(self, recording: Recording, poses: Poses, pictures: Pictures | None) -> None:
        recording.add(poses, pictures)
        if pictures is not None:
            with self._changed:
                self._waiting -= 1
                self._changed.notify_all()

    def _pictures(self, frame: Frame, estimate: Estimate) -> Pictures:
        return Pictures(
            estimate.index,
            frame.image,
            frame.camera,
            estimate.depth,
            estimate.confidence,
            estimate.camera,
            self._by_kind(estimate.T_last_c_raw, estimate.T_last_c),
        )

    def _by_kind(self, raw: Array, refined: Array) -> dict[str, Array]:
        return {kind: raw if kind == "raw" else refined for kind in self._kinds}

    def _speed(self) -> float | None:
        """Frames a second, lately; the first few, slow ones tell nothing."""
        if not self._live or len(self._seen) < 3:
            return None
        return (len(self._seen) - 1) / (self._seen[-1] - self._seen[0])


@contextmanager
def viewing(
    places: Places,
    name: str,
    frames: int,
    truth: Array | None,
    kinds: tuple[str, ...],
    tell: Callable[[str], None],
    live: bool = True,
) -> Iterator[Viewer | None]:
    """A viewer for one drive, closed at the end however that comes; None where there is no place.

    Args:
        places: where to show it.
        name: of the drive.
        frames: how many there will be.
        truth: (N, 4, 4) true poses, world at the first camera, or None.
        kinds: of poses: raw, refined, or both.
        tell: takes the lines that `Viewer.close` returns.
        live: see `Viewer`.
    """
    if not places:
        yield None
        return

    def record() -> Recording:
        return Recording(name, kinds, frames, truth, places.urls, places.rrd, live)

    viewer = Viewer(record, kinds, live)
    try:
        yield viewer
    finally:
        for line in viewer.close():
            tell(line)
