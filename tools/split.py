"""``vo-data split``: the lists of published splits, made from the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vo.tools.console import FAILED_CHECK, console

if TYPE_CHECKING:
    from vo.datasets.kitti_split import Split

# As `vo.datasets.kitti_split.SplitName`, without loading numpy for --help.
Name = Literal["eigen-test", "eigen-zhou", "eigen-benchmark", "odom", "eigen-clean175"]
Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]
ListFile = Annotated[Path | None, tyro.conf.arg(metavar="LIST")]


def split(
    data: Folder,
    name: Name,
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    list_: Annotated[ListFile, tyro.conf.arg(name="list")] = None,
    static: ListFile = None,
    annotations: OptionalFolder = None,
) -> int:
    """Write the list of a published split of KITTI, `folder frame side` a line.

    Frames are those that are on disk: what the published split has besides is counted, and makes
    the exit status 1. The hash depends on the frames alone, in whatever order.

    Example: vo-data split --data kitti --name odom --out odom.txt

    Args:
        data: root of KITTI raw; of KITTI Odometry for odom.
        name: odom (training on sequences 00 to 08), eigen-zhou (monodepth2's training), eigen-test
            (697 test images), eigen-benchmark (652 with annotated depth), or eigen-clean175 (175
            that the list published with SPIdepth has not seen).
        out: file to write.
        list_: list of the 697 test images, which follow from no rule: test_files.txt of monodepth2
            or test_files_eigen.txt of SfMLearner.
        static: SfMLearner's static_frames.txt, which eigen-zhou leaves out.
        annotations: KITTI's data_depth_annotated, where it lies elsewhere than in --data.
    """
    from vo.atomic import write_atomically
    from vo.datasets.kitti_split import make_split, split_lines

    made = make_split(name, data, list_, static, annotations)
    write_atomically(out, split_lines(made))
    for line in said(made, out):
        console.print(line, soft_wrap=True, markup=False)
    return FAILED_CHECK if made.lacking else 0


def said(made: Split, out: Path) -> list[str]:
    """What the list holds, and what it lacks."""
    from vo.datasets.kitti_split import PUBLISHED
    from vo.datasets.split_list import split_hash

    count, published = len(made.frames), PUBLISHED[made.name]
    lines = [f"incomplete: {what}" for what in made.lacking]
    told = f"{out}: {made.name}, {count} of {published} frames, hash {split_hash(made.frames)}"
    if made.missing:
        told += f", {made.missing} missing"
    return [*lines, told if made.lacking else f"{told}, complete"]
