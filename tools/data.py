"""``vo-data``: what lies in a data folder, and whether it is sound."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import FAILED_CHECK, console, print_table, run
from vo.tools.leakage import leakage
from vo.tools.split import split

if TYPE_CHECKING:
    from rich.table import Table

    from vo.datasets.check import Problem
    from vo.datasets.frame import Sequence

Data = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Seq = Annotated[str | None, tyro.conf.arg(metavar="NAME")]

app = tyro.extras.SubcommandApp()
app.command(leakage)
app.command(split)


def main() -> None:
    """Entry point of ``vo-data``."""
    run(lambda: app.cli(prog="vo-data", description="Look at data, and check them."))


@app.command
def check(
    data: Data,
    seq: Seq = None,
    annotations: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    workers: int = 2,
) -> int:
    """Read everything in a data folder and report every problem.

    Prints one line for each problem, then a summary. The exit status is 1 when there are errors,
    0 when there are none or only warnings, and 2 when there is nothing to check.

    Example: vo-data check kitti --seq 03

    Args:
        data: folder in the layout of KITTI Odometry or raw, TUM RGB-D, 7-Scenes, Cityscapes, NYU's
            raw data or Make3D, of images, a video, or nyu_depth_v2_labeled.mat.
        seq: check this sequence only (or this city, or room).
        annotations: KITTI's data_depth_annotated, where it lies elsewhere than in KITTI raw.
        workers: threads that read images.
    """
    from vo.datasets.check import check_data
    from vo.tools.progress import progress_bars

    if workers < 1:
        raise InputError("--workers", f"is {workers}", "give 1 or more")
    images = 0
    with progress_bars() as show:

        def progress(where: str, done: int, total: int) -> None:
            nonlocal images
            images += 1
            show(where, done, total)

        problems = check_data(
            data, seq, annotations=annotations, workers=workers, progress=progress
        )
    for problem in problems:
        _print(f"{problem.severity}: {problem.where}: {problem.what}")
    _print(_summary(data, problems, images))
    return FAILED_CHECK if any(p.severity == "error" for p in problems) else 0


@app.command
def street(
    seq: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NN [NN ...]")] = (),
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    workers: int | None = None,
) -> None:
    """Render the street: images, exact depth, poses and moving things, in KITTI's layout.

    A sequence that is there already is not drawn again. Prints the folder that holds the street.

    Example: vo-data street --seq 09 10 --size 640 192 --out street

    Args:
        seq: sequences 00 to 10; all of them when none is named.
        size: width and height of the images in pixels; 640 192 when not given.
        frames: length of every sequence; 400, and 500 for 09, when not given.
        out: folder to write to; else the cache that all commands share ($VO_CACHE names another).
        workers: processes that draw; one a core when not given.
    """
    from vo.datasets.street import DEFAULT_SIZE, STREET_SEQUENCES, render_street, street_root
    from vo.tools.progress import progress_bars

    if workers is not None and workers < 1:
        raise InputError("--workers", f"is {workers}", "give 1 or more")
    if frames is not None and out is None:
        problem = "sequences in the shared cache have their own length"
        raise InputError("--frames", problem, "add --out DIR")
    width, height = size or DEFAULT_SIZE
    with progress_bars("street {}") as progress:
        root = out
        for name in seq or STREET_SEQUENCES:
            if out is None:
                root = street_root(name, width, height, workers, progress)
            else:
                render_street(out, [name], (width, height), frames, workers, progress)
    _print(str(root))


@app.command
def info(data: Data, seq: Seq = None, intrinsics: str | None = None) -> int:
    """Show the sequences in a data folder: frames, size, camera, duration, path and truth.

    A sequence that cannot be opened is shown with its problem, and makes the exit status 1.

    Example: vo-data info kitti

    Args:
        data: folder in the layout of KITTI Odometry or raw, TUM RGB-D, 7-Scenes, Cityscapes or
            NYU's raw data, of images, or a video.
        seq: show this sequence only.
        intrinsics: fx,fy,cx,cy[,width,height] or a camera file, for data that have none.
    """
    from vo.datasets import open_found
    from vo.datasets.layout import recognise

    table, failed, found = _table(), [], recognise(data)
    for name in found.sequences if seq is None else found.choose_all(seq):
        try:
            table.add_row(*_row(open_found(found, name, intrinsics)))
        except InputError as error:
            if seq is not None:
                raise
            failed.append(f"error: {error}")
    if table.row_count:
        print_table(table)
    for line in failed:
        _print(line)
    return FAILED_CHECK if failed else 0


def _summary(data: Path, problems: list[Problem], images: int) -> str:
    count = Counter(problem.severity for problem in problems)
    found = ", ".join(
        f"{count[kind]} {kind}{'s' if count[kind] != 1 else ''}"
        for kind in ("error", "warning")
        if count[kind]
    )
    return f"{data}: {images} images read, {found or 'no problems'}"


def _table() -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("sequence", no_wrap=True)
    for name in ("frames", "size", "fx fy cx cy (px)", "duration", "rate", "path"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("truth", no_wrap=True)
    return table


def _row(sequence: Sequence) -> list[str]:
    import numpy as np

    camera, times, T_w_c = sequence.camera, sequence.timestamps, sequence.T_w_c
    duration_s = float(times[-1] - times[0])
    path = "-"
    if T_w_c is not None:
        path = f"{np.linalg.norm(np.diff(T_w_c[:, :3, 3], axis=0), axis=1).sum():.1f} m"
    return [
        sequence.name,
        str(len(sequence)),
        f"{camera.width}x{camera.height}",
        f"{camera.fx:.1f} {camera.fy:.1f} {camera.cx:.1f} {camera.cy:.1f}",
        f"{duration_s:.1f} s",
        f"{(len(sequence) - 1) / duration_s:.2f} Hz" if duration_s > 0 else "-",
        path,
        _truth(sequence),
    ]


def _truth(sequence: Sequence) -> str:
    """What is known besides the images, as the first frame shows it."""
    frame = sequence[0]
    parts = {"poses": frame.T_w_c, "depth": frame.depth, "moving": frame.moving}
    return ", ".join(name for name, part in parts.items() if part is not None) or "none"


def _print(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)
