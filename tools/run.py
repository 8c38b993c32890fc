"""``vo-run``: the odometry over a drive, written down as it goes, and judged at the end."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import INTERRUPTED, console, print_table
from vo.tools.console import run as run_command
from vo.tools.run_flags import RunFlags, asked_names, demand_different

if TYPE_CHECKING:
    from vo.checkpoint import Checkpoint
    from vo.datasets.frame import Sequence
    from vo.drive import Drive
    from vo.odometry import Odometry
    from vo.tools.run_record import Record
    from vo.tools.run_result import Result
    from vo.trajectory import Trajectory


def main() -> None:
    """Entry point of ``vo-run``."""

    def command() -> None:
        flags = tyro.cli(RunFlags, prog="vo-run")
        # A program that is told to end has as much to say as an interrupted one.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        run_drives(flags)

    run_command(command)


def run_drives(flags: RunFlags) -> list[Result]:
    """Run the odometry as the flags say, and print a table for each sequence.

    Raises:
        InputError: when checkpoint, device, data, flags or folder are not as they should be; what
            was written before stays.
        SystemExit: after an interrupt while a drive was run, and a line that says what is kept.
    """
    from vo.checkpoint import load_checkpoint
    from vo.odometry import Odometry
    from vo.tools.run_record import demand_free

    if flags.out is not None:
        demand_free(flags.out)
    names = asked_names(flags)
    demand_device(flags.device)
    checkpoint = load_checkpoint(flags.ckpt, flags.device)
    settings = checkpoint.model.config.refine if flags.refine else None
    odometry = Odometry(checkpoint.model, settings, flags.size, flags.device, flags.precision)
    sequences = [_open(flags, name, odometry.size) for name in names]
    demand_different([sequence.name for sequence in sequences])
    results = []
    for sequence in sequences:
        out = flags.out
        if out is not None and len(sequences) > 1:
            out = out / sequence.name
        results.append(_run_drive(flags, checkpoint, odometry, sequence, out))
    if len(results) > 1:
        _print_results(results)
    return results


def demand_device(name: str) -> None:
    """Refuse a device that torch cannot use here.

    Raises:
        InputError: naming --device.
    """
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # as each device likes it
        problem = f"there is no {name!r} here"
        raise InputError("--device", problem, "give cpu, or a GPU that torch can use") from error


def _open(flags: RunFlags, name: str | None, size: tuple[int, int]) -> Sequence:
    """Open a sequence; the street is first drawn, at the size that the networks see."""
    from vo.datasets import open_sequence
    from vo.datasets.street import street_root
    from vo.tools.data import street_progress

    if flags.data is None:
        with street_progress() as progress:
            street_root(name, *size, progress=progress)
    return open_sequence(
        flags.data,
        name,
        # Other images keep their size, and true depth its pixels: the odometry resizes for itself.
        size=size if flags.data is None else None,
        intrinsics=flags.intrinsics,
        camera=flags.camera,
        stride=flags.stride,
        start=flags.start,
        end=flags.end,
        fps=flags.fps,
    )


def _run_drive(
    flags: RunFlags,
    checkpoint: Checkpoint,
    odometry: Odometry,
    sequence: Sequence,
    out: Path | None,
) -> Result:
    """One sequence: run it, judge it, write and print what came of it."""
    from vo.tools.run_record import Record, new_folder, write_settings

    folder, log = new_folder(out, sequence.name)
    with Record(folder, flags.refine, log) as record, _told_what_is_kept(record, len(sequence)):
        write_settings(folder, flags, checkpoint, odometry.size, flags.device)
        record.log(f"{sequence.name}: {len(sequence)} frames, {checkpoint.path}")
        drive, seconds = _run_frames(odometry, sequence, record)
        result = _judged(flags, checkpoint, sequence, drive, folder, seconds)
        _finish(result, _truth(sequence), record)
    return result


def _run_frames(odometry: Odometry, sequence: Sequence, record: Record) -> tuple[Drive, float]:
    """All frames, read ahead, each written when it is done; and how many seconds they took."""
    from vo.datasets.sequence import prefetch
    from vo.drive import Drive, run

    drive, T_w_c = Drive(), sequence.T_w_c
    begun = time.perf_counter()
    with _bar(sequence) as advance, _stop_between_frames() as stopped:
        for frame, estimate in run(odometry, prefetch(sequence)):
            row = drive.add(frame, estimate)
            record.add(row, estimate, None if T_w_c is None else T_w_c[estimate.index])
            advance()
            if stopped():
                raise KeyboardInterrupt
    return drive, time.perf_counter() - begun


def _judged(
    flags: RunFlags,
    checkpoint: Checkpoint,
    sequence: Sequence,
    drive: Drive,
    folder: Path,
    seconds: float,
) -> Result:
    from vo.drive import judge
    from vo.tools.run_result import Result

    truth, verdict, unjudged = _truth(sequence), None, ""
    if truth is not None:
        try:
            verdict = judge(drive, truth, flags.align)
        except InputError as error:  # too short, or does not move: the poses are there all the same
            unjudged = str(error)
    return Result(
        sequence.name,
        folder,
        drive,
        flags.refine,
        checkpoint.card.metric,
        verdict,
        unjudged,
        len(drive.rows) / seconds,
    )


def _truth(sequence: Sequence) -> Trajectory | None:
    """True poses, counted from 0 as in the written files, so that vo-eval finds the same errors."""
    from vo.trajectory import Trajectory

    T_w_c = sequence.T_w_c
    return None if T_w_c is None else Trajectory(sequence.timestamps, T_w_c)


def _finish(result: Result, truth: Trajectory | None, record: Record) -> None:
    """Numbers first, then pictures, then words."""
    from vo.atomic import write_atomically
    from vo.tools.run_plots import draw_run
    from vo.tools.run_result import METRICS_FILE, lines, metrics_json

    write_atomically(result.folder / METRICS_FILE, metrics_json(result))
    pictures = draw_run(result, truth)
    said = lines(result)
    for line in (*said, f"pictures: {', '.join(pictures)}"):
        record.log(line)
    _print_results([result])
    for line in said:
        console.print(line, soft_wrap=True, markup=False)


def _print_results(results: list[Result]) -> None:
    from vo.tools.run_result import table

    print_table(table(results))


@contextmanager
def _told_what_is_kept(record: Record, frames: int) -> Iterator[None]:
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


@contextmanager
def _stop_between_frames() -> Iterator[Callable[[], bool]]:
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
def _bar(sequence: Sequence) -> Iterator[Callable[[], None]]:
    """A bar on standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    errors = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        task = bars.add_task(f"run {sequence.name}", total=len(sequence))
        yield lambda: bars.advance(task)


if __name__ == "__main__":
    main()
