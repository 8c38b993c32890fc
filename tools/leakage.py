"""``vo-data leakage``: whether a training list holds frames of a test list, and how near it comes.

`said` puts a finding into words for other commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import FAILED_CHECK, console, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from vo.datasets.leakage import Finding, Leakage
    from vo.datasets.split_list import ListedFrame

EXAMPLES = 2
_WORDS = {
    "same frame": "are trained on",
    "same frame, other camera": "are trained on as the other camera saw them",
    "source": "are loaded beside training frames",
    "adjacent frame": "lie next to training frames",
    "adjacent frame, other camera": "lie next to training frames of the other camera",
    "same drive": "are of drives that are trained on",
}
Words = Annotated[tuple[str, ...], tyro.conf.arg(metavar="LIST|NAME [LIST|NAME ...]")]
ListFile = Annotated[Path, tyro.conf.arg(metavar="LIST")]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]


def leakage(
    train: Words,
    test: ListFile,
    gaps: tuple[int, ...] = (1,),
    stereo: bool = False,
    data: OptionalFolder = None,
) -> int:
    """Find the frames of a test list that a training list holds or comes near.

    Sequences 00 to 10 of KITTI Odometry are compared as the raw drives that they were cut from.
    The exit status is 1 when more than drives is in common, 0 when not, and 2 for bad input.

    Example: vo-data leakage --train eigen_zhou/train_files.txt --test eigen/test_files.txt

    Args:
        train: lists, `folder frame side` a line, or sequences with all their frames: 00 to 10 of
            KITTI Odometry with both cameras, or any of --data.
        test: list of the test frames.
        gaps: distances in frames from a training frame to the sources that are loaded with it.
        stereo: whether the same moment in the other camera is a source as well.
        data: folder that the sequences named with --train are in, as vo-run takes it; one camera
            of them is trained on.
    """
    from vo.datasets.leakage import find_leakage, samples_of
    from vo.datasets.split_list import read_split_list, split_hash

    if not gaps or min(gaps) < 1:
        raise InputError("--gaps", "must be 1 or more", "give 1 for the frames before and after")
    tested = read_split_list(test)
    trained = [frame for word in train for frame in _frames(word, data)]
    if not trained:
        raise InputError("--train", "names nothing", "give a list or a sequence")
    found = find_leakage(samples_of(trained, gaps, stereo), tested)
    print_table(_table(found))
    for line in _summary(found, split_hash(trained), split_hash(tested)):
        console.print(line, soft_wrap=True, markup=False)
    return 0 if found.is_clean else FAILED_CHECK


def said(finding: Finding, found: Leakage) -> str:
    """``4 of 697 test frames (0.6%) are trained on, such as 2011_09_26_drive_0002_sync 69 l``."""
    count = f"{len(finding.pairs)} of {found.test_frames} test frames ({_share(finding, found)})"
    return f"{count} {_WORDS[finding.kind]}, such as {_example(*finding.pairs[0])}"


def _frames(word: str, data: Path | None) -> Iterable[ListedFrame]:
    """Frames of a list, or of a sequence."""
    from vo.datasets.kitti_drives import odometry_frames, odometry_source
    from vo.datasets.split_list import read_split_list

    if Path(word).is_file() or word.endswith(".txt"):
        return read_split_list(Path(word))
    if data is not None:
        from vo.datasets import open_sequence
        from vo.datasets.listing import listed_frames

        return listed_frames(open_sequence(data, word))
    if odometry_source(word) is None:
        problem = f"{word} is no file, and none of the sequences 00 to 10 of KITTI Odometry"
        raise InputError("--train", problem, "check the path, or add --data DIR that holds it")
    return odometry_frames(word)


def _table(found: Leakage) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("test frame is to training", no_wrap=True)
    for name in ("test frames", "share", "training frames"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("first examples", no_wrap=True)
    for finding in found.findings:
        examples = "; ".join(_example(*pair) for pair in finding.pairs[:EXAMPLES])
        counts = (str(len(finding.pairs)), _share(finding, found), str(finding.targets))
        table.add_row(finding.kind, *counts, examples or "-")
    return table


def _summary(found: Leakage, train_hash: str, test_hash: str) -> list[str]:
    shared, drives = len(found.shared_drives), len(found.drives)
    hashes = f"training list {train_hash}, test list {test_hash}"
    counts = f"{found.targets} training frames, {found.test_frames} test frames"
    verdict = "more than drives is in common" if not found.is_clean else "no leakage of frames"
    return [f"{counts}, {shared} of {drives} test drives trained on: {verdict}", hashes]


def _share(finding: Finding, found: Leakage) -> str:
    return f"{100 * len(finding.pairs) / found.test_frames:.1f}%"


def _example(frame: ListedFrame, target: ListedFrame) -> str:
    """The test frame, and the training frame where that is another or otherwise written."""
    ours, theirs = (f"{f.number} {f.side}".rstrip() for f in (frame, target))
    if frame.drive != target.drive:
        theirs = f"{target.drive} {theirs}"
    return f"{frame.drive} {ours}" + ("" if ours == theirs else f" (trained on {theirs})")
