"""What ``vo-run`` can be told. Loads nothing heavy, so that --help is quick."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.errors import InputError
from vo.first_guess import FirstGuess
from vo.precision import Precision
from vo.protocol import Alignment
from vo.tools.compiler import demand_compiler
from vo.tools.new_file import demand_new
from vo.tools.viewing.places import RrdFlag, ServeFlag, read_address

if TYPE_CHECKING:
    from vo.datasets.frame import Sequence

ALL = "all"
KINDS = ("raw", "refined")  # of poses: of the pose network, and after refinement
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True, slots=True)
class RunFlags:
    """Run the odometry over drives: a frame in, a pose out.

    Writes the trajectories, before (raw) and after refinement (refined), their errors, the scale
    of every pair of frames, plots and a report, into a new folder for each sequence.

    Example: vo-run --seq 09 --ckpt street.safetensors

    Attributes:
        seq: sequences to run; `all` for all; not needed where there is only one.
        ckpt: checkpoint file, or the name of one that is installed.
        data: folder or video in any layout that vo-data knows; the street when not given, which is
            rendered at the checkpoint's size where it is missing.
        device: cpu, cuda, cuda:1, mps, ...
        size: width and height that images are resized to; the checkpoint's when not given.
        precision: of the networks: fp32, bf16, or auto, which is bf16 where the device is
            faster with it.
        refine: with --no-refine the poses of the pose network alone.
        first_guess: where the refinement starts: at the motion of the pose network, or at the
            motion before, which saves the network, and with it all raw poses.
        compile: compile the refinement: the same poses in less than half its time, after a minute
            or two at the first run on a machine (the compiler keeps what it has made). Needs a C++
            compiler.
        out: folder to write to, DIR/SEQ with several sequences; runs/SEQ-1, -2, ... when not given.
        intrinsics: fx,fy,cx,cy[,width,height] or a camera file, for data that have none; or
            monodepth2, the constant camera of published trainings, for KITTI.
        camera: image_0 to image_3 of KITTI Odometry, image_00 to image_03 of KITTI raw.
        start: first frame, from 0.
        end: frame after the last one.
        stride: step between frames.
        fps: images a second of a folder of images without times.txt.
        align: what is adjusted before errors are measured, as in vo-eval.
        deterministic: the same command leaves the same bytes in every file of a folder of the same
            name, on the same machine with the same versions and number of threads; no time of day
            and no speed is written. What the device can compute in no such way ends the run.
        view: watch the run in a window of Rerun.
        rrd: record the view in a file for `rerun FILE`, which does not exist yet; one sequence.
        serve: watch the run as a page, at 127.0.0.1:9090 (and its data at the next port), which
            stays after the run until Ctrl-C. 0.0.0.0:9090 lets other machines see it.
    """

    seq: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = ()
    ckpt: Annotated[str, tyro.conf.arg(metavar="FILE")] = "street.safetensors"
    data: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    device: str = "cpu"
    size: tuple[int, int] | None = None
    precision: Precision = "fp32"
    refine: bool = True
    first_guess: FirstGuess = "network"
    compile: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    intrinsics: str | None = None
    camera: Name = None
    start: int = 0
    end: int | None = None
    stride: int = 1
    fps: float | None = None
    align: Alignment = "sim3"
    deterministic: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    view: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    rrd: RrdFlag = None
    serve: ServeFlag = None

    def kinds(self) -> tuple[str, ...]:
        """The trajectories of the run: raw and refined, or the only one of them."""
        if not self.refine:
            return ("raw",)
        return ("refined",) if self.first_guess == "motion" else KINDS


def demand_refinement(flags: RunFlags) -> None:
    """Refuse what needs the refinement where it is off, and what needs a compiler without one.

    Raises:
        InputError: naming --first-guess or --compile.
    """
    if flags.compile and not flags.refine:
        problem = "compiles the refinement, which --no-refine leaves out"
        raise InputError("--compile", problem, "leave out one of them")
    if flags.compile and flags.device == "cpu":
        demand_compiler("--compile", "leave it out")
    if flags.first_guess == "motion" and not flags.refine:
        problem = "the motion before is no answer, unless it is refined"
        raise InputError("--first-guess", problem, "leave out --first-guess or --no-refine")


def demand_view(flags: RunFlags, drives: int, processes: int) -> None:
    """Refuse what the flags of the view cannot mean.

    Raises:
        InputError: naming the flag.
    """
    demand_new("--rrd", flags.rrd)
    if flags.serve is not None:
        read_address(flags.serve)
    if flags.rrd is not None and drives > 1:
        problem = f"is one file for {drives} sequences"
        raise InputError("--rrd", problem, "run one sequence at a time")
    asked = {"--view": flags.view, "--rrd": flags.rrd, "--serve": flags.serve is not None}
    for flag in (flag for flag, is_asked in asked.items() if is_asked and processes > 1):
        problem = f"shows the images of one process, and this run has {processes}"
        raise InputError(flag, problem, "leave it out, and look at the run with vo-view")


def asked_names(flags: RunFlags) -> list[str | None]:
    """The sequences to open, in order; None stands for the only one of ``flags.data``.

    Raises:
        InputError: when none is named of the street, when one is named twice, and when there are
            no data.
    """
    from vo.datasets import list_sequences

    if flags.seq == (ALL,):
        return list(list_sequences(flags.data))
    if flags.data is not None:
        return list(flags.seq) or [None]
    names = [f"{int(name):02d}" if name.isdecimal() else name for name in flags.seq]
    if not names:
        raise InputError("--seq", "is missing", "name sequences of the street: 00 to 10, or all")
    return list(names)


def open_drive(flags: RunFlags, name: str | None, size: tuple[int, int]) -> Sequence:
    """Open a sequence; the street is first drawn, at the size that the networks see.

    Raises:
        InputError: naming file or flag, when it cannot be opened.
    """
    from vo.datasets import open_sequence
    from vo.tools.street import drawn_street

    if flags.data is None:
        drawn_street(name, *size)
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


def demand_different(names: list[str]) -> None:
    """Refuse the same sequence twice, under whatever name it was asked for.

    Raises:
        InputError: naming it.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError("--seq", f"{twice[0]} is given twice", "name each sequence once")
