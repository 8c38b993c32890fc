"""``vo-view``: a run of vo-run in Rerun, after it has ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import console
from vo.tools.console import run as run_command
from vo.tools.viewing.places import RrdFlag, ServeFlag, open_places

if TYPE_CHECKING:
    from vo.tools.running.finished import FinishedRun
    from vo.tools.viewing.places import Places


@dataclass(frozen=True, slots=True)
class ViewFlags:
    """Show a run of vo-run in Rerun: images, depth, both trajectories, maps and numbers.

    The poses are those that were written; depth is computed again by the run's checkpoint. A run
    that was killed is shown as far as it came. Without --rrd and --serve a window opens.

    Example: vo-view runs/09-1

    Attributes:
        run: folder of the run.
        rrd: write a file for `rerun FILE` instead, which does not exist yet.
        serve: show it as a page instead, at 127.0.0.1:9090 (and its data at the next port), until
            Ctrl-C.
        device: to compute depth on: cpu, cuda, ...
    """

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    rrd: RrdFlag = None
    serve: ServeFlag = None
    device: str = "cpu"


def main() -> None:
    """Entry point of ``vo-view``."""

    def command() -> None:
        flags = tyro.cli(ViewFlags, prog="vo-view")
        # A program that is told to end has its page to close, as an interrupted one.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        view_run(flags)

    run_command(command)


def view_run(flags: ViewFlags) -> None:
    """Show a run as the flags say.

    Raises:
        InputError: when the folder is no run, when its drive or checkpoint have gone, and when
            there is nowhere to show it.
    """
    from vo.tools.running.finished import read_run

    run = read_run(flags.run)
    window = flags.rrd is None and flags.serve is None
    with open_places(window, flags.rrd, flags.serve) as places:
        _replay(run, places, flags.device)
        if places.rrd is not None:
            console.print(f"{len(run.rows)} frames in {places.rrd}", soft_wrap=True, markup=False)
        places.stay(lambda line: console.print(line, soft_wrap=True, markup=False))


def _replay(run: FinishedRun, places: Places, device: str) -> None:
    from vo.tools.device import demand_device
    from vo.tools.viewing.worker import viewing

    demand_device(device)
    truth = None if run.truth is None else run.truth.rebased().T_w_c
    kinds = tuple(run.trajectories)
    told: list[str] = []
    if places.page is not None:
        console.print(f"the view: {places.page}", soft_wrap=True, markup=False)
    frames = len(run.rows)
    with viewing(places, run.name, frames, truth, kinds, told.append, live=False) as viewer:
        assert viewer is not None
        viewer.say(f"{frames} frames, {Path(run.config.checkpoint).name}")
        for row, (frame, estimate) in zip(run.rows, run.replay(device), strict=False):
            viewer.show(frame, estimate, row)
    if told:  # nothing else was asked for: that it broke is the outcome
        raise InputError(run.folder, told[0], "try again, or another of --rrd and --serve")


if __name__ == "__main__":
    main()
