"""Runs that end before their drives do: by a signal, or by a frame that cannot be read."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vo.datasets.errors import InputError
from vo.tools.console import INTERRUPTED

if TYPE_CHECKING:
    from vo.ranks import Ranks
    from vo.tools.running.record import Record


def end_by_signals(me: Ranks) -> None:
    """A writer that is told to end has as much to say as an interrupted one; another process has
    nothing to say, nor to tidy up."""
    if me.is_writer:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def stop_between_frames() -> Iterator[Callable[[], bool]]:
    """Let the frame in work be finished, so that all files have as many lines; a second signal
    ends it at once.

    Yields whether a signal came.
    """
    came = []

    def note(number: int, stack: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    # A shell's background jobs ignore interrupts; so do we then.
    signals = [
        s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not signal.SIG_IGN
    ]
    before = {s: signal.signal(s, note) for s in signals}
    try:
        yield lambda: bool(came)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


@contextmanager
def told_what_is_kept(record: Record, frames: int) -> Iterator[None]:
    """Whatever ends the run, its message says how much of it there is, and where."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"interrupted; {record.frames} of {frames} frames are kept in {record.folder}"
        record.log(kept)
        print(f"error: {kept}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except InputError as error:
        kept = f"{record.frames} frames before it are kept in {record.folder}"
        remedy = f"{error.remedy}; {kept}" if error.remedy else kept
        record.log(f"error: {error}; {kept}")
        raise InputError(error.where, error.problem, remedy) from error
