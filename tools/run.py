"""``vo-run``: the odometry over a drive, written down as it goes, and judged at the end.

Started by torchrun, several processes share the drives: see `vo.tools.running.shared`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vo.ranks import ALONE, Ranks, quiet_but_writer, ranks
from vo.tools.console import console, print_table, warn
from vo.tools.console import run as run_command
from vo.tools.running.ending import end_by_signals, stop_between_frames, told_what_is_kept
from vo.tools.running.flags import (
    RunFlags,
    asked_names,
    demand_different,
    demand_refinement,
    demand_view,
    open_drive,
)
from vo.tools.viewing.places import Places, open_places

if TYPE_CHECKING:
    from vo.checkpoint import Checkpoint
    from vo.datasets.frame import Sequence
    from vo.drive import Drive
    from vo.odometry import Odometry
    from vo.tools.running.record import Record
    from vo.tools.running.result import Result
    from vo.tools.running.samples import DepthSamples
    from vo.tools.running.shared import Share
    from vo.tools.viewing.worker import Viewer
    from vo.trajectory import Trajectory


def main() -> None:
    """Entry point of ``vo-run``."""

    def command() -> None:
        with ranks() as me:
            with quiet_but_writer(me):
                flags = tyro.cli(RunFlags, prog="vo-run")
            end_by_signals(me)
            run_drives(flags, me)

    run_command(command)


def run_drives(flags: RunFlags, me: Ranks = ALONE) -> list[Result]:
    """Run the odometry as the flags say, and print a table for each sequence.

    Args:
        flags: what is asked.
        me: this process among those that share the run; the writer has the results.

    Raises:
        InputError: when checkpoint, device, data, flags or folder are not as they should be; what
            was written before stays.
        SystemExit: after an interrupt while a drive was run, and a line that says what is kept.
    """
    from vo.checkpoint import load_checkpoint
    from vo.determinism import deterministic
    from vo.tools.device import demand_device
    from vo.tools.running.record import demand_free
    from vo.tools.running.shared import share_of

    demand_refinement(flags)
    if flags.out is not None and me.is_writer:
        demand_free(flags.out)
    names = asked_names(flags)
    demand_view(flags, len(names), me.size)
    device = me.device(flags.device)
    demand_device(device)
    checkpoint = load_checkpoint(flags.ckpt, device)
    odometry = _odometry(flags, checkpoint, device)
    sequences = me.writer_first(lambda: [open_drive(flags, n, odometry.size) for n in names])
    demand_different([sequence.name for sequence in sequences])
    share = share_of(me, odometry, sequences)
    if share is not None and not me.is_writer:
        with deterministic(flags.deterministic):
            share.work()
        return []
    results = []
    with open_places(flags.view, flags.rrd, flags.serve, warn) as places:
        if places.page is not None:
            _say(f"the view: {places.page}")
        for sequence in sequences:
            out = flags.out
            if out is not None and len(sequences) > 1:
                out = out / sequence.name
            results.append(_run_drive(flags, checkpoint, odometry, sequence, out, places, share))
        if len(results) > 1:
            _print_results(results)
        places.stay(_say)
    return results


def _odometry(flags: RunFlags, checkpoint: Checkpoint, device: str) -> Odometry:
    from vo.odometry import Odometry

    settings = checkpoint.model.config.refine if flags.refine else None
    if settings is not None and flags.compile:
        settings = replace(settings, backend="compiled")
    return Odometry(
        checkpoint.model, settings, flags.size, device, flags.precision, flags.first_guess
    )


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


def _run_drive(
    flags: RunFlags,
    checkpoint: Checkpoint,
    odometry: Odometry,
    sequence: Sequence,
    out: Path | None,
    places: Places,
    share: Share | None,
) -> Result:
    """One sequence: run it, judge it, write and print what came of it."""
    from vo.determinism import deterministic
    from vo.tools.running.record import Record, new_folder, write_settings
    from vo.tools.running.result import judged
    from vo.tools.running.samples import DepthSamples

    folder, log = new_folder(out, sequence.name)
    with (
        Record(folder, flags.kinds(), log, timed=not flags.deterministic) as record,
        told_what_is_kept(record, len(sequence)),
        deterministic(flags.deterministic),
    ):
        write_settings(folder, flags, checkpoint, sequence.name, odometry.size, flags.device)
        truth = _truth(sequence)
        with _viewer(places, sequence, truth, flags.kinds(), record) as viewer:
            record.log(f"{sequence.name}: {len(sequence)} frames, {checkpoint.path}")
            if viewer is not None:
                viewer.say(f"{len(sequence)} frames, {checkpoint.path.name}")
            samples = DepthSamples(len(sequence))
            drive, seconds = _run_frames(odometry, sequence, record, samples, viewer, share)
        speed = math.nan if flags.deterministic else len(drive.rows) / seconds
        name, metric = sequence.name, checkpoint.card.metric
        result = judged(name, folder, drive, flags.kinds(), metric, truth, flags.align, speed)
        _finish(result, truth, record, samples)
    return result


@contextmanager
def _viewer(
    places: Places,
    sequence: Sequence,
    truth: Trajectory | None,
    kinds: tuple[str, ...],
    record: Record,
) -> Iterator[Viewer | None]:
    """A view of the drive, or None where nobody looks; what is to be told of it is logged, too."""
    if not places:
        yield None
        return
    from vo.tools.viewing.worker import viewing

    def tell(line: str) -> None:
        record.log(line)
        warn(line)

    T_first_c = None if truth is None else truth.rebased().T_w_c
    with viewing(places, sequence.name, len(sequence), T_first_c, kinds, tell) as viewer:
        yield viewer


def _run_frames(
    odometry: Odometry,
    sequence: Sequence,
    record: Record,
    samples: DepthSamples,
    viewer: Viewer | None,
    share: Share | None,
) -> tuple[Drive, float]:
    """All frames, read ahead, each written when it is done; and how many seconds they took."""
    from vo.drive import Drive, run_ahead
    from vo.tools.progress import progress_bars

    drive, T_w_c = Drive(), sequence.T_w_c
    begun = time.perf_counter()
    with progress_bars("run {}") as show, stop_between_frames() as stopped:

        def advance() -> None:
            show(sequence.name, record.frames, len(sequence))

        advance()
        if share is not None:
            return share.collect(sequence, record, samples, advance, stopped)
        for frame, estimate in run_ahead(odometry, sequence):
            row = drive.add(frame, estimate)
            record.add(row, estimate, None if T_w_c is None else T_w_c[estimate.index])
            samples.see(frame, estimate)
            if viewer is not None:
                viewer.show(frame, estimate, row)
            advance()
            if stopped():
                raise KeyboardInterrupt
    return drive, time.perf_counter() - begun


def _truth(sequence: Sequence) -> Trajectory | None:
    """True poses, counted from 0 as in the written files, so that vo-eval finds the same errors."""
    from vo.trajectory import Trajectory

    T_w_c = sequence.T_w_c
    return None if T_w_c is None else Trajectory(sequence.timestamps, T_w_c)


def _finish(
    result: Result, truth: Trajectory | None, record: Record, samples: DepthSamples
) -> None:
    """Numbers first, then pictures and report, then words."""
    from vo.atomic import write_atomically
    from vo.tools.report import REPORT_FILE, Reported, run_page
    from vo.tools.running.plots import draw_run
    from vo.tools.running.result import METRICS_FILE, lines, metrics, metrics_json

    write_atomically(result.folder / METRICS_FILE, metrics_json(result))
    pictures = draw_run(result, truth)
    report = Reported(result, metrics(result), truth, samples.samples)
    write_atomically(result.folder / REPORT_FILE, run_page(report))
    said = lines(result)
    for line in (*said, f"pictures: {', '.join(pictures)}"):
        record.log(line)
    _print_results([result])
    for line in (*said, f"report: {result.folder / REPORT_FILE}"):
        _say(line)


def _print_results(results: list[Result]) -> None:
    from vo.tools.running.result import table

    print_table(table(results))


if __name__ == "__main__":
    main()
